"""An app that drops in the middle of a request: what comes back in time goes on, what does not is given back."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from tests.faults.apps import Echo, FaultApp, Mute, Never
from tests.faults.looking import ACK_SECONDS, ending, some_modes, steps, text_of, wait_connected, wait_status
from tests.http_caller import HttpCaller
from tests.site_process import SiteProcess, wait_until

Connect = Callable[..., Any]
Started = Callable[[FaultApp], FaultApp]


def claim(request: dict[str, Any]) -> dict[str, str]:
    return {"request_id": request["request_id"], "attempt_id": request["attempt_id"]}


@some_modes
def test_back_in_time_with_a_claim_keeps_the_attempt_and_its_deadline(
    site: SiteProcess, admin: HttpCaller, space: str, token: str, connect: Connect, started: Started
) -> None:
    first = connect(Never)
    request_id = admin.submit(space, "hello")["id"]
    request = first.next("inference_request")
    deadline = admin.request(request_id)["deadline_at"]
    first.drop()
    wait_connected(admin, space, False)
    assert admin.request(request_id)["status"] == "processing"
    back = started(Never(site.url, token))
    assert back.register(space, resume=[claim(request)])["resumed"] == [claim(request)]
    assert admin.request(request_id)["deadline_at"] == deadline
    assert back.answer(request) == "accepted"
    final = admin.wait_final(request_id)
    assert (text_of(final), final["attempt"]) == ("hello", 1)
    assert steps(final) == [("queued", 0, None), ("processing", 1, None), ("completed", 1, None)]
    assert not back.has_heard("inference_request"), "a claimed request must not be handed over again"


def test_back_without_a_claim_it_is_handed_over_again_before_the_others(
    site: SiteProcess, admin: HttpCaller, space: str, token: str, connect: Connect, started: Started
) -> None:
    first = connect(Never)
    ids = [admin.submit(space, prompt)["id"] for prompt in ("one", "two", "three")]
    assert first.next("inference_request")["attempt"] == 1
    first.drop()
    wait_connected(admin, space, False)
    back = started(Echo(site.url, token))
    assert back.register(space)["resumed"] == []
    finals = [admin.wait_final(one) for one in ids]
    assert [text_of(final) for final in finals] == ["one", "two", "three"]
    assert [final["attempt"] for final in finals] == [2, 1, 1]
    assert back.prompts == ["one", "two", "three"]
    assert back.next("inference_request", request_id=ids[0])["redelivered"] is True


def test_gone_for_longer_than_the_grace_it_is_requeued(admin: HttpCaller, space: str, connect: Connect) -> None:
    first = connect(Never)
    request_id = admin.submit(space, "hello")["id"]
    first.next("inference_request")
    first.drop()
    queued = wait_status(admin, request_id, "queued")
    assert (queued["attempt"], queued["position"], queued["deadline_at"]) == (1, 1, None)
    connect(Echo)
    assert text_of(admin.wait_final(request_id)) == "hello"


def test_without_attempts_left_it_fails_and_the_next_one_runs(admin: HttpCaller, space: str, connect: Connect) -> None:
    first = connect(Never)
    ids = [admin.submit(space, prompt)["id"] for prompt in ("one", "two")]
    assert first.next("inference_request", request_id=ids[0])["attempt"] == 1
    first.drop()
    wait_connected(admin, space, False)
    second = connect(Never)
    assert second.next("inference_request", request_id=ids[0])["attempt"] == 2
    second.drop()
    final = admin.wait_final(ids[0])
    assert (ending(final), final["attempt"]) == (("failed", "app_disconnected"), 2)
    connect(Echo)
    assert text_of(admin.wait_final(ids[1])) == "two"


def test_a_claim_of_an_attempt_that_is_over_is_answered_with_a_cancel(
    site: SiteProcess, admin: HttpCaller, space: str, token: str, connect: Connect, started: Started
) -> None:
    first = connect(Never)
    ids = [admin.submit(space, prompt)["id"] for prompt in ("one", "two")]
    request = first.next("inference_request")
    first.drop()
    wait_connected(admin, space, False)
    admin.json("POST", f"requests/{ids[0]}/cancel")
    back = started(Never(site.url, token))
    assert back.register(space, resume=[claim(request)])["resumed"] == []
    assert back.next("inference_cancel") == {**claim(request), "reason": "already_final"}
    assert back.answer(request) == "already_final"
    assert back.next("inference_request")["request_id"] == ids[1]


def test_a_claim_by_another_token_is_not_honoured(
    site: SiteProcess, admin: HttpCaller, space: str, connect: Connect, started: Started
) -> None:
    first = connect(Never)
    request_id = admin.submit(space, "hello")["id"]
    request = first.next("inference_request")
    first.drop()
    wait_connected(admin, space, False)
    other = started(Never(site.url, admin.make_token(spaces=[space])))
    assert other.register(space, resume=[claim(request)])["resumed"] == []
    again = other.next("inference_request", request_id=request_id)
    assert again["attempt"] == 2
    assert other.answer(request) == "unknown_request"
    assert other.answer(again) == "accepted"


def test_the_deadline_runs_on_while_the_app_is_away(admin: HttpCaller, space: str, connect: Connect) -> None:
    admin.json("PATCH", f"spaces/{space}", json={"timeout_seconds": 1})
    app = connect(Never)
    request_id = admin.submit(space, "hello")["id"]
    app.next("inference_request")
    app.drop()
    assert ending(admin.wait_final(request_id)) == ("timed_out", "processing_timeout")


@some_modes
def test_declared_acks_and_none_given_it_is_requeued_and_the_transport_closed(
    admin: HttpCaller, space: str, connect: Connect
) -> None:
    app = connect(Mute, acks=True)
    request_id = admin.submit(space, "hello")["id"]
    assert app.next("inference_request")["attempt"] == 1
    wait_status(admin, request_id, "queued")
    app.wait_gone()
    assert not app.ended_for_good, "a closed transport invites to come back"
    connect(Echo, acks=True)
    final = admin.wait_final(request_id)
    assert (text_of(final), final["attempt"]) == ("hello", 2)


def test_acks_that_were_not_declared_are_not_waited_for(admin: HttpCaller, space: str, connect: Connect) -> None:
    app = connect(Mute)
    request_id = admin.submit(space, "hello")["id"]
    request = app.next("inference_request")
    handed = time.monotonic()
    wait_until(lambda: time.monotonic() > handed + 2 * ACK_SECONDS, "twice the time of an acknowledgement has passed")
    assert app.answer(request) == "accepted"
    assert admin.request(request_id)["attempt"] == 1
