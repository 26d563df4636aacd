"""Machines that sleep, cables that are pulled, peers that answer pings and nothing else: noticed, and nothing is lost.

The cable is :class:`tests.faults.tcp_proxy.TcpProxy`: with it out, the kernels on both sides see nothing at all.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.faults.apps import Echo, Never, Wedged
from tests.faults.filer import result_of
from tests.faults.looking import (
    SHORT_TIMES,
    ending,
    settled_sockets_of,
    sites_in_modes,
    sockets_of,
    some_modes,
    steps,
    text_of,
    wait_connected,
    wait_status,
)
from tests.faults.raw_peer import RawPeer
from tests.faults.tcp_proxy import TcpProxy
from tests.http_caller import HttpCaller
from tests.program import Program
from tests.site_process import SiteProcess, wait_until
from tests.soak.measuring import Process

Connect = Callable[..., Any]
OwnSite = Callable[..., SiteProcess]
Started = Callable[[Any], Any]
Start = Callable[..., Program]

PING_INTERVAL, PING_TIMEOUT, PROBE_SECONDS = 1.2, 2.5, 5.0
PINGS = {"SPACES_PING_INTERVAL": PING_INTERVAL, "SPACES_PING_TIMEOUT": PING_TIMEOUT}
#: Seconds in which a silent app is noticed.
NOTICED = PING_INTERVAL + PING_TIMEOUT + 5
#: A prompt that is as long on the wire as one may be: 12 bytes a character.
LARGE = "\U0001f600" * 100_000


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str | None], SiteProcess]]:
    """Sites with short heartbeats, one a mode."""
    with sites_in_modes(tmp_path_factory, **SHORT_TIMES | PINGS) as in_mode:
        yield in_mode


@pytest.fixture
def network(site: SiteProcess) -> Iterator[TcpProxy]:
    """The way to the site."""
    with TcpProxy(site.port) as network:
        yield network


def threads(site: SiteProcess) -> int:
    assert site.process
    return Process.look(site.process.pid).threads


def claim(request: dict[str, Any]) -> dict[str, str]:
    return {"request_id": request["request_id"], "attempt_id": request["attempt_id"]}


def spaces_of(admin: HttpCaller, count: int) -> tuple[list[str], str]:
    """Make spaces that wait for their app, and a token for them."""
    spaces = [admin.make_space(timeout_seconds=30, queue_when_offline=True) for _ in range(count)]
    return spaces, admin.make_token(spaces=spaces)


@some_modes
def test_pulled_cables_are_noticed_and_cost_nothing_afterwards(
    site: SiteProcess, admin: HttpCaller, network: TcpProxy, started: Started
) -> None:
    spaces, token = spaces_of(admin, 6)
    apps = [started(Never(network.url, token)).serve(space) for space in spaces]
    open_now, threads_now = settled_sockets_of(site), threads(site)
    network.weather.blackhole()
    for space in spaces:
        wait_connected(admin, space, False, NOTICED)
    wait_until(lambda: sockets_of(site) <= open_now - len(apps), "their sockets are closed, the cable is still out", 20)
    if site.environment["SPACES_ASYNC_MODE"] == "threading":
        wait_until(lambda: threads(site) <= threads_now - 3 * len(apps), "and their threads have ended")
    started(Echo(site.url, token)).serve(spaces[0])
    assert text_of(admin.wait_final(admin.submit(spaces[0], "hello")["id"])) == "hello"
    network.weather.clear()
    for app in apps:
        app.wait_gone()
        assert not app.ended_for_good, "who had been asleep may come back"


@some_modes
def test_who_reads_nothing_blocks_nobody_and_gets_everything_later(
    site: SiteProcess, admin: HttpCaller, network: TcpProxy, space: str, connect: Connect, started: Started
) -> None:
    """More waits for it than the kernel takes, so that the site's own buffer is full."""
    connect(Echo)
    spaces, token = spaces_of(admin, 6)
    asleep = started(Never(network.url, token))
    for name in spaces:
        asleep.serve(name)
    open_now = settled_sockets_of(site)
    network.weather.blackhole()
    ids = [admin.submit(name, LARGE)["id"] for name in spaces]
    assert text_of(admin.wait_final(admin.submit(space, "meanwhile")["id"])) == "meanwhile"
    assert admin.call("GET", "/healthz", timeout=5).status_code == 200
    for name in spaces:
        wait_connected(admin, name, False, NOTICED)
    wait_until(lambda: sockets_of(site) < open_now, "its socket is closed, the cable is still out", 20)
    assert text_of(admin.wait_final(admin.submit(space, "afterwards")["id"])) == "afterwards"
    awake = started(Never(site.url, token))
    for name, request_id in zip(spaces, ids, strict=True):
        request = awake.serve(name).next("inference_request", request_id=request_id)
        assert request["payload"]["prompt"] == LARGE
        assert awake.answer(request, "all of it") == "accepted"


