"""One Socket.IO connection, from dialling to its loss. Never reused: a reconnect is a new link.

What the library does and this file hides: every event arrives in a thread of its own, sending is not thread-safe
and raises while disconnected, and both ends of a connection by the site are called ``server disconnect``, although
only a Socket.IO disconnect is meant for good (an Engine.IO close invites to come back).
"""

from __future__ import annotations

import logging
import re
import socket
import threading
from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import urlsplit

import socketio
from websocket import WebSocketBadStatusException, WebSocketTimeoutException

REQUEST_SECONDS = 5
CONNECT_SECONDS = 5
CLOSE_SECONDS = 2.0
PASSING_CODES = frozenset({"shutting_down", "database_away", "retry_later", "rate_limited", "unavailable"})
PASSING_WORDS = re.compile(r"restart|shutting down|try again", re.IGNORECASE)

logger = logging.getLogger(__name__)
#: The libraries print whole packets below this level, with tokens and signed addresses in them.
packets = logging.getLogger(f"{__name__}.packets")
packets.setLevel(logging.WARNING)

Ack = Callable[[dict[str, Any]], None]


class LinkEvents(Protocol):
    """Who is told, from any thread."""

    def opened(self, link: Link) -> None:
        """The site accepted the connection."""

    def failed(self, link: Link, message: str) -> None:
        """The connection did not come about; trying again may help."""

    def refused(self, link: Link, message: str) -> None:
        """The site refused the connection; trying again would not help."""

    def lost(self, link: Link) -> None:
        """The connection ended."""

    def received(self, link: Link, event: str, body: dict[str, Any]) -> None:
        """An event came."""


class _Client(socketio.Client):
    """Remembers a Socket.IO disconnect, even one that the loss of the transport overtakes."""

    ended_by_site = False

    def _handle_disconnect(self, namespace: str | None) -> None:
        self.ended_by_site = True
        super()._handle_disconnect(namespace)


class Link:
    """Dials ``host`` in a thread of its own and reports to ``events``."""

    HEARD = ("register_response", "inference_request", "inference_cancel", "queue_update")

    def __init__(self, host: str, token: str | None, events: LinkEvents) -> None:
        self._host = site_address(host)
        self._auth = {"token": token} if token else None
        self._events = events
        self._refusal: dict[str, Any] | None = None
        self._closed = False
        self._sio = _Client(
            reconnection=False,
            handle_sigint=False,
            request_timeout=REQUEST_SECONDS,
            logger=packets,
            engineio_logger=packets,
        )
        self._listen()

    def open(self) -> None:
        """Dial; the outcome comes as ``opened``, ``failed`` or ``refused``."""
        threading.Thread(target=self._dial, name="dial", daemon=True).start()

    def emit(self, event: str, body: Any, ack: Ack | None = None) -> bool:
        """Send an event; one thread at a time may. Returns ``False`` when there is no connection any more."""
        try:
            self._sio.emit(event, body, callback=_one_object(ack) if ack else None)
        except socketio.exceptions.SocketIOError:
            return False
        return True

    def alive(self) -> bool:
        """Return whether the connection stands, as far as this side knows."""
        return bool(self._sio.connected and self._sio.eio.state == "connected")

    def ended_by_site(self) -> bool:
        """Return whether the site disconnected this app for good. May become true shortly after the loss."""
        return self._sio.ended_by_site

    def close(self) -> None:
        """Say goodbye, within 2 s; a link that is still dialling ends by itself."""
        self._closed = True
        goodbye = threading.Thread(target=self._sio.disconnect, name="goodbye", daemon=True)
        goodbye.start()
        goodbye.join(CLOSE_SECONDS)

    def cut(self) -> None:
        """Break the transport without a word, as a failing network would."""
        ws = self._sio.eio.ws
        if ws and ws.sock:
            try:
                ws.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                logger.debug("The transport was gone already")

    def release(self) -> None:
        """Give the socket of a lost connection back; the library would leave that to the garbage collector."""
        ws = self._sio.eio.ws
        if ws:
            ws.shutdown()

    def _listen(self) -> None:
        for event in self.HEARD:
            self._sio.on(event, self._hearer(event))
        self._sio.on("probe", lambda *_body: {"alive": True})
        self._sio.on("connect_error", self._on_connect_error)
        self._sio.on("disconnect", self._on_disconnect)

    def _hearer(self, event: str) -> Callable[..., None]:
        """Return the listener of one event; its return is the delivery acknowledgement."""

        def hear(body: Any = None, *_more: Any) -> None:
            self._events.received(self, event, body if isinstance(body, dict) else {})

        return hear

    def _on_connect_error(self, data: Any = None, *_more: Any) -> None:
        # The site's refusal is an object; a transport error is a plain string.
        if isinstance(data, dict):
            self._refusal = data

    def _on_disconnect(self, *_reason: str) -> None:
        self._events.lost(self)

    def _dial(self) -> None:
        try:
            self._sio.connect(self._host, auth=self._auth, transports=["websocket"], wait_timeout=CONNECT_SECONDS)
        except Exception as error:  # whatever a stranger at that address answers, it is one failed try
            self._report(error)
        else:
            self._events.opened(self)
            if self._closed:
                self._sio.disconnect()

    def _report(self, error: Exception) -> None:
        if self._refusal is None:
            self._events.failed(self, describe(error, self._host))
            return
        message = str(self._refusal.get("message") or "The site refused the connection.")
        (self._events.failed if is_passing(self._refusal) else self._events.refused)(self, message)


def is_passing(refusal: dict[str, Any]) -> bool:
    """Return whether a refused connection may be accepted later: the site restarts, or its database is away."""
    details = refusal.get("data")
    code = details.get("code") if isinstance(details, dict) else None
    return code in PASSING_CODES or bool(PASSING_WORDS.search(str(refusal.get("message"))))


def site_address(host: str) -> str:
    """Return scheme, name and port of a site, nothing else. Raises :class:`ValueError` when it is none."""
    parts = urlsplit(host if "://" in host else f"http://{host}")
    if parts.scheme not in {"http", "https", "ws", "wss"} or not parts.hostname:
        raise ValueError(f"not the address of a site: {host!r}; it looks like http://localhost:5001")
    if "@" in parts.netloc or parts.query:
        raise ValueError("a token or password does not belong in the address: pass it as the token")
    return f"{parts.scheme}://{parts.netloc}"


def describe(error: BaseException, host: str) -> str:
    """Say in plain words why dialling failed: the deepest known cause of ``error``."""
    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) and cause not in causes:
        causes.append(cause)
    for cause in causes:
        if isinstance(cause, ConnectionRefusedError):
            return f"Connection refused: no site answers at {host}"
        if isinstance(cause, socket.gaierror):
            return f"Unknown host: {host}"
        if isinstance(cause, WebSocketBadStatusException):
            return f"{host} answered with HTTP status {cause.status_code}"
        if isinstance(cause, (TimeoutError, WebSocketTimeoutException)):
            return f"No answer in time from {host}"
    return f"Cannot connect to {host}: {causes[-1]}"


def _one_object(ack: Ack) -> Callable[..., None]:
    """Return a callback for whatever the other side acknowledges with."""

    def answered(body: Any = None, *_more: Any) -> None:
        ack(body if isinstance(body, dict) else {})

    return answered
