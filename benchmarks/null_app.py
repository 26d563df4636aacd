"""The fastest app there can be: it answers at once. ``python -m benchmarks.null_app URL SPACE [TOKEN]``."""

from __future__ import annotations

import sys
from typing import Any

import socketio


def main(url: str, space: str, token: str | None) -> None:
    """Connect, register, and answer every request with the same text until the site goes away."""
    connection = socketio.Client(reconnection=False, handle_sigint=False)

    @connection.on("inference_request")
    def answer(body: dict[str, Any]) -> None:
        connection.emit(
            "inference_result",
            {"request_id": body["request_id"], "status": "completed", "result": {"text": "done"}},
        )

    @connection.on("register_response")
    def registered(body: dict[str, Any]) -> None:
        print("registered" if body["success"] else f"refused: {body}", flush=True)

    connection.connect(url, auth={"token": token} if token else None, transports=["websocket"])
    connection.emit("register", {"space_name": space})
    connection.wait()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else None)