def test_the_cable_is_back_within_the_grace_and_the_attempt_goes_on(
    admin: HttpCaller, space: str, token: str, network: TcpProxy, started: Started
) -> None:
    app = started(Never(network.url, token)).serve(space)
    request_id = admin.submit(space, "hello")["id"]
    request = app.next("inference_request")
    network.weather.blackhole()
    wait_connected(admin, space, False, NOTICED)
    network.weather.clear()
    back = started(Never(network.url, token))
    assert back.register(space, resume=[claim(request)])["resumed"] == [claim(request)]
    assert back.answer(request) == "accepted"
    assert admin.wait_final(request_id)["attempt"] == 1


def test_the_cable_is_out_for_longer_than_the_grace_and_another_app_answers(
    site: SiteProcess, admin: HttpCaller, space: str, token: str, network: TcpProxy, started: Started
) -> None:
    admin.json("PATCH", f"spaces/{space}", json={"queue_when_offline": True})
    app = started(Never(network.url, token)).serve(space)
    request_id = admin.submit(space, "hello")["id"]
    request = app.next("inference_request")
    network.weather.blackhole()
    assert wait_status(admin, request_id, "queued", NOTICED + 5)["attempt"] == 1
    started(Echo(site.url, admin.make_token(spaces=[space]))).serve(space)
    final = admin.wait_final(request_id)
    assert (text_of(final), final["attempt"]) == ("hello", 2)
    network.weather.clear()
    assert started(Never(network.url, token)).answer(request, "late") == "stale_attempt"
    assert admin.request(request_id) == final


@some_modes
@pytest.mark.parametrize("lost", ["the result", "its acknowledgement"])
def test_cut_while_the_result_is_on_its_way_it_is_taken_once(
    admin: HttpCaller, space: str, token: str, network: TcpProxy, started: Started, lost: str
) -> None:
    app = started(Never(network.url, token)).serve(space)
    request_id = admin.submit(space, "hello")["id"]
    request = app.next("inference_request")
    network.weather.stall("up" if lost == "the result" else "down")
    heard = app.send("inference_result", result_of(request, {"text": "first"}))
    if lost != "the result":
        wait_status(admin, request_id, "completed")
    network.cut(reset=True)
    app.wait_gone()
    wait_connected(admin, space, False)
    assert not heard
    network.weather.clear()
    back = started(Never(network.url, token)).serve(space, resume=[claim(request)])
    assert back.answer(request, "first") == ("accepted" if lost == "the result" else "duplicate")
    assert back.answer(request, "again") == "duplicate"
    final = admin.wait_final(request_id)
    assert (text_of(final), final["attempt"]) == ("first", 1)


@pytest.mark.parametrize(("mode", "same"), [("eventlet", True), ("gevent", False), ("threading", True)])
def test_who_comes_for_the_place_of_a_pulled_cable_gets_it(
    own_site: OwnSite, started: Started, mode: str, same: bool
) -> None:
    """Heartbeats are far apart here, so that it is the newcomer who finds out."""
    site = own_site(async_mode=mode, SPACES_PING_INTERVAL=60, SPACES_PING_TIMEOUT=60)
    admin = site.admin()
    (space,), token = spaces_of(admin, 1)
    me = {"name": "faults", "instance": "one"}
    with TcpProxy(site.port) as network:
        started(Never(network.url, token)).serve(space, app=me)
        open_now = settled_sockets_of(site)
        network.weather.blackhole()
        newcomer = started(Echo(site.url, token if same else admin.make_token(spaces=[space])))
        asked = time.monotonic()
        newcomer.serve(space, app=me)
        taken = time.monotonic() - asked
        assert taken < PROBE_SECONDS / 2 if same else taken < PROBE_SECONDS + 2, f"after {taken:.1f} s"
        assert text_of(admin.wait_final(admin.submit(space, "hello")["id"])) == "hello"
        wait_until(lambda: sockets_of(site) <= open_now, "the old socket is closed, the cable is still out", 20)


@some_modes
def test_who_answers_pings_alone_loses_its_request_by_the_deadline_and_then_its_place(
    site: SiteProcess, admin: HttpCaller, space: str, connect: Connect, started: Started
) -> None:
    """It declared no acks: only the request itself shows that it drops everything."""
    admin.json("PATCH", f"spaces/{space}", json={"timeout_seconds": 1, "queue_when_offline": True})
    wedged = connect(Wedged)
    first, second = [admin.submit(space, prompt)["id"] for prompt in ("one", "two")]
    assert ending(admin.wait_final(first)) == ("timed_out", "processing_timeout")
    wedged.wait_gone()
    assert not wedged.ended_for_good, "a closed transport invites to come back"
    assert not wedged.has_heard("inference_request"), "it was not wedged"
    assert admin.request(second)["status"] == "queued"
    started(Echo(site.url, admin.make_token(spaces=[space]))).serve(space)
    assert text_of(admin.wait_final(second)) == "two"


