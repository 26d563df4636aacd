"""How long to wait before the next try."""

from __future__ import annotations

import random

FIRST = 0.5
CAP = 5.0
LEAST = 0.05


class Backoff:
    """Exponential backoff with full jitter: a random wait between almost nothing and a doubling bound.

    Seconds. The bound never passes ``cap``, so an app is back within the site's grace.
    """

    def __init__(self, first: float = FIRST, cap: float = CAP) -> None:
        self._first = first
        self._cap = cap
        self._tries = 0

    def next(self) -> float:
        """Return the seconds to wait now; the next bound is twice as long."""
        bound = min(self._cap, self._first * 2 ** min(self._tries, 30))
        self._tries += 1
        return max(LEAST, random.uniform(0, bound))  # noqa: S311  # nosec B311

    def reset(self) -> None:
        """Begin anew: the last try succeeded."""
        self._tries = 0
