"""What downloads and uploads share: errors without addresses, patience, and one exchange with the site.

The addresses of files carry a signature that lets anybody in. The libraries below put addresses into their
exceptions and log lines; nothing of that leaves this file.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

import requests
import urllib3

T = TypeVar("T")

CHUNK = 256 * 1024
CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 30.0
LIBRARY_LOGS = ("urllib3.connectionpool", "urllib3.util.retry")
OVER = "the site's link to it is over"


class TransferError(Exception):
    """A file could not be fetched or sent. The message is for the request's user and names no address."""


class Passing(Exception):
    """One exchange failed; another try may succeed."""


class Cancel(Protocol):
    """What says that nobody waits any more."""

    def is_set(self) -> bool:
        """Return whether nobody waits any more."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait up to ``timeout`` seconds for it."""


class Patience:
    """How long transfers of one request may go on: ``seconds`` from now, and only while it is not cancelled."""

    def __init__(self, cancelled: Cancel, seconds: float) -> None:
        self._cancelled = cancelled
        self._until = time.monotonic() + seconds

    def extend(self, newer: Patience) -> None:
        """Take over the bound of a later attempt."""
        self._until = newer._until

    def left(self) -> float:
        """Return the seconds left, more than 0. Raises :class:`TransferError` when there are none."""
        if self._cancelled.is_set():
            raise TransferError("the request was cancelled")
        left = self._until - time.monotonic()
        if left <= 0:
            raise TransferError("the request's time is over")
        return left

    def pause(self, seconds: float, trouble: Passing) -> None:
        """Wait before the next try. Raises :class:`TransferError`, which names ``trouble``, when none can follow."""
        if self._cancelled.wait(min(seconds, self.left())):
            raise TransferError("the request was cancelled")
        if self._until <= time.monotonic():
            raise TransferError(f"{trouble}, and the request's time is over")


def new_http() -> requests.Session:
    """Return HTTP connections that send no credentials: the signature in the address is enough."""
    http = requests.Session()
    http.auth = _no_auth
    http.headers["Accept-Encoding"] = "identity"
    return http


def exchange(action: Callable[[], T]) -> T:
    """Run one exchange with the site.

    Whatever the HTTP library raises becomes :class:`Passing`, or :class:`TransferError` when the address is none;
    both without the address, and without the library's exception as their cause.
    """
    trouble: Exception
    with _quiet():
        try:
            return action()
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            trouble = _plain(error)
    raise trouble


def timeouts(patience: Patience) -> tuple[float, float]:
    """Return how long to wait for a connection and for each piece of an answer. Seconds."""
    left = patience.left()
    return min(CONNECT_SECONDS, left), min(SILENCE_SECONDS, left)


def may_pass(status: int) -> bool:
    """Return whether an HTTP status may be another one soon: too slow, too many, no room, or trouble at the site."""
    return status in (408, 429) or status >= 500


def _plain(error: Exception) -> Exception:
    if isinstance(error, ValueError):
        return TransferError("the site gave no usable address for it")
    if isinstance(error, (requests.Timeout, urllib3.exceptions.TimeoutError)):
        return Passing("the site did not answer in time")
    return Passing("the connection to the site broke")


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


class _WithoutQueries(logging.Filter):
    """Cuts the query out of addresses in the library's records about this package's exchanges."""

    def filter(self, record: logging.LogRecord) -> bool:
        if getattr(_here, "exchanging", False) and isinstance(record.args, tuple):
            record.args = tuple(arg.partition("?")[0] if isinstance(arg, str) else arg for arg in record.args)
        return True


_here = threading.local()
for _name in LIBRARY_LOGS:
    logging.getLogger(_name).addFilter(_WithoutQueries())


@contextmanager
def _quiet() -> Iterator[None]:
    _here.exchanging = True
    try:
        yield
    finally:
        _here.exchanging = False
