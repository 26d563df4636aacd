"""SIGTERM: nothing new is taken or handed over, what runs may end, and the queue is there after the restart."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.faults.apps import Echo, FaultApp, Never
from tests.faults.looking import MODES, text_of, wait_status
from tests.http_caller import HttpCaller
from tests.site_process import SiteProcess, wait_until

OwnSite = Callable[..., SiteProcess]
Started = Callable[[FaultApp], FaultApp]

EXIT_SECONDS = 30.0


def terminate(site: SiteProcess) -> None:
    assert site.process
    site.process.send_signal(signal.SIGTERM)


def exit_status(site: SiteProcess) -> int:
    assert site.process
    return site.process.wait(EXIT_SECONDS)


def refusal(admin: HttpCaller, space: str) -> dict[str, Any] | None:
    """Submit, and return the refusal if it is one of a site that stops."""
    answer = admin.call("POST", f"spaces/{space}/requests", json={"prompt": "too late"})
    return answer.json() if answer.status_code == 503 and answer.json()["error"]["code"] == "shutting_down" else None


@pytest.mark.parametrize("mode", MODES)
def test_a_stop_takes_the_running_result_and_keeps_the_queue(own_site: OwnSite, started: Started, mode: str) -> None:
    site = own_site(async_mode=mode)
    admin = site.admin()
    space = admin.make_space(timeout_seconds=60)
    token = admin.make_token(spaces=[space])
    app = started(Never(site.url, token)).serve(space)
    ids = [admin.submit(space, prompt)["id"] for prompt in ("one", "two")]
    request = app.next("inference_request", request_id=ids[0])
    terminate(site)
    wait_until(lambda: "Stopping" in site.output(), "the site says that it stops")
    accepted = []
    wait_until(lambda: refusal(admin, space) or accepted.append(1), "a submit is refused as shutting_down")
    assert not accepted, "a submit was accepted after the site had begun to stop"
    assert app.answer(request) == "accepted"
    assert exit_status(site) == 0
    app.wait_gone()
    assert not app.ended_for_good, "a stop invites the apps to come back"
    assert not app.has_heard("inference_request"), "a request was handed over while the site stopped"
    assert "Traceback" not in site.output()
    site.start()
    admin = site.admin()
    assert text_of(admin.request(ids[0])) == "one"
    assert admin.request(ids[1])["status"] == "queued"
    started(Echo(site.url, token)).serve(space)
    final = admin.wait_final(ids[1])
    assert (text_of(final), final["attempt"]) == ("two", 1)


@pytest.mark.long
def test_an_app_that_never_answers_does_not_hold_up_the_stop(own_site: OwnSite, started: Started) -> None:
    site = own_site()
    admin = site.admin()
    space = admin.make_space(timeout_seconds=60)
    token = admin.make_token(spaces=[space])
    app = started(Never(site.url, token)).serve(space)
    request_id = admin.submit(space, "one")["id"]
    request = app.next("inference_request")
    asked = time.monotonic()
    terminate(site)
    assert exit_status(site) == 0
    assert time.monotonic() - asked < EXIT_SECONDS
    site.start()
    claim = {"request_id": request_id, "attempt_id": request["attempt_id"]}
    back = started(Never(site.url, token))
    assert back.register(space, resume=[claim])["resumed"] == [claim]
    assert back.answer(request) == "accepted"
    assert wait_status(site.admin(), request_id, "completed")["attempt"] == 1


def test_a_stop_without_work_is_quick(own_site: OwnSite, started: Started) -> None:
    site = own_site()
    admin = site.admin()
    space = admin.make_space()
    app = started(Never(site.url, admin.make_token(spaces=[space]))).serve(space)
    asked = time.monotonic()
    assert site.stop() == 0
    assert time.monotonic() - asked < 5
    app.wait_gone()
