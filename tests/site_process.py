"""A real site as a subprocess, for tests that need sockets, signals and several processes.

with SiteProcess(tmp_path, SPACES_GRACE=2) as site:
    admin = site.admin()
    space = admin.make_space()
    token = admin.make_token(spaces=[space])
"""

from __future__ import annotations

import json
import os
import resource
import secrets
import signal
import socket
import subprocess  # nosec B404
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self, TypeVar

from tests.http_caller import HttpCaller

T = TypeVar("T")

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 40.0
STOP_SECONDS = 35.0
QUICK_SETTINGS = {"SPACES_RATE_LIMITS": "off", "SPACES_LOG_LEVEL": "INFO"}


def wait_until(look: Callable[[], T | None], what: str, seconds: float = 10.0, step: float = 0.05) -> T:
    """Call ``look`` until its answer is true and return that; fail naming ``what`` after ``seconds``."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(step)


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def inherited_environment() -> dict[str, str]:
    """Return this process's environment without any setting of a site."""
    return {key: value for key, value in os.environ.items() if not key.startswith("SPACES_")}


class SiteProcess:
    """One site: a data folder, a port, settings, and the process that runs now (if any).

    ``async_mode`` defaults to ``SPACES_ASYNC_MODE`` of the test run, so one setting runs all tests in another mode.
    ``settings`` are further ``SPACES_*`` variables. The port and the data folder stay the same over restarts.
    ``starts`` counts the starts.
    """

    def __init__(
        self, folder: Path, *, async_mode: str | None = None, port: int | None = None, **settings: object
    ) -> None:
        self.data_dir = folder / "data"
        self.log = folder / "site.log"
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None
        self.starts, self._away = 0, 0.0
        self._left_at: float | None = None
        mode = async_mode or os.environ.get("SPACES_ASYNC_MODE") or "eventlet"
        self.environment = (
            inherited_environment()
            | QUICK_SETTINGS
            | {
                "SPACES_DATA_DIR": str(self.data_dir),
                "SPACES_ASYNC_MODE": mode,
                "PYTHONUNBUFFERED": "1",
                **{key: str(value) for key, value in settings.items()},
            }
        )

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_error: object) -> None:
        self.kill9()

    def start(self) -> Self:
        """Start the process and wait until it can serve. Fails with its output when it does not."""
        self.data_dir.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "run.py", "--host", "127.0.0.1", "--port", str(self.port)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, env=self.environment, stdout=log, stderr=log)  # nosec B603
        try:
            wait_until(self._ready, "the site answers /readyz", START_SECONDS)
        except AssertionError as error:
            self.kill9()
            raise AssertionError(f"{error}\n{self.output()}") from None
        self.starts += 1
        self._is_back()
        return self

    def kill9(self) -> None:
        """End the process as a crash would; does nothing when none runs."""
        if self.process and self.process.poll() is None:
            self._leaves()
            self.process.kill()
            self.process.wait(STOP_SECONDS)

    def stop(self) -> int:
        """Stop the process by SIGTERM and return its exit status."""
        assert self.process, "the site was never started"
        self._leaves()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_SECONDS)

    def restart(self, *, kill: bool = False) -> Self:
        """Stop (or ``kill``) the process and start another one on the same port and data."""
        self.kill9() if kill else self.stop()
        return self.start()

    def pause(self) -> None:
        """Freeze the process; :meth:`resume` lets it go on."""
        assert self.process, "the site was never started"
        self._leaves()
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen process go on."""
        assert self.process, "the site was never started"
        self.process.send_signal(signal.SIGCONT)
        self._is_back()

    def fill_disk(self) -> None:
        """Let no file be written any more, as on a full disk; reading goes on. :meth:`free_disk` ends that.

        The limit is the process's own, so it works for root, in any container, and harms nobody else.
        """
        self._limit_files(0)

    def free_disk(self) -> None:
        """Let files be written again."""
        self._limit_files(resource.RLIM_INFINITY)

    def _limit_files(self, size: int) -> None:
        assert self.process, "the site was never started"
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    @property
    def database(self) -> Path:
        """The file of the site's SQLite database."""
        return self.data_dir / "spaces.db"

    def output(self) -> str:
        """Return all that the process has printed so far, over restarts."""
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else "(no output)"

    def admin_credentials(self) -> tuple[str, str]:
        """Return the name and password of the first admin, as kept in the data folder."""
        kept = json.loads((self.data_dir / "first-admin.json").read_text(encoding="utf-8"))
        return kept["username"], kept["password"]

    def admin(self) -> HttpCaller:
        """Return a caller signed in as the first admin."""
        return HttpCaller(self.url).sign_in(*self.admin_credentials())

    def user(self, username: str | None = None) -> HttpCaller:
        """Make an ordinary account and return a caller signed in with it."""
        name, password = username or f"user-{secrets.token_hex(4)}", secrets.token_urlsafe(16)
        HttpCaller(self.url).sign_up(name, password)
        return HttpCaller(self.url).sign_in(name, password)

    @property
    def away(self) -> float:
        """For how many seconds in all the process was gone or frozen, since its first start."""
        return self._away + (time.monotonic() - self._left_at if self._left_at else 0.0)

    def _leaves(self) -> None:
        if self._left_at is None:
            self._left_at = time.monotonic()

    def _is_back(self) -> None:
        if self._left_at is not None:
            self._away, self._left_at = self.away, None

    def _ready(self) -> bool:
        assert self.process
        if self.process.poll() is not None:
            raise AssertionError(f"the site ended with status {self.process.returncode}")
        return HttpCaller(self.url).is_ready()
