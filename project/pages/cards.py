"""What one card shows: a request in words for its user. The same card is drawn at first load and at each change."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from sqlalchemy import RowMapping

from project.api import presenters
from project.file_types import family
from project.models import OPEN_STATES, QUEUED
from project.services import services


@dataclass(frozen=True)
class Ending:
    """Why a request ended without a result: what happened, and what its user can do."""

    title: str
    advice: str
    kind: str = "danger"


ENDINGS = {
    "app_error": Ending(
        "The app could not answer this request.", "Change the prompt and send it again, or ask the owner of the space."
    ),
    "app_disconnected": Ending(
        "The app went away while it was working and did not come back in time.",
        "Send it again once the space is connected.",
    ),
    "queue_timeout": Ending(
        "It waited too long in the queue, so it was taken out.", "Send it again when fewer requests wait."
    ),
    "processing_timeout": Ending(
        "The app did not finish in the time that this space allows.",
        "Send it again, perhaps with a smaller prompt. The owner can allow more time.",
    ),
    "too_large": Ending(
        "The app's result was larger than one message may be.",
        "Ask for less at once, or tell the owner of the space: large results belong into files.",
    ),
    "space_removed": Ending(
        "The space was switched off or deleted before the app answered.", "Look for another space, or ask an admin."
    ),
    "cancelled_by_user": Ending("You cancelled this request.", "", kind="info"),
    "user_removed": Ending("The account that sent it was deleted.", "", kind="info"),
}
#: Endings whose stored message is the app's own, or about its result.
TELLING = {"app_error", "too_large"}
UNKNOWN_ENDING = Ending("This request ended without a result.", "Send it again, or ask an admin of this site.")
TEXTS = {"text", "markdown", "json"}


@dataclass(frozen=True)
class Shown:
    """Parts of one ``kind`` that follow each other: text, markdown, json, image, audio, video or file."""

    kind: str
    parts: list[dict[str, Any]]


@dataclass(frozen=True)
class Card:
    """One request as its card shows it. Times are Unix seconds; ``position`` 1 is next; ``value`` is 0 to 1."""

    id: str
    space_name: str
    status: str
    seq: int
    prompt: str
    attempt: int
    created_at: float
    started_at: float | None = None
    finished_at: float | None = None
    position: int | None = None
    value: float | None = None
    message: str | None = None
    partial: str = ""
    files: list[dict[str, Any]] = field(default_factory=list)
    parts: list[dict[str, Any]] = field(default_factory=list)
    error_code: str | None = None
    app_message: str | None = None
    has_space: bool = True

    @property
    def is_open(self) -> bool:
        """Whether something can still happen to it."""
        return self.status in OPEN_STATES

    @property
    def ending(self) -> Ending | None:
        """Why it ended without a result, or None."""
        return ENDINGS.get(self.error_code, UNKNOWN_ENDING) if self.error_code else None

    @property
    def shown(self) -> list[Shown]:
        """The parts as they are drawn: those that follow each other and are alike together."""
        return [Shown(kind, list(parts)) for kind, parts in groupby(self.parts, _shown_as)]

    @property
    def first_text(self) -> int | None:
        """The place (1 is the first) of the first part that can be copied as text."""
        return next((at for at, part in enumerate(self.parts, 1) if part["type"] in TEXTS), None)

    @property
    def has_bundle(self) -> bool:
        """Whether there is more than one thing to take home, or any file."""
        return len(self.parts) > 1 or any("file_id" in part for part in self.parts)

    @property
    def can_retry(self) -> bool:
        """Whether it makes sense to send the same once more: it failed, or its files would have to be chosen again."""
        return not self.is_open and self.has_space and bool(self.ending or self.files)


def _shown_as(part: dict[str, Any]) -> str:
    """Return how a part is drawn: a file as what it was sent as only if its content is found to be that."""
    kind = str(part["type"])
    return kind if kind in TEXTS or kind == family(str(part.get("content_type", ""))) else "file"


def card_of(row: RowMapping) -> Card:
    """Return the card of one stored request, with its place in the queue or its live progress."""
    site = services()
    is_open = row["status"] in OPEN_STATES
    progress = site.manager.progress(row["id"]) if is_open else None
    code = row["error_code"]
    return Card(
        **{name: row[name] for name in _PLAIN},
        position=site.store.position(row) if row["status"] == QUEUED else None,
        seq=presenters.visible_seq(row, progress),
        value=progress.value if progress else None,
        message=progress.message if progress else None,
        partial=progress.partial if progress else "",
        files=presenters.input_files(row),
        parts=presenters.output_parts(row),
        app_message=row["error_message"] if code in TELLING else None,
        has_space=row["space_id"] is not None,
    )


_PLAIN = (
    *("id", "space_name", "status", "prompt", "attempt"),
    *("created_at", "started_at", "finished_at", "error_code"),
)


def cards_of(rows: Iterable[RowMapping]) -> list[Card]:
    """Return the cards of several stored requests, in their order."""
    return [card_of(row) for row in rows]
