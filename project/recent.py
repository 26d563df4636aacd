"""Answers remembered for a moment, and forgotten at once when something changes what they were made of."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

V = TypeVar("V")


class Recent(Generic[V]):
    """At most ``size`` answers, each for ``seconds``; what was begun before :meth:`clear` is not remembered."""

    def __init__(self, seconds: float, size: int = 10_000) -> None:
        self._seconds, self._size = seconds, size
        self._lock = threading.Lock()
        self._known: dict[str, tuple[float, V]] = {}
        self._generation = 0

    @property
    def generation(self) -> int:
        """What to read before asking, and to hand to :meth:`put` with the answer."""
        return self._generation

    def get(self, key: str, now: float) -> V | None:
        """Return what is remembered of ``key``, or None."""
        found = self._known.get(key)
        return found[1] if found and now < found[0] else None

    def put(self, key: str, value: V, now: float, generation: int) -> None:
        """Remember an answer that was begun in ``generation``."""
        with self._lock:
            if generation != self._generation:
                return
            if len(self._known) >= self._size:
                self._known.clear()
            self._known[key] = (now + self._seconds, value)

    def clear(self) -> None:
        """Forget everything, also what is being asked just now."""
        with self._lock:
            self._generation += 1
            self._known.clear()
