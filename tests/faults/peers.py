"""Sites with short bounds for slow peers, and what such a site's process holds."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from tests.faults.filer import RawHttp
from tests.http_caller import HttpCaller
from tests.site_process import SiteProcess, wait_until

HEAD, IDLE, STALL, PING = 1.0, 1.5, 1.5, 1.0
BOUNDS = {
    "SPACES_HEADER_TIMEOUT": HEAD,
    "SPACES_IDLE_TIMEOUT": IDLE,
    "SPACES_SEND_STALL": STALL,
    "SPACES_UPLOAD_STALL": STALL,
    "SPACES_PING_INTERVAL": PING,
    "SPACES_PING_TIMEOUT": PING,
    "SPACES_MAX_PROMPT_CHARS": 900_000,
}
HELLO = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
#: Seconds within which the site must have noticed, beyond the bound itself: a busy machine is slow.
SLACK = 6.0


def open_sockets(site: SiteProcess) -> int:
    """Return how many sockets the site's process has open."""
    return sum(one.startswith("socket:") for one in _files(site))


def _files(site: SiteProcess) -> Iterator[str]:
    for path in _proc(site).joinpath("fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            yield str(path.readlink())


def connections(site: SiteProcess) -> int:
    """Return how many connections to the site stand, or are still open at its end."""
    port = f":{site.port:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[1].endswith(port) and row[3] in ("01", "08") for row in rows)


def open_uploads(site: SiteProcess) -> int:
    """Return how many files of its store it has open."""
    return sum(str(site.data_dir / "files") in one for one in _files(site))


def file_numbers(site: SiteProcess) -> int:
    """Return the highest number of an open file, and one more."""
    return 1 + max(int(path.name) for path in _proc(site).joinpath("fd").iterdir())


def threads(site: SiteProcess) -> int:
    """Return how many real threads it has."""
    return len(list(_proc(site).joinpath("task").iterdir()))


def most_memory(site: SiteProcess) -> int:
    """Return the most megabytes that it ever had in memory."""
    status = _proc(site).joinpath("status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1_000


def cpu_seconds(site: SiteProcess) -> float:
    """Return the processor time that it has used, in seconds."""
    fields = _proc(site).joinpath("stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def pid(site: SiteProcess) -> int:
    """Return the number of the site's process."""
    assert site.process
    return site.process.pid


def _proc(site: SiteProcess) -> Path:
    return Path("/proc") / str(pid(site))


@contextlib.contextmanager
def gives_everything_back(site: SiteProcess, sockets: int, real_threads: int) -> Iterator[None]:
    """Wait afterwards until the site holds no more sockets and threads than these."""
    yield
    wait_until(lambda: open_sockets(site) <= sockets, f"{open_sockets(site)} sockets fall to {sockets}", SLACK + 4)
    wait_until(lambda: threads(site) <= real_threads, f"{threads(site)} threads fall to {real_threads}", SLACK + 4)


def serves(site: SiteProcess) -> bool:
    """Whether somebody else is served at once."""
    return HttpCaller(site.url).call("GET", "/healthz", timeout=3).status_code == 200


def listens_for(peer: RawHttp, seconds: float) -> bytes:
    """Return what the site says within this time; nothing when it is silent or has left."""
    peer.socket.settimeout(seconds)
    with contextlib.suppress(TimeoutError, ConnectionError):
        return peer.socket.recv(65_536)
    return b""


def drip(peer: RawHttp, data: bytes, pause: float, seconds: float) -> bytes:
    """Send ``data`` byte by byte until the site says something, or leaves, or the time is over; return what it said."""
    deadline = time.monotonic() + seconds
    for one in data:
        peer.send(bytes([one]))
        peer.socket.settimeout(pause)
        try:
            return peer.socket.recv(65_536)
        except TimeoutError:
            if time.monotonic() > deadline:
                break
        except ConnectionError:
            return b""
    raise AssertionError(f"the site went on listening for {seconds:g} s")


def deaf_socket(url: str) -> socket.socket:
    """Return a connection that can hold next to nothing of what it does not read."""
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    one.settimeout(20)
    host, _, port = url.removeprefix("http://").partition(":")
    one.connect((host, int(port)))
    return one
