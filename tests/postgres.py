"""A PostgreSQL server for the tests, from the binaries of this machine, on a socket in a temporary folder."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg
import pytest

SECONDS = 60.0


def find_binaries() -> Path | None:
    """Return the folder of the newest PostgreSQL on this machine, or None."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    on_path = shutil.which("initdb")
    found += [Path(on_path).resolve().parent] if on_path else []
    return max(found, key=lambda path: path.as_posix(), default=None)


class PostgresServer:
    """One server: :meth:`start` it, reach its databases by :meth:`url`, :meth:`stop` it."""

    def __init__(self, binaries: Path) -> None:
        self._binaries = binaries
        self._folder = Path(tempfile.mkdtemp(prefix="pg-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._user: str | None = None
        if os.geteuid() == 0:
            self._user = "postgres"
            owner = pwd.getpwnam(self._user)
            os.chown(self._folder, owner.pw_uid, owner.pw_gid)

    def start(self) -> None:
        """Make an empty cluster and start the server; it does not care for power cuts, so it is fast."""
        data = str(self._folder / "data")
        with (self._folder / "log").open("wb") as log:
            made = self._spawn(log, "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8")
            if made.wait(SECONDS):
                raise RuntimeError(f"initdb failed:\n{self._log()}")
            switches = {"listen_addresses": "", "fsync": "off", "full_page_writes": "off", "max_connections": "100"}
            options = [part for name, value in switches.items() for part in ("-c", f"{name}={value}")]
            self._process = self._spawn(log, "postgres", "-D", data, "-k", str(self._folder), *options)
        self._wait_until_it_answers(self._process)

    def stop(self) -> None:
        """Stop the server and remove its folder."""
        if self._process:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(SECONDS)
        shutil.rmtree(self._folder, ignore_errors=True)

    def url(self, database: str = "postgres") -> str:
        """Return the address of one of its databases."""
        return f"postgresql+psycopg://postgres@/{database}?host={self._folder}"

    def _spawn(self, log: object, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [str(self._binaries / program), *arguments],
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=log,  # type: ignore[call-overload]
            stderr=subprocess.STDOUT,
            user=self._user,
            group=self._user,
            env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"},
        )

    def _wait_until_it_answers(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                psycopg.connect(host=str(self._folder), user="postgres", dbname="postgres").close()
                return
            except psycopg.OperationalError as error:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"PostgreSQL does not answer: {error}\n{self._log()}") from error
            time.sleep(0.05)

    def _log(self) -> str:
        return (self._folder / "log").read_text(errors="replace")[-4000:]


def start_or_skip() -> PostgresServer:
    """Return a running server. Without PostgreSQL the tests that need it are skipped at home, and fail in CI."""
    binaries = find_binaries()
    if binaries is None:
        reason = "PostgreSQL is not installed (no /usr/lib/postgresql/*/bin/initdb, and none on the PATH)"
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(f"{reason}; CI must have it")
        pytest.skip(reason)
    server = PostgresServer(binaries)
    server.start()
    return server
