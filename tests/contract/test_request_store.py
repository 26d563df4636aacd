"""What the store promises, on every database that it works on."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import delete, event, insert, text, update
from sqlalchemy.exc import IntegrityError

from project.errors import AlreadyFinal, NotFinal, NotFound, QueueFull, SpaceDisabled, SpaceOffline
from project.models import SEQ_STEP, Space, User
from project.ports import AppLink, Change, Ending, Fenced
from project.request_reads import positions_in, transitions_of
from project.request_store import Limits, RequestStore, SpaceLoad
from project.request_tables import requests, transitions
from tests.house import APP, DONE, LIMITS, NOW, House, together

OTHER = replace(APP, connection_id="connection-2", instance="i2")
FOREIGN = replace(OTHER, token_id=8)
GRACE = 15.0


# Submitting


def test_an_accepted_request_is_queued_with_what_the_space_says(house: House) -> None:
    space = house.add_space("Dogs", timeout_seconds=3.5, max_attempts=5)
    row = house.store.create(space, house.user, "ann", "hi", {"a": [1, None]}, connected=True, now=NOW, retry_of="old")
    assert row["status"] == "queued"
    assert (row["timeout_seconds"], row["max_attempts"], row["attempt"]) == (3.5, 5, 0)
    assert (row["prompt"], row["parameters"], row["username"]) == ("hi", {"a": [1, None]}, "ann")
    assert (row["space_name"], row["retry_of"], row["number"], row["seq"]) == ("Dogs", "old", 1, SEQ_STEP)
    assert (row["created_at"], row["expires_at"]) == (NOW, NOW + LIMITS.queue_ttl)
    assert len(row["id"]) == 32
    assert {**(house.store.get(row["id"]) or {}), "position": 1} == dict(row)


def test_what_the_space_leaves_open_is_the_sites_default(house: House) -> None:
    row = house.row(house.submit())
    assert (row["timeout_seconds"], row["max_attempts"]) == (LIMITS.timeout, LIMITS.max_attempts)


@pytest.mark.parametrize("own", [True, False], ids=["own limit", "site's limit"])
def test_a_full_queue_refuses_and_accepts_nothing(
    house: House, make_store: Callable[[Limits], RequestStore], own: bool
) -> None:
    space = house.add_space("Small", queue_length=2 if own else None)
    store = house.store if own else make_store(replace(LIMITS, queue_length=2))
    for _ in range(2):
        store.create(space, house.user, "ann", "hi", {}, connected=True, now=NOW)
    with pytest.raises(QueueFull, match="2 waiting"):
        store.create(space, house.user, "ann", "hi", {}, connected=True, now=NOW)
    assert house.store.queue_size(space) == 2
    assert len(house.store.list_for_user(house.user, limit=10)) == 2


def test_the_one_that_is_processing_does_not_count_as_waiting(house: House) -> None:
    space = house.add_space("One", queue_length=1)
    house.submit(space=space)
    house.bind(space=space)
    assert house.store.claim_next(space, 1, APP, NOW)
    house.submit(space=space)
    with pytest.raises(QueueFull):
        house.submit(space=space)


def test_the_last_place_is_given_once(house: House) -> None:
    space = house.add_space("Last", queue_length=3)
    answers = together([lambda: house.submit(space=space)] * 12)
    assert sum(isinstance(answer, str) for answer in answers) == 3
    assert sum(isinstance(answer, QueueFull) for answer in answers) == 9
    assert house.store.queue_size(space) == 3


def test_offline_refuses_unless_the_space_queues_then(house: House) -> None:
    with pytest.raises(SpaceOffline):
        house.submit(connected=False)
    patient = house.add_space("Patient", queue_when_offline=True)
    assert house.status(house.submit(space=patient, connected=False)) == "queued"
    assert house.store.queue_size(house.space) == 0


def test_a_disabled_or_unknown_space_refuses(house: House) -> None:
    disabled = house.add_space("Off", enabled=False, queue_when_offline=True)
    with pytest.raises(SpaceDisabled):
        house.submit(space=disabled)
    with pytest.raises(NotFound):
        house.submit(space=4711)


def test_numbers_are_given_in_the_order_of_acceptance_under_threads(house: House) -> None:
    ids = together([house.submit] * 20)
    numbers = [house.row(str(request_id))["number"] for request_id in ids]
    assert sorted(numbers) == list(range(1, 21))


# Claiming


def test_the_oldest_is_first_and_only_one_is_processing(house: House) -> None:
    first, second = house.submit(), house.submit()
    house.bind()
    row = house.claimed(now=NOW + 1)
    assert (row["id"], row["status"], row["attempt"]) == (first, "processing", 1)
    assert (row["started_at"], row["deadline_at"]) == (NOW + 1, NOW + 1 + LIMITS.timeout)
    assert row["seq"] == 2 * SEQ_STEP
    assert house.claim(app=OTHER) is None
    assert house.status(second) == "queued"


def test_of_twenty_claims_exactly_one_wins(house: House) -> None:
    house.submit()
    house.submit()
    house.bind()
    apps = [replace(APP, connection_id=f"c{number}") for number in range(20)]
    rows = together([lambda app=app: house.claim(app=app) for app in apps])  # type: ignore[misc]
    won = [row for row in rows if row is not None]
    assert len(won) == 1, rows
    assert house.count_processing() == 1


def test_a_claim_whose_answer_was_lost_is_given_again(house: House) -> None:
    house.submit()
    house.bind()
    assert house.claimed() == house.claimed(now=NOW + 5)
    assert len(house.attempts_of(house.claimed()["id"])) == 1


def test_the_database_itself_allows_one_processing_request_a_space(house: House) -> None:
    first, second = house.submit(), house.submit()
    with house.database.write() as connection:
        connection.execute(update(requests).where(requests.c.id == first).values(status="processing"))
    with pytest.raises(IntegrityError), house.database.write() as connection:
        connection.execute(update(requests).where(requests.c.id == second).values(status="processing"))


def test_a_space_does_not_hold_up_another(house: House) -> None:
    other = house.add_space("Dogs")
    house.submit()
    dog = house.submit(space=other)
    house.bind()
    house.bind(space=other)
    house.claimed()
    row = house.store.claim_next(other, 1, APP, NOW)
    assert row
    assert row["id"] == dog


def test_what_waited_too_long_is_not_handed_over(house: House) -> None:
    house.submit()
    house.bind()
    assert house.claim(now=NOW + LIMITS.queue_ttl) is None


# Ending


def test_a_result_ends_and_the_next_one_starts_in_the_same_step(house: House) -> None:
    first, second = house.submit(), house.submit()
    house.bind()
    change, following = house.finish(house.claimed(), now=NOW + 2)
    assert change == Change(first, house.user, house.space, "completed")
    assert following["id"] == second
    row = house.row(first)
    assert (row["result"], row["finished_at"], row["error_code"]) == (DONE.result, NOW + 2, None)
    assert row["seq"] == 3 * SEQ_STEP


def test_a_failure_keeps_the_apps_words(house: House) -> None:
    first = house.submit()
    house.bind()
    house.finish(house.claimed(), ending=Ending("failed", "app_error", "out of memory", retryable=True, by_result=True))
    row = house.row(first)
    assert (row["status"], row["error_code"], row["error_message"]) == ("failed", "app_error", "out of memory")
    assert row["retryable"] is True


def test_a_second_result_changes_nothing_but_lets_the_queue_go_on(house: House) -> None:
    first = house.submit()
    house.bind()
    row = house.claimed()
    house.finish(row, now=NOW + 1)
    before = house.row(first)
    second = house.submit()
    change, following = house.finish(row, now=NOW + 9, ending=Ending("failed", "app_error"))
    assert change is None
    assert following["id"] == second
    assert house.row(first) == before


def test_a_result_of_an_older_attempt_changes_nothing(house: House) -> None:
    first = house.submit()
    house.bind()
    old = house.claimed()
    house.store.give_back(first, old["attempt_id"], NOW)
    new = house.claimed()
    assert new["attempt_id"] != old["attempt_id"]
    assert house.finish(old)[0] is None
    assert house.row(first)["attempt_id"] == new["attempt_id"]
    assert house.status(first) == "processing"


@pytest.mark.parametrize("round_", range(5))
def test_cancel_result_deadline_and_loss_at_once_have_one_outcome(house: House, round_: int) -> None:
    first = house.submit()
    house.bind()
    row = house.claimed()
    late = Ending("timed_out", "processing_timeout")
    outcomes = together(
        [
            lambda: house.store.cancel(first, "cancelled_by_user", NOW),
            lambda: house.finish(row)[0],
            lambda: house.store.end(first, late, NOW, row["attempt_id"]),
            lambda: house.store.give_back(first, row["attempt_id"], NOW),
        ]
        * 3
    )
    changes = [outcome for outcome in outcomes if isinstance(outcome, Change)]
    unexpected = [o for o in outcomes if isinstance(o, Exception) and not isinstance(o, AlreadyFinal)]
    assert not unexpected
    final = [change for change in changes if change.status != "queued"]
    assert len(final) == 1, changes
    assert house.status(first) == final[0].status
    assert house.story(first)[-1][1] == final[0].status
    moves_to_final = [step for step in house.story(first) if step[1] not in ("queued", "processing")]
    assert len(moves_to_final) == 1


def test_cancel_of_a_final_request_is_refused(house: House) -> None:
    first = house.submit()
    house.store.cancel(first, "cancelled_by_user", NOW)
    before = house.row(first)
    with pytest.raises(AlreadyFinal):
        house.store.cancel(first, "cancelled_by_user", NOW + 1)
    assert house.row(first) == before
    assert before["error_code"] == "cancelled_by_user"
    assert before["error_message"]


def test_a_space_that_goes_ends_all_that_is_open(house: House) -> None:
    done, running, waiting = house.submit(), house.submit(), house.submit()
    elsewhere = house.submit(space=house.add_space("Dogs"))
    house.bind()
    house.finish(house.claimed())
    changes = house.store.end_space(house.space, NOW + 1)
    assert {change.request_id for change in changes} == {running, waiting}
    assert [house.status(each) for each in (done, running, waiting)] == ["completed", "failed", "failed"]
    assert house.row(waiting)["error_code"] == "space_removed"
    assert house.status(elsewhere) == "queued"


def test_the_open_requests_of_a_user(house: House) -> None:
    bob = house.add_user("bob")
    mine, theirs = house.submit(), house.submit(user=bob)
    house.store.cancel(house.submit(user=bob), "cancelled_by_user", NOW)
    assert [row["id"] for row in house.store.open_of_user(bob)] == [theirs]
    assert house.status(mine) == "queued"


# Giving back


def test_a_request_goes_back_to_the_head_until_its_attempts_are_used_up(house: House) -> None:
    first, second = house.submit(), house.submit()
    house.bind()
    one = house.claimed()
    assert house.store.give_back(first, one["attempt_id"], NOW) == Change(first, house.user, house.space, "queued")
    back = house.row(first)
    assert (back["attempt_id"], back["deadline_at"], back["started_at"], back["attempt"]) == (None, None, None, 1)
    two = house.claimed()
    assert (two["id"], two["attempt"]) == (first, 2)
    assert two["attempt_id"] != one["attempt_id"]
    change = house.store.give_back(first, two["attempt_id"], NOW + 3)
    assert change == Change(first, house.user, house.space, "failed")
    assert (house.row(first)["error_code"], house.row(first)["finished_at"]) == ("app_disconnected", NOW + 3)
    assert house.claimed()["id"] == second


def test_giving_back_an_attempt_that_is_over_changes_nothing(house: House) -> None:
    first = house.submit()
    house.bind()
    row = house.claimed()
    house.finish(row)
    before = house.row(first)
    assert house.store.give_back(first, row["attempt_id"], NOW) is None
    assert house.store.give_back("unknown", "unknown", NOW) is None
    assert house.row(first) == before


def test_of_twenty_give_backs_exactly_one_counts(house: House) -> None:
    first = house.submit()
    house.bind()
    attempt = house.claimed()["attempt_id"]
    changes = together([lambda: house.store.give_back(first, attempt, NOW)] * 20)
    assert sum(isinstance(change, Change) for change in changes) == 1
    assert len(house.story(first)) == 3


def test_the_queue_time_counts_over_all_waits_and_stands_still_while_processing(house: House) -> None:
    first = house.submit(now=NOW)
    house.bind()
    row = house.claimed(now=NOW + 400)
    house.store.give_back(first, row["attempt_id"], NOW + 1000)
    assert house.row(first)["expires_at"] == NOW + 1200
    assert not house.store.expire_queued(NOW + 1199.9)
    assert house.store.expire_queued(NOW + 1200) == [Change(first, house.user, house.space, "timed_out")]
    assert house.row(first)["error_code"] == "queue_timeout"


def test_only_queued_requests_expire(house: House) -> None:
    running, waiting = house.submit(), house.submit()
    house.bind()
    house.claimed()
    changes = house.store.expire_queued(NOW + 10 * LIMITS.queue_ttl)
    assert [change.request_id for change in changes] == [waiting]
    assert house.status(running) == "processing"


# Connections and the epoch


def test_the_epoch_rises_with_every_connection(house: House) -> None:
    assert house.bind().epoch == 1
    assert house.bind(epoch=1).epoch == 2
    house.store.mark_lost(house.space, 2, NOW)
    assert house.bind(epoch=2).epoch == 3


@pytest.mark.parametrize("act", ["claim", "finish"])
def test_an_epoch_that_is_over_writes_nothing(house: House, act: str) -> None:
    first = house.submit()
    house.bind()
    row = house.claimed() if act == "finish" else None
    house.bind(OTHER, epoch=1)
    before = house.row(first)
    with pytest.raises(Fenced):
        house.finish(row) if row else house.claim()
    assert house.row(first) == before


def test_without_a_connection_nothing_is_claimed(house: House) -> None:
    house.submit()
    with pytest.raises(Fenced):
        house.claim()


def test_a_takeover_with_an_old_epoch_is_refused(house: House) -> None:
    house.bind()
    house.bind(OTHER, epoch=1)
    with pytest.raises(Fenced):
        house.bind(APP, epoch=1)
    assert house.claim(epoch=2) is None


def test_of_simultaneous_takeovers_exactly_one_wins(house: House) -> None:
    house.bind()
    apps = [replace(APP, connection_id=f"c{number}") for number in range(20)]
    answers = together([lambda app=app: house.bind(app, epoch=1) for app in apps])  # type: ignore[misc]
    assert sum(not isinstance(answer, Exception) for answer in answers) == 1, answers
    assert sum(isinstance(answer, Fenced) for answer in answers) == 19


def test_of_first_registrations_in_different_processes_exactly_one_wins(house: House) -> None:
    answers = together([lambda n=n: house.bind(OTHER, process=f"p{n}") for n in range(12)])  # type: ignore[misc]
    assert sum(not isinstance(answer, Exception) for answer in answers) == 1, answers
    assert sum(isinstance(answer, Fenced) for answer in answers) == 11


def test_a_process_that_knows_no_epoch_takes_what_was_lost_or_is_its_own(house: House) -> None:
    house.bind(process="p1")
    with pytest.raises(Fenced):
        house.bind(OTHER, process="p2")
    assert house.bind(OTHER, process="p1").epoch == 2
    house.store.mark_lost(house.space, 2, NOW)
    assert house.bind(OTHER, process="p2").epoch == 3


def test_binding_to_a_space_that_is_gone_or_off_is_refused(house: House) -> None:
    off = house.add_space("Off", enabled=False)
    with pytest.raises(SpaceDisabled):
        house.bind(space=off)
    with pytest.raises(NotFound):
        house.bind(space=4711)


def test_a_claim_of_the_running_attempt_is_honoured(house: House) -> None:
    first = house.submit()
    house.bind()
    row = house.claimed()
    house.store.mark_lost(house.space, 1, NOW)
    binding = house.bind(OTHER, epoch=1, claims=[row["attempt_id"]], now=NOW + 9)
    assert binding.resumed
    assert binding.resumed["id"] == first
    assert (binding.over, binding.changes) == ([], [])
    now = house.row(first)
    assert (now["attempt"], now["deadline_at"], now["status"]) == (1, row["deadline_at"], "processing")
    assert now["seq"] > row["seq"], "the new connection's progress must stand above the old one's"
    assert house.attempts_of(first)[0]["connection_id"] == OTHER.connection_id


def test_another_tokens_claim_is_not_honoured(house: House) -> None:
    first = house.submit()
    house.bind()
    row = house.claimed()
    binding = house.bind(FOREIGN, epoch=1, claims=[row["attempt_id"]])
    assert binding.resumed is None
    assert binding.changes == [Change(first, house.user, house.space, "queued")]


def test_who_comes_back_without_the_claim_gets_the_request_anew(house: House) -> None:
    first = house.submit()
    house.bind()
    old = house.claimed()
    assert house.bind(OTHER, epoch=1).changes == [Change(first, house.user, house.space, "queued")]
    row = house.claimed(epoch=2, app=OTHER)
    assert (row["id"], row["attempt"]) == (first, 2)
    binding = house.bind(APP, epoch=2)
    assert binding.changes == [Change(first, house.user, house.space, "failed")]
    assert house.row(first)["error_code"] == "app_disconnected"
    assert old["attempt_id"] != row["attempt_id"]


def test_claims_that_are_over_are_named_to_their_owner_only(house: House) -> None:
    first, second = house.submit(), house.submit()
    house.bind()
    row = house.claimed()
    house.store.cancel(first, "cancelled_by_user", NOW)
    running = house.claimed()
    claims = [row["attempt_id"], running["attempt_id"], "unknown"]
    binding = house.bind(OTHER, epoch=1, claims=claims)
    assert binding.over == [(first, row["attempt_id"])]
    assert binding.resumed
    assert binding.resumed["id"] == second
    assert house.bind(FOREIGN, epoch=2, claims=claims).over == []


def test_a_loss_is_noted_once_and_only_for_its_own_epoch(house: House) -> None:
    house.bind(now=NOW)
    house.store.mark_lost(house.space, 1, NOW + 5)
    house.store.mark_lost(house.space, 1, NOW + 9)
    load = house.store.space_load()[house.space]
    assert (load.connected, load.lost_at, load.last_connected_at) == (False, NOW + 5, NOW + 5)
    house.bind(OTHER, epoch=1, now=NOW + 20)
    house.store.mark_lost(house.space, 1, NOW + 21)
    assert house.store.space_load()[house.space].connected


# A start of the site


def crash_with(house: House, *, deadline_in: float) -> tuple[str, str]:
    """One request processing, one queued, the last heartbeat at NOW; return their ids."""
    house.store.start_process("p1", "host", 1, GRACE, NOW - 100)
    running, waiting = house.submit(), house.submit()
    house.bind()
    house.claimed(now=NOW + deadline_in - LIMITS.timeout)
    house.store.heartbeat("p1", NOW)
    return running, waiting


@pytest.mark.parametrize(
    ("deadline_in", "away", "expected"),
    [(-1.0, 0.0, GRACE), (50.0, 100.0, 100.0 + GRACE), (110.0, 100.0, 100.0 + GRACE), (116.0, 100.0, 116.0)],
    ids=["passed before", "passed meanwhile", "passes within a grace", "later"],
)
def test_a_start_moves_deadlines_to_one_grace_from_now(
    house: House, deadline_in: float, away: float, expected: float
) -> None:
    running, _ = crash_with(house, deadline_in=deadline_in)
    house.store.start_process("p2", "host", 2, GRACE, NOW + away)
    assert house.row(running)["deadline_at"] == pytest.approx(NOW + expected)


def test_waiting_does_not_count_while_nothing_ran(house: House) -> None:
    _, waiting = crash_with(house, deadline_in=60)
    house.store.start_process("p2", "host", 2, GRACE, NOW + 5000)
    assert house.row(waiting)["expires_at"] == pytest.approx(NOW + LIMITS.queue_ttl + 5000)
    assert not house.store.expire_queued(NOW + 5000 + LIMITS.queue_ttl - 1)
    assert house.store.expire_queued(NOW + 5000 + LIMITS.queue_ttl)


def test_a_clock_that_was_set_back_takes_no_waiting_time_away(house: House) -> None:
    _, waiting = crash_with(house, deadline_in=60)
    house.store.start_process("p2", "host", 2, GRACE, NOW - 50)
    assert house.row(waiting)["expires_at"] == pytest.approx(NOW + LIMITS.queue_ttl)


@pytest.mark.parametrize("lost_before", [False, True])
def test_the_grace_runs_from_the_start(house: House, lost_before: bool) -> None:
    running, _ = crash_with(house, deadline_in=60)
    if lost_before:
        house.store.mark_lost(house.space, 1, NOW - 10)
    house.store.start_process("p2", "host", 2, GRACE, NOW + 30)
    found = house.store.survey()[house.space]
    assert (found.request_id, found.lost_at) == (running, NOW + 30)


def test_order_survives_a_start_and_the_app_can_still_claim(house: House) -> None:
    running, waiting = crash_with(house, deadline_in=60)
    attempt = house.row(running)["attempt_id"]
    house.store.start_process("p2", "host", 2, GRACE, NOW + 5)
    binding = house.bind(OTHER, process="p2", claims=[attempt], now=NOW + 6)
    assert binding.resumed
    assert binding.epoch == 2
    _, following = house.store.finish_and_claim(house.space, 2, OTHER, running, attempt, DONE, NOW + 7)
    assert following
    assert following["id"] == waiting
    assert house.row(running)["attempt"] == 1


# Refused results (G11)


def refusal(house: House, request_id: str, attempt_id: str | None = None, app: AppLink = APP, now: float = NOW) -> str:
    return house.store.refusal(request_id, attempt_id, app.token_id, app.connection_id, now)


def test_refusals_of_strangers(house: House) -> None:
    first = house.submit()
    house.bind()
    waiting = house.submit()
    row = house.claimed()
    assert refusal(house, "nothing") == "unknown_request"
    assert refusal(house, first, row["attempt_id"], FOREIGN) == "unknown_request"
    assert refusal(house, first, None, FOREIGN) == "unknown_request"
    assert refusal(house, first, "not-an-attempt") == "unknown_request"
    assert refusal(house, waiting) == "unknown_request", "never handed to anybody"


def test_refusal_of_another_connection_of_the_same_token(house: House) -> None:
    first = house.submit()
    house.bind()
    row = house.claimed()
    assert refusal(house, first, row["attempt_id"], OTHER) == "not_owner"
    assert refusal(house, first, None, OTHER) == "not_owner"
    house.bind(OTHER, epoch=1, claims=[row["attempt_id"]])
    assert refusal(house, first, row["attempt_id"], APP) == "not_owner"


def test_refusal_of_an_older_attempt(house: House) -> None:
    first = house.submit()
    house.bind()
    old = house.claimed()
    house.store.give_back(first, old["attempt_id"], NOW)
    assert refusal(house, first, old["attempt_id"]) == "stale_attempt"
    new = house.claimed()
    assert refusal(house, first, old["attempt_id"]) == "stale_attempt"
    house.finish(new)
    assert refusal(house, first, old["attempt_id"]) == "stale_attempt"
    assert refusal(house, first, new["attempt_id"]) == "duplicate"
    assert refusal(house, first) == "duplicate"


def test_refusal_after_the_own_result_and_after_another_end(house: House) -> None:
    first, second = house.submit(), house.submit()
    house.bind()
    _, row = house.finish(house.claimed())
    assert refusal(house, first) == "duplicate"
    assert refusal(house, first, app=OTHER) == "duplicate", "re-sent after a reconnect"
    house.store.cancel(second, "cancelled_by_user", NOW)
    assert refusal(house, second, row["attempt_id"]) == "already_final"


def test_refusal_when_the_last_attempt_was_given_up(house: House) -> None:
    first = house.submit()
    house.bind()
    for _ in range(2):
        row = house.claimed()
        house.store.give_back(first, row["attempt_id"], NOW)
    assert refusal(house, first, row["attempt_id"]) == "already_final"


def test_refusal_of_a_running_attempt_depends_on_its_deadline(house: House) -> None:
    first = house.submit()
    house.bind()
    row = house.claimed()
    assert refusal(house, first, row["attempt_id"], now=NOW + LIMITS.timeout) == "already_final"
    assert refusal(house, first, row["attempt_id"], now=NOW + 1) == "retry_later"


def test_an_app_without_a_token_is_recognised_too(house: House) -> None:
    nobody = replace(APP, token_id=None)
    first = house.submit()
    house.bind(nobody)
    row = house.claimed(app=nobody)
    assert refusal(house, first, row["attempt_id"], replace(OTHER, token_id=None)) == "not_owner"
    assert refusal(house, first, row["attempt_id"], APP) == "unknown_request"


# Reading


def test_the_survey_names_all_that_is_open_by_space(house: House) -> None:
    dogs, birds = house.add_space("Dogs"), house.add_space("Birds")
    running = house.submit(now=NOW)
    house.submit(now=NOW + 2)
    house.submit(now=NOW + 1)
    house.submit(space=dogs)
    house.store.cancel(house.submit(space=birds), "cancelled_by_user", NOW)
    house.bind()
    row = house.claimed()
    found = house.store.survey()
    assert set(found) == {house.space, dogs}
    here = found[house.space]
    assert (here.waiting, here.expires_at) == (2, NOW + 1 + LIMITS.queue_ttl)
    assert (here.request_id, here.attempt_id) == (running, row["attempt_id"])
    assert (here.deadline_at, here.lost_at) == (row["deadline_at"], None)
    house.store.mark_lost(house.space, 1, NOW + 3)
    assert house.store.survey()[house.space].lost_at == NOW + 3
    assert (found[dogs].waiting, found[dogs].attempt_id) == (1, None)


def test_positions_count_from_the_head(house: House) -> None:
    ids = [house.submit() for _ in range(4)]
    house.bind()
    house.claimed()
    house.store.cancel(ids[1], "cancelled_by_user", NOW)
    assert [house.store.position(house.row(each)) for each in ids] == [None, None, 1, 2]
    assert positions_in(house.database, house.space) == {ids[2]: 1, ids[3]: 2}


def test_the_load_of_spaces(house: House) -> None:
    idle, never = house.add_space("Idle"), house.add_space("Never")
    house.submit()
    house.submit()
    house.bind()
    house.claimed()
    house.bind(space=idle, now=NOW + 1)
    loads = house.store.space_load()
    assert loads[house.space] == SpaceLoad(1, 1, True, NOW, None)
    assert loads[idle] == SpaceLoad(0, 0, True, NOW + 1, None)
    assert never not in loads
    assert set(house.store.space_load([idle, never])) == {idle}
    assert house.store.space_load([]) == {}


def test_the_own_list_is_newest_first_in_pages(house: House) -> None:
    same_moment = sorted((house.submit(now=NOW) for _ in range(3)), reverse=True)
    newest = house.submit(now=NOW + 5)
    bob = house.add_user("bob")
    house.submit(user=bob)
    expected = [newest, *same_moment]
    rows = house.store.list_for_user(house.user, limit=2)
    assert [row["id"] for row in rows] == expected[:2]
    last = rows[-1]
    rest = house.store.list_for_user(house.user, before=(last["created_at"], last["id"]), limit=10)
    assert [row["id"] for row in rest] == expected[2:]


def test_the_own_list_can_be_narrowed(house: House) -> None:
    dogs = house.add_space("Dogs")
    cat, dog, ended = house.submit(), house.submit(space=dogs), house.submit(space=dogs)
    house.store.cancel(ended, "cancelled_by_user", NOW)
    ids = lambda **what: {row["id"] for row in house.store.list_for_user(house.user, **what)}  # noqa: E731
    assert ids(space_id=house.space) == {cat}
    assert ids(space_name="dOGS") == {dog, ended}
    assert ids(status="cancelled") == {ended}
    assert ids(space_name="dogs", status="queued") == {dog}


def test_what_changed_for_a_user(house: House) -> None:
    old, open_, recent = house.submit(), house.submit(), house.submit()
    house.store.cancel(old, "cancelled_by_user", NOW + 1)
    house.store.cancel(recent, "cancelled_by_user", NOW + 10)
    rows = house.store.changed_for_user(house.user, house.space, NOW + 10)
    assert {row["id"] for row in rows} == {open_, recent}


# Evidence and deletion


def test_every_transition_is_on_record(house: House) -> None:
    first = house.submit(now=NOW)
    house.bind()
    row = house.claimed(now=NOW + 1)
    house.store.give_back(first, row["attempt_id"], NOW + 2)
    house.finish(house.claimed(now=NOW + 3), now=NOW + 4)
    assert house.story(first) == [
        (None, "queued", 0, None),
        ("queued", "processing", 1, None),
        ("processing", "queued", 1, "app_disconnected"),
        ("queued", "processing", 2, None),
        ("processing", "completed", 2, None),
    ]
    assert [step["at"] for step in house.store.transitions(first)] == [NOW, NOW + 1, NOW + 2, NOW + 3, NOW + 4]
    assert transitions_of(house.database, [first, "unknown"])["unknown"] == []
    one, two = house.attempts_of(first)
    assert (one["number"], one["ended_at"], one["by_result"]) == (1, NOW + 2, False)
    assert (two["number"], two["ended_at"], two["by_result"]) == (2, NOW + 4, True)


def test_seq_rises_with_every_transition_above_all_progress_between(house: House) -> None:
    first = house.submit()
    house.bind()
    seen = [house.row(first)["seq"]]
    row = house.claimed()
    seen.append(house.row(first)["seq"])
    house.store.give_back(first, row["attempt_id"], NOW)
    seen.append(house.row(first)["seq"])
    house.store.cancel(first, "cancelled_by_user", NOW)
    seen.append(house.row(first)["seq"])
    assert all(after - before >= SEQ_STEP for before, after in pairwise(seen))


def test_only_a_final_request_can_be_deleted_and_its_evidence_goes_too(house: House) -> None:
    first = house.submit()
    house.bind()
    with pytest.raises(NotFinal):
        house.store.delete(first)
    row = house.claimed()
    with pytest.raises(NotFinal):
        house.store.delete(first)
    house.finish(row)
    house.store.delete(first)
    assert house.store.get(first) is None
    assert house.store.transitions(first) == []
    assert house.attempts_of(first) == []
    with pytest.raises(NotFound):
        house.store.delete(first)


def test_a_request_outlives_its_space_and_goes_with_its_user(house: House) -> None:
    first = house.submit()
    house.store.end_space(house.space, NOW)
    with house.database.write() as connection:
        connection.execute(delete(Space.__table__).where(Space.__table__.c.id == house.space))
    row = house.row(first)
    assert (row["space_id"], row["space_name"]) == (None, "Cats")
    with house.database.write() as connection:
        connection.execute(delete(User.__table__).where(User.__table__.c.id == house.user))
    assert house.store.get(first) is None


@pytest.mark.parametrize(
    "text_", ["", "a\nb\u2028", "日本語 👋🏽", "x" * 200_000], ids=["empty", "lines", "wide", "long"]
)
def test_texts_come_back_as_they_were(house: House, text_: str) -> None:
    first = house.submit(text_)
    house.bind()
    ending = replace(DONE, result=[{"type": "text", "text": text_}, {"type": "json", "data": {text_[:9]: [1.5, None]}}])
    house.finish(house.claimed(), ending=ending)
    row = house.row(first)
    assert (row["prompt"], row["result"]) == (text_, ending.result)


def test_a_step_that_breaks_leaves_nothing_behind(house: House) -> None:
    first = house.submit()

    def break_halfway() -> None:
        with house.database.write() as connection:
            connection.execute(insert(transitions).values(request_id=first, at=NOW, to_state="x", attempt=0))
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        break_halfway()
    with house.database.read() as connection:
        assert not connection.execute(text("SELECT 1 FROM transitions WHERE to_state = 'x'")).first()


def test_ping_answers(house: House) -> None:
    house.database.check()


def test_the_queue_is_found_by_its_own_index(house: House, backend: str) -> None:
    """However many requests have ended: the statements name the states in a way that the partial indexes serve."""
    with house.database.write() as connection:
        for start in range(0, 3000, 500):
            connection.execute(insert(requests), [_ended(house, start + number) for number in range(500)])
        connection.execute(text("ANALYZE"))
    house.submit()
    house.bind()
    hot = {
        "claim": lambda: house.claim(),
        "queue size": lambda: house.store.queue_size(house.space),
        "survey": lambda: house.store.survey(),
        "start": lambda: house.store.start_process("p2", "host", 2, GRACE, NOW),
    }
    for name, action in hot.items():
        for statement, parameters in _statements_on_requests(house, action):
            with house.database.read() as connection:
                explain = "EXPLAIN QUERY PLAN " if backend == "sqlite" else "EXPLAIN "
                plan = "\n".join(str(row[-1]) for row in connection.exec_driver_sql(explain + statement, parameters))
            assert not re.search(r"SCAN requests$|Seq Scan on requests", plan, re.M), f"{name}: {statement}\n{plan}"


def _statements_on_requests(house: House, action: Callable[[], object]) -> list[tuple[str, Any]]:
    """Run ``action`` and return each statement that looks for requests by their state, as it was sent."""
    seen: list[tuple[str, Any]] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        if "requests" in statement and "requests.status = '" in statement:
            seen.append((statement, parameters))

    event.listen(house.database.engine, "before_cursor_execute", note)
    action()
    event.remove(house.database.engine, "before_cursor_execute", note)
    assert seen, "no such statement was sent"
    return seen


def _ended(house: House, number: int) -> dict[str, Any]:
    return {
        "id": f"{number:032}",
        "space_id": house.space,
        "space_name": "Cats",
        "user_id": house.user,
        "username": "ann",
        "number": -number,
        "status": "completed",
        "seq": 1,
        "prompt": "",
        "parameters": {},
        "attempt": 1,
        "max_attempts": 2,
        "timeout_seconds": 1.0,
        "expires_at": NOW,
        "queue_left": 1.0,
        "created_at": NOW,
        "updated_at": NOW,
    }
