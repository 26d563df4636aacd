"""Apps with one known fault each, on plain python-socketio.

==========  ====================================================================
Echo        answers each request with its prompt; the others are made from it
Slow        answers when the test lets it; reports progress before that
Never       takes requests and says nothing, though its library acknowledges
Drop        breaks the transport at its first request, without a word
Double      answers each request twice
Late        answers only once it was told to stop
Garbage     sends malformed events first, then the right answer
Mute        declares acknowledgements and gives none, nor anything else
Wedged      once it serves, its library answers pings and drops every event
==========  ====================================================================

A forged or foreign result needs no class of its own: any of them sends it with :meth:`FaultApp.answer`.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, ClassVar, Self

import socketio
from socketio import packet as socket_packet
from socketio.exceptions import SocketIOError

from tests.site_process import wait_until

SECONDS = 10.0
EVENTS = ("register_response", "inference_request", "inference_cancel", "queue_update", "probe")

GARBAGE: tuple[tuple[str, Any], ...] = (
    ("inference_result", None),
    ("inference_result", "not an object"),
    ("inference_result", 5),
    ("inference_result", [1, 2, 3]),
    ("inference_result", {}),
    ("inference_result", {"request_id": "x"}),
    ("inference_result", {"request_id": 5, "status": "completed", "result": {}}),
    ("inference_result", {"request_id": "x", "status": "perfect", "result": {}}),
    ("inference_result", {"request_id": "x", "status": "completed"}),
    ("inference_result", {"request_id": "x", "status": "completed", "result": "text"}),
    ("inference_result", {"request_id": "x" * 65, "status": "completed", "result": {}}),
    ("inference_result", {"request_id": "x", "status": "completed", "result": {"parts": [{"type": "spell"}]}}),
    ("inference_progress", None),
    ("inference_progress", {"request_id": ["x"]}),
    ("inference_progress", {"request_id": "x", "value": 2}),
    ("inference_progress", {"request_id": "x", "value": "half"}),
    ("inference_progress", {"request_id": "x", "delta": {"no": "text"}}),
    ("register", None),
    ("register", 42),
    ("register", {}),
    ("register", {"space_name": ""}),
    ("register", {"space_name": ["cats"]}),
    ("register", {"space_name": "cats", "acks": "yes"}),
    ("register", {"space_name": "cats", "resume": "all"}),
    ("register", {"space_name": "cats", "resume": [{"request_id": 1}]}),
    ("no_such_event", {"anything": True}),
    ("message", "hello"),
    ("*", {}),
)


class Library(socketio.Client):
    """Plain python-socketio, which remembers a Socket.IO disconnect, and is quiet when an ack comes too late."""

    ended_for_good = False

    def _handle_disconnect(self, namespace: str | None) -> None:
        self.ended_for_good = True
        super()._handle_disconnect(namespace)

    def _send_packet(self, pkt: Any) -> None:
        with contextlib.suppress(SocketIOError) if is_ack(pkt) else contextlib.nullcontext():
            super()._send_packet(pkt)


class NoAcks(Library):
    """A library that acknowledges nothing."""

    def _send_packet(self, pkt: Any) -> None:
        if not is_ack(pkt):
            super()._send_packet(pkt)


class DropsEvents(Library):
    """A library that waits for attachments that were never announced, and takes everything else for one."""

    def _handle_eio_message(self, data: Any) -> None:
        with contextlib.suppress(ValueError):
            super()._handle_eio_message(data)


def is_ack(packet: Any) -> bool:
    """Whether this packet acknowledges an event."""
    return packet.packet_type in (socket_packet.ACK, socket_packet.BINARY_ACK)


class FaultApp:
    """One connection of an app that does what a test tells it, and keeps what it heard.

    All ``listeners`` are told of every event that any app hears, and of every one it says with its acknowledgement.
    """

    library: type[Library] = Library
    listeners: ClassVar[list[Callable[[str, Any, Any], None]]] = []

    def __init__(self, url: str, token: str | None = None, **connect: Any) -> None:
        self.heard: list[tuple[str, Any]] = []
        self._news = threading.Condition()
        self.client = self.library(reconnection=False, handle_sigint=False)
        for event in EVENTS:
            self.client.on(event, self._hearer(event))
        connect.setdefault("transports", ["websocket"])
        self.client.connect(url, auth={"token": token} if token else None, wait_timeout=SECONDS, **connect)
        self._socket = self.client.eio.ws.sock if self.client.eio.ws else None

    def _hearer(self, event: str) -> Any:
        def hear(body: Any = None) -> None:
            with self._news:
                self.heard.append((event, body))
                self._news.notify_all()
            self._tell(event, body)
            # Whoever is cut off while it speaks has its fault already.
            with contextlib.suppress(SocketIOError):
                if event == "inference_request":
                    self.on_request(body)
                elif event == "inference_cancel":
                    self.on_cancel(body)

        return hear

    def on_request(self, request: dict[str, Any]) -> None:
        """What this app does with a request."""

    def on_cancel(self, cancel: dict[str, Any]) -> None:
        """What this app does when it is told to stop."""

    # What a test lets it do

    def register(self, space: str, **more: Any) -> dict[str, Any]:
        """Register and return the answer, which must come as an event and as an acknowledgement alike."""
        answer: dict[str, Any] = self.client.call("register", {"space_name": space, **more}, timeout=SECONDS)
        named = {"space_name": answer["space_name"], "success": answer["success"]}
        told = self.next("register_response", **named)
        assert told == answer, f"the event says {told}, the acknowledgement {answer}"
        return answer

    def serve(self, space: str, **more: Any) -> Self:
        """Register and fail when that is refused."""
        answer = self.register(space, **more)
        assert answer["success"], answer
        return self

    def call(self, event: str, body: Any) -> dict[str, Any]:
        """Send any event and return what it was acknowledged with."""
        answer: dict[str, Any] = self.client.call(event, body, timeout=SECONDS)
        self._tell(event, body, answer)
        return answer

    def send(self, event: str, body: Any) -> list[dict[str, Any]]:
        """Send any event and return at once; its acknowledgement, should one come, is put into the list."""
        answers: list[dict[str, Any]] = []

        def acknowledged(answer: dict[str, Any]) -> None:
            self._tell(event, body, answer)
            answers.append(answer)

        self.client.emit(event, body, callback=acknowledged)
        return answers

    def _tell(self, event: str, body: Any, answer: Any = None) -> None:
        for listener in self.listeners:
            listener(event, body, answer)

    def answer(self, request: dict[str, Any], text: str | None = None, *, attempt: bool = True) -> str:
        """Send a result for ``request`` and return the code of the acknowledgement."""
        body = {
            "request_id": request["request_id"],
            "status": "completed",
            "result": {"text": text if text is not None else request["payload"]["prompt"]},
        }
        if attempt:
            body["attempt_id"] = request["attempt_id"]
        return str(self.call("inference_result", body)["code"])

    def next(self, event: str, seconds: float = SECONDS, **fields: Any) -> dict[str, Any]:
        """Wait for an event with these fields, take it out of what was heard, and return its body."""

        def matches(one: tuple[str, Any]) -> bool:
            return one[0] == event and all((one[1] or {}).get(key) == value for key, value in fields.items())

        deadline = time.monotonic() + seconds
        with self._news:
            while True:
                for one in self.heard:
                    if matches(one):
                        self.heard.remove(one)
                        return dict(one[1] or {})
                left = deadline - time.monotonic()
                if not self._news.wait(max(0.0, left)) and left <= 0:
                    raise AssertionError(f"no {event} with {fields} within {seconds:g} s; heard {self.heard}")

    def has_heard(self, event: str) -> bool:
        """Whether an event of this name is among what was not taken yet."""
        with self._news:
            return any(name == event for name, _body in self.heard)

    def is_connected(self) -> bool:
        """Whether the connection stands, as far as this side knows."""
        return bool(self.client.connected and self.client.eio.state == "connected")

    @property
    def ended_for_good(self) -> bool:
        """Whether the site said a Socket.IO disconnect, after which the official libraries stay away."""
        return self.client.ended_for_good

    def wait_gone(self, seconds: float = SECONDS) -> None:
        """Wait until the site has ended this connection."""
        wait_until(lambda: not self.is_connected(), f"the site ends the connection; heard {self.heard}", seconds)

    def drop(self) -> None:
        """Break the transport without a word, as a failing network would."""
        with contextlib.suppress(AttributeError, OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Leave, and close the socket that the library forgets when the other side has left first."""
        self.drop()
        with contextlib.suppress(SocketIOError, OSError):
            self.client.disconnect()
        if self._socket:
            self._socket.close()

    def __repr__(self) -> str:
        kept = {name: value for name, value in vars(self).items() if name in ("prompts", "codes", "refusals", "heard")}
        return f"{type(self).__name__} {kept}"


