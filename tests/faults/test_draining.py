"""After a timeout or a cancel the app still computes: nothing new is handed over until it answers or the grace ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.faults.apps import FaultApp, Mute, Never
from tests.faults.looking import GRACE, wait_connected, wait_status
from tests.http_caller import HttpCaller

Connect = Callable[..., Any]
Ending = Callable[[HttpCaller, str], None]


def cancel(admin: HttpCaller, request_id: str) -> None:
    admin.json("POST", f"requests/{request_id}/cancel")


def time_out(admin: HttpCaller, request_id: str) -> None:
    wait_status(admin, request_id, "timed_out")


ways = pytest.mark.parametrize(("end", "timeout"), [(cancel, 30), (time_out, 1)])


def with_two(admin: HttpCaller, space: str, app: FaultApp, timeout: float) -> tuple[dict[str, Any], str]:
    """Hand one request over and leave one waiting; return the former as the app got it, and the latter's id."""
    admin.json("PATCH", f"spaces/{space}", json={"timeout_seconds": timeout})
    admin.submit(space, "one")
    request = app.next("inference_request")
    return request, admin.submit(space, "two")["id"]


@ways
def test_the_answer_of_the_app_frees_its_place(
    admin: HttpCaller, space: str, connect: Connect, end: Ending, timeout: float
) -> None:
    app = connect(Never)
    request, waiting = with_two(admin, space, app, timeout)
    end(admin, request["request_id"])
    app.next("inference_cancel")
    assert not app.has_heard("inference_request"), "a second request while the app computes"
    assert admin.request(waiting)["status"] == "queued"
    assert app.answer(request) == "already_final"
    app.next("inference_request", seconds=GRACE / 2, request_id=waiting)


@ways
def test_with_a_sign_of_life_the_next_one_comes_after_the_grace(
    admin: HttpCaller, space: str, connect: Connect, end: Ending, timeout: float
) -> None:
    app = connect(Never)
    request, waiting = with_two(admin, space, app, timeout)
    end(admin, request["request_id"])
    app.next("inference_cancel")
    told = time.monotonic()
    progress = {"request_id": request["request_id"], "value": 0.5}
    assert app.call("inference_progress", progress)["code"] == "already_final"
    app.next("inference_request", request_id=waiting)
    assert time.monotonic() - told > GRACE * 0.8, "handed over before the grace was over"
    assert app.is_connected()


@ways
def test_without_a_sign_of_life_the_transport_is_closed(
    admin: HttpCaller, space: str, connect: Connect, end: Ending, timeout: float
) -> None:
    app = connect(Mute)
    request, waiting = with_two(admin, space, app, timeout)
    end(admin, request["request_id"])
    app.wait_gone()
    assert not app.ended_for_good, "a closed transport invites to come back"
    assert not app.has_heard("inference_request")
    wait_connected(admin, space, False)
    back = connect(Never)
    assert back.answer(back.next("inference_request", request_id=waiting)) == "accepted"


def test_progress_does_not_extend_the_place(admin: HttpCaller, space: str, connect: Connect) -> None:
    app = connect(Never)
    request, waiting = with_two(admin, space, app, 30)
    cancel(admin, request["request_id"])
    told = time.monotonic()
    while not app.has_heard("inference_request"):
        assert time.monotonic() < told + GRACE + 3, "progress kept the place for ever"
        app.call("inference_progress", {"request_id": request["request_id"], "value": 0.5})
    app.next("inference_request", request_id=waiting)


def test_the_user_is_answered_at_once(admin: HttpCaller, space: str, connect: Connect) -> None:
    app = connect(Mute)
    request, _ = with_two(admin, space, app, 30)
    cancelled = admin.json("POST", f"requests/{request['request_id']}/cancel")
    assert (cancelled["status"], cancelled["error"]["code"]) == ("cancelled", "cancelled_by_user")


def test_a_cancel_while_it_waits_does_not_touch_the_app(admin: HttpCaller, space: str, connect: Connect) -> None:
    app = connect(Never)
    request, waiting = with_two(admin, space, app, 30)
    cancel(admin, waiting)
    assert app.answer(request) == "accepted"
    assert not app.has_heard("inference_cancel")
    assert not app.has_heard("inference_request")
    assert app.answer(request) == "duplicate"
