"""The loop of an app. One thread owns all state; every other thread only puts a message into its mailbox.

Threads: the one that called ``run`` (this loop), one for each space (its handler), and those of the Socket.IO library.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Literal

from spaces_app.backoff import Backoff
from spaces_app.binding import Handler
from spaces_app.desk import Desk
from spaces_app.ended import Ended, Refusal
from spaces_app.link import PASSING_CODES, Ack, Link
from spaces_app.observer import Observer
from spaces_app.served import Served, key_of

BEAT_SECONDS = 0.2
ANSWER_SECONDS = 10.0
LAST_WORDS_SECONDS = 1.0
STOP_SECONDS = 2.0
END_MESSAGE = "The site ended the connection: the token was revoked, or another app took over."

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Identity:
    """What this app says of itself; ``instance`` is the same over its reconnects."""

    name: str
    version: str
    instance: str


class Loop:
    """Connects, registers, passes events on, and beats. See :class:`spaces_app.link.LinkEvents` for what it hears."""

    def __init__(
        self, dial: Callable[[Loop], Link], handlers: dict[str, Handler], who: Identity, observer: Observer
    ) -> None:
        self._dial = dial
        self._who = who
        self._observer = observer
        self._mailbox: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._desk = Desk(self, observer)
        self._spaces = {key_of(name): Served(name, handler, self._desk.done) for name, handler in handlers.items()}
        self._backoff = Backoff()
        self._link: Link | None = None
        self._previous: Link | None = None
        self._opened = False
        self._refused_here = False
        self._unanswered: set[str] = set()
        self._cut_short: set[str] = set()
        self._answer_by = self._retry_at = 0.0
        self._end_by: float | None = None
        self._stop_by: float | None = None
        self._ended: Ended | None = None

    def run(self) -> Ended:
        """Serve until stopped, refused or disconnected for good."""
        self._connect()
        while self._ended is None:
            self._next_message()
            self._beat(time.monotonic())
        self._clean_up()
        return self._ended

    # From any thread.

    def post(self, message: Callable[[], object]) -> None:
        """Have ``message`` called by the loop. Safe in signal handlers too."""
        self._mailbox.put(message)

    def stop(self) -> None:
        """Stop; unsettled results get up to 2 s more."""
        self.post(self._on_stop)

    def cut(self) -> None:
        """Break the transport without a word, as a failing network would; the app comes back by itself."""
        self.post(lambda: self._link.cut() if self._link else None)

    def send(self, event: str, body: Any, ack: Ack | None = None) -> None:
        """Send any event as it is, if connected. Meant for testing a site."""
        self.post(partial(self.emit, event, body, ack))

    def opened(self, link: Link) -> None:
        """The site accepted the connection."""
        self.post(partial(self._on_opened, link))

    def failed(self, link: Link, message: str) -> None:
        """One try to connect failed."""
        self.post(partial(self._on_failed, link, message))

    def refused(self, _link: Link, message: str) -> None:
        """The site refused the connection for good."""
        self.post(partial(self._end, "refused", message))

    def lost(self, link: Link) -> None:
        """The connection ended."""
        self.post(partial(self._on_lost, link))

    def received(self, link: Link, event: str, body: dict[str, Any]) -> None:
        """An event came."""
        listeners: dict[str, Callable[[dict[str, Any]], None]] = {
            "register_response": partial(self._on_register_answer, link),
            "inference_request": self._on_request,
            "inference_cancel": self._on_cancel,
            "queue_update": self._on_queue,
        }
        self.post(partial(listeners[event], body))

    # The loop's own thread from here on.

    def emit(self, event: str, body: Any, ack: Ack | None = None) -> bool:
        """Send an event now; ``False`` when there is no connection."""
        return bool(self._link and self._opened and self._link.emit(event, body, ack))

    def _next_message(self) -> None:
        try:
            message = self._mailbox.get(timeout=BEAT_SECONDS)
        except Empty:
            return
        try:
            message()
        except Exception:  # one strange message must not end the app
            logger.exception("An event could not be handled")

    def _beat(self, now: float) -> None:
        """Do what is due by now."""
        self._end_when_due(now)
        if self._link is None and now >= self._retry_at and self._end_by is None and self._stop_by is None:
            self._connect()
        if self._link and self._opened:
            self._look_after(self._link, now)
        self._desk.send_due(now, {served.name for served in self._spaces.values() if served.registered})

    def _end_when_due(self, now: float) -> None:
        if self._stop_by is not None and (now >= self._stop_by or not self._opened or not self._desk.unsettled):
            self._end("stopped", "")
        if self._end_by is not None and now >= self._end_by:
            self._end_or_go_on()

    def _end_or_go_on(self) -> None:
        """Come back for the spaces that a refusal of another one cut short; else that was the end."""
        self._end_by = None
        if self._refused_here and any(not self._spaces[key].refusal for key in self._cut_short):
            self._previous = None
        else:
            self._end("disconnected", END_MESSAGE)

    def _look_after(self, link: Link, now: float) -> None:
        """Notice a connection that died without an event, or that leaves a registration unanswered."""
        silent = self._unanswered and now >= self._answer_by
        if silent:
            link.cut()
        if silent or not link.alive():
            self._on_lost(link)

    def _connect(self) -> None:
        if self._previous and self._previous.ended_by_site():
            self._end("disconnected", END_MESSAGE)
            return
        self._opened = self._refused_here = False
        self._link = self._dial(self)
        self._link.open()

    def _on_opened(self, link: Link) -> None:
        if link is not self._link:
            return
        self._opened = True
        self._answer_by = time.monotonic() + ANSWER_SECONDS
        wanted = [served for served in self._spaces.values() if not served.refusal]
        self._unanswered = {key_of(served.name) for served in wanted}
        for served in wanted:
            self._register(link, served)

    def _register(self, link: Link, served: Served) -> None:
        resume = self._desk.claims(served.name)
        body = {"space_name": served.name, "acks": True, "resume": resume, "app": asdict(self._who)}
        named = {"space_name": served.name}
        self.emit("register", body, lambda ack: self.post(partial(self._on_register_answer, link, named | ack)))

    def _on_register_answer(self, link: Link, body: dict[str, Any]) -> None:
        """The answer to a registration (it comes as an event and as an ack), or the later end of one."""
        served = self._find(body)
        if served is None or served.refusal:
            return
        code, message = str(body.get("code") or ""), str(body.get("message") or "")
        if body.get("success") is True:
            self._on_registered(link, served, body)
        elif code in PASSING_CODES:
            link.cut()
        elif code:
            self._drop(served, Refusal(code, message))

    def _on_registered(self, link: Link, served: Served, body: dict[str, Any]) -> None:
        if link is not self._link or served.registered:
            return
        served.registered = True
        self._unanswered.discard(key_of(served.name))
        self._backoff.reset()
        served.heed(body.get("limits"))
        self._observer.on_registered(served.name, _count(body), len(body.get("resumed") or []))

    def _drop(self, served: Served, refusal: Refusal) -> None:
        """Serve this space no longer."""
        served.refusal, served.registered, self._refused_here = refusal, False, True
        self._unanswered.discard(key_of(served.name))
        self._desk.forget_space(served.name)
        self._observer.on_refused(served.name, refusal.code, refusal.message)
        if all(one.refusal for one in self._spaces.values()):
            self._end("refused", f"{refusal.code}: {refusal.message}")

    def _on_failed(self, link: Link, message: str) -> None:
        if link is self._link:
            self._observer.on_retry(message, self._retry_later())

    def _on_lost(self, link: Link) -> None:
        if link is not self._link:
            return
        for served in self._spaces.values():
            served.registered = False
        self._desk.connection_lost()
        self._cut_short = set(self._unanswered)
        self._retry_later()
        if link.ended_by_site():
            # A refusal that explains it may still be in another thread of the library.
            self._end_by = time.monotonic() + LAST_WORDS_SECONDS
        else:
            self._observer.on_lost("The connection was lost.")

    def _retry_later(self) -> float:
        """Let go of the connection and return the seconds until the next try."""
        delay = self._backoff.next()
        if self._link:
            self._link.release()
        self._previous, self._link, self._opened = self._link, None, False
        self._unanswered.clear()
        self._retry_at = time.monotonic() + delay
        return delay

    def _on_request(self, body: dict[str, Any]) -> None:
        served = self._find(body)
        if served and not served.refusal:
            self._desk.take(served, body, _count(body))

    def _on_cancel(self, body: dict[str, Any]) -> None:
        self._desk.cancel(str(body.get("attempt_id") or ""), str(body.get("reason") or ""))

    def _on_queue(self, body: dict[str, Any]) -> None:
        served = self._find(body)
        if served:
            self._observer.on_queue(served.name, _count(body))

    def _find(self, body: dict[str, Any]) -> Served | None:
        return self._spaces.get(key_of(str(body.get("space_name") or "")))

    def _on_stop(self) -> None:
        self._stop_by = time.monotonic() + STOP_SECONDS

    def _end(self, why: Literal["stopped", "refused", "disconnected"], message: str) -> None:
        if self._ended is None:
            refusals = {served.name: served.refusal for served in self._spaces.values() if served.refusal}
            self._ended = Ended(why, message, refusals)

    def _clean_up(self) -> None:
        self._desk.close()
        for served in self._spaces.values():
            served.lane.close()
        if self._link:
            self._link.close()


def _count(body: dict[str, Any]) -> int:
    size = body.get("queue_size")
    return size if isinstance(size, int) else 0
