"""What a peer does not read is bounded; what it reads in time is not."""

from __future__ import annotations

import queue
from typing import Any

from engineio.packet import MESSAGE, Packet

from project.unread import MOST_CHARACTERS, MOST_PACKETS, bound_unread


class Socket:
    """What an Engine.IO socket has of a queue."""

    closed = closing = False

    def __init__(self) -> None:
        self.queue: queue.Queue[Any] = queue.Queue()
        bound_unread(self)

    def send(self, packet: Packet) -> None:
        self.queue.put(packet)

    def close(self, wait: bool, abort: bool) -> None:
        assert abort
        assert not wait
        self.closed = True


def test_too_many_packets_close_the_connection() -> None:
    socket = Socket()
    for _ in range(MOST_PACKETS):
        socket.send(Packet(MESSAGE, "2[]"))
    assert not socket.closed
    socket.send(Packet(MESSAGE, "2[]"))
    assert socket.closed
    assert socket.queue.qsize() == MOST_PACKETS


def test_too_many_characters_close_the_connection() -> None:
    socket, most = Socket(), Packet(MESSAGE, "x" * (MOST_CHARACTERS // 4))
    for _ in range(4):
        socket.send(most)
    assert not socket.closed
    socket.send(most)
    assert socket.closed


def test_who_reads_in_time_may_be_sent_any_amount() -> None:
    socket, most = Socket(), Packet(MESSAGE, "x" * (MOST_CHARACTERS // 4))
    for _ in range(100):
        socket.send(most)
        socket.queue.get()
    assert not socket.closed
