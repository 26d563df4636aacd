"""Sending a result file: streamed, tried again while the request waits, checked by the site's own hash."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

import requests

from spaces_app.backoff import Backoff
from spaces_app.media import Media
from spaces_app.transfer import CHUNK, OVER, Passing, Patience, TransferError, exchange, may_pass, timeouts

LINK_OVER = (403, 404)
TOO_LARGE = 413
NO_ROOM = 507
MAX_REASON = 300

logger = logging.getLogger(__name__)


def upload(
    http: requests.Session, address: Callable[[], str], media: Media, folder: Path, patience: Patience
) -> dict[str, Any]:
    """Send ``media`` to what ``address()`` says and return the site's answer, which has ``file_id``.

    Raises :class:`TransferError` when the site does not take it, or not before the request's time is over.
    """
    backoff = Backoff()
    with media.opened(folder) as file:
        start = file.tell()
        while True:
            try:
                return exchange(partial(_put, http, address, media, file, start, patience))
            except Passing as trouble:
                logger.info("%r: %s", media.name, trouble)
                patience.pause(backoff.next(), trouble)


class Body:
    """The rest of ``file`` as the body of one HTTP request; it notes the hash of what was read."""

    def __init__(self, file: BinaryIO, patience: Patience) -> None:
        self._file = file
        self._patience = patience
        here = file.tell()
        self._left = file.seek(0, os.SEEK_END) - here
        file.seek(here)
        self._hash = hashlib.sha256()

    def __len__(self) -> int:
        """Return how many bytes are left."""
        return self._left

    def __iter__(self) -> Iterator[bytes]:
        """Give the bytes in chunks; the HTTP library wants to see this, and then calls :meth:`read`."""
        return iter(partial(self.read, CHUNK), b"")

    def read(self, size: int = CHUNK) -> bytes:
        """Return the next bytes. Raises :class:`TransferError` when it cannot, or nobody waits any more."""
        self._patience.left()
        try:
            chunk = self._file.read(min(size, self._left))
        except OSError as error:
            raise TransferError(f"the app cannot read it: {error.strerror}") from None
        if not chunk and self._left:
            raise TransferError("it became shorter while it was sent")
        self._left -= len(chunk)
        self._hash.update(chunk)
        return chunk

    @property
    def sha256(self) -> str:
        """The hash of what was read so far, in hexadecimal digits."""
        return self._hash.hexdigest()


def _put(
    http: requests.Session,
    address: Callable[[], str],
    media: Media,
    file: BinaryIO,
    start: int,
    patience: Patience,
) -> dict[str, Any]:
    url = address()
    file.seek(start)
    body = Body(file, patience)
    answer = http.put(
        _named(url, media.name),
        data=body if len(body) else b"",
        headers={"Content-Type": media.content_type},
        timeout=timeouts(patience),
    )
    if not answer.ok:
        raise _refusal(answer, renewed=url != address())
    return _accepted(answer, body.sha256)


def _named(url: str, name: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}name={quote(name, safe='')}"


def _accepted(answer: requests.Response, sha256: str) -> dict[str, Any]:
    """Read the answer to a file that was taken. Raises :class:`TransferError` when it is not about our bytes."""
    told = _object(answer)
    if not isinstance(told.get("file_id"), str):
        raise TransferError("the site did not say where it keeps it")
    if told.get("sha256", sha256) != sha256:
        raise TransferError("it reached the site changed")
    return told


def _refusal(answer: requests.Response, *, renewed: bool) -> Exception:
    status = answer.status_code
    if status in LINK_OVER and not renewed:
        return TransferError(OVER)
    if status == NO_ROOM:
        return Passing("the site has no room left")
    if status in LINK_OVER or may_pass(status):
        return Passing(f"the site answered {status}")
    reason = "it is larger than the site takes" if status == TOO_LARGE else f"the site answered {status}"
    error = _object(answer).get("error")
    message = error.get("message") if isinstance(error, dict) else None
    return TransferError(f"{reason}: {message[:MAX_REASON]}" if isinstance(message, str) else reason)


def _object(answer: requests.Response) -> dict[str, Any]:
    try:
        told = answer.json()
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}
