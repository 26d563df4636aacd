"""Malformed events of every kind: each is answered promptly and the connection goes on; packets may end it."""

from __future__ import annotations

import contextlib
import json
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import websocket
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.faults.apps import SECONDS, Echo
from tests.faults.looking import SHORT_TIMES, sites_in_modes, some_modes, text_of
from tests.faults.raw_peer import RawPeer
from tests.http_caller import HttpCaller
from tests.site_process import SiteProcess

Connect = Callable[..., Any]
Started = Callable[[Any], Any]
Strategy = st.SearchStrategy[Any]

PROMPT_SECONDS = 1.0
KNOWN = ("register", "inference_progress", "inference_result")
#: What a well-formed body gets here, where no request and no other space is named rightly.
RIGHT = {"register": "unknown_space", "inference_progress": "unknown_request", "inference_result": "unknown_request"}
counts = pytest.mark.parametrize("examples", [150, pytest.param(3_000, marks=pytest.mark.long)])

any_text = st.one_of(
    st.text(st.characters(), max_size=40), st.sampled_from(["\x00", "\ud800", "\U0001f600", "x" * 1_000, "кошки"])
)
any_number = st.one_of(st.integers(), st.sampled_from([10**400, -(10**400), 2**63, 0]), st.floats())
leaves = st.none() | st.booleans() | any_number | any_text
any_json = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(any_text, inner, max_size=5), max_leaves=12
)


@st.composite
def deep(draw: st.DrawFn) -> Any:
    """Return lists and objects of many levels."""
    value: Any = draw(leaves)
    for step in range(draw(st.integers(1, 200))):
        value = [value] if step % 2 else {"request_id": value}
    return value


good_id = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=64)
bad_text = st.sampled_from(["", "x" * 65, "a\x00b", "\ud800"])
no_text = st.none() | st.booleans() | any_number | st.lists(leaves, max_size=2) | st.dictionaries(any_text, leaves)
bad_id = bad_text | no_text
no_object = st.booleans() | any_number | any_text | st.lists(leaves, max_size=2)
out_of_range = st.sampled_from([1.0000001, -0.1, 2, 10**400, float("nan"), float("inf"), True, "half", [0.5]])

#: For each event: its fields, how they look when they are right, and when they are wrong.
FIELDS: dict[str, dict[str, tuple[Strategy, Strategy]]] = {
    "register": {
        "space_name": (good_id.map(lambda name: f"no {name}"[:64]), bad_id),
        "acks": (st.booleans(), any_number | any_text | st.none()),
        "resume": (
            st.lists(st.fixed_dictionaries({"request_id": good_id, "attempt_id": good_id}), max_size=3),
            no_object.filter(lambda value: value != []) | st.lists(no_text, min_size=1, max_size=2),
        ),
        "app": (st.just({"name": "faults", "version": None}), no_object | st.just({"name": "x" * 101})),
    },
    "inference_progress": {
        "request_id": (good_id, bad_id),
        "attempt_id": (st.none() | good_id, bad_text | st.booleans() | any_number),
        "value": (st.none() | st.floats(0, 1), out_of_range),
        "offset": (st.none() | st.integers(0, 10**9), st.sampled_from([-1, 0.5, "1", True])),
        "delta": (st.none() | good_id, st.booleans() | any_number | st.just("\ud800")),
    },
    "inference_result": {
        "request_id": (good_id, bad_id),
        "attempt_id": (st.none() | good_id, bad_text | st.booleans() | any_number),
        "status": (st.sampled_from(["completed", "failed", "error"]), bad_id | st.just("perfect")),
        "result": (
            st.dictionaries(good_id.map(lambda key: f"k{key}"), good_id | st.integers(), max_size=4),
            no_object | st.just({"parts": 5}) | st.just({"parts": [{"type": "spell"}]}) | st.just({"text": "\ud800"}),
        ),
        "retryable": (st.none() | st.booleans(), any_number | any_text),
    },
}


