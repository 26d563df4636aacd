"""How much goes on at the same time: counted by whose it is and in all, in this process."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

#: Why there is no place: one holder has as many as it may, or all together have.
Full = Literal["each", "whole"]


class AtOnce:
    """Places for what takes a while: at most ``each`` for one holder, and ``whole`` for all together."""

    def __init__(self, each: int, whole: int) -> None:
        self._each = each
        self._whole = whole
        self._held: Counter[str] = Counter()
        self._all = 0
        self._lock = threading.Lock()

    def enter(self, holder: str) -> Full | None:
        """Take a place for ``holder``, which :meth:`leave` gives back; or say what leaves none."""
        with self._lock:
            if self._all >= self._whole:
                return "whole"
            if self._held.get(holder, 0) >= self._each:
                return "each"
            self._held[holder] += 1
            self._all += 1
            return None

    def leave(self, holder: str) -> None:
        """Give one place of ``holder`` back."""
        with self._lock:
            self._all -= 1
            self._held[holder] -= 1
            if self._held[holder] == 0:
                del self._held[holder]  # addresses and users come and go

    @contextmanager
    def place(self, holder: str) -> Iterator[bool]:
        """Hold a place while the block runs, and yield whether there was one."""
        has_place = self.enter(holder) is None
        try:
            yield has_place
        finally:
            if has_place:
                self.leave(holder)

    def count(self, holder: str | None = None) -> int:
        """Return how many places ``holder`` has; without one, how many are taken in all."""
        with self._lock:
            return self._all if holder is None else self._held.get(holder, 0)
