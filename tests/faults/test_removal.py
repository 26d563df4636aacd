"""A token, a space or a person goes: whoever depended on it is told, and nothing hangs."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Any

from tests.faults.apps import Echo, FaultApp, Never
from tests.faults.looking import ending, some_modes, text_of, wait_connected
from tests.http_caller import HttpCaller
from tests.site_process import SiteProcess

Connect = Callable[..., Any]
Started = Callable[[FaultApp], FaultApp]

CUT_SECONDS = 5.0


def new_token(admin: HttpCaller, **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = admin.json("POST", "tokens", 201, json={"name": "short", "scopes": ["app"], **more})
    return made


@some_modes
def test_revoking_a_token_cuts_its_connection_and_frees_the_space(
    site: SiteProcess, admin: HttpCaller, space: str, token: str, started: Started
) -> None:
    made = new_token(admin, spaces=[space])
    app = started(Never(site.url, made["token"])).serve(space)
    request_id = admin.submit(space, "hello")["id"]
    request = app.next("inference_request")
    admin.json("DELETE", f"tokens/{made['id']}", 204)
    app.wait_gone(CUT_SECONDS)
    assert app.ended_for_good
    assert app.next("register_response")["code"] == "unauthorized"
    wait_connected(admin, space, False)
    back = started(Echo(site.url, token)).serve(space)
    final = admin.wait_final(request_id)
    assert (text_of(final), final["attempt"]) == ("hello", 2)
    assert back.answer(request) == "unknown_request"


def test_revoking_a_token_cuts_a_connection_that_serves_nothing_yet(
    site: SiteProcess, admin: HttpCaller, space: str, started: Started
) -> None:
    made = new_token(admin, spaces=[space])
    app = started(Never(site.url, made["token"]))
    admin.json("DELETE", f"tokens/{made['id']}", 204)
    app.wait_gone(CUT_SECONDS)
    assert app.ended_for_good


def test_a_token_that_expires_loses_its_place(
    site: SiteProcess, admin: HttpCaller, space: str, started: Started
) -> None:
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3))
    made = new_token(admin, spaces=[space], expires_at=soon)
    app = started(Never(site.url, made["token"])).serve(space)
    app.wait_gone(3 + CUT_SECONDS)
    assert app.next("register_response", success=False)["code"] == "unauthorized"
    wait_connected(admin, space, False)


def test_the_apps_of_other_tokens_stay(site: SiteProcess, admin: HttpCaller, space: str, connect: Connect) -> None:
    app = connect(Echo)
    made = new_token(admin, spaces=[space])
    admin.json("DELETE", f"tokens/{made['id']}", 204)
    assert text_of(admin.wait_final(admin.submit(space, "hello")["id"])) == "hello"
    assert app.is_connected()


def test_a_deleted_space_ends_its_requests_and_its_app(admin: HttpCaller, space: str, connect: Connect) -> None:
    removed(admin, space, connect, lambda: admin.json("DELETE", f"spaces/{space}", 204))
    assert admin.call("GET", f"spaces/{space}").status_code == 404


def test_a_disabled_space_ends_its_requests_and_its_app(
    site: SiteProcess, admin: HttpCaller, space: str, token: str, connect: Connect, started: Started
) -> None:
    removed(admin, space, connect, lambda: admin.json("PATCH", f"spaces/{space}", json={"enabled": False}))
    assert started(Never(site.url, token)).register(space)["code"] == "space_disabled"
    refused = admin.json("POST", f"spaces/{space}/requests", 409, json={"prompt": "x"})
    assert refused["error"]["code"] == "space_disabled"
    admin.json("PATCH", f"spaces/{space}", json={"enabled": True})
    connect(Echo)
    assert text_of(admin.wait_final(admin.submit(space, "again")["id"])) == "again"


def removed(admin: HttpCaller, space: str, connect: Connect, remove: Callable[[], Any]) -> None:
    app = connect(Never)
    ids = [admin.submit(space, prompt)["id"] for prompt in ("one", "two")]
    request = app.next("inference_request", request_id=ids[0])
    remove()
    finals = [admin.wait_final(one) for one in ids]
    assert [ending(final) for final in finals] == [("failed", "space_removed")] * 2
    assert [final["space"] for final in finals] == [space, space]
    told = app.next("register_response")
    assert (told["success"], told["space_name"]) == (False, space)
    app.wait_gone()
    assert app.ended_for_good
    assert [admin.request(one) for one in ids] == finals
    assert request["request_id"] == ids[0]


def test_an_app_with_another_space_stays_connected_for_that(
    site: SiteProcess, admin: HttpCaller, space: str, started: Started
) -> None:
    other = admin.make_space()
    app = started(Echo(site.url, admin.make_token(spaces=[space, other]))).serve(space).serve(other)
    admin.json("DELETE", f"spaces/{space}", 204)
    assert app.next("register_response", space_name=space)["success"] is False
    assert text_of(admin.wait_final(admin.submit(other, "hello")["id"])) == "hello"
    assert app.is_connected()


def test_a_deleted_person_leaves_no_work_behind(
    site: SiteProcess, admin: HttpCaller, space: str, connect: Connect
) -> None:
    app = connect(Never)
    name, password = f"user-{secrets.token_hex(4)}", secrets.token_urlsafe(16)
    HttpCaller(site.url).sign_up(name, password)
    person = HttpCaller(site.url).sign_in(name, password)
    theirs = [person.submit(space, prompt)["id"] for prompt in ("one", "two")]
    mine = admin.submit(space, "three")["id"]
    request = app.next("inference_request", request_id=theirs[0])
    form = {"password": password, "csrf_token": person.http.headers["X-CSRFToken"]}
    assert person.call("POST", "/account/delete", data=form).status_code == 200
    told = app.next("inference_cancel")
    assert (told["request_id"], told["reason"]) == (theirs[0], "user_removed")
    assert app.answer(request) in ("already_final", "unknown_request")
    assert app.answer(app.next("inference_request")) == "accepted"
    assert text_of(admin.wait_final(mine)) == "three"
    assert person.call("GET", f"requests/{theirs[0]}").status_code == 401
