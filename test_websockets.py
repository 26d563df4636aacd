"""Try a running WebSocket Spaces site from outside, with real apps.

    python test_websockets.py --setup-space --host http://localhost:5001     make a space to try, and a token
    python test_websockets.py --host http://localhost:5001 --verbose         play all scenarios

Exit status: 0 only if everything passed, else 1. The spaces made for scenarios are removed afterwards.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path

from scenarios.admin import Login, find_login, set_up_space
from scenarios.browser import Browser, SiteProblem
from scenarios.mock import ROOT
from scenarios.report import Run, now, write_report
from scenarios.runner import Screen, exit_status, play_all, summary
from spaces_app.credentials import CredentialsError

DEFAULT_HOST = "http://localhost:5001"
INTERRUPTED = 130


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Try a running WebSocket Spaces site with real apps.")
    parser.add_argument("--host", default=DEFAULT_HOST, help="address of the site (default: %(default)s)")
    parser.add_argument("--setup-space", action="store_true", help="make a space to try and a token for its app")
    parser.add_argument("--verbose", action="store_true", help="show details and what the apps print")
    parser.add_argument("--username", help="an admin's name (default: SPACES_ADMIN_USERNAME, else the first admin)")
    parser.add_argument("--password", help="the admin's password (default: SPACES_ADMIN_PASSWORD, else the first one)")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the results to FILE, as Markdown")
    return parser.parse_args(argv)


def check_site(host: str, login: Login) -> list[str]:
    """Return what was found to be in order before the run. Raises :class:`SiteProblem` for what is not."""
    ready, _ = Browser(host).page("/readyz")
    if ready != 200:
        raise SiteProblem(f"The site at {host} is not ready: /readyz answers {ready}.")
    admin = login.browser(host)
    if admin.page("/admin/")[0] != 200:
        raise SiteProblem(f"{admin.username!r} is not an admin of this site: the scenarios make spaces.")
    if not (ROOT / "mock_app.py").exists():
        raise SiteProblem("mock_app.py is missing beside this program.")
    return [
        "The site answers and is ready (`/readyz`)",
        "Signing in through the form works",
        "The account is an admin, so spaces and tokens can be made",
        "`mock_app.py` is there; each app runs as a process of its own",
    ]


def play(options: argparse.Namespace, login: Login) -> int:
    """Play the scenarios, print the summary, write the report, and return the exit status."""
    checks, began, start = check_site(options.host, login), now(), time.monotonic()
    print(f"Trying {options.host} as {login.username}", flush=True)
    records = play_all(options.host, login, Screen(options.verbose))
    if options.report:
        write_report(options.report, Run(options.host, began, time.monotonic() - start, checks, records))
        print(f"Report: {options.report}")
    print(summary(records), flush=True)
    return exit_status(records)


def main(argv: list[str] | None = None) -> int:
    """Do what the command line says and return the exit status."""
    options = arguments(argv)
    options.host = options.host.rstrip("/")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        login = find_login(options.host, options.username, options.password)
        if options.setup_space:
            set_up_space(login.browser(options.host))
            return 0
        return play(options, login)
    except (SiteProblem, CredentialsError) as problem:
        print(problem, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. The apps are stopped and the spaces removed.", file=sys.stderr)
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
