"""Looks at the site's process once a second, and asks a bare server beside it how fast this machine is meanwhile."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.site_process import SiteProcess
from tests.soak.figures import Figures, Second, Timing
from tests.soak.wire import Broken, Wire

LOOK_SECONDS = 1.0
BARE_SECONDS = 0.2
TICKS = os.sysconf("SC_CLK_TCK")


class Process(NamedTuple):
    """What the kernel says of a process: memory, threads, descriptors, seconds so far that it ran and waited to run."""

    megabytes: float
    threads: int
    sockets: int
    files: int
    cpu: float
    waited: float

    @classmethod
    def look(cls, pid: int) -> Process:
        """Raises :class:`OSError` when there is no such process."""
        proc = Path(f"/proc/{pid}")
        status = (proc / "status").read_text()
        links = [_target(entry) for entry in (proc / "fd").iterdir()]
        sockets = sum(link.startswith("socket:") for link in links)
        times = (proc / "stat").read_text().rpartition(")")[2].split()
        return cls(
            megabytes=_number(status, "VmRSS") / 1024,
            threads=_number(status, "Threads"),
            sockets=sockets,
            files=sum(bool(link) for link in links) - sockets,
            cpu=(int(times[11]) + int(times[12])) / TICKS,
            waited=sum(_waited(task) for task in (proc / "task").iterdir()),
        )


def _waited(task: Path) -> float:
    """Return for how long a thread was ready to run and had no core; nothing when it is gone, or nobody counts."""
    try:
        return int((task / "schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


def _number(status: str, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+)", status, flags=re.MULTILINE)
    return int(found[1]) if found else 0


def _target(descriptor: Path) -> str:
    """Return what a descriptor leads to; nothing when it was closed meanwhile."""
    try:
        return str(descriptor.readlink())
    except FileNotFoundError:
        return ""


class Measuring:
    """Writes into ``figures`` until it is cancelled. ``accepted`` counts the requests so far."""

    def __init__(
        self, site: SiteProcess, token: str, bare_url: str, figures: Figures, accepted: Callable[[], int]
    ) -> None:
        self._site, self._figures, self._accepted = site, figures, accepted
        self._wire, self._bare = Wire(site.url, token), Wire(bare_url)
        self._begun = time.monotonic()
        self._looked, self._cpu, self._waited = 0.0, 0.0, 0.0

    async def every_second(self) -> None:
        """Look, for ever. A site that is down just now is looked at later."""
        while True:
            try:
                self._figures.seconds.append(await self.look())
            except (Broken, OSError):
                self._figures.broken += 1
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> Second:
        """Look once. Raises :class:`Broken` or :class:`OSError` when the site is down."""
        answer = await self._wire.get("/api/v1/spaces?limit=100")
        assert self._site.process
        pid, now = self._site.process.pid, time.monotonic()
        seen = Process.look(pid)
        cpu, self._cpu = seen.cpu - self._cpu, seen.cpu
        waited, self._waited = seen.waited - self._waited, seen.waited
        passed, self._looked = now - self._looked, now
        spaces = answer.body["items"]
        return Second(
            at=now - self._begun,
            pid=pid,
            megabytes=seen.megabytes,
            threads=seen.threads,
            sockets=seen.sockets,
            files=seen.files,
            cpu=max(0.0, cpu / passed),
            waited=max(0.0, waited / passed),
            connected=sum(space["connected"] for space in spaces),
            queued=sum(space["queue_size"] for space in spaces),
            processing=sum(space["processing"] for space in spaces),
            accepted=self._accepted(),
        )

    async def ask_the_bare_server(self) -> None:
        """Time a call that does nothing, for ever."""
        while True:
            answer = await self._bare.get("/readyz")
            self._figures.bare.append(Timing(time.monotonic() - self._begun, answer.seconds))
            await asyncio.sleep(BARE_SECONDS)

    def close(self) -> None:
        """Hang up."""
        self._wire.close()
        self._bare.close()