def test_a_raw_peer_that_answers_pings_alone_is_no_better_off(
    site: SiteProcess, admin: HttpCaller, space: str, token: str, started: Started
) -> None:
    admin.json("PATCH", f"spaces/{space}", json={"timeout_seconds": 1, "queue_when_offline": True})
    peer = started(RawPeer(site.url, token))
    peer.send("421" + json.dumps(["register", {"space_name": space}]))
    assert peer.acknowledged(1)["success"]
    peer.wedge()
    first = admin.submit(space, "one")["id"]
    assert ending(admin.wait_final(first)) == ("timed_out", "processing_timeout")
    assert peer.is_over.wait(10), "the site closes the transport"
    started(Echo(site.url, token)).serve(space)
    assert text_of(admin.wait_final(admin.submit(space, "two")["id"])) == "two"


def test_a_wedged_app_that_declared_acks_is_replaced_and_its_request_handed_over_again(
    site: SiteProcess, admin: HttpCaller, space: str, connect: Connect, started: Started
) -> None:
    admin.json("PATCH", f"spaces/{space}", json={"queue_when_offline": True})
    connect(Wedged, acks=True)
    asked = time.monotonic()
    started(Echo(site.url, admin.make_token(spaces=[space]))).serve(space)
    assert time.monotonic() - asked < PROBE_SECONDS + 2
    assert text_of(admin.wait_final(admin.submit(space, "hello")["id"])) == "hello"
    other = admin.make_space(timeout_seconds=30, queue_when_offline=True)
    wedged = started(Wedged(site.url, admin.make_token(spaces=[other]))).serve(other, acks=True)
    request_id = admin.submit(other, "hello")["id"]
    wedged.wait_gone()
    assert wait_status(admin, request_id, "queued")["attempt"] == 1


def test_a_machine_that_sleeps_through_the_grace_comes_back_and_answers(
    site: SiteProcess, admin: HttpCaller, space: str, token: str, program: Start
) -> None:
    admin.json("PATCH", f"spaces/{space}", json={"queue_when_offline": True})
    app = program(
        "python", "mock_app.py", "--host", site.url, "--spaces", space, "--delay", "1", "--verbose", SPACES_TOKEN=token
    )
    app.wait_for("Registration successful")
    request_id = admin.submit(space, "hello")["id"]
    app.wait_for("[REQUEST]")
    app.pause()
    wait_connected(admin, space, False, NOTICED)
    assert wait_status(admin, request_id, "queued")["attempt"] == 1
    app.resume()
    final = admin.wait_final(request_id)
    assert (final["status"], final["attempt"]) == ("completed", 2)
    assert [step[0] for step in steps(final)] == ["queued", "processing", "queued", "processing", "completed"]


def test_a_machine_that_sleeps_through_the_deadline_is_told_so_when_it_wakes(
    site: SiteProcess, admin: HttpCaller, space: str, token: str, program: Start
) -> None:
    admin.json("PATCH", f"spaces/{space}", json={"queue_when_offline": True, "timeout_seconds": 1.5})
    app = program(
        "python", "mock_app.py", "--host", site.url, "--spaces", space, "--delay", "1", "--verbose", SPACES_TOKEN=token
    )
    app.wait_for("Registration successful")
    request_id = admin.submit(space, "hello")["id"]
    app.wait_for("[REQUEST]")
    app.pause()
    final = admin.wait_final(request_id)
    assert ending(final) == ("timed_out", "processing_timeout")
    wait_connected(admin, space, False, NOTICED)
    app.resume()
    app.wait_for(f"Acknowledged: {request_id} already_final")
    assert admin.request(request_id) == final
    admin.json("PATCH", f"spaces/{space}", json={"timeout_seconds": 30})
    assert admin.wait_final(admin.submit(space, "again")["id"])["status"] == "completed"


def test_a_site_that_sleeps_for_longer_than_its_heartbeats_loses_nothing(
    site: SiteProcess, admin: HttpCaller, space: str, token: str, program: Start
) -> None:
    admin.json("PATCH", f"spaces/{space}", json={"queue_when_offline": True})
    app = program("python", "mock_app.py", "--host", site.url, "--spaces", space, "--delay", "1", SPACES_TOKEN=token)
    app.wait_for("Registration successful")
    ids = [admin.submit(space, f"prompt {number}")["id"] for number in range(3)]
    app.wait_for("[REQUEST]")
    site.pause()
    awake_at = time.monotonic() + PING_INTERVAL + PING_TIMEOUT + 1
    wait_until(lambda: time.monotonic() > awake_at, "the site has slept for longer than its heartbeats")
    site.resume()
    finals = [admin.wait_final(one) for one in ids]
    assert [final["status"] for final in finals] == ["completed"] * 3
    assert [final["finished_at"] for final in finals] == sorted(final["finished_at"] for final in finals)


def test_peers_are_not_told_of_fewer_seconds_between_heartbeats_than_there_are(site: SiteProcess) -> None:
    """They would give a slow site up too early."""
    told = json.loads(HttpCaller(site.url).call("GET", "/socket.io/?EIO=4&transport=polling").text[1:])
    assert told["pingInterval"] >= PING_INTERVAL * 1_000
    assert told["pingTimeout"] >= PING_TIMEOUT * 1_000
