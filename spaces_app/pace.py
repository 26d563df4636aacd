"""How often the progress of a request is sent. Pure: time is an argument, nothing is sent from here."""

from __future__ import annotations

from collections.abc import Collection

from spaces_app.request import Request

PAUSE_SECONDS = 0.1

Progress = tuple[Request, float | None, str | None]


class Pace:
    """Keeps the newest progress of each request and gives it out at most ten times a second."""

    def __init__(self) -> None:
        self._newest: dict[str, Progress] = {}
        self._next_at: dict[str, float] = {}

    def put(self, progress: Progress) -> None:
        """Take the newest progress of a request; an older one that waits is dropped."""
        self._newest[progress[0].id] = progress

    def due(self, now: float, in_hand: Collection[str]) -> list[Progress]:
        """Return what may be sent now, of the attempts ``in_hand``; what belongs to none of them is dropped."""
        alive = {key for key, (request, *_) in self._newest.items() if request.attempt_id in in_hand}
        ready = [key for key in self._newest if key in alive and self._next_at.get(key, now) <= now]
        found = [self._newest[key] for key in ready]
        self._newest = {key: one for key, one in self._newest.items() if key in alive and key not in ready}
        self._next_at.update(dict.fromkeys(ready, now + PAUSE_SECONDS))
        return found

    def forget(self, request_id: str) -> None:
        """Drop what is known of a request that is answered."""
        self._newest.pop(request_id, None)
        self._next_at.pop(request_id, None)