class Echo(FaultApp):
    """Answers with the prompt; ``codes`` are the acknowledgements."""

    def __init__(self, *args: Any, **more: Any) -> None:
        self.prompts: list[str] = []
        self.codes: list[str] = []
        super().__init__(*args, **more)

    def on_request(self, request: dict[str, Any]) -> None:
        self.prompts.append(request["payload"]["prompt"])
        self.codes.append(self.answer(request))


class Slow(Echo):
    """Reports progress and answers when ``go_on`` is set."""

    def __init__(self, *args: Any, **more: Any) -> None:
        self.go_on = threading.Event()
        super().__init__(*args, **more)

    def on_request(self, request: dict[str, Any]) -> None:
        self.call("inference_progress", {"request_id": request["request_id"], "value": 0.5, "message": "half"})
        assert self.go_on.wait(60), "the test never let the slow app go on"
        super().on_request(request)


class Never(FaultApp):
    """Takes requests and says nothing."""


class Drop(Echo):
    """Breaks the transport at its first request."""

    def on_request(self, request: dict[str, Any]) -> None:
        self.drop()


class Double(Echo):
    """Answers each request twice; the second time with another text."""

    def on_request(self, request: dict[str, Any]) -> None:
        super().on_request(request)
        self.codes.append(self.answer(request, "changed my mind"))


