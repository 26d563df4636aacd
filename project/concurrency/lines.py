"""Both directions of a connection: reads that end at a deadline, and writes that end with whoever does not read.

A socket's own timeout starts anew with each byte. Here it is set before each read to what is left of the whole, so
that dripping gains nothing; and a write goes on as long as the peer takes anything at all, however slowly.
"""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from project.concurrency.bounds import Bounds, plain_answer
from project.concurrency.heads import MAX_HEAD, MAX_HEADERS, MAX_LINE, HeadRefused, check_head
from project.concurrency.modes import give_way

try:
    from fcntl import ioctl
    from termios import TIOCOUTQ
except ImportError:  # no such thing on Windows: there a peer must take something of each write in time
    ioctl = None  # type: ignore[assignment]

#: For how long what a refused peer still sends is read and dropped, so that it gets to see the answer.
DRAIN_SECONDS = 2.0
#: Empty lines before a request line (RFC 9112, 2.2, has one in mind).
MAX_EMPTY = 2

logger = logging.getLogger(__name__)


class _Raw(io.RawIOBase):
    """The bytes that come, until ``deadline`` (on the monotonic clock; None: for ever)."""

    def __init__(self, connection: Any) -> None:
        self._sock = connection  # simple-websocket looks for this name
        self.deadline: float | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = None if self.deadline is None else self.deadline - time.monotonic()
        if left is not None and left <= 0:
            raise TimeoutError("the time for these bytes is over")
        self._sock.settimeout(left)
        return int(self._sock.recv_into(buffer))


class Incoming(io.BufferedReader):
    """What a peer sends: heads that were read and checked as a whole, and bodies."""

    def __init__(self, connection: Any) -> None:
        self._source = _Raw(connection)
        super().__init__(self._source)
        self._opened = time.monotonic()
        self._head: deque[bytes] = deque()
        self._has_begun = False
        #: Whether a body did not come in time: nothing that follows on this connection is read.
        self.is_late = False

    @property
    def deadline(self) -> float | None:
        """Until when reads wait, on the monotonic clock; then they raise :class:`TimeoutError`."""
        return self._source.deadline

    @deadline.setter
    def deadline(self, deadline: float | None) -> None:
        self._source.deadline = deadline

    def take_head(self, bounds: Bounds) -> bytes | None:
        """Wait for the next request and read its head, which :meth:`readline` then hands out.

        Returns None when there is one, else what to answer before the connection ends: nothing when the peer has
        left or never began.
        """
        self._head.clear()
        if self.is_late:
            return b""
        begun = False
        try:
            self._await_request(bounds)
            begun = True
            self._head.extend(self._read_head())
        except TimeoutError:
            return plain_answer(408, "request_timeout", "The request did not come in time.") if begun else b""
        except HeadRefused as refused:
            code = "bad_request" if refused.status == 400 else "too_large"
            return plain_answer(refused.status, code, refused.message)
        except (OSError, EOFError):
            return b""
        self.deadline = time.monotonic() + bounds.body
        return None

    def _await_request(self, bounds: Bounds) -> None:
        """Wait for the first byte; a new connection has no time to spare for that. Raises :class:`EOFError`."""
        self.deadline = time.monotonic() + bounds.idle if self._has_begun else self._opened + bounds.head
        if not self.peek(1):
            raise EOFError
        if self._has_begun:
            self.deadline = time.monotonic() + bounds.head
        self._has_begun = True

    def _read_head(self) -> Sequence[bytes]:
        lines: list[bytes] = []
        size = empty = 0
        while True:
            line = super().readline(MAX_LINE)
            size += len(line)
            if not line.endswith(b"\n"):
                self._refuse_unended(line, is_first=not lines)
            elif line.strip(b"\r\n"):
                lines.append(line)
            elif lines:
                check_head(lines)
                return [*lines, line]
            else:
                empty += 1
            if size > MAX_HEAD or len(lines) > MAX_HEADERS + 1:
                raise HeadRefused(431, "The headers are more than this site takes.")
            if empty > MAX_EMPTY:
                raise HeadRefused(400, "This is not a request line of HTTP/1.")

    def _refuse_unended(self, line: bytes, *, is_first: bool) -> None:
        if len(line) < MAX_LINE:
            raise EOFError
        if is_first:
            raise HeadRefused(414, "The address is longer than this site takes.")
        raise HeadRefused(431, "A header is longer than this site takes.")

    def readline(self, size: int | None = -1, /) -> bytes:
        """Return the next line of the head; after that any line, of a bounded length when no size is asked for.

        Raises :class:`OSError` when such a line has no end: the servers read the lines between chunks in this way.
        """
        if self._head:
            return self._head.popleft()
        if size is not None and size >= 0:
            return super().readline(size)
        line = super().readline(MAX_LINE)
        if len(line) == MAX_LINE and not line.endswith(b"\n"):
            raise OSError("a line of the body has no end")
        return line


