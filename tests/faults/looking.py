"""What all fault tests share: the modes, the short times, and looking at requests and spaces."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from tests.http_caller import HttpCaller
from tests.postgres import start_or_skip
from tests.site_process import SiteProcess, wait_until
from tests.soak.measuring import Process

GRACE = 1.5
ACK_SECONDS = 1.0
TIMEOUT = 2.0
EVENT_KB = 20
EVENTLET, GEVENT, THREADING = ALL_MODES = ("eventlet", "gevent", "threading")


def in_long(mode: str) -> Any:
    """Return the mode for the long run alone."""
    return pytest.param(mode, marks=pytest.mark.long)


#: Every run tries the modes that may serve in production, the long one Werkzeug's development server too.
MODES = (EVENTLET, GEVENT, in_long(THREADING))
#: For what takes long, or is the same whatever the mode: the others are for the long run.
SOME_MODES = (EVENTLET, in_long(GEVENT), in_long(THREADING))
#: Sites that run in each mode; the others run in the mode of the test run.
every_mode = pytest.mark.parametrize("site", MODES, indirect=True)
some_modes = pytest.mark.parametrize("site", SOME_MODES, indirect=True)
#: The default mode on a database where others come between two statements: SQLite in one process lets nobody in.
POSTGRES = "eventlet on PostgreSQL"
#: Where others can come between two steps: real threads, and a database that is somewhere else.
interleaved = pytest.mark.parametrize("site", [EVENTLET, in_long(GEVENT), THREADING, POSTGRES], indirect=True)

SHORT_TIMES = {
    "SPACES_GRACE": GRACE,
    "SPACES_ACK_TIMEOUT": ACK_SECONDS,
    "SPACES_REQUEST_TIMEOUT": TIMEOUT,
    "SPACES_MAX_EVENT_KB": EVENT_KB,
}


@contextmanager
def sites_in_modes(folders: pytest.TempPathFactory, **settings: Any) -> Iterator[Callable[[str | None], SiteProcess]]:
    """Yield what returns the running site of a mode, started when it is first asked for."""
    running: dict[str | None, SiteProcess] = {}
    with ExitStack() as stack:

        def start(mode: str | None) -> SiteProcess:
            folder = folders.mktemp("site")
            if mode != POSTGRES:
                return stack.enter_context(SiteProcess(folder, async_mode=mode, **settings))
            server = start_or_skip()
            stack.callback(server.stop)
            database = server.bare_url(server.make_database())
            return stack.enter_context(
                SiteProcess(folder, async_mode=EVENTLET, **settings, SPACES_DATABASE_URL=database)
            )

        def in_mode(mode: str | None) -> SiteProcess:
            if mode not in running:
                running[mode] = start(mode)
            return running[mode]

        yield in_mode


def wait_status(caller: HttpCaller, request_id: str, status: str, seconds: float = 10.0) -> dict[str, Any]:
    """Wait until the request has this status and return the request object."""
    seen: dict[str, Any] = {}

    def look() -> bool:
        seen.update(caller.request(request_id))
        return bool(seen["status"] == status)

    try:
        wait_until(look, f"request {request_id} is {status}", seconds)
    except AssertionError as error:
        raise AssertionError(f"{error}; it is {seen}") from None
    return seen


def wait_connected(caller: HttpCaller, space: str, connected: bool = True, seconds: float = 10.0) -> None:
    """Wait until the space is seen as connected, or not."""
    what = f"{space} is {'connected' if connected else 'not connected'}"
    wait_until(lambda: caller.space(space)["connected"] is connected, what, seconds)


def text_of(request: dict[str, Any]) -> str:
    """Return the text of a completed request."""
    assert request["status"] == "completed", request
    return str(request["output"][0]["text"])


def ending(request: dict[str, Any]) -> tuple[str, str | None]:
    """Return the status and the error code."""
    return request["status"], (request["error"] or {}).get("code")


def steps(request: dict[str, Any]) -> list[tuple[str, int, str | None]]:
    """Return the transitions as (to, attempt, code)."""
    return [(one["to"], one["attempt"], one["code"]) for one in request["transitions"]]


def compute(request_id: str, most: float) -> None:
    """Take some time, at most ``most`` seconds, that depends on the request: no two runs with one id differ."""
    threading.Event().wait(most * int(request_id[:2], 16) / 255)


def rounds(few: int, all_of_them: int) -> list[Any]:
    """Return the numbers of a test's rounds; those beyond ``few`` are for long runs only."""
    return [pytest.param(one, marks=[pytest.mark.long] if one >= few else []) for one in range(all_of_them)]


def sockets_of(site: SiteProcess) -> int:
    """Return how many sockets the site has open at this moment."""
    assert site.process, "the site was never started"
    return Process.look(site.process.pid).sockets


def settled_sockets_of(site: SiteProcess) -> int:
    """Return the same once it does not change any more: what earlier calls left open is closed a little later."""
    seen: list[int] = []

    def look() -> bool:
        seen.append(sockets_of(site))
        return len(seen) > 2 and len({*seen[-3:]}) == 1

    wait_until(look, "the number of open sockets stays the same", step=0.3)
    return seen[-1]
