"""What simple-websocket leaves open, in the modes that use it (gevent and threading).

It ends when the peer does. A peer that sleeps, or whose cable is pulled, kept its socket and threads for ever.
This leans on simple-websocket 1.1 (decision 0004).
"""

from __future__ import annotations

import contextlib
import socket
from typing import Any

#: For how long the last words may take.
GOODBYE_SECONDS = 1.0


def end(ws: Any) -> None:
    """Say goodbye to the peer of a ``simple_websocket.Server`` and end its connection, whether it hears or not."""
    with contextlib.suppress(OSError):
        ws.sock.settimeout(GOODBYE_SECONDS)
        if ws.connected:
            ws.close()
    with contextlib.suppress(OSError):
        ws.sock.shutdown(socket.SHUT_RDWR)  # whoever still reads or writes there wakes
