"""The real mock app, as the browser tests start it."""

from __future__ import annotations

from pathlib import Path

from tests.program import Program


def start_mock_app(url: str, token: str, space: str, log: Path, gate: Path) -> Program:
    """Start ``mock_app.py`` for ``space``, with the answers of ``gated_model``; ``gate`` is its gate file."""
    handler = ["--handler", "tests.browser.gated_model:answer"]
    command = ["python", "mock_app.py", "--host", url, "--spaces", space, *handler]
    return Program(command, log, {"SPACES_TOKEN": token, "GATE_FILE": str(gate)})
