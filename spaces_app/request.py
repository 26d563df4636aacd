"""One request, as a handler sees it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

Progress = Callable[["Request", float | None, str | None], None]


class Cancelled(threading.Event):
    """Set when nobody waits for the answer any more; remembers whether the handler has looked and seen it.

    A handler that never saw it has computed a full answer, which can still answer a later attempt.
    """

    def __init__(self) -> None:
        super().__init__()
        self.heeded = False

    def is_set(self) -> bool:
        """Return whether nobody waits any more."""
        return self._note(super().is_set())

    def wait(self, timeout: float | None = None) -> bool:
        """Wait up to ``timeout`` seconds for the cancel and return whether it came."""
        return self._note(super().wait(timeout))

    def _note(self, answer: bool) -> bool:
        self.heeded = self.heeded or answer
        return answer


class NoAnswer(Exception):
    """Raised by a handler that sends no result at all. Only good for testing how a site copes."""


def _unheard(_request: Request, _value: float | None, _message: str | None) -> None:
    """Progress of a request that belongs to no connection."""


@dataclass(eq=False)
class Request:
    """One attempt of one request.

    ``redelivered`` says that an earlier attempt was handed out, so a side effect may have happened already.
    ``files`` are the user's files as plain data (``field, name, content_type, size, sha256, url``).
    ``cancelled`` is set when nobody waits for the answer any more: look at it in long loops.
    """

    id: str
    attempt_id: str
    attempt: int
    redelivered: bool
    space_name: str
    username: str
    prompt: str
    parameters: dict[str, Any]
    payload: dict[str, Any]
    files: list[dict[str, Any]]
    deadline_at: datetime | None
    timeout_seconds: float | None
    cancelled: Cancelled = field(default_factory=Cancelled, repr=False)
    received: float = field(default_factory=time.monotonic, repr=False)
    _progress: Progress = field(default=_unheard, repr=False)

    def progress(self, value: float | None = None, message: str | None = None) -> None:
        """Tell the user how far it is: ``value`` between 0 and 1, and a short message. Best effort."""
        self._progress(self, value, message)

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the site gives up waiting, by this computer's clock; ``None`` when it did not say."""
        return (self.deadline_at - datetime.now(UTC)).total_seconds() if self.deadline_at else None

    @classmethod
    def from_wire(cls, body: dict[str, Any], progress: Progress = _unheard) -> Request:
        """Read the body of ``inference_request``. Raises :class:`ValueError` when it cannot be answered."""
        if not all(isinstance(body.get(key), str) for key in ("request_id", "attempt_id", "space_name")):
            raise ValueError("a request without request_id, attempt_id or space_name")
        payload = _object(body.get("payload"))
        return cls(
            id=body["request_id"],
            attempt_id=body["attempt_id"],
            attempt=int(body.get("attempt") or 1),
            redelivered=bool(body.get("redelivered")),
            space_name=body["space_name"],
            username=str(body.get("username") or ""),
            prompt=str(payload.get("prompt") or ""),
            parameters=_object(payload.get("parameters")),
            payload=payload,
            files=[one for one in body.get("files") or [] if isinstance(one, dict)],
            deadline_at=_time(body.get("deadline_at")),
            timeout_seconds=body.get("timeout_seconds"),
            _progress=progress,
        )


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _time(value: object) -> datetime | None:
    """Read ISO 8601 or Unix seconds."""
    if isinstance(value, (int, float)):
        return datetime.fromtimestamp(value, UTC)
    if not isinstance(value, str):
        return None
    try:
        return datetime.fromisoformat(value).astimezone(UTC)
    except ValueError:
        return None
