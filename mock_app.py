"""A stand-in for a real remote app: it connects, takes requests, pretends to work, and answers.

    python mock_app.py --host http://localhost:5001 --spaces MySpace --verbose

It is a thin program on the package ``spaces_app``. Exit status: 0 after Ctrl+C, 2 when the site refuses it.
"""

from __future__ import annotations

import argparse
import importlib
import os
import random
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from spaces_app import App, Ended, Observer, Request, __version__
from spaces_app.answers import Handler, argument_for
from spaces_app.credentials import CredentialsError, find_common_token
from spaces_app.faults import FAULTS, Faults
from spaces_app.outbox import Kept

DEFAULT_HOST = "http://localhost:5001"
DEFAULT_DELAY = (1.0, 4.0)
SHOWN_CHARS = 60
COLOURS = {"green": "32", "red": "31", "yellow": "33", "blue": "36", "plain": "0"}
REFUSED_STATUS = 2


class Printer(Observer):
    """Prints one line for each event and counts them."""

    def __init__(self, verbose: bool) -> None:
        self.verbose = verbose
        self.faults: Faults | None = None
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
        """Print the seed's words."""
        self._counts["registrations"] += 1
        self._queues[space] = queue_size
        claimed = f", {resumed} taken up again" if resumed else ""
        self.line(f"Registration successful: {space} (queue size: {queue_size}{claimed})", "green")

    def on_refused(self, space: str, code: str, message: str) -> None:
        """Print the reason."""
        self.line(f"Registration refused: {space}: {code}: {message}", "red")

    def on_request(self, request: Request, queue_size: int, answered: bool) -> None:
        """Print who asks what, and the queue size."""
        self._counts["requests"] += 1
        again = f" (attempt {request.attempt}, handed over again)" if request.redelivered else ""
        prompt = self._shorten(request.prompt)
        self.line(f"[REQUEST] {request.id} {request.space_name} from {request.username}{again}: {prompt}", "blue")
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
        if self.faults:
            self.faults.after(kept, lambda ack: self.line(f"Acknowledged again: {kept.request_id} {ack.get('code')}"))

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
        flat = " ".join(prompt.split())
        return flat if self.verbose or len(flat) <= SHOWN_CHARS else flat[: SHOWN_CHARS - 3] + "..."


def echo(request: Request) -> list[dict[str, Any]]:
    """Answer with the prompt and a count of its words, as Markdown."""
    words = len(request.prompt.split())
    quoted = "\n".join(f"> {line}" for line in request.prompt.splitlines() or [""])
    text = f"**Answer of the mock app**\n\n{quoted}\n\n{words} {'word' if words == 1 else 'words'}."
    return [{"type": "markdown", "text": text}]


def load_handler(where: str) -> Handler:
    """Import ``module:function``; modules beside the current folder count. Exits with a message when it is none."""
    module, _, name = where.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        handler = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise SystemExit(f"--handler {where}: {error}. It looks like my_model:answer") from None
    return handler  # type: ignore[no-any-return]


def seconds_range(text: str) -> tuple[float, float]:
    """Read ``1-4`` or ``2`` as seconds. Raises :class:`ValueError`."""
    low, _, high = text.partition("-")
    least, most = float(low), float(high or low)
    if not 0 <= least <= most:
        raise ValueError(text)
    return least, most


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="A mock app: serves spaces with simulated work.")
    parser.add_argument("--host", default=DEFAULT_HOST, help="address of the site (default: %(default)s)")
    parser.add_argument("--spaces", required=True, help="names of the spaces to serve, separated by commas")
    parser.add_argument("--verbose", action="store_true", help="whole prompts and all acknowledgements")
    parser.add_argument("--token", help="app token (default: SPACES_TOKEN, else the file that --setup-space writes)")
    parser.add_argument("--delay", type=seconds_range, help="seconds of simulated work, 1-4 or 2 (default: 1-4)")
    parser.add_argument("--handler", help="a real function in place of simulated work, as module:function")
    parser.add_argument("--fault", action="append", choices=FAULTS, default=[], help="misbehave; may be repeated")
    read = parser.parse_args(argv)
    read.spaces = [name.strip() for name in read.spaces.split(",") if name.strip()]
    return read if read.spaces else parser.error("--spaces names no space")


def make_app(options: argparse.Namespace, printer: Printer) -> App:
    """Build the app. Raises :class:`CredentialsError` or :class:`ValueError` when it cannot be."""
    token = options.token or os.environ.get("SPACES_TOKEN") or find_common_token(options.host, options.spaces)
    app = App(options.host, token, name="mock_app", version=__version__, observer=printer)
    compute: Handler = load_handler(options.handler) if options.handler else echo
    delay = options.delay or ((0.0, 0.0) if options.handler else DEFAULT_DELAY)
    printer.faults = Faults(app, set(options.fault))
    seconds = partial(random.SystemRandom().uniform, *delay)
    handler = printer.faults.wrap(lambda request: compute(argument_for(compute, request)), seconds)
    for name in options.spaces:
        app.serve(name, handler)
    return app


def main(argv: list[str] | None = None) -> int:
    """Run the mock app and return its exit status."""
    options = arguments(argv)
    printer = Printer(options.verbose)
    try:
        app = make_app(options, printer)
    except (CredentialsError, ValueError, TypeError) as error:
        printer.line(str(error), "red")
        return REFUSED_STATUS
    printer.line(f"Connecting to {options.host} for {', '.join(options.spaces)}")
    ended = app.run()
    printer.summary(ended)
    return 0 if ended.ok else REFUSED_STATUS


if __name__ == "__main__":
    sys.exit(main())
