"""How many sockets are open: in all, and from each address."""

from __future__ import annotations

import threading
from typing import Literal

from project.addresses import network

#: Why a socket is not let in: its address has as many as it may, or all together have.
Full = Literal["address", "all"]


class SocketCounts:
    """Counts sockets as they come and go; safe to use from many threads."""

    def __init__(self, per_address: int | None, in_all: int) -> None:
        """``per_address`` bounds the sockets of one address (see :func:`network`); None: only all are counted."""
        self._per_address = per_address
        self._in_all = in_all
        self._lock = threading.Lock()
        self._open: dict[str, int] = {}
        self._total = 0

    def come(self, address: str) -> Full | None:
        """Count a socket from ``address``; or say which bound it would break, and do not count it."""
        source = network(address)
        with self._lock:
            if self._total >= self._in_all:
                return "all"
            if self._per_address is not None:
                if self._open.get(source, 0) >= self._per_address:
                    return "address"
                self._open[source] = self._open.get(source, 0) + 1
            self._total += 1
        return None

    def go(self, address: str) -> None:
        """Forget a socket that was counted."""
        source = network(address)
        with self._lock:
            self._total -= 1
            if self._per_address is None:
                return
            self._open[source] -= 1
            if not self._open[source]:
                del self._open[source]

    def total(self) -> int:
        """Return how many are open."""
        return self._total

    def addresses(self) -> int:
        """Return how many addresses are remembered: those with an open socket."""
        return len(self._open)
