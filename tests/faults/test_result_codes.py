"""What a result is acknowledged with, in the order of guarantee G11."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.faults.apps import FaultApp, Never
from tests.faults.looking import some_modes, text_of, wait_connected, wait_status
from tests.http_caller import HttpCaller
from tests.site_process import SiteProcess

Connect = Callable[..., Any]
Started = Callable[[FaultApp], FaultApp]


def claim(request: dict[str, Any]) -> list[dict[str, str]]:
    return [{"request_id": request["request_id"], "attempt_id": request["attempt_id"]}]


@some_modes
def test_accepted_then_duplicate(admin: HttpCaller, space: str, connect: Connect) -> None:
    app = connect(Never)
    admin.submit(space, "hello")
    request = app.next("inference_request")
    codes = [app.answer(request, "first"), app.answer(request, "second"), app.answer(request, "third", attempt=False)]
    assert codes == ["accepted", "duplicate", "duplicate"]
    assert text_of(admin.request(request["request_id"])) == "first"


def test_without_attempt_id_the_current_attempt_is_meant(admin: HttpCaller, space: str, connect: Connect) -> None:
    app = connect(Never)
    admin.submit(space, "hello")
    assert app.answer(app.next("inference_request"), attempt=False) == "accepted"


def test_a_malformed_result_is_invalid_before_anything_else(connect: Connect) -> None:
    body = {"request_id": "never-was", "status": "completed", "result": 5}
    answer = connect(Never).call("inference_result", body)
    assert answer["code"] == "invalid"
    assert "result" in answer["message"]


def test_another_connection_of_the_token_is_not_the_owner(
    site: SiteProcess, admin: HttpCaller, space: str, token: str, connect: Connect, started: Started
) -> None:
    owner = connect(Never)
    request_id = admin.submit(space, "hello")["id"]
    request = owner.next("inference_request")
    other = started(Never(site.url, token))
    assert other.answer(request, "forged") == "not_owner"
    assert other.answer(request, "forged", attempt=False) == "not_owner"
    assert admin.request(request_id)["status"] == "processing"
    assert owner.answer(request, "mine") == "accepted"
    assert text_of(admin.request(request_id)) == "mine"


def test_another_token_does_not_know_the_request(
    site: SiteProcess, admin: HttpCaller, space: str, connect: Connect, started: Started
) -> None:
    owner = connect(Never)
    admin.submit(space, "hello")
    request = owner.next("inference_request")
    other = started(Never(site.url, admin.make_token(spaces=[space])))
    assert other.answer(request, "forged") == "unknown_request"
    assert owner.answer(request) == "accepted"


def test_a_queued_request_is_unknown_to_the_app(admin: HttpCaller, space: str, connect: Connect) -> None:
    app = connect(Never)
    admin.submit(space, "first")
    waiting = admin.submit(space, "second")["id"]
    app.next("inference_request")
    guess = {"request_id": waiting, "attempt_id": "0" * 32, "payload": {"prompt": ""}}
    assert app.answer(guess, "too early") == "unknown_request"
    assert app.answer(guess, "too early", attempt=False) == "unknown_request"
    assert admin.request(waiting)["status"] == "queued"


def test_an_attempt_that_was_requeued_is_stale(
    site: SiteProcess, admin: HttpCaller, space: str, token: str, connect: Connect, started: Started
) -> None:
    first = connect(Never)
    request_id = admin.submit(space, "hello")["id"]
    old = first.next("inference_request")
    first.drop()
    back = started(Never(site.url, token)).serve(space)
    new = back.next("inference_request", request_id=request_id)
    assert (new["attempt"], new["redelivered"]) == (2, True)
    assert back.answer(old, "old") == "stale_attempt"
    assert admin.request(request_id)["status"] == "processing"
    assert back.answer(new, "new") == "accepted"
    assert back.answer(old, "old") == "stale_attempt"
    assert text_of(admin.request(request_id)) == "new"


def test_a_requeued_attempt_that_nobody_took_yet_is_stale(
    site: SiteProcess, admin: HttpCaller, space: str, token: str, connect: Connect, started: Started
) -> None:
    admin.json("PATCH", f"spaces/{space}", json={"queue_when_offline": True})
    app = connect(Never)
    request_id = admin.submit(space, "hello")["id"]
    old = app.next("inference_request")
    app.drop()
    wait_status(admin, request_id, "queued")
    back = started(Never(site.url, token))
    assert back.answer(old, "old") == "stale_attempt"


def test_a_cancelled_request_is_already_final(admin: HttpCaller, space: str, connect: Connect) -> None:
    app = connect(Never)
    request_id = admin.submit(space, "hello")["id"]
    request = app.next("inference_request")
    admin.json("POST", f"requests/{request_id}/cancel")
    cancel = app.next("inference_cancel")
    told = {"request_id": request_id, "attempt_id": request["attempt_id"], "reason": "cancelled_by_user"}
    assert cancel == told
    assert app.answer(request, "late") == "already_final"
    assert app.answer(request, "later") == "already_final"
    assert admin.request(request_id)["output"] in ([], None)


def test_after_the_deadline_it_is_already_final(admin: HttpCaller, connect: Connect, space: str) -> None:
    admin.json("PATCH", f"spaces/{space}", json={"timeout_seconds": 1})
    app = connect(Never)
    request_id = admin.submit(space, "hello")["id"]
    request = app.next("inference_request")
    wait_status(admin, request_id, "timed_out")
    assert app.answer(request, "late") == "already_final"


@some_modes
def test_a_result_sent_again_after_the_reconnect_is_taken_once(
    site: SiteProcess, admin: HttpCaller, space: str, token: str, connect: Connect, started: Started
) -> None:
    first = connect(Never)
    request_id = admin.submit(space, "hello")["id"]
    request = first.next("inference_request")
    first.drop()
    wait_connected(admin, space, False)
    back = started(Never(site.url, token))
    answer = back.register(space, resume=claim(request))
    assert answer["resumed"] == claim(request)
    assert back.answer(request, "first") == "accepted"
    assert back.answer(request, "second") == "duplicate"
    again = started(Never(site.url, token))
    assert again.answer(request, "third") == "duplicate"
    final = admin.request(request_id)
    assert (text_of(final), final["attempt"]) == ("first", 1)


def test_foreign_and_unknown_ids_answer_the_same_404(
    site: SiteProcess, admin: HttpCaller, space: str, connect: Connect
) -> None:
    connect(Never)
    theirs = admin.submit(space, "secret")["id"]
    stranger = site.user()
    calls = (("GET", ""), ("POST", "/cancel"), ("POST", "/retry"), ("DELETE", ""), ("GET", "?until=final&wait=1"))
    for method, rest in calls:
        foreign = stranger.call(method, f"requests/{theirs}{rest}")
        unknown = stranger.call(method, f"requests/{'0' * 32}{rest}")
        assert (foreign.status_code, foreign.json()) == (unknown.status_code, unknown.json()), (method, rest)
        assert foreign.status_code == 404
        headers = [{key: one.headers[key] for key in one.headers if key != "Date"} for one in (foreign, unknown)]
        assert headers[0].keys() == headers[1].keys()
    assert admin.request(theirs)["status"] == "processing"
