"""The requests that an app has in hand, and the results that the site has not settled yet.

All methods but :meth:`Desk.done` and :meth:`Desk.progress` belong to the loop's thread.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from functools import partial
from typing import Any, Protocol

from spaces_app.answers import Answer, failed, in_size, size_in_kb, too_large
from spaces_app.observer import Observer
from spaces_app.outbox import Kept, Outbox
from spaces_app.pace import Pace
from spaces_app.request import Request
from spaces_app.served import Served

MAX_CLAIMS = 100
MAX_REMEMBERED = 256
#: Kilobytes of an event besides the answer: its name and ids.
ENVELOPE_KB = 0.5


class Wire(Protocol):
    """What the desk needs of the loop."""

    def post(self, message: Callable[[], object]) -> None:
        """Have ``message`` called in the loop's thread."""

    def emit(self, event: str, body: Any, ack: Callable[[dict[str, Any]], None] | None = None) -> bool:
        """Send an event now; ``False`` when there is no connection."""


class Desk:
    """Takes requests in, hands them to lanes, sends answers until they are settled."""

    def __init__(self, wire: Wire, observer: Observer) -> None:
        self._wire = wire
        self._observer = observer
        self._outbox = Outbox()
        self._pace = Pace()
        self._in_hand: dict[str, Request] = {}
        self._cancelled: OrderedDict[str, None] = OrderedDict()

    @property
    def unsettled(self) -> int:
        """How many results the site has not settled yet."""
        return len(self._outbox)

    def done(self, served: Served, request: Request, answer: Answer | None) -> None:
        """Take what a lane computed. Callable from any thread."""
        self._wire.post(partial(self._on_done, served, request, answer))

    def progress(self, request: Request, value: float | None, message: str | None) -> None:
        """Send progress of a request in hand, if connected and not too often. Callable from any thread."""
        self._wire.post(partial(self._on_progress, request, value, message))

    def take(self, served: Served, body: dict[str, Any], queue_size: int) -> None:
        """Take a request in. Raises :class:`ValueError` when it cannot be answered."""
        request = Request.from_wire(body, self.progress)
        request.space_name = served.name
        if request.attempt_id in self._in_hand:
            return
        answered = self._outbox.adopt(request.id, request.attempt_id) is not None
        if not answered and not self._adopt_running(request):
            self._begin(served, request)
        self._observer.on_request(request, queue_size, answered)

    def cancel(self, attempt_id: str, reason: str) -> None:
        """Note that nobody waits for this attempt any more. It can overtake its request, so it is remembered."""
        self._cancelled[attempt_id] = None
        while len(self._cancelled) > MAX_REMEMBERED:
            self._cancelled.popitem(last=False)
        request = self._in_hand.get(attempt_id)
        if request:
            request.cancelled.set()
            self._observer.on_cancel(request, reason)

    def claims(self, space: str) -> list[dict[str, str]]:
        """Return the claims of all attempts of ``space`` in hand, and of those finished but not settled."""
        running = [one for one in self._in_hand.values() if one.space_name == space]
        claims = [{"request_id": one.id, "attempt_id": one.attempt_id} for one in running]
        return [*claims, *self._outbox.claims(space)][:MAX_CLAIMS]

    def send_due(self, now: float, spaces: Collection[str]) -> None:
        """Send the results that are due for the registered ``spaces``, and the progress that waited."""
        self._send_progress(now)
        for kept in self._outbox.due(now, spaces):
            if self._wire.emit("inference_result", kept.body, partial(self._ack, kept.request_id, kept.attempt_id)):
                self._observer.on_sent(kept)

    def connection_lost(self) -> None:
        """Every unsettled result is due again."""
        self._outbox.connection_lost()

    def forget_space(self, space: str) -> None:
        """Give up what belongs to a space that is served no longer."""
        self._outbox.forget_space(space)
        for request in self._in_hand.values():
            if request.space_name == space:
                request.cancelled.set()

    def close(self) -> None:
        """Tell all handlers that nobody waits any more, and delete their files."""
        for request in self._in_hand.values():
            request.cancelled.set()
            request.close()

    def _begin(self, served: Served, request: Request) -> None:
        if request.attempt_id in self._cancelled:
            request.cancelled.set()
        self._in_hand[request.attempt_id] = request
        served.lane.put(request)

    def _adopt_running(self, request: Request) -> bool:
        """Let a computation of the same request, begun for an earlier attempt, answer the new one."""
        for attempt_id, running in self._in_hand.items():
            if running.id == request.id and running.reusable:
                running.renew(request)
                self._in_hand[request.attempt_id] = self._in_hand.pop(attempt_id)
                return True
        return False

    def _on_done(self, served: Served, request: Request, answer: Answer | None) -> None:
        self._in_hand.pop(request.attempt_id, None)
        self._pace.forget(request.id)
        if answer is None or served.refusal:
            return
        seconds, reusable = time.monotonic() - request.received, request.reusable
        answer = in_size(answer, served.event_kb - ENVELOPE_KB)
        self._outbox.keep(Kept(request.id, request.attempt_id, served.name, answer, seconds, reusable))

    def _ack(self, request_id: str, attempt_id: str, body: dict[str, Any]) -> None:
        self._wire.post(partial(self._on_ack, request_id, attempt_id, body))

    def _on_ack(self, request_id: str, attempt_id: str, body: dict[str, Any]) -> None:
        code, message = str(body.get("code") or "retry_later"), str(body.get("message") or "")
        settled = self._outbox.settle(request_id, attempt_id, code, time.monotonic())
        if settled is None:
            return
        if code in {"invalid", "too_large"} and not settled.substitute:
            self._send_instead(settled, code, message)
        self._observer.on_result(settled, code, message)

    def _send_instead(self, kept: Kept, code: str, message: str) -> None:
        """Tell the user that the site did not take the result, in place of letting the request time out."""
        refused = failed(f"The site did not take the result: {message}")
        answer = too_large(size_in_kb(kept.answer)) if code == "too_large" else refused
        self._outbox.keep(
            Kept(kept.request_id, kept.attempt_id, kept.space, answer, kept.seconds, reusable=False, substitute=True)
        )

    def _on_progress(self, request: Request, value: float | None, message: str | None) -> None:
        self._pace.put((request, value, message))
        self._send_progress(time.monotonic())

    def _send_progress(self, now: float) -> None:
        for request, value, message in self._pace.due(now, self._in_hand):
            ids = {"request_id": request.id, "attempt_id": request.attempt_id}
            self._wire.emit("inference_progress", ids | {"value": value, "message": message})
