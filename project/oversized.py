"""Packets that are too long to be read: cut with little memory, and told of with their first bytes.

python-engineio ends such a connection without a word, and with simple-websocket it would even read on. Whoever
is told can see in the beginning which request the packet was about. This leans on python-engineio 4.15,
eventlet 0.41 and simple-websocket 1.1 (decision 0004).
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

from project.concurrency import Outgoing, read_within
from project.simple_sockets import end, hold_back
from project.unread import bound_unread

#: Characters of the packet's beginning that are looked at.
HEAD = 4_096
PEEK_SECONDS = 1.0
#: How a packet begins in a WebSocket's text (Engine.IO protocol 4).
PACKET_TYPES = "0123456"
#: Bytes that a fragment costs beside its content, and how many (and pieces of a frame) a message may have for free.
FRAGMENT_COST, FRAGMENTS = 64, 10_000
#: RFC 6455, 7.4.1: "message too big".
TOO_BIG = 1009

#: Told the Engine.IO id and the beginning of the packet, which may be empty.
Told = Callable[[str, str], None]


def watch_packets(engine: Any, largest: int, told: Told) -> None:
    """Tell of every WebSocket packet longer than ``largest`` that reaches the Engine.IO server ``engine``."""
    make = engine._async["websocket"]

    def watched(handler: Any, server: Any) -> Any:
        socket = handler.__self__

        def handle(ws: Any) -> Any:
            bound_unread(socket)
            return handler(_Watched(ws, largest, lambda head: told(socket.sid, head), lambda: bool(socket.closed)))

        return make(handle, server)

    # The dictionary belongs to the library and is shared by all its servers.
    engine._async = {**engine._async, "websocket": watched}


def watch_posts(socket: Any, largest: int, told: Told) -> None:
    """Tell of a long-polling body longer than ``largest`` on one Engine.IO socket; the library then refuses it."""
    handle = socket.handle_post_request

    def handle_and_tell(environ: dict[str, Any]) -> Any:
        if int(environ.get("CONTENT_LENGTH") or 0) > largest:
            told(socket.sid, _text(_beginning(environ)))
        return handle(environ)

    socket.handle_post_request = handle_and_tell


def _beginning(environ: dict[str, Any]) -> bytes:
    """Return the first bytes of a body, or none when they do not come soon."""
    try:
        return read_within(environ["wsgi.input"], HEAD, PEEK_SECONDS)
    except OSError:
        return b""


class _Watched:
    """A WebSocket as python-engineio uses it. ``socket`` is what it sets a timeout on."""

    def __init__(self, ws: Any, largest: int, told: Callable[[str], None], is_closed: Callable[[], bool]) -> None:
        self._ws = ws
        self._is_closed = is_closed
        self._taken: Callable[[], None] = lambda: None
        self._largest = largest
        self._told = told
        self._has_told = False
        self._inner = getattr(ws, "ws", None)  # simple-websocket has one, eventlet's is the socket itself
        if self._inner is not None:
            self._inner.max_message_size = largest
            self.socket = self._inner.sock = Outgoing(self._inner.sock, None)
            self.close = partial(end, self._inner)
            self._taken = hold_back(self._inner)
            _end_at_once(self._inner)
        else:
            ws.socket = Outgoing(ws.socket, None)
            self._close = ws.close
            ws.close = self._closing
            failed = sys.modules[type(ws).__module__].FailedConnectionError
            ws.Message = partial(_bounded(type(ws).Message, failed, largest), self._told_of_fragments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ws, name)

    def wait(self) -> Any:
        """Return the next packet, or None at the end; what is no packet at all is the end too."""
        if self._is_closed():
            return None  # the library would take whatever else has come
        data = self._ws.wait()
        self._taken()
        if data is None and self._inner is not None and self._inner.incoming_message_len > self._largest:
            self._told(_text(self._inner.incoming_message or ""))
        elif data is not None and len(data) > self._largest:
            self._told(_text(data))
        return data if _is_packet(data) else None

    def _closing(self, close_data: tuple[int, str] | None = None) -> None:
        """End it; first look at a frame that eventlet refused by its announced length: none of it has been read yet."""
        if close_data and close_data[0] == TOO_BIG and not self._has_told:
            self._told(_text(_peek(self._ws.socket)))
        self._close(close_data)

    def _told_of_fragments(self, head: bytes) -> None:
        self._has_told = True
        self._told(_text(head))


@lru_cache(maxsize=4)
def _bounded(message: Any, failed: type[Exception], largest: int) -> type:
    """Return eventlet's class of a message, bounded as a whole: by itself it bounds each fragment alone."""

    class Bounded(message):
        def __init__(self, told: Callable[[bytes], None], *args: Any, **named: Any) -> None:
            super().__init__(*args, **named)
            self._told = told
            self._size = 0

        def push(self, data: bytes, final: bool = False) -> None:
            self._size += len(data) + FRAGMENT_COST
            if self._size > largest + FRAGMENTS * FRAGMENT_COST:
                self._told(b"".join(self.data)[:HEAD])
                raise failed(TOO_BIG, "The message is too long.")
            super().push(data, final)

    return Bounded


def _end_at_once(inner: Any) -> None:
    """Let simple-websocket end when it refuses a message: it wakes its reader before it says that it is over."""
    handle = inner._handle_events

    def handle_and_wake() -> bool:
        goes_on: bool = handle()
        if not goes_on:
            inner.connected = False
            inner.event.set()
        return goes_on

    inner._handle_events = handle_and_wake


def _peek(socket: Any) -> bytes:
    """Return the first bytes of the frame whose length has just been read: a mask of four, then masked bytes."""
    deadline, raw = time.monotonic() + PEEK_SECONDS, b""
    with contextlib.suppress(OSError):
        while len(raw) < HEAD and (left := deadline - time.monotonic()) > 0:
            socket.settimeout(left)
            more = socket.recv(HEAD)
            if not more:
                break
            raw += more
    mask, masked = raw[:4], raw[4:]
    return bytes(byte ^ mask[place % 4] for place, byte in enumerate(masked))


def _is_packet(data: str | bytes | None) -> bool:
    """Whether the Engine.IO server can tell what kind of packet it is; for others it would raise where nobody looks."""
    return bool(data) and (not isinstance(data, str) or data[0] in PACKET_TYPES)


def _text(data: str | bytes | bytearray) -> str:
    head = data[:HEAD]
    return head if isinstance(head, str) else bytes(head).decode("utf-8", "replace")
