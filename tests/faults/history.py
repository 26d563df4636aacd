"""What happened at a site: the rows of the spaces that a test touched, and what callers and apps were told meanwhile.

Steps are in the order of their row ids, which is the order in which a space's transitions were committed.
What is allowed is said in :mod:`tests.faults.rules`; :mod:`tests.faults.evidence` collects.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

FINAL = {"completed", "failed", "cancelled", "timed_out"}


class Step(NamedTuple):
    """One recorded transition."""

    id: int
    at: float
    from_state: str | None
    to: str
    attempt: int
    code: str | None


class Attempt(NamedTuple):
    """One recorded hand-over."""

    attempt_id: str
    number: int
    connection_id: str
    handed_at: float
    ended_at: float | None
    by_result: bool


class Ack(NamedTuple):
    """What an app was told about a result."""

    request_id: str
    attempt_id: str | None
    code: str


@dataclass
class Story:
    """One request: its row, and its steps and attempts, oldest first. ``space`` is any key of its space."""

    row: Mapping[str, Any]
    space: Any
    steps: list[Step]
    attempts: list[Attempt]

    @property
    def id(self) -> str:
        return str(self.row["id"])

    def __str__(self) -> str:
        row = self.row
        steps = [f"  {_clock(one.at)} {one.to} attempt {one.attempt} {one.code or ''} #{one.id}" for one in self.steps]
        attempts = [
            f"  attempt {one.number} {one.attempt_id} by {one.connection_id}, {_clock(one.handed_at)} to "
            f"{_clock(one.ended_at)}{', by its result' if one.by_result else ''}"
            for one in self.attempts
        ]
        head = f"request {self.id} number {row['number']} of {row['space_name']}: {row['status']} {row['error_code']}"
        return "\n".join([f"{head} {str(row['prompt'])[:40]!r}", *steps, *attempts])


@dataclass
class History:
    """All that is known at the moment of looking. Times are Unix seconds, lengths are seconds.

    ``slack`` is the time in which no process ran, by how much deadlines were moved for that, and what the test
    delayed on purpose. ``excused`` are requests that somebody had the right to take away.
    """

    stories: dict[str, Story] = field(default_factory=dict)
    epochs: dict[Any, int] = field(default_factory=dict)
    now: float = 0.0
    queue_time: float = 600.0
    slack: float = 0.0
    accepted: set[str] = field(default_factory=set)
    excused: set[str] = field(default_factory=set)
    answers: list[dict[str, Any]] = field(default_factory=list)
    acks: list[Ack] = field(default_factory=list)
    handed: list[dict[str, Any]] = field(default_factory=list)

    def by_space(self) -> dict[Any, list[Story]]:
        """Return the stories of each space."""
        spaces: dict[Any, list[Story]] = defaultdict(list)
        for story in self.stories.values():
            spaces[story.space].append(story)
        return spaces

    def moves_by_space(self) -> Iterator[list[tuple[Step, Story]]]:
        """Yield the transitions of each space in the order in which they were made."""
        for stories in self.by_space().values():
            yield sorted(((step, story) for story in stories for step in story.steps), key=lambda move: move[0].id)


class Violation(NamedTuple):
    """A rule that was broken, and the requests that show it."""

    what: str
    requests: tuple[str, ...]


def _clock(at: float | None) -> str:
    return "..." if at is None else datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S.%f")[:-3]
