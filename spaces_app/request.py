"""One request, as a handler sees it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from spaces_app.input_file import InputFile
from spaces_app.media import Media
from spaces_app.site_files import SiteFiles
from spaces_app.transfer import Patience

DEFAULT_SECONDS = 120.0

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


def _no_files() -> SiteFiles:
    """The files of a request that came from no site."""
    return SiteFiles(None, Patience(Cancelled(), DEFAULT_SECONDS))


@dataclass(eq=False)
class Request:
    """One attempt of one request.

    ``redelivered`` says that an earlier attempt was handed out, so a side effect may have happened already.
    ``files`` are all the user's files; ``audio``, ``video`` and ``file`` are the first of each field.
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
    payload: dict[str, Any] = field(repr=False)
    files: list[InputFile]
    deadline_at: datetime | None
    timeout_seconds: float | None
    cancelled: Cancelled = field(default_factory=Cancelled, repr=False)
    received: float = field(default_factory=time.monotonic, repr=False)
    _progress: Progress = field(default=_unheard, repr=False)
    _site_files: SiteFiles = field(default_factory=_no_files, repr=False)

    def progress(self, value: float | None = None, message: str | None = None) -> None:
        """Tell the user how far it is: ``value`` between 0 and 1, and a short message. Best effort."""
        self._progress(self, value, message)

    @property
    def audio(self) -> InputFile | None:
        """The first audio file, or ``None``."""
        return self.first("audio")

    @property
    def video(self) -> InputFile | None:
        """The first video file, or ``None``."""
        return self.first("video")

    @property
    def file(self) -> InputFile | None:
        """The first file of the field ``file``, or ``None``."""
        return self.first("file")

    def first(self, field: str) -> InputFile | None:
        """Return the first file of ``field``, or ``None``."""
        return next((one for one in self.files if one.field == field), None)

    @property
    def folder(self) -> Path:
        """A temporary folder of this request alone; deleted with all that is in it when the request is answered.

        Raises :class:`spaces_app.TransferError` when the request is over already.
        """
        return self._site_files.folder

    @property
    def reusable(self) -> bool:
        """Whether what is computed for this attempt is good for a later one too."""
        return not self.cancelled.heeded and not self._site_files.failed

    def send(self, media: Media) -> dict[str, Any]:
        """Send a result file to the site now and return its part, for a handler that does not just return it.

        Raises :class:`spaces_app.TransferError`, whose message is fit for the user, when the site does not take it.
        """
        return self._site_files.send(media)

    def renew(self, newer: Request) -> None:
        """Go on as a later attempt of the same request: with its ids, its deadline and its links."""
        self.cancelled.clear()
        self.attempt_id, self.attempt, self.redelivered = newer.attempt_id, newer.attempt, newer.redelivered
        self.deadline_at, self.timeout_seconds, self.payload = newer.deadline_at, newer.timeout_seconds, newer.payload
        self._site_files.renew(newer._site_files)
        for file, renewed in zip(self.files, newer.files, strict=False):
            file.url = renewed.url

    def without_links(self, text: str) -> str:
        """Return ``text`` with the secret ends of this attempt's links cut out of it."""
        links = [file.url for file in self.files] + [self._site_files.upload_url or ""]
        for secret in filter(None, (link.partition("?")[2] for link in links)):
            text = text.replace(secret, "...")
        return text

    def close(self) -> None:
        """Delete the folder and everything in it. Nothing can be fetched or sent any more."""
        self._site_files.close()

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
        deadline_at, timeout = _time(body.get("deadline_at")), _seconds(body.get("timeout_seconds"))
        cancelled = Cancelled()
        upload_url = _object(body.get("upload")).get("url")
        patience = Patience(cancelled, timeout or DEFAULT_SECONDS)
        site_files = SiteFiles(upload_url if isinstance(upload_url, str) else None, patience)
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
            files=_files(body.get("files"), site_files),
            deadline_at=deadline_at,
            timeout_seconds=timeout,
            cancelled=cancelled,
            _progress=progress,
            _site_files=site_files,
        )


def _files(entries: object, site_files: SiteFiles) -> list[InputFile]:
    read = [InputFile.from_wire(entry, site_files.fetch) for entry in entries] if isinstance(entries, list) else []
    return [file for file in read if file]


def _seconds(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and value > 0 else None


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
