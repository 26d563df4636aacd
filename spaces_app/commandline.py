"""The command line of an app that is one function: ``--host``, ``--spaces``, ``--token``, ``--verbose``.

from spaces_app import commandline

if __name__ == "__main__":
    sys.exit(commandline.serve(answer, "Answers with the prompt."))
"""

from __future__ import annotations

import argparse
import os

from spaces_app.app import App
from spaces_app.binding import Handler
from spaces_app.credentials import CredentialsError, find_common_token
from spaces_app.printer import Printer
from spaces_app.version import __version__

DEFAULT_HOST = "http://localhost:5001"
REFUSED_STATUS = 2


def parser(description: str) -> argparse.ArgumentParser:
    """Return a parser with the options that every app has; add your own, then :func:`read` it."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--host", default=DEFAULT_HOST, help="address of the site (default: %(default)s)")
    made.add_argument("--spaces", required=True, help="names of the spaces to serve, separated by commas")
    made.add_argument("--verbose", action="store_true", help="whole prompts and all acknowledgements")
    made.add_argument("--token", help="app token (default: SPACES_TOKEN, else the file that --setup-space writes)")
    return made


def read(made: argparse.ArgumentParser, argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line (``argv``, else the program's own); ``spaces`` becomes a list. Exits when it is wrong."""
    options = made.parse_args(argv)
    options.spaces = [name.strip() for name in options.spaces.split(",") if name.strip()]
    return options if options.spaces else made.error("--spaces names no space")


def make_app(options: argparse.Namespace, name: str, printer: Printer, version: str = __version__) -> App:
    """Return an app for the site and the token that ``options`` name; it serves nothing yet.

    Raises :class:`CredentialsError` when there is no one token for all spaces, and :class:`ValueError` when the
    host is not the address of a site.
    """
    token = options.token or os.environ.get("SPACES_TOKEN") or find_common_token(options.host, options.spaces)
    return App(options.host, token, name=name, version=version, observer=printer)


def run(app: App, options: argparse.Namespace, printer: Printer) -> int:
    """Run ``app`` until it is stopped or refused, and return the exit status: 0, or 2 when refused."""
    printer.line(f"Connecting to {options.host} for {', '.join(options.spaces)}")
    ended = app.run()
    printer.summary(ended)
    return 0 if ended.ok else REFUSED_STATUS


def serve(handler: Handler, description: str, argv: list[str] | None = None) -> int:
    """Read the command line, serve its spaces with ``handler``, print what happens, and return the exit status."""
    options = read(parser(description), argv)
    printer = Printer(options.verbose)
    try:
        app = make_app(options, handler.__name__, printer)
        for space in options.spaces:
            app.serve(space, handler)
    except (CredentialsError, ValueError, TypeError) as error:
        printer.line(str(error), "red")
        return REFUSED_STATUS
    return run(app, options, printer)
