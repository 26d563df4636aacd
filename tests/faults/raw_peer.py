"""A peer that speaks raw packets, as no library would."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from typing import Any

import websocket

from tests.faults.apps import SECONDS


class RawPeer:
    """Speaks Engine.IO packets over a WebSocket, so that nothing is put right by a library."""

    def __init__(
        self, url: str, token: str | None = None, *, join: bool = True, query: str = "", **options: Any
    ) -> None:
        address = url.replace("http", "ws", 1) + "/socket.io/?EIO=4&transport=websocket" + query
        self.ws = websocket.create_connection(address, timeout=SECONDS, **options)
        self.is_over = threading.Event()
        assert self.ws.recv()[:1] == "0", "no Engine.IO handshake"
        if join:
            self.send("40" + json.dumps({"token": token}))
            assert self.receive("40"), "the connection was refused"

    def send(self, packet: str) -> None:
        """Send one packet as it is."""
        self.ws.send(packet)

    def send_binary(self, data: bytes) -> None:
        """Send one binary packet."""
        self.ws.send_binary(data)

    def flood(self, packet: str, times: int) -> None:
        """Send one packet many times, as long as the other side stays."""
        with contextlib.suppress(OSError, websocket.WebSocketException):
            for _ in range(times):
                self.ws.send(packet)

    def receive(self, start: str, seconds: float = SECONDS) -> str:
        """Return the next packet that begins with ``start``, answering pings meanwhile."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            packet = self.ws.recv()
            if packet == "2":
                self.ws.send("3")
            elif isinstance(packet, str) and packet.startswith(start):
                return packet
            elif not packet:
                break
        raise AssertionError(f"no packet {start!r} within {seconds:g} s")

    def refusal(self, auth: Any) -> dict[str, Any]:
        """Join with this ``auth`` (none at all if it is None) and return the refusal."""
        self.send("40" + ("" if auth is None else json.dumps(auth)))
        refused: dict[str, Any] = json.loads(self.receive("44").removeprefix("44"))
        return refused

    def acknowledged(self, packet_id: int) -> dict[str, Any]:
        """Return the first argument of the acknowledgement ``packet_id``."""
        start = f"43{packet_id}["
        body: dict[str, Any] = json.loads(self.receive(start)[len(start) - 1 :])[0]
        return body

    def wait_closed(self, seconds: float = SECONDS) -> None:
        """Wait until the site has closed the transport."""
        self.ws.settimeout(seconds)
        deadline = time.monotonic() + seconds
        try:
            while time.monotonic() < deadline:
                packet = self.ws.recv()
                if packet == "2":
                    self.ws.send("3")
                elif not packet:
                    return
        except (websocket.WebSocketConnectionClosedException, ConnectionError):
            return
        except websocket.WebSocketTimeoutException:
            pass
        raise AssertionError(f"the site did not close the transport within {seconds:g} s")

    def wedge(self) -> None:
        """From now on answer pings and take no notice of anything else; ``is_over`` is set at the end."""
        self.ws.settimeout(None)
        threading.Thread(target=self._answer_pings, name="wedged peer", daemon=True).start()

    def _answer_pings(self) -> None:
        with contextlib.suppress(OSError, websocket.WebSocketException):
            while packet := self.ws.recv():
                if packet == "2":
                    self.ws.send("3")
        self.is_over.set()

    def close(self) -> None:
        """Leave, and close the socket that the library forgets when the other side has left first."""
        self.ws.close()
        self.ws.shutdown()
