"""What a run leaves behind: each scenario's outcome and times. Seconds throughout."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median


@dataclass(frozen=True)
class Trip:
    """One request, timed from outside. The parts are ``None`` when it waited behind others in the queue."""

    total: float
    transmission: float | None = None
    processing: float | None = None
    result: float | None = None


@dataclass
class Record:
    """One scenario's outcome. ``problem`` is empty when it passed."""

    title: str
    expected: str
    problem: str = ""
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)
    connections: list[float] = field(default_factory=list)
    trips: list[Trip] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether it went as expected."""
        return not self.problem

    def values(self, figure: str) -> list[float]:
        """Return all that was measured of ``figure``: connection, transmission, processing, result or total."""
        if figure == "connection":
            return self.connections
        return [value for trip in self.trips if (value := getattr(trip, figure)) is not None]


@dataclass(frozen=True)
class Figure:
    """One time that the product was ordered with: ``ordered`` as written there, ``most`` its upper end."""

    name: str
    title: str
    ordered: str
    most: float
    meaning: str


FIGURES = (
    Figure("connection", "Connection", "~500 ms", 0.5, "the app begins to connect → it prints Registration successful"),
    Figure("transmission", "Transmission", "~100 ms", 0.1, "a prompt is sent → the app prints [REQUEST]"),
    Figure("processing", "Processing", "1-5 s", 5.0, "the app prints [REQUEST] → it prints [RESULT]"),
    Figure("result", "Result transmission", "~100 ms", 0.1, "the app prints [RESULT] → the waiting call is answered"),
    Figure("total", "Total", "1.7-5.7 s", 5.7, "a prompt is sent → the waiting call is answered"),
)


def shown(seconds: float) -> str:
    """Return a time as people read it."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


def middle(values: list[float]) -> str:
    """Return the median as people read it, or a dash."""
    return shown(median(values)) if values else "-"
