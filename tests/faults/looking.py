"""What all fault tests share: the modes, the short times, and looking at requests and spaces."""

from __future__ import annotations

from typing import Any

import pytest

from tests.http_caller import HttpCaller
from tests.site_process import wait_until

GRACE = 1.5
ACK_SECONDS = 1.0
TIMEOUT = 2.0
EVENT_KB = 20
MODES = ("eventlet", "gevent", "threading")
#: Sites that run in each mode; the others run in the mode of the test run.
every_mode = pytest.mark.parametrize("site", MODES, indirect=True)

SHORT_TIMES = {
    "SPACES_GRACE": GRACE,
    "SPACES_ACK_TIMEOUT": ACK_SECONDS,
    "SPACES_REQUEST_TIMEOUT": TIMEOUT,
    "SPACES_MAX_EVENT_KB": EVENT_KB,
}


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
