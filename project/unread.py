"""What waits to be sent to one Engine.IO socket: bounded, since a peer may go on speaking and never read."""

from __future__ import annotations

import logging
from typing import Any

#: Packets, and characters of them, that may wait; as much again may be in the hands of the thread that sends.
MOST_PACKETS, MOST_CHARACTERS = 10_000, 16_000_000

logger = logging.getLogger(__name__)


def bound_unread(socket: Any) -> None:
    """Close the Engine.IO ``socket`` (python-engineio 4.15) when more than that waits for its peer."""
    send, waiting = socket.send, 0

    def send_bounded(packet: Any) -> None:
        nonlocal waiting
        size = len(packet.data) if isinstance(packet.data, str | bytes) else 0
        waiting = size if socket.queue.empty() else waiting + size
        if waiting <= MOST_CHARACTERS and socket.queue.qsize() < MOST_PACKETS:
            send(packet)
        elif not socket.closed and not socket.closing:
            logger.warning("connection closed: its peer does not read what is sent to it")
            socket.close(wait=False, abort=True)

    socket.send = send_bounded
