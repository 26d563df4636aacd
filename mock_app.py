"""A stand-in for a real remote app: it connects, takes requests, pretends to work, and answers.

    python mock_app.py --host http://localhost:5001 --spaces MySpace --verbose

It is a thin program on the package ``spaces_app``. Exit status: 0 after Ctrl+C, 2 when the site refuses it.
"""

from __future__ import annotations

import argparse
import importlib
import random
import sys
from functools import partial
from pathlib import Path

from spaces_app import App, InputFile, Media, Request, commandline
from spaces_app.binding import Handler, call, check
from spaces_app.commandline import REFUSED_STATUS
from spaces_app.credentials import CredentialsError
from spaces_app.faults import FAULTS, Faults
from spaces_app.outbox import Kept
from spaces_app.printer import Printer

DEFAULT_DELAY = (1.0, 4.0)


class MockPrinter(Printer):
    """Prints what happens, and lets the chosen faults see each settled result."""

    faults: Faults | None = None

    def on_result(self, kept: Kept, code: str, message: str) -> None:
        """Print it, and send it once more when that is the fault."""
        super().on_result(kept, code, message)
        if self.faults:
            self.faults.after(kept, lambda ack: self.line(f"Acknowledged again: {kept.request_id} {ack.get('code')}"))


def echo(request: Request) -> list[str | dict[str, str] | Media]:
    """Answer with the prompt and a count of its words, as Markdown, and with every file as it came."""
    words = len(request.prompt.split())
    quoted = "\n".join(f"> {line}" for line in request.prompt.splitlines() or [""])
    text = f"**Answer of the mock app**\n\n{quoted}\n\n{words} {'word' if words == 1 else 'words'}."
    sent_back = [Media(file.path, name=file.name, content_type=file.content_type) for file in request.files]
    listed = "".join(f"\n{describe(file)}" for file in request.files)
    return [{"type": "markdown", "text": f"{text}\n{listed}" if listed else text}, *sent_back]


def describe(file: InputFile) -> str:
    """Return a line of Markdown about a file; its name cannot break out of the line."""
    name = "".join(one if one.isprintable() and one != "`" else "?" for one in file.name)
    return f"- `{name}`: {file.size:,} bytes, sha256 `{file.sha256}`"


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
    parser = commandline.parser("A mock app: serves spaces with simulated work.")
    parser.add_argument("--delay", type=seconds_range, help="seconds of simulated work, 1-4 or 2 (default: 1-4)")
    parser.add_argument("--handler", help="a real function in place of simulated work, as module:function")
    parser.add_argument("--fault", action="append", choices=FAULTS, default=[], help="misbehave; may be repeated")
    return commandline.read(parser, argv)


def make_app(options: argparse.Namespace, printer: MockPrinter) -> App:
    """Build the app. Raises what :func:`commandline.make_app` does, and :class:`TypeError` for a strange handler."""
    app = commandline.make_app(options, "mock_app", printer)
    compute: Handler = load_handler(options.handler) if options.handler else echo
    check(compute)
    delay = options.delay or ((0.0, 0.0) if options.handler else DEFAULT_DELAY)
    printer.faults = Faults(app, set(options.fault))
    seconds = partial(random.SystemRandom().uniform, *delay)
    handler = printer.faults.wrap(partial(call, compute), seconds)
    for name in options.spaces:
        app.serve(name, handler)
    return app


def main(argv: list[str] | None = None) -> int:
    """Run the mock app and return its exit status."""
    options = arguments(argv)
    printer = MockPrinter(options.verbose)
    try:
        app = make_app(options, printer)
    except (CredentialsError, ValueError, TypeError) as error:
        printer.line(str(error), "red")
        return REFUSED_STATUS
    return commandline.run(app, options, printer)


if __name__ == "__main__":
    sys.exit(main())
