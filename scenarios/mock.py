"""A real ``mock_app.py`` as a process of its own, with the moment at which each of its lines came."""

from __future__ import annotations

import os
import signal
import subprocess  # nosec B404
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 20.0
STOP_SECONDS = 10.0


class Failure(Exception):
    """A scenario did not go as it should; the message says what was expected and what came."""


@dataclass(frozen=True)
class Line:
    """One printed line and when it came (monotonic seconds)."""

    at: float
    text: str


class MockApp:
    """Started by making it; :meth:`stop` ends it. ``echo`` gets each line as it comes."""

    def __init__(
        self, host: str, space: str, token: str, options: Sequence[str] = (), echo: Callable[[str], object] = str
    ) -> None:
        command = [sys.executable, str(ROOT / "mock_app.py"), "--host", host, "--spaces", space, *options]
        self.lines: list[Line] = []
        self._echo = echo
        self._news = threading.Condition()
        self._ended = False
        self._process = subprocess.Popen(  # noqa: S603  # nosec B603
            command,
            env=os.environ | {"SPACES_TOKEN": token, "PYTHONIOENCODING": "utf-8"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
        self._reader = threading.Thread(target=self._read, daemon=True, name="app output")
        self._reader.start()

    @property
    def printed(self) -> str:
        """All that it has printed so far."""
        return "\n".join(line.text for line in self.lines)

    def wait_for(self, *texts: str, seconds: float = START_SECONDS) -> Line:
        """Return the first line that holds all ``texts``. Raises :class:`Failure` when it does not come in time."""
        deadline = time.monotonic() + seconds
        with self._news:
            while True:
                found = self.find(*texts)
                if found:
                    return found
                left = deadline - time.monotonic()
                if self._ended or left <= 0:
                    why = "before it ended" if self._ended else f"within {seconds:g} s"
                    raise Failure(f"the app did not print {' '.join(texts)!r} {why}; it printed:\n{self.printed}")
                self._news.wait(left)

    def find(self, *texts: str) -> Line | None:
        """Return the first line that holds all ``texts``, if it has come."""
        return next((line for line in list(self.lines) if all(text in line.text for text in texts)), None)

    def wait_exit(self, seconds: float = START_SECONDS) -> int:
        """Wait for its end and return the exit status. Raises :class:`Failure` when it goes on."""
        try:
            status = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Failure(f"the app is still running after {seconds:g} s; it printed:\n{self.printed}") from None
        self._reader.join(STOP_SECONDS)
        return status

    def stop(self) -> None:
        """Press Ctrl+C for it and wait for its end; what does not end is killed. Does nothing when it has ended."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT if os.name == "posix" else signal.SIGTERM)
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._reader.join(STOP_SECONDS)

    def _read(self) -> None:
        assert self._process.stdout
        with self._process.stdout as output:
            for text in output:
                self._add(Line(time.monotonic(), text.rstrip()))
        with self._news:
            self._ended = True
            self._news.notify_all()

    def _add(self, line: Line) -> None:
        with self._news:
            self.lines.append(line)
            self._news.notify_all()
        self._echo(line.text)
