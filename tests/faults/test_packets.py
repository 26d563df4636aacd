"""Packets that no library would send: the connection goes or stays as promised, and everybody else goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.faults.apps import Echo, FaultApp, Never
from tests.faults.looking import EVENT_KB, some_modes, text_of, wait_connected
from tests.faults.raw_peer import RawPeer
from tests.http_caller import HttpCaller
from tests.site_process import SiteProcess, wait_until

Connect = Callable[..., Any]
Raw = Callable[..., RawPeer]

LIMIT = EVENT_KB * 1000
JUST_OVER = LIMIT + 100
FAR_OVER = 4 * LIMIT + 100
DEEP = "[" * 9_000 + "]" * 9_000

#: An event of which nothing but its ack id can be said, sent as number 7.
UNREADABLE = {
    "connect": '427["connect",{"token":"x"}]',
    "disconnect": '427["disconnect","transport close"]',
    "connect_error": '427["connect_error",{}]',
    "any": '427["*",{}]',
    "number": "427[5,{}]",
    "nothing": "427[]",
    "object": '427{"a":1}',
    "null": "427null",
    "text": '427"text"',
    "nested": f'427["inference_result",{"[" * 60 + "]" * 60}]',
    "not JSON": '427["inference_result",{broken',
    "no end": '427["inference_result",{"request_id":"x"',
    "too deep": f'427["inference_result",{DEEP}]',
    "too deep, with the namespace": f'42/,7["inference_result",{DEEP}]',
}
#: What closes the transport.
POISON = {
    "wedge": '450-["inference_result"]',
    "attachment": '451-["inference_result",{"_placeholder":true,"num":0}]',
    "binary ack": '461-1[{"_placeholder":true,"num":0}]',
}
#: What means nothing here, and may close the transport or not.
NONSENSE = (
    *("43999[1]", "43abc", "43", "44{}", "49", "4", "42", "40/nowhere,", "41/nowhere,", "6", "9x", "3", "2x"),
    *('40{"token":', "40[[", "40[1]", "405", "431null", "431{}", "4310[]"),
)


@pytest.fixture
def raw(site: SiteProcess, token: str, started: Callable[[RawPeer], RawPeer]) -> Raw:
    """Open connections with the test's token that speak raw packets."""

    def make(**options: Any) -> RawPeer:
        return started(RawPeer(site.url, token, **options))

    return make


def register(peer: RawPeer, space: str) -> dict[str, Any]:
    peer.send("421" + json.dumps(["register", {"space_name": space}]))
    return peer.acknowledged(1)


@some_modes
def test_events_that_are_none_are_invalid_and_change_nothing(admin: HttpCaller, space: str, raw: Raw) -> None:
    peer = raw()
    assert register(peer, space)["success"]
    answers = {}
    for name, packet in UNREADABLE.items():
        peer.send(packet)
        answers[name] = peer.acknowledged(7)["code"]
    assert answers == dict.fromkeys(UNREADABLE, "invalid")
    request_id = admin.submit(space, "hello")["id"]
    request = json.loads(peer.receive('42["inference_request"').removeprefix("42"))[1]
    result = {"request_id": request["request_id"], "status": "completed", "result": {"text": "still here"}}
    peer.send("428" + json.dumps(["inference_result", result]))
    assert peer.acknowledged(8)["code"] == "accepted"
    assert text_of(admin.wait_final(request_id)) == "still here"


@some_modes
def test_poison_closes_the_transport_and_the_next_app_serves(
    admin: HttpCaller, space: str, raw: Raw, connect: Connect
) -> None:
    for packet in POISON.values():
        peer = raw()
        assert register(peer, space)["success"], packet[:40]
        peer.send(packet)
        peer.wait_closed()
        wait_connected(admin, space, False)
    peer = raw()
    assert register(peer, space)["success"]
    peer.send_binary(b"\x04\x00\xff")
    peer.wait_closed()
    connect(Echo)
    assert text_of(admin.wait_final(admin.submit(space, "hello")["id"])) == "hello"