class Late(Echo):
    """Answers only once it was told to stop."""

    def __init__(self, *args: Any, **more: Any) -> None:
        self._in_hand: dict[str, dict[str, Any]] = {}
        super().__init__(*args, **more)

    def on_request(self, request: dict[str, Any]) -> None:
        self._in_hand[request["attempt_id"]] = request

    def on_cancel(self, cancel: dict[str, Any]) -> None:
        super().on_request(self._in_hand.pop(cancel["attempt_id"]))


class Garbage(Echo):
    """Sends every kind of malformed event, then the right answer; ``refusals`` are the codes of the former."""

    def __init__(self, *args: Any, **more: Any) -> None:
        self.refusals: list[tuple[str, Any, str]] = []
        super().__init__(*args, **more)

    def on_request(self, request: dict[str, Any]) -> None:
        for event, body in GARBAGE:
            self.refusals.append((event, body, self.call(event, body)["code"]))
        super().on_request(request)


class Mute(FaultApp):
    """Takes requests, acknowledges nothing, answers nothing."""

    library = NoAcks


class Wedged(FaultApp):
    """Registers and is wedged from then on: it answers pings and drops every event."""

    library = DropsEvents

    def serve(self, space: str, **more: Any) -> Self:
        """Register, and hear nothing any more."""
        super().serve(space, **more)
        self.client._handle_eio_message('50-["x"]')
        return self
