"""The relay between users and apps: real store, real manager; the wire is recorded and the clocks are set."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from project import database, file_rows
from project.errors import AlreadyFinal, DatabaseAway, Invalid, NotFound
from project.file_rows import NewFile
from project.ports import Newcomer, Outcome
from project.registrar import PROBE_SECONDS
from tests.house import LIMITS, together
from tests.unit.relay import ACK_TIMEOUT, COMPLETED, GRACE, App, Relay

TIMEOUT = LIMITS.timeout


# Handing over and taking results


def test_a_request_goes_to_the_app_and_its_result_comes_back(relay: Relay) -> None:
    app = relay.app().registered()
    request = relay.submit(prompt="hi")
    body = app.requests()[0]
    assert (body["id"], body["prompt"], body["attempt"], body["queue_size"]) == (request, "hi", 1, 0)
    assert app.answer() == "accepted"
    assert relay.house.row(request)["result"] == COMPLETED.parts
    assert relay.state() == "idle"


def test_one_at_a_time_in_order(relay: Relay) -> None:
    app = relay.app().registered()
    ids = [relay.submit() for _ in range(4)]
    for count, request in enumerate(ids, 1):
        assert [body["id"] for body in app.requests()] == ids[:count]
        assert relay.house.count_processing() == 1
        assert app.answer() == "accepted"
        assert relay.house.status(request) == "completed"


def test_what_waited_is_handed_over_when_the_app_comes_after_its_answer(relay: Relay) -> None:
    request = relay.submit()
    relay.submit()
    app = relay.app()
    seen_at_answer: list[int] = []
    newcomer = Newcomer(app.link, False, [], lambda _: seen_at_answer.append(len(app.requests())))
    relay.manager.register(newcomer, relay.house.space, "Cats")
    assert seen_at_answer == [0], "the registration is answered before the first request goes out"
    assert [body["id"] for body in app.requests()] == [request]


def test_the_registration_says_how_many_wait(relay: Relay) -> None:
    relay.submit()
    relay.submit()
    app = relay.app().registered()
    assert app.answers[0].queue_size == 2


def test_commit_before_hand_over_and_before_notify(relay: Relay) -> None:
    states: list[str] = []
    relay.app().registered()
    send = relay.wire.send_request

    def look(connection_id: str, row: Any, size: int, on_ack: Any) -> None:
        states.append(relay.house.status(row["id"]))
        send(connection_id, row, size, on_ack)

    relay.wire.send_request = look  # type: ignore[method-assign]
    relay.submit()
    assert states == ["processing"]


def test_everybody_concerned_is_woken(relay: Relay) -> None:
    app = relay.app().registered()
    relay.notifier.published.clear()
    request = relay.submit()
    expected = {f"request:{request}", f"user:{relay.house.user}", f"space:{relay.house.space}"}
    assert set(relay.notifier.published) == expected
    relay.notifier.published.clear()
    app.answer()
    assert set(relay.notifier.published) == expected


def test_a_plain_app_need_not_know_attempts(relay: Relay) -> None:
    app = relay.app().registered()
    request = relay.submit()
    assert app.answer(named=False) == "accepted"
    assert app.answer({"id": request}, named=False) == "duplicate"


def test_a_failure_is_kept_with_the_apps_words(relay: Relay) -> None:
    app = relay.app().registered()
    request = relay.submit()
    assert app.answer(outcome=Outcome("failed", "app_error", "no memory", retryable=True)) == "accepted"
    row = relay.house.row(request)
    assert (row["status"], row["error_code"], row["error_message"], row["retryable"]) == (
        "failed",
        "app_error",
        "no memory",
        True,
    )


def test_a_result_sent_twice_is_recorded_once(relay: Relay) -> None:
    app = relay.app().registered()
    request = relay.submit()
    body = app.requests()[0]
    following = relay.submit()
    assert app.answer(body) == "accepted"
    before = relay.house.row(request)
    assert app.answer(body, Outcome("failed", "app_error")) == "duplicate"
    assert relay.house.row(request) == before
    assert relay.house.status(following) == "processing"


def test_foreign_results_are_refused_and_change_nothing(relay: Relay) -> None:
    relay.app().registered()
    request = relay.submit()
    attempt = relay.house.row(request)["attempt_id"]
    before = relay.house.row(request)
    body = {"id": request, "attempt_id": attempt}
    assert relay.app(token=8).answer(body) == "unknown_request"
    assert relay.app().answer(body) == "not_owner"
    assert relay.app().answer({"id": "nothing", "attempt_id": attempt}) == "unknown_request"
    assert relay.house.row(request) == before
    assert relay.state() == "busy"


def test_two_spaces_on_one_connection_work_side_by_side(relay: Relay) -> None:
    dogs = relay.house.add_space("Dogs")
    app = relay.app().registered()
    app.registered(space=dogs)
    cat, dog = relay.submit(), relay.submit(dogs)
    assert [body["id"] for body in app.requests()] == [cat, dog]
    assert app.answer({"id": dog}, named=False) == "accepted"
    assert relay.house.status(cat) == "processing"
    relay.manager.disconnect(dogs)
    assert relay.wire.dismissed == [], "it still serves the other space"
    relay.manager.disconnect(relay.house.space)
    assert relay.wire.dismissed == [app.id]


# Grace and redelivery


def test_an_app_that_drops_and_claims_goes_on_with_the_same_attempt(relay: Relay) -> None:
    first = relay.app(instance="i").registered()
    request = relay.submit()
    body = first.requests()[0]
    first.leave()
    assert not relay.manager.is_connected(relay.house.space)
    relay.wait(GRACE - 1)
    second = relay.app(instance="i").registered(claims=[body["attempt_id"]])
    assert second.answers[0].resumed == ({"request_id": request, "attempt_id": body["attempt_id"]},)
    assert second.requests() == []
    assert second.answer(body) == "accepted"
    assert first.answer(body) == "duplicate"
    assert relay.house.row(request)["attempt"] == 1


def test_the_deadline_runs_on_over_a_drop(relay: Relay) -> None:
    first = relay.app().registered()
    request = relay.submit()
    body = first.requests()[0]
    relay.wait(TIMEOUT - 5)
    first.leave()
    relay.app().registered(claims=[body["attempt_id"]])
    relay.wait(4)
    assert relay.house.status(request) == "processing"
    relay.wait(2)
    assert relay.house.row(request)["error_code"] == "processing_timeout"


def test_an_app_that_stays_away_loses_its_request_after_the_grace(relay: Relay) -> None:
    first = relay.app().registered()
    request, following = relay.submit(), relay.submit()
    first.leave()
    relay.wait(GRACE - 1)
    assert relay.house.status(request) == "processing"
    relay.wait(1)
    assert relay.house.status(request) == "queued"
    second = relay.app().registered()
    body = second.requests()[0]
    assert (body["id"], body["attempt"]) == (request, 2), "at the head of the queue"
    assert second.answer() == "accepted"
    assert second.requests()[-1]["id"] == following


def test_an_app_that_comes_back_without_the_claim_gets_the_request_anew(relay: Relay) -> None:
    first = relay.app().registered()
    request = relay.submit()
    first.leave()
    second = relay.app().registered()
    assert [(body["id"], body["attempt"]) for body in second.requests()] == [(request, 2)]
    assert second.answer(first.requests()[0]) == "stale_attempt"


def test_when_the_attempts_are_used_up_the_request_fails(relay: Relay) -> None:
    request = relay.submit()
    for _ in range(LIMITS.max_attempts):
        relay.app().registered().leave()
    relay.wait(GRACE)
    row = relay.house.row(request)
    assert (row["status"], row["error_code"], row["attempt"]) == ("failed", "app_disconnected", LIMITS.max_attempts)


def test_requests_that_wait_stay_queued_until_their_time_is_over(relay: Relay) -> None:
    app = relay.app().registered()
    relay.submit()
    waiting = relay.submit()
    app.leave()
    relay.wait(GRACE + 2)
    assert relay.house.status(waiting) == "queued"
    relay.clock.pass_(LIMITS.queue_ttl)
    relay.notifier.published.clear()
    relay.manager.tick()
    assert relay.house.row(waiting)["error_code"] == "queue_timeout"
    assert f"request:{waiting}" in relay.notifier.published


def test_a_request_whose_app_is_gone_times_out_at_its_deadline(relay: Relay) -> None:
    app = relay.app().registered()
    request = relay.submit()
    relay.wait(TIMEOUT - 5)
    app.leave()
    relay.wait(5)
    assert relay.house.row(request)["error_code"] == "processing_timeout"


def test_a_connection_that_left_without_a_word_is_noticed(relay: Relay) -> None:
    app = relay.app().registered()
    relay.wire.open.discard(app.id)
    relay.manager.tick()
    assert not relay.manager.is_connected(relay.house.space)


# Timeouts, cancels, DRAINING


def test_after_a_timeout_the_app_keeps_its_place_until_it_answers(relay: Relay) -> None:
    app = relay.app().registered()
    request = relay.submit()
    relay.wait(TIMEOUT)
    assert relay.house.row(request)["error_code"] == "processing_timeout"
    body = app.requests()[0]
    assert app.cancels() == [(body["attempt_id"], "processing_timeout")]
    following = relay.submit()
    relay.wait(3)
    assert relay.state() == "draining"
    assert len(app.requests()) == 1, "the app is still computing"
    assert app.answer(body) == "already_final"
    assert app.requests()[-1]["id"] == following
    assert relay.house.row(request)["status"] == "timed_out"


def test_a_result_that_comes_after_the_deadline_but_before_the_beat_is_too_late(relay: Relay) -> None:
    app = relay.app().registered()
    request, following = relay.submit(), relay.submit()
    relay.clock.pass_(TIMEOUT)
    assert app.answer() == "already_final"
    assert relay.house.row(request)["error_code"] == "processing_timeout"
    assert relay.house.status(following) == "processing"


def test_a_clock_that_is_set_forward_ends_nothing_that_the_app_has_in_hand(relay: Relay) -> None:
    app = relay.app().registered()
    request = relay.submit()
    relay.clock.wall += 10 * TIMEOUT
    relay.manager.tick()
    assert relay.house.status(request) == "processing"
    assert app.answer() == "accepted"


def test_a_cancel_answers_the_user_at_once_and_refuses_the_late_result(relay: Relay) -> None:
    app = relay.app().registered()
    request = relay.submit()
    body = app.requests()[0]
    relay.manager.cancel(request)
    row = relay.house.row(request)
    assert (row["status"], row["error_code"]) == ("cancelled", "cancelled_by_user")
    assert app.cancels() == [(body["attempt_id"], "cancelled_by_user")]
    assert app.answer(body) == "already_final"
    assert relay.state() == "idle"


def test_only_what_is_in_hand_is_worth_keeping_files_for(relay: Relay) -> None:
    app, other = relay.app().registered(), relay.app()
    request = relay.submit()
    attempt = app.requests()[0]["attempt_id"]
    assert relay.manager.in_hand(app.link, request, None) == attempt
    assert relay.manager.in_hand(app.link, request, attempt) == attempt
    assert [work.request_id for work in relay.manager.all_in_hand(app.link)] == [request]
    for link, request_id, attempt_id in (
        (other.link, request, attempt),
        (app.link, "another", attempt),
        (app.link, request, "another"),
    ):
        assert relay.manager.in_hand(link, request_id, attempt_id) is None
    relay.manager.cancel(request)
    assert relay.manager.in_hand(app.link, request, attempt) is None
    assert relay.manager.all_in_hand(app.link) == []


def test_a_late_result_whose_files_are_not_kept_frees_the_app_all_the_same(relay: Relay) -> None:
    app = relay.app().registered()
    request, following = relay.submit(), relay.submit()
    attempt = app.requests()[0]["attempt_id"]
    relay.manager.cancel(request)
    assert relay.manager.refuse(app.link, request, attempt) == "already_final"
    assert app.requests()[-1]["id"] == following
    assert relay.manager.refuse(app.link, following, "another") == "unknown_request"
    assert relay.house.status(following) == "processing", "a refusal ends nothing that is in hand"


def test_a_result_names_its_files_in_the_transaction_that_ends_the_request(relay: Relay) -> None:
    app = relay.app().registered()
    request = relay.submit()
    attempt = app.requests()[0]["attempt_id"]
    new = [NewFile(character * 32, "a", "text/plain", 1, "-") for character in "ab"]
    with relay.house.database.write() as connection:
        file_rows.add(connection, request, new, relay.clock.wall, attempt_id=attempt)
    parts = [{"type": "file", **new[0].facts()}, {"type": "text", "text": "hi"}]
    assert app.answer(outcome=Outcome("completed", parts=parts)) == "accepted"
    with relay.house.database.read() as connection:
        rows = file_rows.of_request(connection, request)
    assert {file_id: row["used"] for file_id, row in rows.items()} == {"a" * 32: True, "b" * 32: False}


@pytest.mark.parametrize("sign", ["ack", "progress", "event"])
def test_a_draining_app_that_lives_is_free_after_the_grace(relay: Relay, sign: str) -> None:
    app = relay.app().registered()
    request, following = relay.submit(), relay.submit()
    relay.manager.cancel(request)
    if sign == "ack":
        relay.wire.last("inference_cancel").ack()
    else:
        relay.manager.sign_of_life(app.id)
    relay.wait(GRACE - 1)
    assert relay.house.status(following) == "queued"
    if sign == "progress":
        assert relay.manager.report(app.link, request, None, 0.5, None, None, None) == "already_final"
    relay.wait(1)
    assert app.requests()[-1]["id"] == following
    assert relay.wire.closed == []


def test_a_draining_app_without_a_sign_of_life_is_closed_after_the_grace(relay: Relay) -> None:
    app = relay.app().registered()
    relay.manager.sign_of_life(app.id)
    request, following = relay.submit(), relay.submit()
    relay.manager.cancel(request)
    relay.wait(GRACE)
    assert relay.wire.closed == [app.id]
    assert relay.wire.dismissed == [], "it may come back"
    assert relay.house.status(following) == "queued"
    again = relay.app().registered()
    assert again.requests()[0]["id"] == following


def test_a_queued_request_is_cancelled_without_the_app(relay: Relay) -> None:
    app = relay.app().registered()
    relay.submit()
    waiting = relay.submit()
    relay.manager.cancel(waiting)
    assert relay.house.status(waiting) == "cancelled"
    assert app.cancels() == []


def test_what_is_not_there_or_over_cannot_be_cancelled(relay: Relay) -> None:
    with pytest.raises(NotFound):
        relay.manager.cancel("nothing")
    request = relay.submit()
    relay.manager.cancel(request)
    with pytest.raises(AlreadyFinal):
        relay.manager.cancel(request)


def test_a_cancel_during_the_grace_is_told_to_the_app_when_it_claims(relay: Relay) -> None:
    first = relay.app().registered()
    request = relay.submit()
    body = first.requests()[0]
    first.leave()
    relay.manager.cancel(request)
    following = relay.submit()
    second = relay.app().registered(claims=[body["attempt_id"]])
    assert second.answers[0].resumed == ()
    assert second.cancels() == [(body["attempt_id"], "already_final")]
    assert relay.state() == "draining"
    assert second.requests() == []
    assert second.answer(body) == "already_final"
    assert second.requests()[-1]["id"] == following


def test_every_claim_that_is_over_is_told(relay: Relay) -> None:
    first = relay.app().registered()
    bodies = []
    for _ in range(3):
        request = relay.submit()
        bodies.append(first.requests()[-1])
        if len(bodies) < 3:
            relay.manager.cancel(request)
            first.answer(bodies[-1])
    first.leave()
    claims = [body["attempt_id"] for body in bodies]
    second = relay.app().registered(claims=claims)
    assert {attempt for attempt, _ in second.cancels()} == set(claims[:2])
    assert second.answers[0].resumed == ({"request_id": bodies[2]["id"], "attempt_id": claims[2]},)
    assert relay.state() == "busy"


def test_an_attempt_that_was_ended_elsewhere_is_noticed_by_the_beat(relay: Relay) -> None:
    app = relay.app().registered()
    request = relay.submit()
    body = app.requests()[0]
    relay.house.store.cancel(request, "cancelled_by_user", relay.clock.wall)
    relay.wait(1)
    assert app.cancels() == [(body["attempt_id"], "cancelled_by_user")]
    assert relay.state() == "draining"


# Delivery acknowledgements


def test_without_the_declared_ack_the_request_goes_back_and_the_transport_is_closed(relay: Relay) -> None:
    app = relay.app().registered(acks=True)
    request = relay.submit()
    relay.wait(ACK_TIMEOUT - 1)
    assert relay.house.status(request) == "processing"
    relay.wait(1)
    assert relay.house.status(request) == "queued"
    assert relay.wire.closed == [app.id]
    assert not relay.manager.is_connected(relay.house.space)
    assert relay.app().registered().requests()[0]["attempt"] == 2


def test_with_the_ack_only_the_deadline_counts(relay: Relay) -> None:
    app = relay.app().registered(acks=True)
    request = relay.submit()
    relay.wire.last("inference_request").ack()
    relay.wait(TIMEOUT - 1)
    assert relay.house.status(request) == "processing"
    assert app.answer() == "accepted"


def test_an_app_that_declared_no_acks_is_not_asked_for_them(relay: Relay) -> None:
    relay.app().registered()
    request = relay.submit()
    assert relay.wire.last("inference_request").on_ack is None
    relay.wait(ACK_TIMEOUT * 3)
    assert relay.house.status(request) == "processing"


# One connection a space


def test_the_same_connection_may_register_again(relay: Relay) -> None:
    app = relay.app().registered()
    request = relay.submit()
    app.registered()
    assert app.answers[-1].resumed[0]["request_id"] == request
    assert len(app.requests()) == 1
    assert relay.wire.probed == []


def test_a_second_app_is_refused_while_the_first_answers(relay: Relay) -> None:
    first, second = relay.app().registered(acks=True), relay.app()
    request = relay.submit()
    relay.wire.answers.add(first.id)
    decide = second.register()
    assert second.answers == [], "nothing is answered before the probe"
    decide()
    assert [answer.code for answer in second.answers] == ["space_busy"]
    assert relay.wire.probed == [(first.id, True, PROBE_SECONDS)]
    assert first.answer() == "accepted"
    assert relay.house.status(request) == "completed"


def test_a_dead_first_is_replaced_and_its_request_goes_on(relay: Relay) -> None:
    first, second = relay.app().registered(), relay.app()
    request = relay.submit()
    second.register()()
    assert second.answers[0].success
    assert relay.wire.dismissed == [first.id]
    assert relay.wire.events(first.id, "register_response")[-1]["code"] == "space_busy"
    assert [(body["id"], body["attempt"]) for body in second.requests()] == [(request, 2)]
    assert first.answer() == "stale_attempt"


def test_of_two_that_wait_for_the_same_probe_one_wins(relay: Relay) -> None:
    relay.app().registered()
    second, third = relay.app(), relay.app()
    decide_second, decide_third = second.register(), third.register()
    decide_third()
    decide_second()
    assert [app.answers[0].code for app in (third, second)] == ["ok", "space_busy"]


def test_the_first_may_leave_during_the_probe(relay: Relay) -> None:
    first, second = relay.app().registered(), relay.app()
    decide = second.register()
    relay.wire.before_probe = first.leave
    decide()
    assert second.answers[0].success


def test_a_newcomer_that_leaves_during_the_probe_takes_nothing(relay: Relay) -> None:
    first, second = relay.app().registered(), relay.app()
    decide = second.register()
    relay.wire.before_probe = second.leave
    decide()
    assert second.answers == []
    assert [info.connection_id for info in relay.manager.connections()] != [second.id]
    assert first.id not in relay.wire.closed


def test_the_same_instance_replaces_itself_at_once(relay: Relay) -> None:
    first = relay.app(instance="i").registered()
    relay.wire.answers.add(first.id)
    request = relay.submit()
    second = relay.app(instance="i").registered(claims=[first.requests()[0]["attempt_id"]])
    assert relay.wire.probed == []
    assert second.answer(first.requests()[0]) == "accepted"
    assert relay.house.row(request)["attempt"] == 1


@pytest.mark.parametrize(
    ("token", "instance"), [(8, "i"), (7, "j"), (7, None)], ids=["other token", "other", "unnamed"]
)
def test_only_the_same_token_and_instance_is_the_same_app(relay: Relay, token: int, instance: str | None) -> None:
    first = relay.app(instance="i").registered()
    relay.wire.answers.add(first.id)
    second = relay.app(token=token, instance=instance)
    second.register()()
    assert second.answers[0].code == "space_busy"


def test_a_space_that_went_away_meanwhile_is_refused(relay: Relay) -> None:
    off, app = relay.house.add_space("Off", enabled=False), relay.app()
    app.register(off)
    app.register(4711)
    assert [answer.code for answer in app.answers] == ["space_disabled", "unknown_space"]


def test_a_process_with_an_old_epoch_writes_nothing_and_heals(relay: Relay) -> None:
    first = relay.app().registered()
    request = relay.submit()
    relay.house.store.bind(relay.house.space, 1, relay.app().link, [], "process-2", relay.clock.wall)
    assert first.answer() == "stale_attempt"
    assert relay.wire.closed == [first.id]
    assert relay.house.status(request) == "queued"
    relay.house.store.mark_lost(relay.house.space, 2, relay.clock.wall)
    second = relay.app()
    second.register()
    assert (second.answers, second.id in relay.wire.closed) == ([], True), "it comes again"
    assert relay.app().registered().requests()[0]["id"] == request


# Losing the place for good


@pytest.mark.parametrize("how", ["revoked", "disconnected", "removed", "tokenless"])
def test_who_may_not_serve_any_longer_is_told_and_stopped(relay: Relay, how: str) -> None:
    app = relay.app(token=None if how == "tokenless" else 7).registered()
    act: dict[str, Callable[[], object]] = {
        "revoked": lambda: relay.manager.token_revoked(7),
        "disconnected": lambda: relay.manager.disconnect(relay.house.space),
        "removed": lambda: relay.manager.space_removed(relay.house.space),
        "tokenless": lambda: relay.manager.tokens_changed(relay.house.space),
    }
    act[how]()
    told = relay.wire.events(app.id, "register_response")[-1]
    assert told["success"] is False
    assert told["code"] == ("space_disabled" if how == "removed" else "unauthorized")
    assert relay.wire.dismissed == [app.id]
    assert not relay.manager.is_connected(relay.house.space)
    assert not relay.manager.disconnect(relay.house.space)


def test_other_tokens_keep_their_place(relay: Relay) -> None:
    relay.app(token=7).registered()
    relay.manager.token_revoked(8)
    relay.manager.tokens_changed(relay.house.space)
    assert relay.manager.live_tokens() == {7}
    assert relay.wire.dismissed == []


def test_the_request_of_a_revoked_app_waits_for_the_grace(relay: Relay) -> None:
    relay.app().registered()
    request = relay.submit()
    relay.manager.token_revoked(7)
    assert relay.house.status(request) == "processing"
    relay.wait(GRACE)
    assert relay.house.status(request) == "queued"


def test_a_space_that_is_removed_ends_its_requests(relay: Relay) -> None:
    app = relay.app().registered()
    running, waiting = relay.submit(), relay.submit()
    relay.notifier.published.clear()
    relay.manager.space_removed(relay.house.space)
    for request in (running, waiting):
        assert relay.house.row(request)["error_code"] == "space_removed"
        assert f"request:{request}" in relay.notifier.published
    assert app.answer() == "already_final"


def test_a_user_that_is_removed_takes_the_own_requests_along(relay: Relay) -> None:
    app = relay.app().registered()
    bob = relay.house.add_user("bob")
    running, waiting, mine = relay.submit(user=bob), relay.submit(user=bob), relay.submit()
    relay.manager.user_removed(bob)
    for request in (running, waiting):
        assert relay.house.row(request)["error_code"] == "user_removed"
    assert app.cancels() == [(app.requests()[0]["attempt_id"], "user_removed")]
    assert relay.house.status(mine) == "queued"


# Progress


def report(relay: Relay, app: App, **said: Any) -> str:
    body = {"value": None, "message": None, "delta": None, "offset": None} | said
    request = app.requests()[-1]
    return relay.manager.report(app.link, request["id"], request["attempt_id"], **body)


def test_progress_adds_up_and_wakes_the_reader(relay: Relay) -> None:
    app = relay.app().registered()
    request = relay.submit()
    relay.notifier.published.clear()
    assert report(relay, app, value=0.25, message="warming up") == "accepted"
    assert report(relay, app, delta="Hel") == "accepted"
    assert report(relay, app, delta="lo", offset=3) == "accepted"
    found = relay.manager.progress(request)
    assert found
    assert (found.value, found.message, found.partial, found.steps) == (0.25, "warming up", "Hello", 3)
    assert relay.notifier.published.count(f"request:{request}") == 3


def test_offsets_replace_and_holes_are_refused(relay: Relay) -> None:
    app = relay.app().registered()
    request = relay.submit()
    report(relay, app, delta="Hello")
    report(relay, app, delta="p!", offset=3)
    with pytest.raises(Invalid, match="offset"):
        report(relay, app, delta="x", offset=6)
    found = relay.manager.progress(request)
    assert found
    assert (found.partial, found.steps) == ("Help!", 2)
    report(relay, app, delta="new", offset=0)
    assert relay.manager.progress(request).partial == "new"  # type: ignore[union-attr]


def test_progress_ends_with_the_request_and_starts_anew_with_an_attempt(relay: Relay) -> None:
    first = relay.app(instance="i").registered()
    request = relay.submit()
    report(relay, first, delta="half")
    first.leave()
    second = relay.app(instance="i").registered()
    assert relay.manager.progress(request) is None
    report(relay, second, delta="whole")
    second.answer()
    assert relay.manager.progress(request) is None
    assert report(relay, second, delta="late") == "duplicate"


def test_progress_of_strangers_is_refused(relay: Relay) -> None:
    app = relay.app().registered()
    request = relay.submit()
    other = relay.app()
    body = app.requests()[0]
    code = relay.manager.report(other.link, request, body["attempt_id"], 0.5, None, None, None)
    assert code == "not_owner"
    assert relay.manager.progress(request) is None


# The database is away


@contextmanager
def locked(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hold SQLite's write lock from outside, longer than the site is willing to wait."""
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.05)
    outside = sqlite3.connect(path, isolation_level=None)
    outside.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        outside.execute("ROLLBACK")
        outside.close()


