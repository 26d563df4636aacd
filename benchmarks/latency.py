"""From submit to result: the site beside a bare in-memory relay, in one run.

One caller on one kept-alive connection submits and long-polls; the app answers at once. The two servers are
measured in alternating rounds, so that what else the machine does hits both.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from tests.site_process import ROOT, SiteProcess, free_port, inherited_environment, wait_until

ROUNDS = 5
WARM_UP = 20


class Caller:
    """One kept-alive HTTP connection."""

    def __init__(self, url: str, token: str | None = None) -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=40)
        self._headers = {"Content-Type": "application/json"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"

    def call(self, method: str, path: str, body: object = None) -> dict[str, object]:
        """Return the decoded answer. Raises RuntimeError for a refusal."""
        self._connection.request(method, path, json.dumps(body) if body is not None else None, self._headers)
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {text[:300]!r}")
        found: dict[str, object] = json.loads(text)
        return found


@contextmanager
def program(*arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Run one of our programs, and stop it at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env=inherited_environment() | environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


@contextmanager
def connected_app(url: str, space: str, token: str | None) -> Iterator[None]:
    """Keep a null app connected."""
    with program("benchmarks.null_app", url, space, *([token] if token else [])) as process:
        assert process.stdout
        said = process.stdout.readline()
        if "registered" not in said:
            raise RuntimeError(f"the null app said {said!r}")
        yield


@contextmanager
def bare_relay(mode: str) -> Iterator[Callable[[], None]]:
    """Yield a function that submits once to the bare relay and waits for the answer."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with program("benchmarks.bare_relay", str(port), SPACES_ASYNC_MODE=mode):
        caller = Caller(url)
        wait_until(lambda: _answers(url), "the bare relay serves")
        with connected_app(url, "any", None):

            def once() -> None:
                submitted = caller.call("POST", "/submit", {"prompt": "hello"})
                caller.call("GET", f"/result/{submitted['id']}")

            yield once


@contextmanager
def site(mode: str, folder: Path) -> Iterator[Callable[[], None]]:
    """Yield a function that submits once to the site and waits for the result."""
    with SiteProcess(folder, async_mode=mode) as process:
        admin = process.admin()
        space = admin.make_space()
        app_token = admin.make_token(spaces=[space])
        api_token = admin.make_token(scopes=["api"])
        caller = Caller(process.url, api_token)
        with connected_app(process.url, space, app_token):

            def once() -> None:
                submitted = caller.call("POST", f"/api/v1/spaces/{space}/requests", {"prompt": "hello"})
                caller.call("GET", f"/api/v1/requests/{submitted['id']}?until=final&wait=30")

            yield once


def _answers(url: str) -> bool:
    try:
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=1)
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False


def measure(once: Callable[[], None], count: int) -> list[float]:
    """Return how long each of ``count`` calls took, in milliseconds."""
    taken = []
    for _ in range(count):
        start = time.perf_counter()
        once()
        taken.append((time.perf_counter() - start) * 1000)
    return taken


def main() -> None:
    """Measure both and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mode", default="eventlet", choices=["eventlet", "gevent", "threading"])
    parser.add_argument("--count", type=int, default=1500, help="submits per server in all")
    given = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        servers = {
            "bare relay": stack.enter_context(bare_relay(given.mode)),
            "site": stack.enter_context(site(given.mode, folder)),
        }
        taken: dict[str, list[float]] = {name: [] for name in servers}
        for once in servers.values():
            measure(once, WARM_UP)
        for _ in range(ROUNDS):
            for name, once in servers.items():
                taken[name] += measure(once, max(1, given.count // ROUNDS))
    _print(given.mode, taken)


def _print(mode: str, taken: dict[str, list[float]]) -> None:
    print(f"submit to result, {mode}, one caller, milliseconds")
    print(f"{'':12} {'p50':>8} {'p95':>8} {'count':>7}")
    for name, values in taken.items():
        p95 = statistics.quantiles(values, n=20)[-1]
        print(f"{name:12} {statistics.median(values):8.2f} {p95:8.2f} {len(values):7}")
    ratio = statistics.median(taken["site"]) / statistics.median(taken["bare relay"])
    print(f"ratio of the medians: {ratio:.2f}")


if __name__ == "__main__":
    main()
