"""Bodies that end in time: plain ones as a whole, uploads piece by piece, refused ones in a moment."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

from project.concurrency.lines import DRAIN_SECONDS, Incoming
from project.concurrency.modes import give_way
from project.errors import UploadStalled

MESSAGE = "What you sent came too slowly or stood still. Nothing of it was kept; try again."

logger = logging.getLogger(__name__)


class Body:
    """A body as the application reads it (PEP 3333, ``wsgi.input``).

    Reading raises :class:`UploadStalled` when the whole has not come in the time for plain bodies; the connection
    ends with the answer. Uploads are read with :func:`read_within` and have a time of their own.
    """

    def __init__(self, source: Any, incoming: Incoming) -> None:
        self._source = source
        self._incoming = incoming

    def read(self, size: int = -1) -> bytes:
        """Return up to ``size`` bytes; fewer only at the end."""
        return self._in_time(self._source.read, size)

    def readline(self, size: int = -1) -> bytes:
        """Return up to the next line end."""
        return self._in_time(self._source.readline, size)

    def readlines(self, _hint: int = -1) -> list[bytes]:
        """Return all lines."""
        return list(self)

    def __iter__(self) -> Iterator[bytes]:
        """Yield the lines."""
        return iter(self.readline, b"")

    def within(self, size: int, seconds: float) -> bytes:
        """Read with a time of its own. Raises :class:`TimeoutError`."""
        before, self._incoming.deadline = self._incoming.deadline, time.monotonic() + seconds
        try:
            return bytes(self._source.read(size))
        except TimeoutError:
            self._incoming.is_late = True
            raise
        finally:
            self._incoming.deadline = before

    def _in_time(self, read: Callable[[int], bytes], size: int) -> bytes:
        try:
            return bytes(read(size))
        except TimeoutError as error:
            self._incoming.is_late = True
            raise UploadStalled(MESSAGE) from error


def read_within(body: Any, size: int, seconds: float) -> bytes:
    """Return ``body.read(size)``, ``body`` being a ``wsgi.input``; fewer bytes only at its end.

    Raises :class:`TimeoutError` when that takes longer than ``seconds``.
    """
    return body.within(size, seconds) if isinstance(body, Body) else bytes(body.read(size))


def drained(source: Any, incoming: Incoming) -> bool:
    """Read and drop what is left of a body, for a while; say whether that was all of it."""
    if incoming.is_late:
        return False
    incoming.deadline = time.monotonic() + DRAIN_SECONDS
    try:
        while time.monotonic() < incoming.deadline:
            if not source.read(65_536):
                return True
            give_way()
    except (OSError, ValueError):
        logger.debug("a refused body could not be read to its end")
    return False
