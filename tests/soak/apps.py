"""A program that holds ten apps, one a space, and lets them come and go: ``python -m tests.soak.apps FILE``.

FILE is JSON: ``url``, ``token``, ``spaces``, ``kind`` (``package`` or ``plain``), ``compute_seconds`` (a pair) and
``churn_seconds``.
SIGUSR1 begins the churn, SIGUSR2 ends it; SIGTERM ends the program. Each act, each answer of the site but
``accepted``, and whatever nobody foresaw is printed as one line; so is what plain apps got and were told of a result.
"""

from __future__ import annotations

import json
import random
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from socketio.exceptions import SocketIOError

from tests.faults.apps import FaultApp
from tests.soak.seats import PackageSeat, PlainSeat, Seat, say

#: Between two looks at whether every app still has its connection, in seconds.
LOOK_SECONDS = 0.5
KINDS: dict[str, type[Seat]] = {"package": PackageSeat, "plain": PlainSeat}


class Program:
    """The apps of one program."""

    def __init__(self, given: dict[str, Any]) -> None:
        self._luck = random.Random()
        self._pause: float = given["churn_seconds"]
        self._churns, self._over = threading.Event(), threading.Event()
        kind = KINDS[given["kind"]]
        low, high = given["compute_seconds"]
        compute = lambda: self._luck.uniform(low, high)  # noqa: E731 - one random time for each request
        self._seats = [kind(given["url"], given["token"], space, compute) for space in given["spaces"]]
        signal.signal(signal.SIGUSR1, lambda *_: self._churns.set())
        signal.signal(signal.SIGUSR2, lambda *_: self._churns.clear())
        signal.signal(signal.SIGTERM, lambda *_: self._over.set())

    def run(self) -> None:
        """Serve until told to stop."""
        for seat in self._seats:
            seat.sit_down()
        threading.Thread(target=self._churn, daemon=True).start()
        while not self._over.wait(LOOK_SECONDS):
            for seat in self._seats:
                seat.look()
        for seat in self._seats:
            seat.stand_up()

    def _churn(self) -> None:
        """Let a random app do something, again and again: each act once in a random order, before any comes again."""
        left: list[str] = []
        while not self._over.wait(self._pause * self._luck.uniform(0.5, 1.5)):
            if self._churns.is_set():
                seat = self._luck.choice(self._seats)
                left = left or self._luck.sample(seat.acts, len(seat.acts))
                self._do(seat, left.pop())

    def _do(self, seat: Seat, act: str) -> None:
        try:
            with seat.busy:
                getattr(seat, act)()
        except (SocketIOError, AssertionError) as error:
            say("unreachable", act, seat.space, error)
        else:
            say("churn", act)


def write_down(event: str, body: Any, answer: Any = None) -> None:
    """Print what a history of the site can be held against."""
    if event in {"inference_request", "inference_result"}:
        shown = {key: body.get(key) for key in ("request_id", "attempt_id", "attempt", "redelivered")}
        say("heard", json.dumps([event, shown, answer]))


if __name__ == "__main__":
    FaultApp.listeners.append(write_down)
    Program(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))).run()
