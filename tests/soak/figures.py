"""What is counted and measured while the soak runs. One asyncio loop writes here, so nothing is locked."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

#: The share of a second that counts as all of it.
WANTED = 0.9


class Timing(NamedTuple):
    """When a call was answered (seconds since the start) and how long that took."""

    at: float
    seconds: float


class Second(NamedTuple):
    """One look at the site and at what surrounds it, about once a second.

    ``cpu`` is the share of the time since the look before in which the site ran, ``waited`` that in which it could
    have run but all cores were taken; ``sockets`` and ``files`` are its open descriptors; ``connected`` are spaces
    with an app, ``accepted`` all requests so far.
    """

    at: float
    pid: int
    megabytes: float
    threads: int
    sockets: int
    files: int
    cpu: float
    waited: float
    connected: int
    queued: int
    processing: int
    accepted: int

    @property
    def is_starved(self) -> bool:
        """Whether the site wanted to run all the time, and others had the cores for most of it."""
        return self.cpu + self.waited > WANTED and self.waited > self.cpu


@dataclass
class Figures:
    """All of it. ``strange`` are answers that nothing explains: one of them and the soak has failed."""

    status: list[Timing] = field(default_factory=list)
    #: From the end of a request to the answer of a held call that waited for it.
    woken: list[Timing] = field(default_factory=list)
    #: A server that does nothing, on the same machine, asked by the same loop.
    bare: list[Timing] = field(default_factory=list)
    seconds: list[Second] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    endings: Counter[str] = field(default_factory=Counter)
    churn: Counter[str] = field(default_factory=Counter)
    kills: list[float] = field(default_factory=list)
    broken: int = 0
    strange: list[str] = field(default_factory=list)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that ``share`` of all values do not exceed; 0 when there is none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0
