"""Forged calls: without its CSRF token a session changes nothing, by no route; and looking changes nothing at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from tests.http_caller import HttpCaller
from tests.security.routes import SIGNED, Route
from tests.security.scene import Scene
from tests.site_process import SiteProcess

Forge = Callable[[str, str, dict[str, str], dict[str, Any]], requests.Response]

#: Bodies that a page elsewhere can send with somebody's cookie, and JSON besides.
BODIES: dict[str, dict[str, Any]] = {
    "form": {"data": {"username": "x", "password": "y", "prompt": "hello", "role": "admin"}},
    "files": {"files": {"file": ("a.txt", b"hello"), "prompt": (None, "hello")}},
    "text": {"data": '{"prompt": "hello"}', "headers": {"Content-Type": "text/plain"}},
    "json": {"json": {"prompt": "hello"}},
    "nothing": {},
}
TOKENS = {"no token": {}, "an empty one": {"X-CSRFToken": ""}, "a made-up one": {"X-CSRFToken": "x" * 91}}
OVERRIDES = ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override")


@pytest.fixture(scope="module")
def borrowed(admin: HttpCaller) -> dict[str, str]:
    """The cookies that a browser adds by itself to whatever a page elsewhere sends."""
    return dict(admin.http.cookies)


@pytest.fixture(scope="module")
def forge(site: SiteProcess, borrowed: dict[str, str]) -> Iterator[Forge]:
    """Call the site as a page elsewhere would make a browser do."""
    with requests.Session() as http:
        http.trust_env = False

        def call(method: str, path: str, headers: dict[str, str], body: dict[str, Any]) -> requests.Response:
            said = {**body, "headers": {**body.get("headers", {}), **headers}}
            return http.request(method, site.url + path, cookies=borrowed, allow_redirects=False, timeout=20, **said)

        yield call


@pytest.mark.parametrize("body", BODIES)
def test_no_route_takes_a_change_without_the_csrf_token(
    scene: Scene, routes: list[Route], forge: Forge, body: str
) -> None:
    before, unsafe = scene.memory(), [route for route in routes if not route.is_safe]
    assert len(unsafe) > 25
    for route in unsafe:
        if route.endpoint in SIGNED:
            continue
        for kind, headers in TOKENS.items():
            answer = forge(route.method, route.path(scene.ids), headers, BODIES[body])
            assert answer.status_code == 400, (route, kind, answer.status_code, answer.text[:200])
            assert "CSRF" in answer.text, (route, kind, answer.text[:200])
    assert scene.memory() == before


def test_the_signed_links_are_the_only_exception_and_a_session_is_nothing_to_them(
    scene: Scene, routes: list[Route], forge: Forge
) -> None:
    before = scene.memory()
    assert {route.endpoint for route in routes} >= SIGNED
    for route in routes:
        if route.endpoint in SIGNED:
            for query in ("", "?expires=9999999999&signature=x"):
                answer = forge(route.method, route.path(scene.ids) + query, {}, {"data": b"x"})
                assert answer.status_code in (404, 422), (route, answer.text[:200])
    assert scene.memory() == before


def test_another_sessions_csrf_token_is_no_better_than_none(scene: Scene, eve: HttpCaller, forge: Forge) -> None:
    theirs = {"X-CSRFToken": str(eve.http.headers["X-CSRFToken"])}
    path = f"/admin/spaces/{scene.public}/disable"
    assert forge("POST", path, theirs, {}).status_code == 400
    assert scene.ann.space(scene.public)["enabled"]


def test_looking_changes_nothing(scene: Scene, routes: list[Route], admin: HttpCaller, visitor: HttpCaller) -> None:
    before, looked = scene.memory(), 0
    for route in routes:
        if route.is_safe:
            for caller in (admin, scene.ann, visitor):
                query = {"wait": "0"} if "live" in route.endpoint or route.endpoint.endswith("get_request") else {}
                answer = caller.call("GET", route.path(scene.ids), params=query, allow_redirects=False)
                assert answer.status_code < 500, (route, answer.status_code)
                looked += answer.status_code == 200
    assert looked > 40
    assert scene.memory() == before


@pytest.mark.parametrize("header", OVERRIDES)
def test_no_header_and_no_field_turns_one_method_into_another(scene: Scene, header: str) -> None:
    path = f"/api/v1/requests/{scene.request['id']}"
    before = scene.memory()
    looked = scene.ann.call("GET", path, headers={header: "DELETE"}, params={"_method": "DELETE", "wait": 0})
    assert looked.status_code in (200, 422)
    posted = scene.ann.call("POST", path, headers={header: "DELETE"}, data={"_method": "DELETE"})
    assert posted.status_code == 405
    page = scene.ann.call("GET", f"/requests/{scene.request['id']}", params={"_method": "delete"})
    assert page.status_code == 200
    assert scene.memory() == before
