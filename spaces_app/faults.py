"""Named faults: an app that misbehaves in one known way, to try how a site copes.

=========  ==================================================================================
slow       takes ten times as long, and reports progress
fail       raises an exception
never      never answers, not even when cancelled
drop       breaks the transport in the middle of the request, comes back, answers
double     sends each result twice
late       answers one second after the deadline
garbage    sends malformed events and results for requests it never had, then the right answer
=========  ==================================================================================
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from spaces_app.app import App
from spaces_app.outbox import Kept
from spaces_app.request import NoAnswer, Request

FAULTS = ("slow", "fail", "never", "drop", "double", "late", "garbage")

SLOW_FACTOR = 10
LATE_SECONDS = 1.0
STEPS = 10

Compute = Callable[[Request], Any]

GARBAGE: tuple[tuple[str, Any], ...] = (
    ("inference_result", None),
    ("inference_result", "not an object"),
    ("inference_result", [1, 2, 3]),
    ("inference_result", {"request_id": 5, "status": "completed"}),
    ("inference_result", {"request_id": "never-was", "status": "completed", "result": {"text": "forged"}}),
    ("inference_progress", {"request_id": "never-was", "value": "half"}),
    ("register", 42),
    ("register", {"space_name": ""}),
    ("no_such_event", {"anything": True}),
)


class Faults:
    """Wraps a handler in simulated work that shows the ``chosen`` faults."""

    def __init__(self, app: App, chosen: set[str]) -> None:
        self._app = app
        self._chosen = chosen
        self._dropped: set[str] = set()

    def wrap(self, compute: Compute, seconds: Callable[[], float]) -> Compute:
        """Return a handler that works for ``seconds()`` and then computes, with the faults on the way."""

        def handler(request: Request) -> Any:
            before = seconds()
            self._work(request, before * SLOW_FACTOR if "slow" in self._chosen else before)
            self._misbehave(request)
            return compute(request)

        return handler

    def after(self, kept: Kept, ack: Callable[[dict[str, Any]], None]) -> None:
        """Send a settled result once more, when that is the fault; ``ack`` gets the site's answer."""
        if "double" in self._chosen:
            self._app.send("inference_result", kept.body, ack)

    def _work(self, request: Request, seconds: float) -> None:
        for step in range(STEPS):
            request.cancelled.wait(seconds / STEPS)
            if "slow" in self._chosen:
                request.progress((step + 1) / STEPS, f"step {step + 1} of {STEPS}")
            if step == STEPS // 2:
                self._drop_once(request)

    def _drop_once(self, request: Request) -> None:
        if "drop" in self._chosen and request.id not in self._dropped:
            self._dropped.add(request.id)
            self._app.cut()

    def _misbehave(self, request: Request) -> None:
        if "garbage" in self._chosen:
            self._send_garbage(request)
        if "late" in self._chosen:
            threading.Event().wait(max(0.0, request.seconds_left or 0.0) + LATE_SECONDS)
        if "never" in self._chosen:
            request.cancelled.wait()
            raise NoAnswer
        if "fail" in self._chosen:
            raise RuntimeError("This app fails on purpose.")

    def _send_garbage(self, request: Request) -> None:
        for event, body in GARBAGE:
            self._app.send(event, body)
        forged = {"request_id": request.id, "attempt_id": "forged", "status": "completed", "result": {"text": "forged"}}
        self._app.send("inference_result", forged)
