"""What an app knows of one space that it serves."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from spaces_app.answers import Answer
from spaces_app.binding import Handler
from spaces_app.ended import Refusal
from spaces_app.lane import Lane
from spaces_app.request import Request

DEFAULT_EVENT_KB = 1_000.0


class Served:
    """One space: its handler's lane, whether this connection is registered for it, and why not if refused."""

    def __init__(self, name: str, handler: Handler, done: Callable[[Served, Request, Answer | None], None]) -> None:
        self.name = name
        self.lane = Lane(name, handler, partial(done, self))
        self.registered = False
        self.refusal: Refusal | None = None
        self.event_kb = DEFAULT_EVENT_KB

    def heed(self, limits: object) -> None:
        """Take over the site's limits, as far as this app knows them."""
        event_kb = limits.get("event_kb") if isinstance(limits, dict) else None
        if isinstance(event_kb, (int, float)):
            self.event_kb = float(event_kb)


def key_of(name: str) -> str:
    """Return the key under which a space is found: names ignore case."""
    return name.casefold()
