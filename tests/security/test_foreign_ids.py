"""What is somebody else's answers exactly as what does not exist, on every route that has an id in its address."""

from __future__ import annotations

import re
from typing import Any

import pytest
import requests

from tests.http_caller import HttpCaller
from tests.security.routes import SIGNED, Route
from tests.security.scene import Scene

#: Ids that nothing has, as long as real ones.
UNKNOWN: dict[str, Any] = {
    "name": "nope",
    "request_id": "0" * 32,
    "file_id": "0" * 32,
    "attempt_id": "0" * 32,
    "token_id": 7_777,
    "user_id": 7_777,
}
#: Routes with an id, and what a stranger who is signed in is answered.
ANSWERS = {
    **dict.fromkeys(("pages.space", "pages.send"), 404),
    **dict.fromkeys(("pages.request", "pages.download", "pages.card"), 404),
    **dict.fromkeys(("pages.cancel", "pages.retry", "pages.delete"), 404),
    "account.revoke_token": 404,
    **dict.fromkeys(("api_files.get_file", "api_files.put_file", "api_files.post_file"), 404),
    **dict.fromkeys(("api_requests.get_request", "api_requests.delete_request"), 404),
    **dict.fromkeys(("api_requests.cancel_request", "api_requests.retry_request", "api_requests.submit_request"), 404),
    **dict.fromkeys(("api_spaces.get_space", "api_live.get_live", "api_tokens.revoke_token"), 404),
    **dict.fromkeys(("api_spaces.update_space", "api_spaces.delete_space"), 403),
    **dict.fromkeys(("admin.space_edit", "admin.space_disable", "admin.space_enable", "admin.space_delete"), 404),
    **dict.fromkeys(("admin.user", "admin.user_active", "admin.user_role", "admin.user_password"), 404),
    **dict.fromkeys(("admin.user_delete", "admin.token_revoke", "admin.disconnect"), 404),
}
#: The names of files that are the same for everybody.
FOR_ALL = {"static", "bootstrap.static", "docs.asset"}
#: What belongs to one person alone, so that an admin finds nothing either (as long as the policy setting is off).
PRIVATE = ("pages.request", "pages.card", "pages.download", "api_requests.get_request", "api_files.get_file")
#: Ids in other places than the path: before them stands a path that everybody may see.
ELSEWHERE = ("/spaces/open-space?again={request_id}", "/api/v1/requests?space={name}")
BODIES: dict[str, dict[str, Any]] = {
    "api_requests.submit_request": {"json": {"prompt": "hello"}},
    "pages.send": {"files": {"prompt": (None, "hello")}},
    "api_spaces.update_space": {"json": {"title": "mine now"}},
    "api_files.put_file": {"data": b"x", "params": {"expires": 9_999_999_999, "signature": "x"}},
    "api_files.post_file": {"data": b"x", "params": {"expires": 9_999_999_999, "signature": "x"}},
    "admin.user_role": {"data": {"role": "admin"}},
}
CHANGING = re.compile(r'(?<=name="csrf_token" value=")[^"]+|(?<=name="csrf-token" content=")[^"]+')
OWN_TIME = {"Date", "Set-Cookie", "Content-Length"}


def with_ids(routes: list[Route]) -> list[Route]:
    return [route for route in routes if route.arguments and route.endpoint not in FOR_ALL]


def ask(caller: HttpCaller, route: Route, ids: dict[str, Any]) -> requests.Response:
    """Call a route, and forget what it left in the session: a message for the next page would make two calls differ."""
    before = caller.http.cookies.copy()  # type: ignore[no-untyped-call]
    try:
        return caller.call(route.method, route.path(ids), allow_redirects=False, **BODIES.get(route.endpoint, {}))
    finally:
        caller.http.cookies = before


def plain(answer: requests.Response, ids: dict[str, Any]) -> tuple[int, str, dict[str, str]]:
    """Return all that an answer says, with every id replaced by one word."""
    heads = str({name: value for name, value in answer.headers.items() if name not in OWN_TIME})
    said = [CHANGING.sub("", text) for text in (answer.text, heads)]
    for kind in UNKNOWN:
        value = re.escape(str(ids[kind]))
        said = [re.sub(rf"((?<=/)|(?<==)|(?<=%2F)){value}(?![\w-])", "<id>", text) for text in said]
    return answer.status_code, said[0], {"headers": said[1]}


@pytest.fixture(scope="module")
def eves_token(eve: HttpCaller, scene: Scene) -> HttpCaller:
    """A program with a token of eve."""
    return HttpCaller(scene.site.url, eve.make_token(scopes=("api",)))


def test_every_route_with_an_id_is_in_the_table(routes: list[Route]) -> None:
    assert {route.endpoint for route in with_ids(routes)} == set(ANSWERS)
    assert {argument for route in with_ids(routes) for argument in route.arguments} == set(UNKNOWN)


@pytest.mark.parametrize("who", ["eve", "eves_token", "visitor"])
def test_a_foreign_id_answers_as_an_unknown_one(
    scene: Scene, routes: list[Route], who: str, request: pytest.FixtureRequest
) -> None:
    caller: HttpCaller = request.getfixturevalue(who)
    before = scene.memory()
    for route in with_ids(routes):
        foreign, unknown = ask(caller, route, scene.ids), ask(caller, route, UNKNOWN)
        assert plain(foreign, scene.ids) == plain(unknown, UNKNOWN), (route, foreign.text[:300], unknown.text[:300])
        if who == "eve":
            assert foreign.status_code == ANSWERS[route.endpoint], (route, foreign.text[:300])
        assert foreign.status_code in (302, 400, 401, 403, 404), (route, foreign.text[:300])
    assert scene.memory() == before


@pytest.mark.parametrize("where", ELSEWHERE)
def test_an_id_in_the_query_tells_no_more(scene: Scene, eve: HttpCaller, where: str) -> None:
    foreign, unknown = (eve.call("GET", where.format(**ids)) for ids in (scene.ids, UNKNOWN))
    assert plain(foreign, scene.ids) == plain(unknown, UNKNOWN)
    assert scene.request["id"] not in foreign.text


def test_an_admin_finds_nothing_of_anybodys_requests_either(
    scene: Scene, routes: list[Route], admin: HttpCaller
) -> None:
    for route in with_ids(routes):
        if route.endpoint in PRIVATE:
            foreign, unknown = ask(admin, route, scene.ids), ask(admin, route, UNKNOWN)
            assert foreign.status_code == 404, route
            assert plain(foreign, scene.ids) == plain(unknown, UNKNOWN), route


def test_its_owner_gets_what_others_do_not(scene: Scene, routes: list[Route]) -> None:
    """Otherwise the tests above would be glad of routes that answer 404 to everybody."""
    looked = [route for route in with_ids(routes) if route.is_safe and not route.endpoint.startswith("admin.")]
    assert len(looked) >= 8
    for route in looked:
        answer = scene.ann.call("GET", route.path(scene.ids), params={"wait": 0} if "live" in route.endpoint else {})
        assert answer.status_code == 200, (route, answer.text[:300])
    assert not {route.endpoint for route in looked} & SIGNED


@pytest.mark.parametrize("number", [0, -1, 2**31, 2**63, 2**70, "1e3", "1 OR 1=1", "1;--"])
def test_a_number_that_no_column_holds_is_not_found(
    routes: list[Route], scene: Scene, admin: HttpCaller, number: Any
) -> None:
    ids = {**scene.ids, "user_id": number, "token_id": number}
    for route in routes:
        if {"user_id", "token_id"} & set(route.arguments):
            assert ask(admin, route, ids).status_code == 404, route
