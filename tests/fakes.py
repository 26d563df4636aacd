"""Doubles that are real implementations of the manager's ports: a wire that records, a clock that is set."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from project.ports import Row


@dataclass
class Clock:
    """Both of the manager's clocks, moved by hand."""

    wall: float = 1_000_000.0
    monotonic: float = 500.0

    def pass_(self, seconds: float) -> None:
        self.wall += seconds
        self.monotonic += seconds


@dataclass
class Sent:
    """One event that went out to a connection."""

    connection_id: str
    event: str
    body: dict[str, Any]
    on_ack: Callable[[], None] | None = None

    def ack(self) -> None:
        assert self.on_ack, f"{self.event} wants no acknowledgement"
        self.on_ack()


@dataclass
class RecordingTransport:
    """A wire in memory. ``answers`` says which connections answer a probe; ``before_probe`` runs while it waits."""

    sent: list[Sent] = field(default_factory=list)
    open: set[str] = field(default_factory=set)
    closed: list[str] = field(default_factory=list)
    dismissed: list[str] = field(default_factory=list)
    probed: list[tuple[str, bool, float]] = field(default_factory=list)
    answers: set[str] = field(default_factory=set)
    before_probe: Callable[[], None] = lambda: None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def is_open(self, connection_id: str) -> bool:
        return connection_id in self.open

    def of_token(self, token_id: int) -> list[str]:
        return []

    def send(
        self, connection_id: str, event: str, body: dict[str, Any], on_ack: Callable[[], None] | None = None
    ) -> None:
        with self.lock:
            self.sent.append(Sent(connection_id, event, body, on_ack))

    def send_request(self, connection_id: str, row: Row, queue_size: int, on_ack: Callable[[], None] | None) -> None:
        self.send(connection_id, "inference_request", {**row, "queue_size": queue_size}, on_ack)

    def close(self, connection_id: str) -> None:
        with self.lock:
            self.closed.append(connection_id)
            self.open.discard(connection_id)

    def dismiss(self, connection_id: str) -> None:
        with self.lock:
            self.dismissed.append(connection_id)
            self.open.discard(connection_id)

    def probe(self, connection_id: str, with_event: bool, timeout: float) -> bool:
        self.probed.append((connection_id, with_event, timeout))
        self.before_probe()
        return connection_id in self.answers

    def events(self, connection_id: str, event: str) -> list[dict[str, Any]]:
        """Return the bodies of one kind of event to one connection."""
        return [sent.body for sent in self.sent if (sent.connection_id, sent.event) == (connection_id, event)]

    def last(self, event: str) -> Sent:
        found = [sent for sent in self.sent if sent.event == event]
        assert found, f"no {event} was sent; sent: {[(sent.connection_id, sent.event) for sent in self.sent]}"
        return found[-1]
