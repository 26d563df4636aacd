"""``make demo``: a site with one space and a connected app, in a data folder of its own, until Ctrl+C.

The folder is kept, so a second demo goes on where the first ended. The demo has tokens of its own there, so that
it starts also when the admin's password has been changed. Run it as ``python -m scripts.demo``.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from scenarios.browser import Browser, SiteProblem
from scripts.demo_access import SPACE, DemoFolder, ensure_space, private_file, space_object

ROOT = Path(__file__).resolve().parent.parent
FOLDER = Path("instance") / "demo"
KEPT_SETTINGS = frozenset({"SPACES_ASYNC_MODE", "SPACES_LOG_LEVEL"})
START_SECONDS, STOP_SECONDS, PAUSE = 60.0, 35.0, 0.2

Program = subprocess.Popen[str]


class Demo:
    """The site and its app: started one after the other, stopped in the opposite order."""

    def __init__(self, port: int, folder: DemoFolder) -> None:
        self.folder = folder
        self.url = f"http://localhost:{port}"
        self.stopping = threading.Event()
        self._port = port
        self._running: list[tuple[Program, signal.Signals]] = []

    def start_site(self) -> Program:
        """Start the site and wait until it can serve. Raises :class:`SiteProblem` when it does not come up."""
        words = ("run.py", "--host", "127.0.0.1", "--port", str(self._port))
        with private_file(self.folder.site_log) as log:
            site = self._start(words, signal.SIGTERM, log)
        deadline = time.monotonic() + START_SECONDS
        while not _is_ready(self.url):
            if site.poll() is not None or time.monotonic() > deadline:
                raise SiteProblem(f"The site did not start. It said:\n{_tail(self.folder.site_log)}")
            self._pause()
        return site

    def connect_app(self, access: dict[str, str]) -> Program | None:
        """Start the app and wait until the site shows it; return nothing when the site refuses it.

        Raises :class:`SiteProblem` when it does not connect in time.
        """
        words = ("mock_app.py", "--host", self.url, "--spaces", SPACE, "--delay", "1-3")
        app = self._start(words, signal.SIGINT, subprocess.PIPE, SPACES_TOKEN=access["app"])
        threading.Thread(target=_pass_through, args=(app,), daemon=True).start()
        deadline = time.monotonic() + START_SECONDS
        while not space_object(self.url, access["admin"]).get("connected"):
            if app.poll() is not None:
                return None
            if time.monotonic() > deadline:
                raise SiteProblem("The demo's app did not connect in time.")
            self._pause()
        return app

    def stay(self, site: Program, app: Program) -> int:
        """Wait for Ctrl+C or the end of the site; return the exit status."""
        told = False
        while not self.stopping.wait(PAUSE):
            if site.poll() is not None:
                print(f"The site has ended. It said:\n{_tail(self.folder.site_log)}", flush=True)
                return 1
            if app.poll() is not None and not told:
                print("The app has ended; the site goes on. make demo starts both again.", flush=True)
                told = True
        return 0

    def stop(self) -> None:
        """Stop the app, then the site, each with one signal; what does not end is killed."""
        for program, number in reversed(self._running):
            if program.poll() is None:
                program.send_signal(number)
            try:
                program.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                program.kill()

    def _start(self, words: tuple[str, ...], stop_by: signal.Signals, output: Any, **environment: str) -> Program:
        """Start a program in a session of its own: the terminal's Ctrl+C must not reach it before its turn."""
        program = subprocess.Popen(
            [sys.executable, *words],
            cwd=ROOT,
            env=_own_environment() | {"SPACES_DATA_DIR": str(self.folder.path)} | environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            start_new_session=True,
        )
        self._running.append((program, stop_by))
        return program

    def _pause(self) -> None:
        if self.stopping.wait(PAUSE):
            raise KeyboardInterrupt


def _own_environment() -> dict[str, str]:
    """Return the environment without the settings of another site."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("SPACES_") or key in KEPT_SETTINGS}
    return kept | {"PYTHONIOENCODING": "utf-8"}


def _is_ready(url: str) -> bool:
    try:
        return Browser(url).page("/readyz")[0] == 200
    except SiteProblem:
        return False


def _tail(path: Path, lines: int = 20) -> str:
    return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


def _pass_through(program: Program) -> None:
    assert program.stdout
    for line in program.stdout:
        print(line, end="", flush=True)


def choose_port() -> int:
    """Return the port to serve on. Raises :class:`SiteProblem` when it cannot be used."""
    wanted = os.environ.get("SPACES_PORT") or "5001"
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", int(wanted)))
            return int(probe.getsockname()[1])
    except (OSError, ValueError, OverflowError) as error:
        why = getattr(error, "strerror", None) or error
        raise SiteProblem(
            f"Port {wanted} cannot be used: {why}. Stop the program that has it, or choose another port:"
            " SPACES_PORT=5002 make demo"
        ) from error


def introduce(url: str, login: tuple[str, str] | None) -> None:
    """Say where to look and how to sign in."""
    username, password = login or ("admin", "(the one that you chose)")
    print(
        f"\n  Open {url}/spaces/{SPACE} and send a prompt."
        f"\n\n      User name:  {username}\n      Password:   {password}"
        "\n\n  What the app says follows. Ctrl+C stops the demo.\n",
        flush=True,
    )


def play(demo: Demo) -> int:
    """Bring everything up, stay until Ctrl+C, and return the exit status. Raises :class:`SiteProblem`."""
    print("Starting the site ...", flush=True)
    site = demo.start_site()
    access = demo.folder.ensure_access(demo.url)
    ensure_space(demo.url, access["admin"])
    print("Connecting an app ...", flush=True)
    app = demo.connect_app(access) or demo.connect_app(demo.folder.make_access(demo.url))
    if app is None:
        raise SiteProblem(f"The site refuses the demo's app. {demo.folder.fresh_start}")
    introduce(demo.url, demo.folder.first_login())
    return demo.stay(site, app)


def main(argv: list[str] | None = None) -> int:
    """Play the demo and return its exit status: 0 after Ctrl+C."""
    parser = argparse.ArgumentParser(description="A site with a demo space and a connected app.")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="its data folder (default: %(default)s)")
    folder = DemoFolder(parser.parse_args(argv).folder)
    os.chdir(ROOT)
    try:
        demo = Demo(choose_port(), folder)
    except SiteProblem as problem:
        print(problem, file=sys.stderr)
        return 1
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: demo.stopping.set())
    try:
        return play(demo)
    except SiteProblem as problem:
        print(problem, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    finally:
        print("Stopping the demo ...", flush=True)
        demo.stop()


if __name__ == "__main__":
    sys.exit(main())
