"""Apps come and go a hundred times while 30 requests wait: all are ended once, and nothing is left in the process."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from socketio.exceptions import SocketIOError

from tests.faults.apps import Echo, FaultApp
from tests.faults.evidence import Witness
from tests.faults.looking import ALL_MODES, compute, ending, in_long, text_of, wait_connected
from tests.http_caller import HttpCaller
from tests.site_process import SiteProcess, wait_until

OwnSite = Callable[..., SiteProcess]
Started = Callable[[FaultApp], Any]

CONNECTS, REQUESTS, ATTEMPTS = 100, 30, 20
WARM_UP_CONNECTS, WARM_UP_REQUESTS = 25, 8
#: The longest that an app computes, and that it stays.
MOST_COMPUTING, MOST_STAY = 0.3, 0.5
#: What a process may hold more after the churn than before it, in kilobytes: far less than a leak of 100 KB a connect.
MORE_KB = 6_000
#: Threads, or open files, that the site keeps for later: it opens its connections to the database one by one.
POOLED = 9
USED_UP = ("failed", "app_disconnected")
SETTINGS = {"SPACES_REQUEST_TIMEOUT": 60, "SPACES_ACK_TIMEOUT": 10, "SPACES_USER_QUEUE_LENGTH": 1_000}


class Thinking(Echo):
    """Echo that computes for a while, so that it is often gone before it has answered."""

    def on_request(self, request: dict[str, Any]) -> None:
        compute(request["request_id"], MOST_COMPUTING)
        super().on_request(request)


class Churn:
    """Makes apps for one space that come and go, one after the other, each in a way that chance picks."""

    def __init__(self, site: SiteProcess, space: str, token: str, dice: random.Random) -> None:
        self._site, self._space, self._token, self._dice = site, space, token, dice
        often, seldom = [self._leave, self._break], [self._half_registered, self._silent, self._raw]
        self._ways = [*often, *often, *seldom]
        self.done: Counter[str] = Counter()

    def turn(self) -> None:
        """Let one app come and go."""
        way = self._dice.choice(self._ways)
        self.done[way.__name__.lstrip("_")] += 1
        way()

    def _serving(self) -> Thinking:
        app = Thinking(self._site.url, self._token).serve(self._space, acks=self._dice.random() < 0.5)
        threading.Event().wait(self._dice.uniform(0, MOST_STAY))
        return app

    def _leave(self) -> None:
        app = self._serving()
        app.client.disconnect()
        app.close()

    def _break(self) -> None:
        self._serving().close()

    def _half_registered(self) -> None:
        app = Thinking(self._site.url, self._token)
        with contextlib.suppress(SocketIOError):
            app.send("register", {"space_name": self._space})
        threading.Event().wait(self._dice.uniform(0, 0.005))
        app.close()

    def _silent(self) -> None:
        FaultApp(self._site.url, self._token).close()

    def _raw(self) -> None:
        with socket.create_connection(("127.0.0.1", self._site.port), timeout=5) as raw:
            raw.sendall(b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: localhost\r\nUpgrade: webso")


def held(site: SiteProcess) -> dict[str, int]:
    """What the site's process holds: memory in kilobytes, threads, open files."""
    assert site.process
    proc = Path(f"/proc/{site.process.pid}")
    status = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines())
    return {
        "memory": int(status["VmRSS"].split()[0]),
        "threads": int(status["Threads"]),
        "files": len(list((proc / "fd").iterdir())),
    }


def round_of(churn: Churn, user: HttpCaller, space: str, connects: int, requests: int) -> list[str]:
    """Queue requests, let apps come and go, and return the ids."""
    ids = [user.submit(space, f"prompt {number} of {connects}")["id"] for number in range(requests)]
    for _ in range(connects):
        churn.turn()
    return ids


@pytest.mark.timeout(400)  # the threaded server lets each leaving app wait 3 s for its goodbye
@pytest.mark.parametrize("mode", [None, *(in_long(mode) for mode in ALL_MODES)], ids=lambda mode: mode or "default")
def test_a_hundred_connects_and_drops(
    own_site: OwnSite, started: Started, witness: Witness, dice: random.Random, mode: str | None
) -> None:
    site = own_site(async_mode=mode, **SETTINGS)
    admin = site.admin()
    space = admin.make_space(queue_when_offline=True, max_attempts=ATTEMPTS)
    token = admin.make_token()
    churn = Churn(site, space, token, dice)
    start = held(site)
    finish(site, admin, space, token, round_of(churn, admin, space, WARM_UP_CONNECTS, WARM_UP_REQUESTS))
    before, begun = settled(site, start), time.monotonic()
    churn.done.clear()
    ids = round_of(churn, admin, space, CONNECTS, REQUESTS)
    took = time.monotonic() - begun
    finals = finish(site, admin, space, token, ids)
    after = settled(site, start)
    attempts = sorted(Counter(final["attempt"] for final in finals).items())
    print(f"{took:.1f} s, {dict(churn.done)}, attempts {attempts}, held {start}, {before}, {after}")
    for final in finals:
        assert final["status"] == "completed" or (ending(final), final["attempt"]) == (USED_UP, ATTEMPTS)
    texts = [text_of(final) for final in finals if final["status"] == "completed"]
    assert len(texts) == len(set(texts)) > REQUESTS / 2
    assert max(Counter(ack.request_id for ack in witness.acks if ack.code == "accepted").values()) == 1
    assert after["memory"] <= before["memory"] + MORE_KB, f"memory grew: {before}, then {after}"


def finish(site: SiteProcess, user: HttpCaller, space: str, token: str, ids: list[str]) -> list[dict[str, Any]]:
    """Let an app that stays do what is left, and leave the space alone again."""
    app = Echo(site.url, token).serve(space)
    finals = [user.wait_final(one) for one in ids]
    app.close()
    wait_connected(user, space, False)
    return finals


def settled(site: SiteProcess, start: dict[str, int]) -> dict[str, int]:
    """Wait until threads and open files are back to what they were at the start, and return what is held then."""

    def is_back() -> bool:
        now = held(site)
        return all(now[what] <= start[what] + POOLED for what in ("threads", "files"))

    try:
        wait_until(is_back, "threads and open files are back to what they were", 30)
    except AssertionError as error:
        raise AssertionError(f"{error}: {start}, now {held(site)}") from None
    return held(site)