def test_nonsense_hurts_nobody_else(admin: HttpCaller, space: str, raw: Raw, connect: Connect) -> None:
    connect(Echo)
    for packet in NONSENSE:
        for join in (True, False):
            raw(join=join).send(packet)
    stranger = raw(join=False)
    stranger.send("421" + json.dumps(["register", {"space_name": space}]))
    assert text_of(admin.wait_final(admin.submit(space, "hello")["id"])) == "hello"


@pytest.mark.parametrize("valid", [True, False])
def test_a_second_join_of_one_connection_leaves_nothing_behind(
    admin: HttpCaller, space: str, token: str, raw: Raw, valid: bool
) -> None:
    peer = raw()
    assert register(peer, space)["success"]
    peer.send("40" + json.dumps({"token": token if valid else "x"}))
    peer.send("422" + json.dumps(["no_such_event"]))
    peer.close()
    wait_connected(admin, space, False)


def test_who_leaves_without_closing_is_not_connected_any_more(
    admin: HttpCaller, space: str, raw: Raw, connect: Connect
) -> None:
    """A Socket.IO disconnect by the peer, whose transport stays open and goes on talking."""
    peer = raw()
    assert register(peer, space)["success"]
    peer.send("41")
    wait_connected(admin, space, False)
    peer.send("421" + json.dumps(["register", {"space_name": space}]))
    connect(Echo)
    assert text_of(admin.wait_final(admin.submit(space, "hello")["id"])) == "hello"


def test_an_event_over_the_limit_is_too_large(admin: HttpCaller, space: str, connect: Connect) -> None:
    app = connect(Never)
    request_id = admin.submit(space, "hello")["id"]
    request = app.next("inference_request")
    for event in ("inference_progress", "register", "no_such_event"):
        assert app.call(event, {"space_name": space, "filler": "x" * JUST_OVER})["code"] == "too_large", event
    assert admin.request(request_id)["status"] == "processing"
    assert app.answer(request, "x" * JUST_OVER) == "too_large"
    ended = admin.wait_final(request_id)
    assert (ended["status"], ended["error"]["code"]) == ("failed", "too_large")
    assert app.answer(request, "small") == "duplicate"
    following = admin.submit(space, "again")["id"]
    assert app.answer(app.next("inference_request"), "small") == "accepted"
    assert text_of(admin.wait_final(following)) == "small"


@some_modes
def test_an_event_far_over_the_limit_closes_the_transport(
    admin: HttpCaller, space: str, connect: Connect, site: SiteProcess, token: str,
    started: Callable[[FaultApp], FaultApp],
) -> None:  # fmt: skip
    app = connect(Never)
    request_id = admin.submit(space, "hello")["id"]
    request = app.next("inference_request")
    huge = {"request_id": request["request_id"], "status": "completed", "result": {"text": "x" * FAR_OVER}}
    app.client.emit("inference_result", huge)
    app.wait_gone()
    ended = admin.wait_final(request_id)
    assert (ended["status"], ended["error"]["code"], ended["attempt"]) == ("failed", "too_large", 1)
    back = started(Never(site.url, token)).serve(space, resume=[request])
    assert back.answer(request, "small") == "duplicate"


def test_a_hundred_malformed_events_in_a_row_delay_nobody(
    site: SiteProcess, admin: HttpCaller, space: str, connect: Connect, started: Callable[[FaultApp], FaultApp]
) -> None:
    other = admin.make_space()
    echo = started(Echo(site.url, admin.make_token(spaces=[other]))).serve(other)
    noisy = connect(Never)
    for _ in range(100):
        noisy.client.emit("inference_result", {"request_id": "never-was", "status": "completed", "result": {}})
    assert text_of(admin.wait_final(admin.submit(other, "hello")["id"])) == "hello"
    wait_until(lambda: echo.codes == ["accepted"], "the other app's result is acknowledged")