@st.composite
def well_formed(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """Return an event and a body with all that it needs, and keys that nobody knows."""
    event = draw(st.sampled_from(KNOWN))
    body = {name: draw(right) for name, (right, _wrong) in FIELDS[event].items()}
    extra = draw(st.dictionaries(good_id.map(lambda key: f"unknown {key}"), good_id | st.integers(), max_size=2))
    return event, {**body, **extra}


@st.composite
def broken(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """Return an event and a body that is right but for one field."""
    event, body = draw(well_formed())
    name = draw(st.sampled_from(sorted(FIELDS[event])))
    if name == "result":
        body["status"] = "completed"
    return event, {**body, name: draw(FIELDS[event][name][1])}


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str | None], SiteProcess]]:
    """Sites that take as many events as there are, one a mode."""
    with sites_in_modes(tmp_path_factory, **SHORT_TIMES, SPACES_EVENTS_PER_SECOND=100_000) as in_mode:
        yield in_mode


class Talker:
    """A connection that serves a space, says what it is told to, and takes note of how long each answer took."""

    def __init__(self, peer: RawPeer, admin: HttpCaller, space: str) -> None:
        self.peer, self._admin, self._space = peer, admin, space
        self.seconds: list[float] = []
        self._number = 0
        assert self.says("register", {"space_name": space})["success"]

    def says(self, event: Any, *args: Any) -> dict[str, Any]:
        """Send an event with these arguments and return its acknowledgement."""
        self._number += 1
        begun = time.monotonic()
        self.peer.send(f"42{self._number}" + json.dumps([event, *args]))
        answer = self.peer.acknowledged(self._number)
        self.seconds.append(time.monotonic() - begun)
        return answer

    def works(self) -> bool:
        """Serve a real request; say whether it went well, and the answers before it came promptly."""
        request_id = self._admin.submit(self._space, "hello")["id"]
        request = json.loads(self.peer.receive('42["inference_request"').removeprefix("42"))[1]
        named = {key: request[key] for key in ("request_id", "attempt_id")}
        answer = self.says("inference_result", {**named, "status": "completed", "result": {"text": "usable"}})
        assert answer["code"] == "accepted"
        assert statistics.median(self.seconds) < PROMPT_SECONDS
        return text_of(self._admin.wait_final(request_id)) == "usable"


@pytest.fixture
def talker(site: SiteProcess, admin: HttpCaller, space: str, token: str, started: Started) -> Talker:
    return Talker(started(RawPeer(site.url, token)), admin, space)


def for_each(examples: int, strategy: Strategy, check: Callable[[Any], None]) -> None:
    """Check so many examples, and say which of them is wrong."""
    settings(max_examples=examples, deadline=None, database=None)(given(strategy)(check))()


@some_modes
@counts
def test_whatever_comes_as_an_event_is_answered(talker: Talker, examples: int) -> None:
    def check(said: tuple[str, list[Any]]) -> None:
        event, args = said
        code = talker.says(event, *args)["code"]
        assert code in {"invalid", "too_large", RIGHT.get(event, "invalid")}, code

    names = st.sampled_from(KNOWN) | any_text | st.sampled_from(["connect", "disconnect", "message", "probe", "*"])
    for_each(examples, st.tuples(names, st.lists(any_json | deep(), max_size=3)), check)
    assert talker.works()


@counts
def test_one_wrong_field_is_enough_to_be_invalid(talker: Talker, examples: int) -> None:
    def check(said: tuple[str, dict[str, Any]]) -> None:
        assert talker.says(*said)["code"] == "invalid"

    for_each(2 * examples, broken(), check)
    assert talker.works()


@counts
def test_what_is_well_formed_gets_the_code_that_is_right(talker: Talker, examples: int) -> None:
    def check(said: tuple[str, dict[str, Any]]) -> None:
        assert talker.says(*said)["code"] == RIGHT[said[0]]

    for_each(examples, well_formed(), check)
    assert talker.works()


