"""Prints what an app does, one line for each event."""

from __future__ import annotations

import os
import sys
import time

from spaces_app.ended import Ended
from spaces_app.input_file import InputFile
from spaces_app.observer import Observer
from spaces_app.outbox import Kept
from spaces_app.request import Request

SHOWN_CHARS = 60
COLOURS = {"green": "32", "red": "31", "yellow": "33", "blue": "36", "plain": "0"}


class Printer(Observer):
    """Prints one line for each event and counts them."""

    def __init__(self, verbose: bool) -> None:
        self.verbose = verbose
        self._colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        self._queues: dict[str, int] = {}
        self._began = time.monotonic()
        self._counts = {"requests": 0, "completed": 0, "failed": 0, "not taken": 0, "registrations": 0}

    def line(self, text: str, colour: str = "plain") -> None:
        """Print one line with the time; never held back in a buffer."""
        stamp = time.strftime("%H:%M:%S")
        shown = f"\033[{COLOURS[colour]}m{text}\033[0m" if self._colours else text
        print(f"{stamp} {shown}", flush=True)

    def on_registered(self, space: str, queue_size: int, resumed: int) -> None:
        """Print that this app serves ``space``."""
        self._counts["registrations"] += 1
        self._queues[space] = queue_size
        claimed = f", {resumed} taken up again" if resumed else ""
        self.line(f"Registration successful: {space} (queue size: {queue_size}{claimed})", "green")

    def on_refused(self, space: str, code: str, message: str) -> None:
        """Print the reason."""
        self.line(f"Registration refused: {space}: {code}: {message}", "red")

    def on_request(self, request: Request, queue_size: int, answered: bool) -> None:
        """Print who asks what with which files, and the queue size."""
        self._counts["requests"] += 1
        again = f" (attempt {request.attempt}, handed over again)" if request.redelivered else ""
        asked = " ".join(filter(None, [self._shorten(request.prompt), *(_shown_file(file) for file in request.files)]))
        self.line(f"[REQUEST] {request.id} {request.space_name} from {request.username}{again}: {asked}", "blue")
        self._show_queue(request.space_name, queue_size)
        if answered:
            self.line(f"[KEPT] {request.id} was answered before: sending the kept result")

    def on_sent(self, kept: Kept) -> None:
        """Print the result, or that it is sent again."""
        again = " (sent again)" if kept.tries > 1 else ""
        colour = "green" if kept.answer["status"] == "completed" else "yellow"
        self.line(f"[RESULT] {kept.request_id} {kept.answer['status']} in {kept.seconds:.1f} s{again}", colour)

    def on_result(self, kept: Kept, code: str, message: str) -> None:
        """Count the result; print what the site made of it when it matters."""
        self._counts[kept.answer["status"] if code == "accepted" else "not taken"] += 1
        if self.verbose or code != "accepted":
            self.line(f"Acknowledged: {kept.request_id} {code} {message}".rstrip())

    def on_cancel(self, request: Request, reason: str) -> None:
        """Print that nobody waits any more."""
        self.line(f"[CANCEL] {request.id} {reason}", "yellow")

    def on_queue(self, space: str, queue_size: int) -> None:
        """Print the queue size when it changed."""
        if self._queues.get(space) != queue_size:
            self._show_queue(space, queue_size)

    def on_lost(self, message: str) -> None:
        """Print that it is gone."""
        self.line(f"{message} Coming back.", "yellow")

    def on_retry(self, message: str, delay: float) -> None:
        """Print the reason and when the next try comes."""
        self.line(f"{message}. Next try in {delay:.1f} s.", "yellow")

    def summary(self, ended: Ended) -> None:
        """Print what was done, and why it ended."""
        if not ended.ok:
            self.line(f"Stopped: {ended.message}", "red")
        counts = ", ".join(f"{name} {count}" for name, count in self._counts.items())
        self.line(f"Summary: {counts}; ran for {time.monotonic() - self._began:.0f} s.")

    def _show_queue(self, space: str, queue_size: int) -> None:
        self._queues[space] = queue_size
        self.line(f"Queue size: {queue_size} ({space})")

    def _shorten(self, prompt: str) -> str:
        flat = printable(" ".join(prompt.split()))
        return flat if self.verbose or len(flat) <= SHOWN_CHARS else flat[: SHOWN_CHARS - 3] + "..."


def printable(text: str) -> str:
    """Return ``text`` without what could steer a terminal."""
    return "".join(one if one.isprintable() else "?" for one in text)


def _shown_file(file: InputFile) -> str:
    return f"[{file.field}: {printable(file.name)}, {printable(file.content_type)}, {file.size:,} bytes]"