def test_a_result_that_cannot_be_recorded_is_not_lost(
    relay: Relay, database_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = relay.app().registered()
    request, following = relay.submit(), relay.submit()
    with locked(database_file, monkeypatch), pytest.raises(DatabaseAway):
        app.answer()
    assert relay.state() == "busy"
    assert app.answer() == "accepted"
    assert relay.house.status(request) == "completed"
    assert relay.house.status(following) == "processing"


def test_a_request_that_cannot_be_claimed_is_started_by_the_beat(
    relay: Relay, database_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = relay.app().registered()
    request = relay.house.submit(now=relay.clock.wall)
    with locked(database_file, monkeypatch):
        relay.manager.work_arrived(relay.house.space)
    assert app.requests() == []
    relay.wait(1)
    assert app.requests()[0]["id"] == request


def test_a_timeout_that_cannot_be_recorded_is_recorded_later(
    relay: Relay, database_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = relay.app().registered()
    request = relay.submit()
    relay.clock.pass_(TIMEOUT)
    with locked(database_file, monkeypatch), pytest.raises(DatabaseAway):
        relay.manager.tick()
    assert app.cancels() == []
    relay.manager.tick()
    assert relay.house.status(request) == "timed_out"
    assert len(app.cancels()) == 1


def test_a_loss_that_cannot_be_noted_starts_the_grace_later(
    relay: Relay, database_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = relay.app().registered()
    request = relay.submit()
    with locked(database_file, monkeypatch):
        app.leave()
    assert not relay.manager.is_connected(relay.house.space)
    relay.wait(1)
    relay.wait(GRACE)
    assert relay.house.status(request) == "queued"


def test_a_registration_without_database_binds_nothing(
    relay: Relay, database_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = relay.app()
    with locked(database_file, monkeypatch), pytest.raises(DatabaseAway):
        app.register()
    assert app.answers == []
    assert not relay.manager.is_connected(relay.house.space)
    app.registered()


def test_a_cancel_without_database_changes_nothing(
    relay: Relay, database_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = relay.app().registered()
    request = relay.submit()
    with locked(database_file, monkeypatch), pytest.raises(DatabaseAway):
        relay.manager.cancel(request)
    assert app.cancels() == []
    relay.manager.cancel(request)
    assert relay.house.status(request) == "cancelled"


class CommitsWithoutAnAnswer:
    """A store whose next ``method`` commits, but whose answer is lost on the way."""

    def __init__(self, store: Any, method: str) -> None:
        self._store, self._method, self._lost = store, method, False

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name != self._method or self._lost:
            return found

        def lose(*arguments: Any, **named: Any) -> Any:
            self._lost = True
            found(*arguments, **named)
            raise DatabaseAway

        return lose


@pytest.mark.parametrize("method", ["claim_next", "finish_and_claim", "bind"])
def test_a_commit_whose_answer_was_lost_heals(relay: Relay, method: str) -> None:
    app = relay.app()
    if method != "bind":
        app.registered()
    relay.manager._slots.store = CommitsWithoutAnAnswer(relay.house.store, method)
    if method == "bind":
        with pytest.raises(DatabaseAway):
            app.register()
        app = relay.app().registered()
    ids = [relay.submit(), relay.submit()]
    if method == "finish_and_claim":
        with pytest.raises(DatabaseAway):
            app.answer()
        assert app.answer() == "duplicate"
    relay.wait(1)
    while relay.house.count_processing():
        assert app.answer() == "accepted"
    assert [relay.house.status(request) for request in ids] == ["completed", "completed"]
    assert [relay.house.row(request)["attempt"] for request in ids] == [1, 1]


def test_a_lost_claim_of_the_only_request_is_found_by_the_beat(relay: Relay) -> None:
    app = relay.app().registered()
    relay.manager.tick()
    request = relay.house.submit(now=relay.clock.wall)
    relay.manager._slots.store = CommitsWithoutAnAnswer(relay.house.store, "claim_next")
    relay.wait(1)
    assert (relay.house.status(request), app.requests()) == ("processing", [])
    relay.wait(1)
    assert [(body["id"], body["attempt"]) for body in app.requests()] == [(request, 1)]
    assert app.answer() == "accepted"


# Restart and shutdown


def test_after_a_crash_a_living_app_claims_and_the_order_is_kept(relay: Relay) -> None:
    first = relay.app(instance="i").registered()
    ids = [relay.submit() for _ in range(6)]
    body = first.requests()[0]
    relay.clock.pass_(3)
    relay.manager = relay.new_manager("process-2")
    relay.house.store.start_process("process-2", "host", 2, GRACE, relay.clock.wall)
    relay.manager.tick()
    second = relay.app(instance="i").registered(claims=[body["attempt_id"]])
    assert second.answer(body) == "accepted"
    for _ in ids[1:]:
        assert second.answer() == "accepted"
    assert [request["id"] for request in second.requests()] == ids[1:]
    assert [relay.house.row(request)["attempt"] for request in ids] == [1] * 6


def test_after_a_crash_the_request_of_a_dead_app_is_redelivered_first(relay: Relay) -> None:
    relay.app().registered()
    ids = [relay.submit() for _ in range(3)]
    relay.manager = relay.new_manager("process-2")
    relay.house.store.start_process("process-2", "host", 2, GRACE, relay.clock.wall)
    relay.wait(GRACE - 1)
    assert relay.house.status(ids[0]) == "processing"
    relay.wait(1)
    second = relay.app().registered()
    for _ in ids:
        assert second.answer() == "accepted"
    assert [(body["id"], body["attempt"]) for body in second.requests()] == [(ids[0], 2), (ids[1], 1), (ids[2], 1)]


def test_a_site_that_stops_takes_results_but_hands_nothing_over(relay: Relay) -> None:
    app = relay.app().registered()
    request, waiting = relay.submit(), relay.submit()
    relay.manager.accepting = False
    assert relay.manager.processing() == 1
    assert app.answer() == "accepted"
    relay.wait(2)
    assert (relay.house.status(request), relay.house.status(waiting)) == ("completed", "queued")
    assert relay.manager.processing() == 0
    relay.manager.close_all()
    assert relay.wire.closed == [app.id]


# What people see


def test_the_admin_sees_every_connection(relay: Relay) -> None:
    app = relay.app(instance="i")
    app.link = replace(app.link, name="mock", version="2", address="10.0.0.1")
    app.registered()
    request = relay.submit()
    [info] = relay.manager.connections()
    assert (info.space_id, info.connection_id, info.state) == (relay.house.space, app.id, "busy")
    assert (info.request_id, info.app_name, info.app_version) == (request, "mock", "2")
    assert (info.address, info.token_id, info.connected_at) == ("10.0.0.1", 7, relay.clock.wall)
    app.leave()
    assert relay.manager.connections() == []


def test_the_app_hears_how_many_wait_once_a_beat_and_only_when_that_changed(relay: Relay) -> None:
    app = relay.app().registered()
    for _ in range(3):
        relay.submit()
    relay.manager.tick()
    sizes = [body["queue_size"] for body in relay.wire.events(app.id, "queue_update")]
    assert sizes == [2]
    relay.wait(5)
    assert len(relay.wire.events(app.id, "queue_update")) == 1


def test_a_beat_without_work_asks_the_database_once(relay: Relay) -> None:
    from sqlalchemy import event

    relay.app().registered()
    relay.manager.tick()
    statements: list[str] = []
    event.listen(
        relay.house.database.engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2])
    )
    relay.manager.tick()
    assert [statement for statement in statements if not statement.startswith("BEGIN")][1:] == []


# Many threads


def test_no_deadlock_and_one_at_a_time_under_many_threads(relay: Relay) -> None:
    """Apps that come and go, users, beats and results at once; at the end everything ends, and each one once."""
    stop = threading.Event()
    ids: list[str] = []
    errors: list[BaseException] = []

    def guarded(action: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            try:
                action()
            except BaseException as error:
                errors.append(error)
                raise

        return run

    def submits() -> None:
        ids.extend(relay.submit() for _ in range(10))

    def cancels() -> None:
        for _ in range(20):
            for request in list(ids)[-2:]:
                try:
                    relay.manager.cancel(request)
                except AlreadyFinal:
                    continue

    def app_works() -> None:
        while not stop.is_set():
            app = relay.app()
            decide = app.register()
            if decide:
                decide()
            for _ in range(5):
                for body in app.requests()[-1:]:
                    app.answer(body)
                assert relay.house.count_processing() <= 1
            app.leave()

    def beats() -> None:
        while not stop.is_set():
            relay.manager.tick()
            relay.manager.connections()

    background = [threading.Thread(target=guarded(action)) for action in (app_works, app_works, beats, beats)]
    for thread in background:
        thread.start()
    together([guarded(submits)] * 3 + [guarded(cancels)] * 2, seconds=60)
    stop.set()
    for thread in background:
        thread.join(30)
    assert not [thread for thread in background if thread.is_alive()], "a thread is stuck"
    assert errors == []
    last = relay.app()
    decide = last.register()
    if decide:
        decide()
    while relay.house.store.survey():
        if last.requests() and relay.house.count_processing():
            last.answer()
        relay.wait(1)
    assert len(ids) == 30
    for request in ids:
        story = relay.house.story(request)
        assert [step[1] for step in story].count(relay.house.status(request)) == 1
        assert sum(step[1] == "processing" for step in story) <= LIMITS.max_attempts
