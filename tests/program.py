"""A program started by a test, with everything it printed."""

from __future__ import annotations

import signal
import subprocess  # nosec B404
import sys
from pathlib import Path

from tests.site_process import ROOT, inherited_environment, wait_until


class Program:
    """A subprocess in the repository's root; ``python`` as the first word means this interpreter."""

    def __init__(self, command: list[str], log: Path, environment: dict[str, str] | None = None) -> None:
        self.log = log
        words = [sys.executable, *command[1:]] if command[0] == "python" else command
        with log.open("wb") as output:
            self.process = subprocess.Popen(  # nosec B603
                words, cwd=ROOT, env=inherited_environment() | (environment or {}), stdout=output, stderr=output
            )

    def output(self) -> str:
        """Return all that it has printed so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def wait_for(self, text: str, seconds: float = 20.0, count: int = 1) -> str:
        """Wait until it has printed ``text`` ``count`` times; fails with the whole output."""
        try:
            wait_until(lambda: self.output().count(text) >= count, f"{count} x {text!r}", seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n--- printed by {self.process.args!r}:\n{self.output()}") from None
        return self.output()

    def wait_exit(self, seconds: float = 20.0) -> int:
        """Wait until it has ended by itself and return its exit status."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {seconds:g} s:\n{self.output()}") from None

    def interrupt(self) -> int:
        """Send Ctrl+C and return the exit status."""
        self.process.send_signal(signal.SIGINT)
        return self.wait_exit()

    def pause(self) -> None:
        """Freeze it; :meth:`resume` lets it go on."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen program go on."""
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it as a crash would."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