class Outgoing:
    """A connected socket whose writes are whole, one at a time, and end when the peer takes nothing for too long.

    Everything else is the socket's. After a write that ended early each further one raises
    :class:`BrokenPipeError` at once, and reads are at their end. simple-websocket sends by ``send``: where the socket
    has a timeout, that of a plain socket takes a part of a message and loses the rest.
    """

    def __init__(self, connection: Any, stall: float | None) -> None:
        """``stall`` is in seconds; None: the socket's own timeout, which reads on other threads share."""
        self._connection = connection
        self._stall = stall
        self._lock = threading.Lock()
        self._is_cut = False

    def __getattr__(self, name: str) -> Any:
        """Return what else a socket has."""
        return getattr(self._connection, name)

    def sendall(self, data: Any) -> None:
        """Send all of ``data``. Raises :class:`BrokenPipeError` when the peer does not take it."""
        with self._lock, memoryview(data) as left:
            sent = 0
            while sent < len(left) and not self._is_cut:
                try:
                    sent += self._send_some(left[sent:])
                except OSError:
                    self.cut()
            if sent < len(left):
                raise BrokenPipeError(errno.EPIPE, "the peer does not read")

    def send(self, data: Any) -> int:
        """Send all of ``data`` too, and return its length."""
        self.sendall(data)
        return len(data)

    def _send_some(self, data: memoryview) -> int:
        """Send what fits, once something does. Raises :class:`TimeoutError` when the peer took nothing meanwhile."""
        before = self._untaken()
        while True:
            try:
                if self._stall is not None:
                    self._connection.settimeout(self._stall)
                return int(self._connection.send(data))
            except TimeoutError:
                last, before = before, self._untaken()
                if last is None or before is None or before >= last:
                    raise

    def _untaken(self) -> int | None:
        """Return how many bytes the peer has not taken yet, or None where nobody knows."""
        if ioctl is None:
            return None
        try:
            return int(struct.unpack("i", ioctl(self._connection.fileno(), TIOCOUTQ, bytes(4)))[0])
        except (OSError, ValueError):  # the latter for a socket that was closed meanwhile
            return None

    def cut(self) -> None:
        """End both directions; the socket itself is closed by whoever opened it."""
        self._is_cut = True
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)


class OutgoingFile:
    """The same as the file that Python's HTTP handlers write to; nothing is held back."""

    closed = False

    def __init__(self, outgoing: Outgoing) -> None:
        self._outgoing = outgoing

    def write(self, data: Any) -> int:
        """Send all of ``data``."""
        return self._outgoing.send(data)

    def writelines(self, pieces: Sequence[bytes]) -> None:
        """Send the pieces as one."""
        self._outgoing.sendall(b"".join(pieces))

    def flush(self) -> None:
        """Everything is under way already."""

    def close(self) -> None:
        """The socket is closed by whoever opened it."""


def dismiss(connection: Any, said: bytes, seconds: float = DRAIN_SECONDS) -> None:
    """Say a last word, and read for a moment what still comes, so that the peer gets to see it."""
    deadline = time.monotonic() + seconds
    with contextlib.suppress(OSError):
        connection.settimeout(seconds)
        connection.sendall(said)
        connection.shutdown(socket.SHUT_WR)
        while (left := deadline - time.monotonic()) > 0:
            connection.settimeout(left)
            if not connection.recv(65_536):
                return
            give_way()
