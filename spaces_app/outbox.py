"""Results that the site has not acknowledged yet. Pure: time is an argument, nothing is sent from here.

======================================================================  =============================
acknowledgement                                                         what happens to the result
======================================================================  =============================
accepted, duplicate, unknown_request, already_final, invalid, too_large  done, forgotten
stale_attempt, not_owner                                                done; kept aside for a while, in case
                                                                        the same request is handed over again
retry_later                                                             sent again after a backoff
none within 10 s, or the connection was lost                            sent again
======================================================================  =============================
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from spaces_app.backoff import Backoff

ACK_SECONDS = 10.0
SPARE_RESULTS = 32

REFUSED_ATTEMPT = frozenset({"stale_attempt", "not_owner"})
FINAL = REFUSED_ATTEMPT | {"accepted", "duplicate", "unknown_request", "already_final", "invalid", "too_large"}


@dataclass
class Kept:
    """A finished result. ``space`` is the name as the app gave it; ``reusable``: it may answer a later attempt."""

    request_id: str
    attempt_id: str
    space: str
    answer: dict[str, Any]
    seconds: float = 0.0
    reusable: bool = True
    substitute: bool = False
    tries: int = 0
    due_at: float = 0.0
    backoff: Backoff = field(default_factory=Backoff, repr=False)

    @property
    def body(self) -> dict[str, Any]:
        """The body of ``inference_result``."""
        return {"request_id": self.request_id, "attempt_id": self.attempt_id, **self.answer}

    @property
    def claim(self) -> dict[str, str]:
        """The entry of ``resume`` that claims this attempt."""
        return {"request_id": self.request_id, "attempt_id": self.attempt_id}


class Outbox:
    """Keeps each finished result until it is settled."""

    def __init__(self) -> None:
        self._kept: dict[str, Kept] = {}
        self._spare: OrderedDict[str, Kept] = OrderedDict()

    def __len__(self) -> int:
        """How many results are not settled."""
        return len(self._kept)

    def keep(self, kept: Kept) -> None:
        """Take a finished result; it is due at once. A newer result of the same request takes its place."""
        self._kept[kept.request_id] = kept

    def due(self, now: float, spaces: Collection[str]) -> list[Kept]:
        """Return what is to be sent now for the registered ``spaces``, and count on an ack within 10 s."""
        ready = [kept for kept in self._kept.values() if kept.space in spaces and kept.due_at <= now]
        for kept in ready:
            kept.tries += 1
            kept.due_at = now + ACK_SECONDS
        return ready

    def settle(self, request_id: str, attempt_id: str, code: str, now: float) -> Kept | None:
        """Note an acknowledgement; return the result when that is the end of it."""
        kept = self._kept.get(request_id)
        if kept is None or kept.attempt_id != attempt_id:
            return None
        if code not in FINAL:
            kept.due_at = now + kept.backoff.next()
            return None
        if code in REFUSED_ATTEMPT and kept.reusable:
            self._put_aside(kept)
        return self._kept.pop(request_id)

    def connection_lost(self) -> None:
        """Acks do not survive a reconnect: everything is due again."""
        for kept in self._kept.values():
            kept.due_at = 0.0

    def claims(self, space: str) -> list[dict[str, str]]:
        """Return the claims of the attempts of ``space`` that are finished but not settled."""
        return [kept.claim for kept in self._kept.values() if kept.space == space]

    def adopt(self, request_id: str, attempt_id: str) -> Kept | None:
        """Put a kept result under a new attempt of the same request and make it due; ``None`` when there is none."""
        kept = self._kept.get(request_id) or self._spare.pop(request_id, None)
        if kept is None or not kept.reusable:
            return None
        kept.attempt_id, kept.due_at, kept.tries = attempt_id, 0.0, 0
        self._kept[request_id] = kept
        return kept

    def forget_space(self, space: str) -> None:
        """Drop what belongs to a space that this app serves no longer."""
        self._kept = {key: kept for key, kept in self._kept.items() if kept.space != space}

    def _put_aside(self, kept: Kept) -> None:
        self._spare[kept.request_id] = kept
        while len(self._spare) > SPARE_RESULTS:
            self._spare.popitem(last=False)
