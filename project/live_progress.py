"""What running attempts have reported: best effort, in memory, gone once the request ends."""

from __future__ import annotations

import threading

from project.errors import Invalid
from project.ports import Progress

MAX_PARTIAL_CHARS = 1_000_000
#: Below the step by which a transition raises a row's ``seq``, so that no progress overtakes it.
MAX_PROGRESS_STEPS = (1 << 20) - 1


class LiveProgress:
    """The progress of every request that is in an app's hands."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, Progress] = {}

    def get(self, request_id: str) -> Progress | None:
        """Return what the running attempt has reported, or None."""
        return self._known.get(request_id)

    def advance(
        self, request_id: str, value: float | None, message: str | None, delta: str | None, offset: int | None
    ) -> None:
        """Add one report. Raises :class:`Invalid` when ``offset`` leaves a hole; then nothing changed."""
        with self._lock:
            before = self._known.get(request_id, Progress())
            self._known[request_id] = Progress(
                value=before.value if value is None else value,
                message=before.message if message is None else message,
                partial=before.partial if delta is None else _appended(before.partial, delta, offset),
                steps=min(before.steps + 1, MAX_PROGRESS_STEPS),
            )

    def forget(self, request_id: str) -> None:
        """Forget a request: it ended, or a new attempt starts with nothing."""
        with self._lock:
            self._known.pop(request_id, None)


def _appended(partial: str, delta: str, offset: int | None) -> str:
    at = len(partial) if offset is None else offset
    if at > len(partial):
        raise Invalid.field("offset", f"there are only {len(partial)} characters before it")
    return (partial[:at] + delta)[:MAX_PARTIAL_CHARS]
