"""Functions that tests give to ``mock_app.py --handler``."""

from __future__ import annotations

from pathlib import Path


def size(file: Path) -> str:
    """Answer with the size of a file."""
    return f"{file.stat().st_size} bytes"
