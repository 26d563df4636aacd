"""What simple-websocket leaves open, in the modes that use it (gevent and threading).

It ends when the peer does: one that sleeps, or whose cable is pulled, kept its socket and threads for ever. It reads
on in a thread of its own however much waits there already.
This leans on simple-websocket 1.1 (decision 0004).
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Any

#: For how long the last words may take.
GOODBYE_SECONDS = 1.0
#: Messages that may wait for whoever takes them, before no more is read from the peer.
MOST_UNTAKEN = 8
LOOK_SECONDS = 1.0


def end(ws: Any) -> None:
    """Say goodbye to the peer of a ``simple_websocket.Server`` and end its connection, whether it hears or not."""
    with contextlib.suppress(OSError):
        ws.sock.settimeout(GOODBYE_SECONDS)
        if ws.connected:
            ws.close()
    with contextlib.suppress(OSError):
        ws.sock.shutdown(socket.SHUT_RDWR)  # whoever still reads or writes there wakes
    ws.connected = False


def hold_back(ws: Any) -> Callable[[], None]:
    """Let a ``simple_websocket.Server`` read no faster than its messages are taken; call the result after each."""
    handle, taken = ws._handle_events, threading.Event()

    def handle_and_wait() -> bool:
        goes_on: bool = handle()
        while goes_on and ws.connected and len(ws.input_buffer) > MOST_UNTAKEN:
            taken.clear()
            taken.wait(LOOK_SECONDS)
        return goes_on

    ws._handle_events = handle_and_wait
    return taken.set
