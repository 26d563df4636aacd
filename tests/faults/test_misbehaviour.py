"""An app that misbehaves hurts nobody: not the queue, not another result, not the site."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.faults.apps import Double, Drop, Echo, FaultApp, Garbage, Late, Never, Slow
from tests.faults.looking import (
    ending,
    some_modes,
    steps,
    text_of,
    wait_connected,
    wait_status,
)
from tests.http_caller import HttpCaller
from tests.site_process import SiteProcess, wait_until

Connect = Callable[..., Any]


def submit(admin: HttpCaller, space: str, *prompts: str) -> list[str]:
    return [admin.submit(space, prompt)["id"] for prompt in prompts]


def finals(admin: HttpCaller, ids: list[str]) -> list[dict[str, Any]]:
    return [admin.wait_final(one) for one in ids]


@some_modes
def test_an_app_that_dies_does_not_block_the_queue(admin: HttpCaller, space: str, connect: Connect) -> None:
    admin.json("PATCH", f"spaces/{space}", json={"max_attempts": 1, "queue_when_offline": True})
    connect(Drop)
    first, second = submit(admin, space, "one", "two")
    assert ending(admin.wait_final(first)) == ("failed", "app_disconnected")
    assert admin.request(second)["status"] == "queued"
    connect(Echo)
    assert text_of(admin.wait_final(second)) == "two"


def test_an_app_that_never_answers_does_not_block_the_queue(admin: HttpCaller, space: str, connect: Connect) -> None:
    admin.json("PATCH", f"spaces/{space}", json={"timeout_seconds": 1})
    app = connect(Never)
    first, second = submit(admin, space, "one", "two")
    assert ending(admin.wait_final(first)) == ("timed_out", "processing_timeout")
    assert app.next("inference_cancel")["reason"] == "processing_timeout"
    assert app.next("inference_request", request_id=first)["attempt"] == 1
    request = app.next("inference_request", request_id=second)
    assert app.answer(request) == "accepted"
    assert text_of(admin.wait_final(second)) == "two"


@some_modes
def test_the_second_of_two_answers_changes_nothing(admin: HttpCaller, space: str, connect: Connect) -> None:
    app = connect(Double)
    one, two = finals(admin, submit(admin, space, "one", "two"))
    wait_until(lambda: len(app.codes) == 4, "both requests were answered twice")
    assert sorted(app.codes) == ["accepted", "accepted", "duplicate", "duplicate"]
    assert (text_of(one), text_of(two)) == ("one", "two")
    assert [admin.request(final["id"]) for final in (one, two)] == [one, two]


def test_a_late_answer_changes_nothing_and_frees_the_app(admin: HttpCaller, space: str, connect: Connect) -> None:
    admin.json("PATCH", f"spaces/{space}", json={"timeout_seconds": 1})
    app = connect(Late)
    first = admin.wait_final(submit(admin, space, "one")[0])
    assert ending(first) == ("timed_out", "processing_timeout")
    wait_until(lambda: app.codes, "the late answer is acknowledged")
    assert app.codes == ["already_final"]
    assert admin.request(first["id"]) == first
    second = submit(admin, space, "two")[0]
    app.next("inference_request", request_id=second)


@some_modes
def test_garbage_is_refused_and_the_connection_stays_usable(admin: HttpCaller, space: str, connect: Connect) -> None:
    app = connect(Garbage)
    one, two = finals(admin, submit(admin, space, "one", "two"))
    assert (text_of(one), text_of(two)) == ("one", "two")
    wrong = [(event, body, code) for event, body, code in app.refusals if code != "invalid"]
    assert not wrong
    assert app.is_connected()


def test_a_slow_app_shows_its_progress_and_keeps_its_place(admin: HttpCaller, space: str, connect: Connect) -> None:
    app = connect(Slow)
    first, second = submit(admin, space, "one", "two")
    app.next("inference_request", request_id=first)
    wait_until(lambda: admin.request(first)["progress"] == {"value": 0.5, "message": "half"}, "the progress is shown")
    assert admin.request(second)["status"] == "queued"
    assert not app.has_heard("inference_request"), "a second request while one is processing"
    app.go_on.set()
    assert [text_of(final) for final in finals(admin, [first, second])] == ["one", "two"]
    assert app.prompts == ["one", "two"]


def test_a_forged_result_for_another_space_is_refused(
    site: SiteProcess, admin: HttpCaller, space: str, connect: Connect, started: Callable[[FaultApp], FaultApp]
) -> None:
    """The ghost knows everything of the foreign request, its attempt too, and has an app of its own space."""
    victim = connect(Never)
    other = admin.make_space(timeout_seconds=30)
    ghost = started(Never(site.url, admin.make_token(spaces=[other]))).serve(other)
    target, own = submit(admin, space, "mine")[0], submit(admin, other, "yours")[0]
    request = victim.next("inference_request", request_id=target)
    assert ghost.answer(request, "forged") == "unknown_request"
    assert ghost.answer(request, "forged", attempt=False) == "unknown_request"
    forged = {"request_id": target, "attempt_id": request["attempt_id"], "value": 0.9}
    assert ghost.call("inference_progress", forged)["code"] == "unknown_request"
    assert admin.request(target)["progress"]["value"] is None
    assert admin.request(target)["status"] == "processing"
    assert victim.answer(request) == "accepted"
    assert text_of(admin.wait_final(target)) == "mine"
    assert ghost.answer(request, "forged") == "unknown_request", "an ended request is no more its business"
    assert ghost.answer(ghost.next("inference_request", request_id=own)) == "accepted"


def test_a_request_that_never_was_is_unknown(connect: Connect) -> None:
    nothing = {"request_id": "0" * 32, "attempt_id": "1" * 32, "payload": {"prompt": ""}}
    assert connect(Never).answer(nothing) == "unknown_request"


def test_one_space_of_an_app_does_not_disturb_its_other(
    site: SiteProcess, admin: HttpCaller, started: Callable[[FaultApp], FaultApp]
) -> None:
    """One connection serves two spaces: a result counts where its request is, and only there."""
    one, two = admin.make_space(timeout_seconds=30), admin.make_space(timeout_seconds=30)
    app = started(Never(site.url, admin.make_token(spaces=[one, two]))).serve(one).serve(two)
    first, second = submit(admin, one, "one")[0], submit(admin, two, "two")[0]
    requests = [app.next("inference_request", request_id=wanted) for wanted in (first, second)]
    crossed = {**requests[0], "attempt_id": requests[1]["attempt_id"]}
    assert app.answer(crossed, "crossed") == "unknown_request"
    assert [admin.request(wanted)["status"] for wanted in (first, second)] == ["processing", "processing"]
    assert [app.answer(request) for request in reversed(requests)] == ["accepted", "accepted"]
    assert [text_of(admin.wait_final(wanted)) for wanted in (first, second)] == ["one", "two"]


def test_an_app_error_is_the_users_answer_and_the_next_one_runs(
    admin: HttpCaller, space: str, connect: Connect
) -> None:
    app = connect(Never)
    first, second = submit(admin, space, "one", "two")
    request = app.next("inference_request", request_id=first)
    body = {"request_id": first, "attempt_id": request["attempt_id"], "status": "error", "error": "out of memory"}
    assert app.call("inference_result", body)["code"] == "accepted"
    final = admin.wait_final(first)
    assert (ending(final), final["error"]["message"]) == (("failed", "app_error"), "out of memory")
    assert app.answer(app.next("inference_request", request_id=second)) == "accepted"


def test_the_evidence_says_what_happened(admin: HttpCaller, space: str, connect: Connect) -> None:
    admin.json("PATCH", f"spaces/{space}", json={"queue_when_offline": True})
    connect(Drop)
    request_id = submit(admin, space, "one")[0]
    wait_connected(admin, space, False)
    wait_status(admin, request_id, "queued")
    connect(Echo)
    assert steps(admin.wait_final(request_id)) == [
        ("queued", 0, None),
        ("processing", 1, None),
        ("queued", 1, "app_disconnected"),
        ("processing", 2, None),
        ("completed", 2, None),
    ]
