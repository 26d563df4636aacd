"""A PostgreSQL server for the tests, from the binaries of this machine, on a socket in a temporary folder."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
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
        with (self._folder / "log").open("wb") as log:
            made = self._spawn(log, "initdb", "-D", self._data, "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8")
            if made.wait(SECONDS):
                raise RuntimeError(f"initdb failed:\n{self._log()}")
        self.come_back()

    @property
    def _data(self) -> str:
        return str(self._folder / "data")

    def come_back(self) -> None:
        """Start the server on the cluster that is there, as after :meth:`go_away`."""
        switches = {"listen_addresses": "", "fsync": "off", "full_page_writes": "off", "max_connections": "100"}
        options = [part for name, value in switches.items() for part in ("-c", f"{name}={value}")]
        with (self._folder / "log").open("ab") as log:
            self._process = self._spawn(log, "postgres", "-D", self._data, "-k", str(self._folder), *options)
        self._wait_until_it_answers(self._process)

    def go_away(self) -> None:
        """Stop the server and cut its connections; its cluster stays."""
        if self._process and self._process.poll() is None:
            self.thaw()
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(SECONDS)

    def stop(self) -> None:
        """Stop the server and remove its folder."""
        self.go_away()
        shutil.rmtree(self._folder, ignore_errors=True)

    def freeze(self) -> None:
        """Stop all processes of the server in the middle of whatever they do; connections stay open and silent."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen server go on."""
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: int) -> None:
        assert self._process
        for pid in [self._process.pid, *children_of(self._process.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def make_database(self) -> str:
        """Make an empty database and return its name."""
        name = f"t{uuid.uuid4().hex}"
        self.execute(f"CREATE DATABASE {name}")
        return name

    def execute(self, statement: str) -> None:
        """Run one statement as the server's owner."""
        with psycopg.connect(host=str(self._folder), user="postgres", dbname="postgres", autocommit=True) as connection:
            connection.execute(statement)  # type: ignore[arg-type]

    def bare_url(self, database: str) -> str:
        """Return the address of one of its databases as a site's settings have it, without a driver."""
        return f"postgresql://postgres@/{database}?host={self._folder}"

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


def children_of(parent: int) -> list[int]:
    """Return the processes that a process has started and that still run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if int(stat.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(stat.parent.name))
    return found


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
