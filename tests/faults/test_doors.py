"""Who may connect at all: a valid token in the right place, and no foreign page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests
import websocket
from socketio.exceptions import ConnectionError as Refused

from tests.faults.apps import Echo, FaultApp
from tests.faults.looking import some_modes, text_of, wait_connected
from tests.faults.raw_peer import RawPeer
from tests.http_caller import HttpCaller
from tests.program import Program
from tests.site_process import SiteProcess

Started = Callable[[Any], Any]


@some_modes
def test_a_handshake_with_a_foreign_origin_is_refused(site: SiteProcess, token: str, started: Started) -> None:
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        RawPeer(site.url, token, origin="https://evil.example")
    assert refused.value.status_code == 400
    polling = requests.get(
        f"{site.url}/socket.io/?EIO=4&transport=polling", headers={"Origin": "https://evil.example"}, timeout=10
    )
    assert polling.status_code == 400
    assert "Access-Control-Allow-Origin" not in polling.headers
    started(RawPeer(site.url, token, origin=site.url))


def test_beside_the_public_address_the_one_that_was_dialled_is_taken_as_origin(
    own_site: Callable[..., SiteProcess], started: Started
) -> None:
    site = own_site(SPACES_PUBLIC_URL="http://spaces.example.org")
    admin = site.admin()
    space = admin.make_space()
    token = admin.make_token(spaces=[space])
    started(Echo(site.url, token)).serve(space)
    started(RawPeer(site.url, token, origin="http://spaces.example.org"))
    for foreign in ("https://evil.example", "http://spaces.example.org.evil.example", "null"):
        with pytest.raises(websocket.WebSocketBadStatusException):
            RawPeer(site.url, token, origin=foreign)


@pytest.mark.parametrize("query", ["&token={}", "&x=1&token={}", "&token="])
def test_a_token_in_the_address_is_refused_even_when_it_is_valid(
    site: SiteProcess, token: str, started: Started, query: str
) -> None:
    refused = started(RawPeer(site.url, join=False, query=query.format(token))).refusal({"token": token})
    assert (refused["data"]["code"], "address" in refused["message"]) == ("unauthorized", True)
    assert token not in site.output()


@pytest.mark.parametrize(
    "auth",
    [None, {}, [1], "x", 5, {"token": None}, {"token": ""}, {"token": "spaces_no"}, {"token": ["x"]}, {"token": 5}],
)
def test_without_a_valid_token_the_connect_is_refused(site: SiteProcess, started: Started, auth: Any) -> None:
    refused = started(RawPeer(site.url, join=False)).refusal(auth)
    assert refused["data"]["code"] == "unauthorized"


def test_a_token_of_another_scope_is_no_app_token(site: SiteProcess, admin: HttpCaller, started: Started) -> None:
    refused = started(RawPeer(site.url, join=False)).refusal({"token": admin.make_token(scopes=("api",))})
    assert refused["data"]["code"] == "unauthorized"


def test_a_header_is_as_good_as_auth(
    site: SiteProcess, admin: HttpCaller, space: str, token: str, started: Started
) -> None:
    started(Echo(site.url, headers={"Authorization": f"Bearer {token}"})).serve(space)
    assert text_of(admin.wait_final(admin.submit(space, "hello")["id"])) == "hello"


def test_long_polling_is_a_transport_too(
    site: SiteProcess, admin: HttpCaller, space: str, token: str, started: Started
) -> None:
    started(Echo(site.url, token, transports=["polling"])).serve(space)
    assert text_of(admin.wait_final(admin.submit(space, "hello")["id"])) == "hello"


def test_a_token_for_other_spaces_is_unauthorized(
    site: SiteProcess, admin: HttpCaller, space: str, started: Started
) -> None:
    app = started(FaultApp(site.url, admin.make_token(spaces=[admin.make_space()])))
    assert app.register(space)["code"] == "unauthorized"
    app.wait_gone()
    assert app.ended_for_good


def test_a_space_that_is_not_there_is_unknown(site: SiteProcess, token: str, started: Started) -> None:
    app = started(FaultApp(site.url, token))
    assert app.register("no-such-space")["code"] == "unknown_space"
    app.wait_gone()


def test_a_space_may_allow_apps_without_a_token_and_only_that_one_is_open(
    own_site: Callable[..., SiteProcess], started: Started
) -> None:
    site = own_site()
    admin = site.admin()
    closed, opened = admin.make_space(), admin.make_space(allow_app_without_token=True)
    assert started(FaultApp(site.url)).register(closed)["code"] == "unauthorized"
    with pytest.raises(Refused):
        FaultApp(site.url, "spaces_nonsense")
    app = started(Echo(site.url)).serve(opened)
    assert text_of(admin.wait_final(admin.submit(opened, "hello")["id"])) == "hello"
    admin.json("PATCH", f"spaces/{opened}", json={"allow_app_without_token": False})
    app.wait_gone()
    with pytest.raises(Refused):
        FaultApp(site.url)


@some_modes
def test_a_plain_program_that_computes_in_its_handler_and_knows_three_events_works(
    site: SiteProcess, admin: HttpCaller, space: str, token: str, program: Callable[..., Program]
) -> None:
    program("python", "examples/plain_python_app.py", site.url, space, SPACES_TOKEN=token)
    wait_connected(admin, space, seconds=20)
    ids = [admin.submit(space, prompt)["id"] for prompt in ("one", "two", "three")]
    assert [text_of(admin.wait_final(one)) for one in ids] == ["ONE", "TWO", "THREE"]
