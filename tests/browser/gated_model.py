"""What the connected app computes in the browser tests; the prompt chooses."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from spaces_app import Request

LONG_LIST = [{"number": number, "square": number * number} for number in range(60)]
LOOK_SECONDS = 0.05


def answer(request: Request) -> Any:
    """Answer at once, except for a prompt with ``hold``: that one waits until the test opens the gate."""
    if "hold" in request.prompt:
        request.progress(0.5, "half of it is done")
        _wait_for_gate(request)
    if "fail" in request.prompt:
        raise ValueError("The model has no answer to that.")
    if "json" in request.prompt:
        return [{"type": "json", "data": {"squares": LONG_LIST}}]
    return [{"type": "markdown", "text": f"# An answer\n\n**Bold** words about {request.prompt}\n\n- one\n- two"}]


def _wait_for_gate(request: Request) -> None:
    gate = Path(os.environ["GATE_FILE"])
    while not gate.exists() and not request.cancelled.wait(LOOK_SECONDS):
        pass
