"""Who may do what: admin pages are for admins with a browser, and a token does what its scope says and no more."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from project import accounts, space_admin, submission, tokens
from project.config import Settings
from project.space_admin import SpaceCreate
from project.validation import parse
from tests.conftest import PASSWORD
from tests.faults.apps import FaultApp
from tests.faults.raw_peer import RawPeer
from tests.http_caller import HttpCaller
from tests.security.routes import Route
from tests.security.scene import Scene
from tests.site_process import SiteProcess

Do = Callable[[HttpCaller, Scene], int]
SCOPES = ("app", "api", "admin")
ADMIN_CALLS = {"api_spaces.create_space", "api_spaces.update_space", "api_spaces.delete_space"}
BODY = {"json": {"name": "taken-over", "title": "mine now"}}


def status(method: str, path: str, **options: Any) -> Do:
    return lambda caller, scene: (
        caller.call(method, path.format(**scene.ids, public=scene.public), allow_redirects=False, **options).status_code
    )


def submits(caller: HttpCaller, scene: Scene) -> int:
    answer = caller.call("POST", f"spaces/{scene.public}/requests", json={"prompt": "hello"})
    if answer.status_code == 202:
        caller.wait_final(answer.json()["id"])
    return answer.status_code


def connects(caller: HttpCaller, scene: Scene) -> int:
    """Connect as an app, and answer 200 or 403."""
    token = str(caller.http.headers["Authorization"]).removeprefix("Bearer ")
    peer = RawPeer(caller.url, join=False)
    try:
        peer.send(f'40{{"token": "{token}"}}')
        return 200 if peer.receive("4").startswith("40") else 403
    finally:
        peer.close()


#: What can be done, and what a token of each scope (app, api, admin) is answered; its maker is an admin.
MATRIX: dict[str, tuple[Do, tuple[int, int, int]]] = {
    "connect an app": (connects, (200, 403, 403)),
    "list spaces": (status("GET", "/api/v1/spaces"), (403, 200, 200)),
    "look at a space": (status("GET", "/api/v1/spaces/{public}"), (403, 200, 200)),
    "follow a space": (status("GET", "/api/v1/spaces/{public}/live"), (403, 200, 200)),
    "submit": (submits, (403, 202, 202)),
    "list requests": (status("GET", "/api/v1/requests"), (403, 200, 200)),
    "read somebody's request": (status("GET", "/api/v1/requests/{request_id}"), (403, 404, 404)),
    "read somebody's file": (status("GET", "/api/v1/files/{file_id}"), (403, 404, 404)),
    "cancel somebody's request": (status("POST", "/api/v1/requests/{request_id}/cancel"), (403, 404, 404)),
    "make a space": (status("POST", "/api/v1/spaces", json={"name": "not valid!"}), (403, 403, 422)),
    "change a space": (status("PATCH", "/api/v1/spaces/{public}", json={"x": 1}), (403, 403, 422)),
    "delete a space": (status("DELETE", "/api/v1/spaces/no-such-space"), (403, 403, 404)),
    "list tokens": (status("GET", "/api/v1/tokens"), (403, 403, 403)),
    "make a token": (status("POST", "/api/v1/tokens", json={"name": "x", "scopes": ["api"]}), (403, 403, 403)),
    "revoke a token": (status("DELETE", "/api/v1/tokens/{token_id}"), (403, 403, 403)),
    "see the account": (status("GET", "/account"), (302, 302, 302)),
    "see the admin pages": (status("GET", "/admin/users"), (302, 302, 302)),
    "make an admin": (status("POST", "/admin/users/{user_id}/role", data={"role": "admin"}), (401, 401, 401)),
    "change the password": (status("POST", "/account/password", data={"new_password": "x" * 20}), (302, 302, 302)),
    "sign out": (status("POST", "/logout"), (403, 403, 403)),
    "sign in": (status("POST", "/login", data={"username": "ann", "password": "x"}), (422, 422, 422)),
}


@pytest.fixture(scope="module")
def programs(site: SiteProcess, admin: HttpCaller) -> list[HttpCaller]:
    """Programs of an admin, one for each scope."""
    return [HttpCaller(site.url, admin.make_token(scopes=(scope,))) for scope in SCOPES]


@pytest.mark.parametrize("what", MATRIX)
def test_a_token_does_what_its_scope_says_and_no_more(scene: Scene, programs: list[HttpCaller], what: str) -> None:
    do, expected = MATRIX[what]
    found = tuple(do(token, scene) for token in programs)
    assert dict(zip(SCOPES, found, strict=True)) == dict(zip(SCOPES, expected, strict=True))


def test_every_admin_page_is_nothing_to_everybody_else(
    scene: Scene, routes: list[Route], eve: HttpCaller, programs: list[HttpCaller]
) -> None:
    before = scene.memory()
    pages = [route for route in routes if route.rule.startswith("/admin")]
    assert {route.endpoint.partition(".")[0] for route in pages} == {"admin"}
    assert len(pages) > 20
    for route in pages:
        assert eve.call(route.method, route.path(scene.ids), allow_redirects=False).status_code == 404, route
        for token in programs:
            answer = token.call(route.method, route.path(scene.ids), allow_redirects=False)
            leads_to_sign_in = answer.status_code == 302 and answer.headers["Location"].startswith("/login?")
            assert leads_to_sign_in or answer.status_code == 401, (route, answer.status_code)
    assert scene.memory() == before


def test_the_admins_calls_of_the_api_are_refused_to_everybody_else(
    scene: Scene, routes: list[Route], eve: HttpCaller, programs: list[HttpCaller], visitor: HttpCaller
) -> None:
    before = scene.memory()
    calls = [route for route in routes if route.endpoint in ADMIN_CALLS]
    assert len(calls) == len(ADMIN_CALLS)
    app, api, _ = programs
    anns = HttpCaller(scene.site.url, scene.token)
    for route in calls:
        for caller in (eve, scene.ann, app, api, anns):
            assert caller.call(route.method, route.path(scene.ids), **BODY).status_code == 403, route
        assert visitor.call(route.method, route.path(scene.ids), **BODY).status_code == 401, route
    assert scene.memory() == before


def test_a_person_gives_themselves_no_role_and_no_scope(site: SiteProcess, scene: Scene, eve: HttpCaller) -> None:
    before = eve.json("GET", "tokens")["items"]
    for scopes, status_code in ((["admin"], 403), (["api", "admin"], 403), (["app"], 403), (["root"], 422)):
        made = eve.call("POST", "tokens", json={"name": "x", "scopes": scopes})
        assert made.status_code == status_code, (scopes, made.text)
    by_form = eve.call("POST", "/account/tokens", data={"name": "x", "scopes": "admin", "expires": "7"})
    assert by_form.status_code == 422
    assert eve.json("GET", "tokens")["items"] == before


def test_an_owners_app_token_serves_the_owners_spaces_alone(site: SiteProcess, scene: Scene, admin: HttpCaller) -> None:
    other = admin.make_space()
    app = FaultApp(site.url, scene.ann.make_token())
    assert app.register(other)["code"] == "unauthorized"
    app.wait_gone()
    app.close()


def test_a_role_that_was_taken_away_is_gone_at_once(site: SiteProcess, admin: HttpCaller, scene: Scene) -> None:
    zoe = site.user("zoe")
    zoe_id = scene.select("SELECT id FROM users WHERE username = 'zoe'")
    assert admin.call("POST", f"/admin/users/{zoe_id}/role", data={"role": "admin"}).status_code == 200
    token = HttpCaller(site.url, zoe.make_token(scopes=("admin",)))
    assert token.call("DELETE", "spaces/no-such-space").status_code == 404
    assert zoe.call("GET", "/admin/users").status_code == 200
    assert admin.call("POST", f"/admin/users/{zoe_id}/role", data={"role": "user"}).status_code == 200
    assert zoe.call("GET", "/admin/users").status_code == 404
    assert token.call("DELETE", "spaces/no-such-space").status_code == 403


def test_reading_what_is_somebody_elses_takes_the_policy_and_the_scope(
    make_app: Callable[[Settings], Flask], settings: Settings
) -> None:
    """With the policy setting on, a token of scope ``admin`` may read what is another's; one of ``api`` may not."""
    for policy, expected in (("on", {"api": 404, "admin": 200}), ("off", {"api": 404, "admin": 404})):
        app = make_app(
            settings.model_copy(update={"admins_see_requests": policy, "data_dir": settings.data_dir / policy})
        )
        with app.app_context():
            boss, ann = (
                accounts.create_user(name, PASSWORD, role) for name, role in (("boss", "admin"), ("ann", "user"))
            )
            space_admin.create(parse(SpaceCreate, {"name": "cats", "queue_when_offline": True}), boss)
            accepted = submission.submit(space_admin.find_visible("cats", ann), ann, "hello", {})
            texts = {scope: tokens.create(boss, "x", [scope], (), None, time.time())[1] for scope in expected}
        for scope, status in expected.items():
            headers = {"Authorization": f"Bearer {texts[scope]}"}
            answer = app.test_client().get(f"/api/v1/requests/{accepted.row['id']}", headers=headers)
            assert answer.status_code == status, (policy, scope)
            changed = app.test_client().post(f"/api/v1/requests/{accepted.row['id']}/cancel", headers=headers)
            assert changed.status_code in (403, 404), (policy, scope)
