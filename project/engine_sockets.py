"""Engine.IO sockets before and below Socket.IO: how many may be open without having joined, for how long, how loud.

A socket *joins* when its Socket.IO connect was accepted, that is when its app has authenticated.
This leans on python-engineio 4.15 and python-socketio 5.18 (decision 0004).
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

from project.errors import Unavailable
from project.event_rate import EventRate

#: Packets of any kind that a socket may send for each event that it may send, before it is cut.
PACKETS_PER_EVENT = 5


class _Socket:
    """What is known of one socket; ``opened`` is on the monotonic clock."""

    def __init__(self, opened: float, packets_per_second: float) -> None:
        self.opened = opened
        self.has_joined = False
        self.rate = EventRate(packets_per_second)


class EngineSockets:
    """Watches the sockets of one Socket.IO server from their handshake to their end."""

    def __init__(
        self,
        server: Any,
        *,
        most_waiting: int,
        events_per_second: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._server = server
        self._most_waiting = most_waiting
        self._packets_per_second = PACKETS_PER_EVENT * events_per_second
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._sockets: dict[str, _Socket] = {}
        self._waiting = 0
        self._handle_request = server.eio.handle_request
        server.eio.on("connect", self._on_connect)
        server.eio.on("disconnect", self._on_disconnect)
        server.eio.handle_request = self._on_request
        server.eio.disconnect = self._end

    def joined(self, engine_sid: str | None) -> None:
        """Take note that a socket has authenticated."""
        with self._lock:
            socket = self._sockets.get(engine_sid or "")
            if socket and not socket.has_joined:
                socket.has_joined = True
                self._waiting -= 1

    def left(self, engine_sid: str | None) -> None:
        """Take note that a peer said goodbye to Socket.IO; its socket, if it stays, counts as a new one."""
        with self._lock:
            socket = self._sockets.get(engine_sid or "")
            if socket and socket.has_joined:
                socket.has_joined, socket.opened = False, self._monotonic()
                self._waiting += 1

    def overdue(self, seconds: float) -> list[str]:
        """Return the sockets that have been open for longer than that without joining."""
        before = self._monotonic() - seconds
        with self._lock:
            return [sid for sid, socket in self._sockets.items() if not socket.has_joined and socket.opened < before]

    def admits(self, engine_sid: str) -> bool:
        """Count a packet, and say whether the socket may send so many."""
        socket = self._sockets.get(engine_sid)
        return socket is None or socket.rate.admits(self._monotonic())

    def _on_connect(self, engine_sid: str, environ: dict[str, Any]) -> Any:
        with self._lock:
            self._sockets[engine_sid] = _Socket(self._monotonic(), self._packets_per_second)
            self._waiting += 1
        return self._server._handle_eio_connect(engine_sid, environ)

    def _on_disconnect(self, engine_sid: str, reason: Any) -> None:
        with self._lock:
            socket = self._sockets.pop(engine_sid, None)
            if socket and not socket.has_joined:
                self._waiting -= 1
        self._server._handle_eio_disconnect(engine_sid, reason)

    def _end(self, engine_sid: str) -> None:
        """End a socket at once; the library would wait, perhaps for ever, until its peer has taken the last words."""
        if socket := self._server.eio.sockets.get(engine_sid):
            socket.close(wait=False)
            self._server.eio.sockets.pop(engine_sid, None)

    def _on_request(self, environ: dict[str, Any], start_response: Any) -> Any:
        """Refuse a handshake while too many others have not joined yet."""
        # One received piece could be inflated a thousand times before anybody counts: packets come as they are.
        environ.pop("HTTP_SEC_WEBSOCKET_EXTENSIONS", None)
        is_handshake = "sid" not in parse_qs(environ.get("QUERY_STRING", ""))
        if is_handshake and self._waiting >= self._most_waiting:
            refused = Unavailable("Too many sockets have not authenticated yet. Try again in a moment.")
            said = {"code": refused.code, "message": refused.message, "details": None}
            start_response("503 Service Unavailable", [("Content-Type", "application/json"), ("Retry-After", "1")])
            return [json.dumps({"error": said}).encode()]
        return self._handle_request(environ, start_response)
