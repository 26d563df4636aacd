"""What one process grants its peers, and what the server itself says to whoever asks for more."""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus

#: What the servers call themselves where they do: neither what they are nor which version.
SERVER_NAME = "spaces"


@dataclass(frozen=True, slots=True)
class Bounds:
    """Sockets are counts, the rest is seconds."""

    #: Open sockets of one address; None where all come from a proxy.
    per_address: int | None = 1_000
    sockets: int = 10_000
    #: For the request line and the headers together.
    head: float = 20.0
    #: Between two requests of one connection.
    idle: float = 75.0
    #: For a whole body that is not an upload.
    body: float = 30.0
    #: In which a reader must take something of what it asked for.
    send: float = 60.0
    #: In which a WebSocket peer must send something, and take something of what is sent to it.
    silence: float = 20.0


def plain_answer(status: int, code: str, message: str, retry_after: int | None = None) -> bytes:
    """Return a whole answer in the API's shape, for when no application has been asked yet; the connection ends."""
    body = json.dumps({"error": {"code": code, "message": message, "details": None}}).encode()
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "Connection: close",
    ]
    if retry_after is not None:
        lines.append(f"Retry-After: {retry_after}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
