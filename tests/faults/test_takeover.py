"""One connection a space: a living app keeps its place, a dead one loses it, and of many at once exactly one wins."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.faults.apps import Echo, FaultApp, Mute, Never
from tests.faults.looking import every_mode, text_of
from tests.http_caller import HttpCaller
from tests.program import Program
from tests.site_process import SiteProcess, wait_until

Connect = Callable[..., Any]
Started = Callable[[FaultApp], FaultApp]
Start = Callable[..., Program]

PROBE_SECONDS = 5.0
CROWD = 20


@every_mode
def test_a_living_app_keeps_its_place(
    site: SiteProcess, admin: HttpCaller, space: str, token: str, connect: Connect, started: Started
) -> None:
    first = connect(Echo)
    second = started(Never(site.url, token))
    answer = second.register(space)
    assert (answer["success"], answer["code"]) == (False, "space_busy")
    second.wait_gone()
    assert second.ended_for_good
    assert text_of(admin.wait_final(admin.submit(space, "hello")["id"])) == "hello"
    wait_until(lambda: first.codes == ["accepted"], "the first app is told that its result was accepted")


def test_an_app_that_computes_keeps_its_place(
    site: SiteProcess, admin: HttpCaller, space: str, token: str, connect: Connect, started: Started
) -> None:
    first = connect(Never, acks=True)
    admin.submit(space, "hello")
    request = first.next("inference_request")
    assert started(Never(site.url, token)).register(space)["code"] == "space_busy"
    assert first.answer(request) == "accepted"


@pytest.mark.parametrize("command", ["examples/plain_python_app.py", "mock_app.py"])
def test_a_dead_app_is_replaced_within_the_time_of_a_probe(
    site: SiteProcess, admin: HttpCaller, space: str, token: str, started: Started, program: Start, command: str
) -> None:
    """The first is frozen, its socket stays open: only the missing answer gives it away."""
    where = (site.url, space) if "plain" in command else ("--host", site.url, "--spaces", space)
    first = program("python", command, *where, SPACES_TOKEN=token)
    first.wait_for("egist")
    first.pause()
    second = started(Echo(site.url, token))
    asked = time.monotonic()
    assert second.register(space)["success"]
    assert time.monotonic() - asked < PROBE_SECONDS + 2
    assert text_of(admin.wait_final(admin.submit(space, "hello")["id"])) == "hello"
    assert "[RESULT]" not in first.output()


def test_an_app_that_answers_pings_alone_is_dead_when_it_declared_acks(
    site: SiteProcess, admin: HttpCaller, space: str, token: str, connect: Connect, started: Started
) -> None:
    wedged = connect(Mute, acks=True)
    assert started(Echo(site.url, token)).register(space)["success"]
    wedged.wait_gone()
    assert wedged.ended_for_good
    assert text_of(admin.wait_final(admin.submit(space, "hello")["id"])) == "hello"


def test_the_same_instance_takes_its_own_place_at_once(
    site: SiteProcess, admin: HttpCaller, space: str, token: str, connect: Connect, started: Started
) -> None:
    me = {"name": "faults", "instance": "one"}
    first = connect(Mute, acks=True, app=me)
    asked = time.monotonic()
    assert started(Echo(site.url, token)).register(space, app=me)["success"]
    assert time.monotonic() - asked < PROBE_SECONDS / 2, "it was probed"
    first.wait_gone()
    assert text_of(admin.wait_final(admin.submit(space, "hello")["id"])) == "hello"


def test_the_same_instance_with_another_token_is_a_stranger(
    site: SiteProcess, admin: HttpCaller, space: str, connect: Connect, started: Started
) -> None:
    me = {"instance": "one"}
    first = connect(Echo, app=me)
    second = started(Never(site.url, admin.make_token(spaces=[space])))
    assert second.register(space, app=me)["code"] == "space_busy"
    assert first.is_connected()


@every_mode
def test_of_twenty_registrations_at_once_exactly_one_wins(
    site: SiteProcess, admin: HttpCaller, space: str, token: str, started: Started
) -> None:
    apps = [started(Echo(site.url, token)) for _ in range(CROWD)]
    together = threading.Barrier(CROWD)

    def register(app: FaultApp) -> str:
        together.wait(10)
        return str(app.register(space)["code"])

    with ThreadPoolExecutor(CROWD) as pool:
        codes = list(pool.map(register, apps))
    assert sorted(codes) == ["ok"] + ["space_busy"] * (CROWD - 1)
    winner = apps[codes.index("ok")]
    for loser in apps:
        if loser is not winner:
            loser.wait_gone()
    ids = [admin.submit(space, f"prompt {number}")["id"] for number in range(3)]
    assert [text_of(admin.wait_final(one)) for one in ids] == ["prompt 0", "prompt 1", "prompt 2"]
    assert isinstance(winner, Echo)
    assert len(winner.prompts) == 3


def test_registering_again_on_the_same_connection_is_a_success(admin: HttpCaller, space: str, connect: Connect) -> None:
    app = connect(Never)
    admin.submit(space, "hello")
    request = app.next("inference_request")
    assert app.register(space)["success"]
    assert not app.has_heard("inference_request"), "it was handed over twice"
    assert app.answer(request) == "accepted"


def test_a_refused_space_leaves_the_other_one_alone(
    site: SiteProcess, admin: HttpCaller, space: str, connect: Connect, started: Started
) -> None:
    connect(Never)
    mine = admin.make_space()
    app = started(Echo(site.url, admin.make_token(spaces=[mine, space]))).serve(mine)
    assert app.register(space)["code"] == "space_busy"
    assert app.register("no-such-space")["code"] == "unknown_space"
    assert app.is_connected()
    assert text_of(admin.wait_final(admin.submit(mine, "hello")["id"])) == "hello"
