"""Networks that come and go, or are slow: every request ends once and in order, and no cut caller costs anything."""

from __future__ import annotations

import contextlib
import json
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.faults.apps import Never
from tests.faults.looking import settled_sockets_of, sockets_of, some_modes, text_of, wait_connected
from tests.faults.tcp_proxy import TcpProxy
from tests.http_caller import FINAL, HttpCaller
from tests.program import Program
from tests.site_process import SiteProcess, wait_until

Connect = Callable[..., Any]
Started = Callable[[Any], Any]
Start = Callable[..., Program]

REQUESTS = 30
LARGE = "\U0001f600" * 100_000


@pytest.fixture
def network(site: SiteProcess) -> Iterator[TcpProxy]:
    """The way to the site."""
    with TcpProxy(site.port) as network:
        yield network


@contextlib.contextmanager
def flapping(network: TcpProxy, dice: random.Random) -> Iterator[list[bool]]:
    """Cut all connections every so often, with FIN or RST, and delay what passes; yield the list of the cuts."""
    cuts: list[bool] = []
    over = threading.Event()

    def flap() -> None:
        while not over.wait(dice.uniform(0.5, 1.3)):
            network.weather.delay(dice.uniform(0.02, 0.06))
            cuts.append(dice.random() < 0.5)
            network.cut(reset=cuts[-1])

    network.weather.delay(0.04)
    thread = threading.Thread(target=flap, name="flapping")
    thread.start()
    try:
        yield cuts
    finally:
        over.set()
        thread.join(15)
        network.weather.clear()


def submit_until_answered(caller: HttpCaller, space: str, prompt: str) -> str:
    """Submit a prompt under one key until an answer gets through, and return the id of its request."""

    def accepted() -> str | None:
        with contextlib.suppress(requests.RequestException):
            answer = caller.call(
                "POST",
                f"spaces/{space}/requests",
                json={"prompt": prompt},
                headers={"Idempotency-Key": prompt.replace(" ", "-")},
                timeout=5,
            )
            assert answer.status_code in (200, 202, 409), answer.text
            return None if answer.status_code == 409 else str(answer.json()["id"])
        return None

    return wait_until(accepted, f"{prompt!r} is accepted", 30)


def test_through_a_flapping_network_every_request_ends_once_and_in_order(
    admin: HttpCaller, space: str, token: str, network: TcpProxy, program: Start, dice: random.Random, tmp_path: Path
) -> None:  # fmt: skip
    admin.json("PATCH", f"spaces/{space}", json={"queue_when_offline": True, "max_attempts": 50})
    caller = HttpCaller(network.url, admin.make_token(scopes=("api",)))
    computed = tmp_path / "computed.txt"
    program("python", "-m", "tests.faults.counting_app", network.url, token, space, str(computed), "0")
    wait_connected(admin, space, seconds=20)
    prompts = [f"prompt {number}" for number in range(REQUESTS)]
    with flapping(network, dice) as cuts:
        ids = [submit_until_answered(caller, space, prompt) for prompt in prompts]
        for one in ids:
            wait_until(lambda one=one: admin.request(one)["status"] in FINAL, f"request {one} ends", 90, step=0.2)
    finals = [admin.request(one) for one in ids]
    assert len(set(ids)) == REQUESTS
    assert [text_of(final) for final in finals] == prompts
    assert [final["finished_at"] for final in finals] == sorted(final["finished_at"] for final in finals)
    listed = admin.json("GET", "requests", params={"space": space, "limit": 100})["items"]
    assert sorted(one["id"] for one in listed) == sorted(ids), "an answer that was lost made a second request"
    lines = computed.read_text().splitlines()
    assert list(dict.fromkeys(lines)) == prompts
    assert len(cuts) >= 2, "the network did not flap"


@some_modes
def test_a_network_that_hesitates_gets_every_byte_in_order(
    site: SiteProcess, admin: HttpCaller, network: TcpProxy, started: Started
) -> None:
    """More is under way than the kernel takes at once, so that the site can send only a part."""
    spaces = [admin.make_space(timeout_seconds=30) for _ in range(6)]
    app = started(Never(network.url, admin.make_token(spaces=spaces)))
    for space in spaces:
        app.serve(space)
    network.weather.blackhole()
    ids = [admin.submit(space, LARGE)["id"] for space in spaces]
    network.weather.clear()
    for request_id in ids:
        request = app.next("inference_request", request_id=request_id)
        assert request["payload"]["prompt"] == LARGE
        assert app.answer(request, "all of it") == "accepted"


@some_modes
@pytest.mark.parametrize("reset", [False, True], ids=["ended", "reset"])
def test_callers_whose_held_calls_are_cut_leave_nothing_behind(
    site: SiteProcess, admin: HttpCaller, space: str, network: TcpProxy, connect: Connect, reset: bool
) -> None:
    app = connect(Never)
    request_id = admin.submit(space, "hello")["id"]
    token = admin.make_token(scopes=("api",))
    before = settled_sockets_of(site)

    def hold() -> None:
        with HttpCaller(network.url, token).http as http, contextlib.suppress(requests.RequestException):
            http.get(f"{network.url}/api/v1/requests/{request_id}?until=final&wait=3", timeout=10)

    network.weather.stall("down")
    callers = [threading.Thread(target=hold) for _ in range(10)]
    for one in callers:
        one.start()
    wait_until(lambda: sockets_of(site) >= before + len(callers), "the calls are held")
    network.cut(reset=reset)
    for one in callers:
        one.join(10)
    assert app.answer(app.next("inference_request")) == "accepted"
    assert text_of(admin.wait_final(request_id)) == "hello"
    wait_until(lambda: sockets_of(site) <= before, "the sockets are closed", 20)


def test_a_submit_that_is_cut_half_way_is_none_and_one_whose_answer_is_lost_is_one(
    admin: HttpCaller, space: str, network: TcpProxy, connect: Connect
) -> None:
    connect(Never)
    caller = HttpCaller(network.url, admin.make_token(scopes=("api",)))
    path, body = f"spaces/{space}/requests", json.dumps({"prompt": "x" * 50_000})
    headers = {"Content-Type": "application/json", "Idempotency-Key": "one"}

    def count() -> int:
        return len(admin.json("GET", "requests", params={"space": space})["items"])

    network.next_weather().cut_after(30_000)
    with pytest.raises(requests.ConnectionError):
        caller.call("POST", path, data=body, headers=headers)
    assert count() == 0
    network.next_weather().stall("down")
    with pytest.raises(requests.Timeout):
        caller.call("POST", path, data=body, headers=headers, timeout=1)
    wait_until(lambda: count() == 1, "the submit is accepted, though its answer is lost")
    again = caller.call("POST", path, data=body, headers=headers)
    assert again.status_code == 200
    assert count() == 1
