"""The smallest app: plain python-socketio, three events, no package of ours.

    SPACES_TOKEN=... python examples/plain_python_app.py http://localhost:5001 MySpace

It computes inside its handler, sends one result and hopes for the best. For claims after a drop, kept results and
clean refusals use the package ``spaces_app``.
"""

import os
import sys

import socketio

host, space = sys.argv[1:3]
site = socketio.Client()


@site.event
def connect() -> None:
    """Ask for the space, after each reconnect anew."""
    site.emit("register", {"space_name": space})


@site.event
def register_response(body: dict) -> None:
    """Show what the site says."""
    print(body.get("message") or "Registration successful", flush=True)


@site.event
def inference_request(body: dict) -> None:
    """Compute and answer."""
    text = body["payload"]["prompt"].upper()
    site.emit("inference_result", {"request_id": body["request_id"], "status": "completed", "result": {"text": text}})


site.connect(host, auth={"token": os.environ.get("SPACES_TOKEN", "")}, transports=["websocket"])
site.wait()
