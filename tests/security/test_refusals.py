"""Nonsense at every door: each is refused in the site's own words, and tells nothing of the inside."""

from __future__ import annotations

from typing import Any

import pytest

from tests.http_caller import HttpCaller
from tests.security.routes import Route
from tests.security.scene import Scene
from tests.site_process import ROOT, SiteProcess

BODIES: dict[str, dict[str, Any]] = {
    "broken JSON": {"data": b'{"name": ', "headers": {"Content-Type": "application/json"}},
    "no UTF-8": {"data": b'{"name": "\xff\xfe"}', "headers": {"Content-Type": "application/json"}},
    "a list": {"json": [1, 2, 3]},
    "deep": {"data": b"[" * 100_000, "headers": {"Content-Type": "application/json"}},
    "types": {"json": {"name": {"$gt": ""}, "prompt": ["x"], "scopes": {"a": 1}, "title": 5, "parameters": "x"}},
    "numbers": {"json": {"timeout_seconds": 1e308, "max_attempts": 10**30, "queue_length": -1, "files": 0.5}},
    "sql": {"json": {"name": "x' OR '1'='1", "title": "'; DROP TABLE users;--", "owner": "x' union select 1--"}},
    "template": {"json": {"name": "{{config}}", "prompt": "{{''.__class__.__mro__}}", "title": "${7*7}"}},
    "broken form": {"data": b"--B\r\nbroken", "headers": {"Content-Type": "multipart/form-data; boundary=B"}},
    "no boundary": {"data": b"x", "headers": {"Content-Type": "multipart/form-data"}},
    "odd form": {"data": "a=%zz&b=%ff&c=%00&=&&", "headers": {"Content-Type": "application/x-www-form-urlencoded"}},
    "xml": {
        "data": '<!DOCTYPE x [<!ENTITY y SYSTEM "file:///etc/passwd">]><x>&y;</x>',
        "headers": {"Content-Type": "text/xml"},
    },
    "odd type": {"data": b"x", "headers": {"Content-Type": "\x01/\x02; charset=nonsense"}},
}
QUERIES = (
    "cursor=x&limit=-1&page=-1&q=%00&status=x&after=x&view=%7b%7b7*7%7d%7d",
    "cursor=WyJcdTAwMDAiXQ&page=99999999999999999999&q=%ff&sort=password_hash&dir=desc&space=x'--",
    "limit=1e9&sort=id);DROP TABLE users;--&q=%25%27%22%5c_&wait=nan&again=%00&space=%00",
    "signature=%00&expires=-1&attempt=x&next=%00",
    "q=" + "x" * 5_000,
)
LEAKS = (
    *("Traceback", "werkzeug", "sqlalchemy", "sqlite", "psycopg", "OperationalError", "SELECT ", "INSERT ", "root:x:"),
    *(
        'File "',
        "site-packages",
        "jinja2",
        "pydantic",
        "KeyError",
        "ValueError",
        "TypeError",
        "$argon2",
        "<Config",
        "0x7f",
    ),
)


def tells_nothing(site: SiteProcess, text: str, what: str) -> bool:
    """Fail when an answer says anything of how the site is made."""
    secrets = (str(site.data_dir), str(ROOT), (site.data_dir / "secret-key").read_text(encoding="ascii").strip())
    for leak in (*LEAKS, *secrets):
        assert leak not in text, f"{what}: {leak}"
    return True


@pytest.mark.parametrize("body", BODIES)
def test_no_body_breaks_a_route_or_makes_it_talk(
    scene: Scene, routes: list[Route], admin: HttpCaller, visitor: HttpCaller, body: str
) -> None:
    before = scene.memory()
    ids = {**scene.ids, "name": "no-such-space", "request_id": "0" * 32, "token_id": 7_777, "user_id": 7_777}
    for route in routes:
        if not route.is_safe and route.endpoint not in ("auth.logout", "account.sign_out_everywhere"):
            for caller in (admin, visitor):
                answer = caller.call(route.method, route.path(ids), allow_redirects=False, **BODIES[body])
                assert 300 < answer.status_code < 500, (route, answer.status_code, answer.text[:300])
                assert tells_nothing(scene.site, answer.text, f"{route}, {body}")
    assert scene.memory() == before


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query[:40])
def test_no_query_breaks_a_route_or_makes_it_talk(
    scene: Scene, routes: list[Route], admin: HttpCaller, query: str
) -> None:
    for route in routes:
        if route.is_safe and route.endpoint != "api_live.get_live":
            caller = admin if route.endpoint.startswith("admin.") else scene.ann
            answer = caller.call("GET", f"{route.path(scene.ids)}?{query}", allow_redirects=False)
            assert answer.status_code < 500, (route, query, answer.text[:300])
            if not route.endpoint.startswith(("docs.", "static", "bootstrap", "api_files", "pages.download")):
                assert tells_nothing(scene.site, answer.text.replace(query, ""), f"{route}?{query}")


def test_what_was_typed_is_never_asked_of_the_database_as_it_is(scene: Scene, admin: HttpCaller) -> None:
    """A filter that is code finds nothing, and one with the letters that LIKE knows finds what has them."""
    for text in ("' OR 1=1 --", "%' OR '1'='1", "\\", "%", "_", "ann' --", 'ann" --'):
        found = admin.call("GET", "/admin/users", params={"q": text}).text
        assert 'href="/admin/users/1"' not in found, text
    assert 'href="/admin/users/1"' in admin.call("GET", "/admin/users", params={"q": "dmi"}).text
