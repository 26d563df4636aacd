"""Fetching a user's file: streamed to disk, resumed after a broken connection, checked at the end."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Self

import requests

from spaces_app.backoff import Backoff
from spaces_app.input_file import InputFile
from spaces_app.transfer import CHUNK, OVER, Passing, Patience, TransferError, exchange, may_pass, timeouts

MAX_MISMATCHES = 2
PARTIAL = 206
RANGE_REFUSED = 416
LINK_OVER = (403, 404)

logger = logging.getLogger(__name__)


def download(http: requests.Session, file: InputFile, target: Path, patience: Patience) -> None:
    """Fetch ``file`` to ``target``. Raises :class:`TransferError` when it cannot be had as it was announced."""
    backoff, mismatches = Backoff(), 0
    with Arriving(target) as arriving:
        while True:
            before = arriving.size
            try:
                exchange(partial(_take, http, file, arriving, patience))
            except Passing as trouble:
                logger.info("%r: %s at byte %d of %d", file.name, trouble, arriving.size, file.size)
                if arriving.size > before:
                    backoff.reset()
                patience.pause(backoff.next(), trouble)
                continue
            if arriving.is_whole(file):
                return
            mismatches += 1
            if mismatches == MAX_MISMATCHES:
                raise TransferError("it arrived changed")
            arriving.restart()


class Arriving:
    """A file that arrives at ``path``: how much is there, and the hash of that."""

    def __init__(self, path: Path) -> None:
        with _kept_here():
            self._file = path.open("wb")
        self.restart()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Close the file, whole or not."""
        self._file.close()

    def restart(self) -> None:
        """Forget what has arrived."""
        with _kept_here():
            self._file.seek(0)
            self._file.truncate()
        self.size, self._hash = 0, hashlib.sha256()

    def add(self, chunk: bytes) -> None:
        """Put ``chunk`` at the end."""
        with _kept_here():
            self._file.write(chunk)
        self.size += len(chunk)
        self._hash.update(chunk)

    def is_whole(self, file: InputFile) -> bool:
        """Return whether all of ``file`` is there, unchanged, and on the disk."""
        with _kept_here():
            self._file.flush()
        return (self.size, self._hash.hexdigest()) == (file.size, file.sha256)


def _take(http: requests.Session, file: InputFile, arriving: Arriving, patience: Patience) -> None:
    """Ask for what is missing and take it; returns when nothing more is to come."""
    url = file.url
    wanted = {"Range": f"bytes={arriving.size}-", "If-Range": f'"{file.sha256}"'} if arriving.size else {}
    with http.get(url, headers=wanted, stream=True, timeout=timeouts(patience)) as answer:
        _check(answer, arriving, renewed=url != file.url)
        # read1 gives what has come, so that little is lost by a cut, and a trickle is seen to be one.
        while chunk := answer.raw.read1(CHUNK):
            patience.left()
            arriving.add(chunk)
            if arriving.size > file.size:
                return
    if arriving.size < file.size:
        raise Passing("the connection to the site broke")


def _check(answer: requests.Response, arriving: Arriving, *, renewed: bool) -> None:
    """Make ready for the answer's bytes. Raises what its status means when it has none."""
    status = answer.status_code
    if status == PARTIAL and answer.headers.get("Content-Range", "").startswith(f"bytes {arriving.size}-"):
        return
    if status in (PARTIAL, RANGE_REFUSED):
        arriving.restart()
        raise Passing("the site sent another piece than was asked for")
    if status in LINK_OVER and not renewed:
        raise TransferError(OVER)
    if status in LINK_OVER or may_pass(status):
        raise Passing(f"the site answered {status}")
    if not answer.ok:
        raise TransferError(f"the site answered {status}")
    arriving.restart()


@contextmanager
def _kept_here() -> Iterator[None]:
    """Turn trouble with this computer's disk into a plain message."""
    try:
        yield
    except OSError as error:
        raise TransferError(f"it cannot be kept on the app's computer: {error.strerror}") from None
