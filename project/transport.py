"""What the wire needs beyond plain Socket.IO: probes, closed transports, late acks, refused binary packets.

Flask-SocketIO hands events to :mod:`project.websocket_handler`; this module sits one layer below, at the
Engine.IO messages, because some peers never produce an event. Measured with python-socketio 5.18 and
python-engineio 4.15:

* A peer may announce binary attachments and never send them, so the first binary packet closes the transport.
* ``connect`` and ``disconnect`` would reach the server's own handlers when a peer emits events of these names.
* A Socket.IO *disconnect* stops the official clients for good; a closed *transport* makes them reconnect.
* An extra Engine.IO ping does no harm: a pong restarts the heartbeat only when one is outstanding.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from engineio import packet as engine_packet
from flask_socketio import SocketIO
from socketio import packet as socket_packet

from project.config import Settings
from project.engine_sockets import EngineSockets
from project.file_links import FileLinks
from project.messages import request_body
from project.oversized import watch_packets, watch_posts
from project.polling_posts import read_posts_first

logger = logging.getLogger(__name__)

NAMESPACE = "/"
RESERVED_EVENTS = frozenset({"connect", "disconnect", "connect_error", "*"})
UNDERSTOOD = frozenset({socket_packet.CONNECT, socket_packet.DISCONNECT, socket_packet.EVENT, socket_packet.ACK})
#: Seconds between a Socket.IO disconnect and closing the transport of a peer that stays.
LINGER = 5.0
#: An event of the site's namespace, and the id under which it wants its answer, if any.
UNREADABLE_EVENT = re.compile(r"2(?:/,)?([0-9]{0,15})\[")


def longest_packet(settings: Settings) -> int:
    """Return the bytes of the longest packet that is read: what is longer than an event may be, can still be named."""
    return 4 * settings.max_event_kb * 1000


class SocketTransport:
    """Speaks to connections by the id that the manager knows them by."""

    def __init__(self, socketio: SocketIO, links: FileLinks, settings: Settings) -> None:
        self._socketio = socketio
        self._links = links
        self._settings = settings
        self._largest = longest_packet(settings)
        self._server: Any = socketio.server
        self._sockets = EngineSockets(
            self._server,
            most_waiting=settings.max_unauthenticated_sockets,
            events_per_second=settings.events_per_second,
        )
        self._lock = threading.Lock()
        self._sids: dict[str, str] = {}
        self._tokens: dict[str, int | None] = {}
        self._bases: dict[str, str] = {}
        self._since: dict[str, float] = {}
        self._pongs: dict[str, list[threading.Event]] = {}
        self._ack_ids: dict[str, int | None] = {}
        self._sizes: dict[str, int] = {}
        self._server.eio.on("message", self._on_message)
        #: Told the connection and the beginning of a packet that was too long to be read, before that ends it.
        self.on_oversized: Callable[[str, str], None] = lambda _connection_id, _head: None
        watch_packets(self._server.eio, self._largest, self._oversized)
        read_posts_first(self._server.eio, self._largest)

    # Who is there

    def opened(self, connection_id: str, sid: str, token_id: int | None, base: str) -> None:
        """Remember a new connection, its token and the site's address as it knows it, and listen for its pongs."""
        with self._lock:
            self._sids[connection_id] = sid
            self._tokens[connection_id] = token_id
            self._bases[connection_id] = base
            self._since[connection_id] = time.monotonic()
        self._sockets.joined(self._engine_sid(sid))
        self._listen_below(self._engine_sid(sid))

    def closed(self, connection_id: str) -> None:
        """Forget a connection that is gone."""
        with self._lock:
            sid = self._sids.pop(connection_id, None)
            self._tokens.pop(connection_id, None)
            self._bases.pop(connection_id, None)
            self._since.pop(connection_id, None)
            engine_sid = self._engine_sid(sid) if sid else None
            self._pongs.pop(engine_sid or "", None)
        self._sockets.left(engine_sid)

    def is_open(self, connection_id: str) -> bool:
        """Whether the connection is still there."""
        return connection_id in self._sids

    def of_token(self, token_id: int | None) -> list[str]:
        """Return the connections that a token opened (None: without a token), also those that serve nothing."""
        with self._lock:
            return [connection_id for connection_id, opener in self._tokens.items() if opener == token_id]

    def close_idle(self, serves: Callable[[str], bool]) -> None:
        """Close what has not authenticated in time, or then not registered: what ``serves`` nothing."""
        for engine_sid in self._sockets.overdue(self._settings.join_timeout):
            self._close_engine(engine_sid)
        before = time.monotonic() - self._settings.join_timeout
        with self._lock:
            old = [connection_id for connection_id, since in self._since.items() if since < before]
        for connection_id in old:
            if not serves(connection_id):
                self.close(connection_id)

    # Speaking

    def send(
        self, connection_id: str, event: str, body: dict[str, Any], on_ack: Callable[[], None] | None = None
    ) -> None:
        """Put an event into the connection's queue; it never blocks. A connection that is gone is passed over."""
        sid = self._sids.get(connection_id)
        if sid is None:
            return
        callback = (lambda *_: on_ack()) if on_ack else None
        self._server.emit(event, body, to=sid, namespace=NAMESPACE, callback=callback)

    def send_request(
        self, connection_id: str, row: Mapping[str, Any], queue_size: int, on_ack: Callable[[], None] | None
    ) -> None:
        """Hand a claimed request to the connection."""
        body = request_body(row, queue_size, self._links, self._bases.get(connection_id, ""))
        self.send(connection_id, "inference_request", body, on_ack)

    def acknowledge(self, sid: str, ack_id: int | None, body: dict[str, Any]) -> None:
        """Answer an event later than its handler returned."""
        engine_sid = self._engine_sid(sid)
        if ack_id is None or engine_sid is None:
            return
        packet = self._server.packet_class(socket_packet.ACK, namespace=NAMESPACE, id=ack_id, data=[body])
        self._server._send_packet(engine_sid, packet)

    def late(self) -> Any:
        """What a handler returns to say that :meth:`acknowledge` will answer."""
        return self._server.not_handled

    def ack_id(self, sid: str) -> int | None:
        """Return the id under which the event being handled wants its answer, or None when it wants none."""
        return self._ack_ids.get(self._engine_sid(sid) or "")

    def size(self, sid: str) -> int:
        """Return the length of the event being handled, in characters of its JSON."""
        return self._sizes.get(self._engine_sid(sid) or "", 0)

    # Ending

    def close(self, connection_id: str) -> None:
        """Close the transport: the app's library notices and reconnects."""
        sid = self._sids.get(connection_id)
        engine_sid = self._engine_sid(sid) if sid else None
        if engine_sid:
            self._close_engine(engine_sid)

    def hang_up(self, sid: str) -> None:
        """Close the transport of a peer that is just connecting: after a refusal, some libraries never come back."""
        if engine_sid := self._engine_sid(sid):
            self._close_engine(engine_sid)

    def dismiss(self, connection_id: str) -> None:
        """Send a Socket.IO disconnect: the app's library stops. The transport follows if the peer stays."""
        sid = self._sids.get(connection_id)
        engine_sid = self._engine_sid(sid) if sid else None
        if not engine_sid:
            return
        self._server.disconnect(sid, namespace=NAMESPACE)
        self._socketio.start_background_task(self._close_later, engine_sid)

    def _close_later(self, engine_sid: str) -> None:
        self._socketio.sleep(LINGER)
        self._close_engine(engine_sid)

    def _close_engine(self, engine_sid: str) -> None:
        """Close one Engine.IO socket; the disconnect handler runs in a thread of its own (see the handler)."""
        socket = self._server.eio.sockets.get(engine_sid)
        if socket and not socket.closed:
            socket.close(wait=False)

    # Probing

    def probe(self, connection_id: str, with_event: bool, timeout: float) -> bool:
        """Ask for a sign of life: an Engine.IO ping, and for apps that declared acks the event ``probe`` too.

        Waits up to ``timeout`` seconds; call it outside every lock and every read loop.
        """
        sid = self._sids.get(connection_id)
        engine_sid = self._engine_sid(sid) if sid else None
        socket = self._server.eio.sockets.get(engine_sid) if engine_sid else None
        if not engine_sid or not socket or socket.closed:
            return False
        pong, acked = threading.Event(), threading.Event()
        with self._lock:
            self._pongs.setdefault(engine_sid, []).append(pong)
        try:
            socket.send(engine_packet.Packet(engine_packet.PING))
            if with_event:
                self.send(connection_id, "probe", {}, on_ack=acked.set)
                return acked.wait(timeout)
            return pong.wait(timeout)
        finally:
            with self._lock:
                self._pongs.get(engine_sid, [pong]).remove(pong)

    def _listen_below(self, engine_sid: str | None) -> None:
        socket = self._server.eio.sockets.get(engine_sid) if engine_sid else None
        if socket is None:
            return
        receive = socket.receive

        def receive_and_note(packet: Any) -> None:
            if packet.packet_type == engine_packet.PONG:
                with self._lock:
                    waiting = list(self._pongs.get(engine_sid or "", ()))
                for event in waiting:
                    event.set()
            receive(packet)

        socket.receive = receive_and_note
        watch_posts(socket, self._largest, self._oversized)

    # Listening below the events

    def _oversized(self, engine_sid: str, head: str) -> None:
        logger.warning("connection closed: a packet was longer than the site reads")
        with self._lock:
            found = [id_ for id_, sid in self._sids.items() if self._engine_sid(sid) == engine_sid]
        for connection_id in found:
            self.on_oversized(connection_id, head)

    def _on_message(self, engine_sid: str, data: object) -> None:
        """Look at every Engine.IO message before python-socketio does."""
        if not self._sockets.admits(engine_sid):
            logger.warning("connection closed: more packets a second than the site reads")
            self._close_engine(engine_sid)
            return
        if isinstance(data, bytes) or (isinstance(data, str) and data[:1] in ("5", "6")):
            logger.warning("connection closed: binary packets are not taken (media travel over HTTP)")
            self._close_engine(engine_sid)
            return
        if not isinstance(data, str):
            logger.warning("connection closed: a message was JSON in place of a packet")
            self._close_engine(engine_sid)
            return
        packet = self._read(data)
        if packet is None and (event := UNREADABLE_EVENT.match(data)):
            self._answer_unread(engine_sid, event[1])
        elif packet is None:
            logger.warning("connection closed: a packet could not be read")
            self._close_engine(engine_sid)
        elif packet.packet_type == socket_packet.EVENT:
            self._on_event(engine_sid, packet, len(data))
        else:
            self._server._handle_eio_message(engine_sid, data)

    def _read(self, data: str) -> Any:
        """Decode a packet; None when there is no sense in it."""
        try:
            packet = self._server.packet_class(encoded_packet=data)
        except (ValueError, TypeError, IndexError, RecursionError):
            return None
        is_sound = packet.packet_type in UNDERSTOOD and (
            packet.packet_type != socket_packet.ACK or isinstance(packet.data, list)
        )
        return packet if is_sound else None

    def _answer_unread(self, engine_sid: str, ack_id: str) -> None:
        """Answer an event of the site's namespace whose body is no JSON, or is nested too deeply to be read."""
        sid = self._server.manager.sid_from_eio_sid(engine_sid, NAMESPACE)
        if sid and ack_id:
            self.acknowledge(sid, int(ack_id), {"code": "invalid", "message": "The event is not readable JSON."})

    def _on_event(self, engine_sid: str, packet: Any, size: int) -> None:
        self._ack_ids[engine_sid], self._sizes[engine_sid] = packet.id, size
        try:
            name = packet.data[0] if isinstance(packet.data, list) and packet.data else None
            if not isinstance(name, str) or name in RESERVED_EVENTS:
                packet.data = ["invalid event"]
            self._server._handle_event(engine_sid, packet.namespace, packet.id, packet.data)
        finally:
            self._ack_ids.pop(engine_sid, None)
            self._sizes.pop(engine_sid, None)

    def _engine_sid(self, sid: str) -> str | None:
        found: str | None = self._server.manager.eio_sid_from_sid(sid, NAMESPACE)
        return found
