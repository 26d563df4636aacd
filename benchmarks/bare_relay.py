"""The floor: a relay in memory on the same stack, without database, sign-in or validation.

``python -m benchmarks.bare_relay PORT`` serves ``POST /submit`` (a prompt; answers an id) and ``GET /result/<id>``
(waits for the app's answer). An app registers as it does at the site.
"""

from __future__ import annotations

from project import concurrency

MODE = concurrency.patch_from_environment()

import secrets  # noqa: E402
import sys  # noqa: E402
import threading  # noqa: E402
from collections import deque  # noqa: E402
from typing import Any  # noqa: E402

from flask import Flask, jsonify, request  # noqa: E402
from flask_socketio import SocketIO  # noqa: E402

app = Flask(__name__)
socketio = SocketIO(app, async_mode=MODE, async_handlers=False, manage_session=False)
waiting: deque[dict[str, Any]] = deque()
results: dict[str, tuple[threading.Event, list[Any]]] = {}
state: dict[str, Any] = {"sid": None, "busy": False}


def pump() -> None:
    """Hand the oldest request to the app if it is free."""
    if state["sid"] and not state["busy"] and waiting:
        state["busy"] = True
        socketio.server.emit("inference_request", waiting.popleft(), to=state["sid"], namespace="/")


@socketio.on("register")
def register(_body: Any) -> dict[str, Any]:
    """Remember the app."""
    state["sid"] = request.sid  # type: ignore[attr-defined]
    socketio.emit("register_response", {"success": True}, to=state["sid"])
    pump()
    return {"success": True}


@socketio.on("inference_result")
def result(body: dict[str, Any]) -> dict[str, str]:
    """Keep the answer and wake whoever waits for it."""
    event, found = results[body["request_id"]]
    found.append(body["result"])
    event.set()
    state["busy"] = False
    pump()
    return {"code": "accepted"}


@app.post("/submit")
def submit() -> Any:
    """Queue a prompt."""
    request_id = secrets.token_hex(16)
    results[request_id] = (threading.Event(), [])
    waiting.append({"request_id": request_id, "payload": request.get_json()})
    pump()
    return jsonify(id=request_id), 202


@app.get("/result/<request_id>")
def wait(request_id: str) -> Any:
    """Wait for the answer."""
    event, found = results[request_id]
    event.wait(30)
    del results[request_id]
    return jsonify(output=found)


@app.get("/readyz")
def ready() -> str:
    """Say that it serves."""
    return "ready"


if __name__ == "__main__":
    concurrency.Server(concurrency.open_listener("127.0.0.1", int(sys.argv[1])), app).serve()