#: Packets of Engine.IO and Socket.IO that mean nothing where they come, or harm.
HOSTILE: tuple[str | bytes, ...] = (
    *("", "x", "-1", "7", "8hello", "\x00", "½", "b", "b!!!", "bAAAA", "2probe", "3probe", "5", "6noop", "1"),
    *(b"", b"\x04", b"\xff" * 100),
    *(
        "4x",
        "47",
        "4-1",
        "4null",
        "4true",
        "41.5",
        "4[1]",
        '4{"a":1}',
        '4"text"',
        '4½["register"]',
        "42-1[]",
        "42" + "9" * 400 + '["register"]',
        '42½["register"]',
        "42\x00[]",
    ),
    *('427["inference_result",{"request_id":' + "9" * 5_000 + "}]", "427[NaN]", '427["register",Infinity]'),
    *('42/nowhere,7["register",{}]', '40/nowhere,{"token":"x"}', "41/nowhere,", "43/nowhere,1[]", "44/,{}", "42/"),
    *(
        "43-1[1]",
        "43" + "9" * 30 + "[1]",
        "43" + "9" * 400 + "[1]",
        '4312345[{"alive":true}]',
        "430[]",
        "431",
        '43["x"]',
    ),
    *("40", '40{"token":5}', "40null", "44"),
    *('451-7["register",{"_placeholder":true,"num":-1}]', '45-1-["x"]', '4599999999999-["x"]', "46", "450-", "45x"),
)


def outcome(peer: RawPeer) -> str:
    """Ask on, and return ``answered``, ``closed``, or ``silent`` when neither happens in time."""
    peer.ws.settimeout(SECONDS)
    try:
        peer.send('428["no_such_event"]')
        while packet := peer.ws.recv():
            if packet == "2":
                peer.send("3")
            elif str(packet).startswith("438["):
                return "answered"
    except websocket.WebSocketTimeoutException:
        return "silent"
    except (OSError, websocket.WebSocketException):
        pass
    return "closed"


@some_modes
def test_a_hostile_packet_is_passed_over_or_ends_its_own_connection_alone(
    site: SiteProcess, admin: HttpCaller, space: str, token: str, connect: Connect, started: Started
) -> None:
    neighbour = connect(Echo)
    for packet in HOSTILE:
        with contextlib.closing(RawPeer(site.url, token)) as peer:
            peer.ws.send(packet, websocket.ABNF.OPCODE_BINARY if isinstance(packet, bytes) else 1)
            assert outcome(peer) != "silent", packet
    assert neighbour.is_connected()
    assert admin.call("GET", "/healthz", timeout=5).status_code == 200
    assert text_of(admin.wait_final(admin.submit(space, "hello")["id"])) == "hello"


@some_modes
def test_acks_for_what_was_never_sent_change_nothing(talker: Talker) -> None:
    for number in range(2_000):
        talker.peer.send(f"43{number}" + json.dumps([{"code": "accepted", "alive": True}] * (number % 3)))
    assert talker.works()


@some_modes
def test_a_polling_body_that_is_no_packet_ends_its_own_connection_alone(
    site: SiteProcess, admin: HttpCaller, space: str, connect: Connect
) -> None:
    connect(Echo)
    for body in ("x", "\x1e", "4\x1e\x1ex", "½", "b!!!", "4{}", "4[1]", "d=4", "\x1e" * 20):
        caller = HttpCaller(site.url)
        address = "/socket.io/?EIO=4&transport=polling"
        sid = json.loads(caller.call("GET", address).text[1:])["sid"]
        answer = caller.call("POST", f"{address}&sid={sid}", data=body.encode(), timeout=SECONDS)
        assert answer.status_code in (200, 400), body
    assert text_of(admin.wait_final(admin.submit(space, "hello")["id"])) == "hello"


def test_who_says_goodbye_and_stays_has_to_go_like_one_who_never_came(
    own_site: Callable[..., SiteProcess], started: Started
) -> None:
    site = own_site(SPACES_JOIN_TIMEOUT=1)
    admin = site.admin()
    space = admin.make_space()
    peer = started(RawPeer(site.url, admin.make_token(spaces=[space])))
    peer.send("421" + json.dumps(["register", {"space_name": space}]))
    assert peer.acknowledged(1)["success"]
    peer.send("41")
    peer.wait_closed()
