"""Where connections come in: the listening socket, how many may be open, and what happens when files run out."""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import sys
import threading
import time
from typing import Any

from project.addresses import network
from project.at_once import AtOnce
from project.concurrency.bounds import Bounds, plain_answer
from project.concurrency.lines import dismiss
from project.concurrency.modes import give_way

BACKLOG = 4096
#: Files that are kept for everything but connections: the database, uploads, pages.
SPARE_FILES = 200
#: Seconds to wait when a connection cannot be taken, and those between two lines of the log about it.
PAUSE, LOG_PAUSE = 0.1, 10.0
#: A refused peer may stay for so many seconds to read why, and so many of them at once; others are cut at once.
LINGER, MOST_LINGERING = 1.0, 100
#: The listener itself is gone.
OVER = {errno.EBADF, errno.EINVAL, errno.ENOTSOCK}
#: A connection that was gone before it was taken.
PASSED = {errno.ECONNABORTED, errno.ECONNRESET, errno.EPROTO, errno.EPIPE, errno.ENOTCONN}

REFUSALS = {
    "each": plain_answer(429, "too_many", "Your address has as many open connections as it may have.", 5),
    "whole": plain_answer(503, "unavailable", "The site has as many open connections as it takes. Try again later.", 5),
}

logger = logging.getLogger(__name__)


class Door:
    """A listener that counts who comes in; whoever takes a connection from it says :meth:`left` at its end."""

    def __init__(self, listener: socket.socket, bounds: Bounds) -> None:
        self._listener = listener
        self._counts_addresses = bounds.per_address is not None
        self._sockets = AtOnce(bounds.per_address or sys.maxsize, _affordable(bounds.sockets))
        self._lock = threading.Lock()
        self._lingering = 0
        self._logged_at: float | None = None

    def __getattr__(self, name: str) -> Any:
        """Return what else a listener has."""
        return getattr(self._listener, name)

    def accept(self) -> tuple[Any, Any]:
        """Wait for the next connection that may come in. Raises :class:`OSError` when the listener is closed."""
        while True:
            found = self.accept_one()
            give_way()  # a flood of connections may not keep everybody else waiting
            if found:
                return found

    def accept_one(self) -> tuple[Any, Any] | None:
        """Take one connection, or none when it may not come in or cannot be taken; see :meth:`accept`."""
        try:
            connection, address = self._listener.accept()
        except OSError as error:
            if error.errno in OVER:
                raise
            if error.errno not in PASSED:
                self._pause(error)
            return None
        full = self._sockets.enter(self._holder(address))
        if full is None:
            return connection, address
        self._refuse(connection, REFUSALS[full])
        return None

    def left(self, address: Any) -> None:
        """Take note that a connection has ended."""
        self._sockets.leave(self._holder(address))

    def _holder(self, address: Any) -> str:
        """Return whose socket it is; behind a proxy all are the proxy's."""
        return network(address[0]) if self._counts_addresses else "all"

    def _pause(self, error: OSError) -> None:
        """Let others give something back: asking again at once would only burn time."""
        now = time.monotonic()
        if self._logged_at is None or now - self._logged_at > LOG_PAUSE:
            self._logged_at = now
            logger.warning("no connection can be taken (%s); %d are open", error.strerror, self._sockets.count())
        time.sleep(PAUSE)

    def _refuse(self, connection: Any, said: bytes) -> None:
        with self._lock:
            may_linger = self._lingering < MOST_LINGERING
            self._lingering += may_linger
        if may_linger:
            threading.Thread(target=self._linger, args=(connection, said), daemon=True, name="refusal").start()
            return
        with contextlib.suppress(OSError):
            connection.settimeout(0)
            connection.send(said)
        connection.close()

    def _linger(self, connection: Any, said: bytes) -> None:
        try:
            dismiss(connection, said, LINGER)
        finally:
            connection.close()
            with self._lock:
                self._lingering -= 1


def open_listener(host: str, port: int) -> socket.socket:
    """Open the listening socket: long backlog, no delay. Raises :class:`OSError` when the port is taken."""
    _raise_open_files_limit()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _raise_open_files_limit() -> None:
    """Use the whole allowance: each held connection is a file."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _affordable(sockets: int) -> int:
    """Return ``sockets``, or fewer when this process may not have as many open files."""
    if sys.platform == "win32":
        return sockets
    import resource

    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if files == resource.RLIM_INFINITY or files - SPARE_FILES >= sockets:
        return sockets
    most = max(1, files - SPARE_FILES)
    logger.warning("this process may open %d files, so it takes %d connections, not %d", files, most, sockets)
    return most
