"""Each rule about what may happen at a site is broken once by hand, and says so; a good history breaks none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.faults import rules
from tests.faults.history import Ack, Attempt, History, Step, Story

START = 1_000.0


def story(number: int, *steps: tuple[str, float, int, str | None], first_id: int, **row: Any) -> Story:
    """Make the story of request ``r<number>`` from (to, at, attempt, code) after its acceptance at START + number."""
    made = [Step(first_id, START + number, None, "queued", 0, None)]
    attempts: list[Attempt] = []
    for to, at, attempt, code in steps:
        made.append(Step(first_id + 10 * len(made), START + at, made[-1].to, to, attempt, code))
        if to == "processing":
            attempts.append(Attempt(f"a{number}-{attempt}", attempt, f"c{attempt}", START + at, None, False))
        elif attempts and attempts[-1].ended_at is None:
            by_result = to == "completed" or (to == "failed" and code == "app_error")
            attempts[-1] = attempts[-1]._replace(ended_at=START + at, by_result=by_result)
    last = made[-1]
    is_final = last.to in {"completed", "failed", "cancelled", "timed_out"}
    values = {
        "id": f"r{number}",
        "number": number,
        "space_name": "cats",
        "prompt": "hello",
        "status": last.to,
        "error_code": last.code if is_final else None,
        "result": [{"type": "text", "text": "hi"}] if last.to == "completed" else None,
        "attempt": len(attempts),
        "max_attempts": 2,
        "timeout_seconds": 30.0,
        "expires_at": START + 600,
        "seq": len(made),
        "created_at": START + number,
        "finished_at": last.at if is_final else None,
    }
    return Story(values | row, "cats", made, attempts)


def good() -> History:
    """One request that was given back once and completed, one cancelled while it waited, one failed, one queued."""
    stories = [
        story(
            1,
            ("processing", 5, 1, None),
            ("queued", 10, 1, "app_disconnected"),
            ("processing", 11, 2, None),
            ("completed", 12, 2, None),
            first_id=1,
        ),
        story(2, ("cancelled", 6, 0, "cancelled_by_user"), first_id=2),
        story(3, ("processing", 12, 1, None), ("failed", 13, 1, "app_error"), first_id=33),
        story(4, first_id=54),
    ]
    stories[2].attempts[0] = stories[2].attempts[0]._replace(connection_id="c2")
    return History(
        stories={one.id: one for one in stories},
        epochs={"cats": 2},
        now=START + 20,
        accepted={"r1", "r2", "r3", "r4"},
        answers=[
            {
                "id": "r1",
                "status": "completed",
                "error": None,
                "output": [{"type": "text", "text": "hi"}],
                "seq": 5,
                "attempt": 2,
            }
        ],
        acks=[Ack("r1", "a1-1", "stale_attempt"), Ack("r1", "a1-2", "accepted"), Ack("r1", "a1-2", "duplicate")],
        handed=[{"request_id": "r1", "attempt_id": "a1-2", "attempt": 2, "redelivered": True}],
    )


def test_a_good_history_breaks_no_rule() -> None:
    assert rules.violations(good()) == []


def row(history: History, name: str, **values: Any) -> None:
    """Change the row of a request."""
    history.stories[name].row = {**history.stories[name].row, **values}


def step(history: History, name: str, index: int, **values: Any) -> None:
    """Change one transition of a request."""
    steps = history.stories[name].steps
    steps[index] = steps[index]._replace(**values)


def attempt(history: History, name: str, index: int, **values: Any) -> None:
    """Change one attempt of a request."""
    attempts = history.stories[name].attempts
    attempts[index] = attempts[index]._replace(**values)


def run_first(history: History, name: str, step_id: int) -> None:
    """Let a request be accepted early and handed over by the step of this id."""
    step(history, name, 0, id=4)
    step(history, name, 1, id=step_id)


def go_on(history: History, name: str, to: str, code: str | None) -> None:
    """Add one transition after the last."""
    last = history.stories[name].steps[-1]
    history.stories[name].steps.append(Step(last.id + 1, last.at + 1, last.to, to, last.attempt, code))


Break = Callable[[History], object]

BROKEN: list[tuple[Callable[[History], rules.Violations], str, Break]] = [
    (rules.nothing_is_lost, "a row is gone", lambda h: h.stories.pop("r2")),
    (rules.rows_are_whole, "no transition at all", lambda h: h.stories["r4"].steps.clear()),
    (rules.rows_are_whole, "the first is no acceptance", lambda h: step(h, "r4", 0, attempt=1)),
    (rules.rows_are_whole, "the row says another state", lambda h: row(h, "r2", status="timed_out")),
    (rules.rows_are_whole, "the row says another reason", lambda h: row(h, "r2", error_code="user_removed")),
    (rules.rows_are_whole, "final and never finished", lambda h: row(h, "r1", finished_at=None)),
    (rules.rows_are_whole, "open and finished", lambda h: row(h, "r4", finished_at=START + 9)),
    (rules.rows_are_whole, "completed without a result", lambda h: row(h, "r1", result=None)),
    (rules.rows_are_whole, "cancelled with a result", lambda h: row(h, "r2", result=[])),
    (rules.rows_are_whole, "an attempt is not counted", lambda h: row(h, "r1", attempt=1)),
    (rules.moves_are_legal, "an unknown reason", lambda h: step(h, "r2", 1, code="bored")),
    (rules.moves_are_legal, "a state from nowhere", lambda h: step(h, "r2", 1, to="completed", code=None)),
    (rules.moves_are_legal, "failed too early", lambda h: step(h, "r3", 2, code="app_disconnected")),
    (rules.moves_are_legal, "given back too often", lambda h: row(h, "r1", max_attempts=1)),
    (rules.moves_are_legal, "failed without a reason", lambda h: step(h, "r3", 2, code=None)),
    (rules.moves_are_legal, "two ends", lambda h: go_on(h, "r1", "cancelled", "cancelled_by_user")),
    (rules.moves_are_legal, "a gap", lambda h: h.stories["r1"].steps.pop(2)),
    (rules.moves_are_legal, "an attempt left out", lambda h: step(h, "r1", 3, attempt=3)),
    (rules.attempts_are_counted, "numbers from two on", lambda h: attempt(h, "r1", 0, number=2)),
    (rules.attempts_are_counted, "more than allowed", lambda h: row(h, "r1", max_attempts=1)),
    (rules.attempts_are_counted, "another moment", lambda h: attempt(h, "r1", 0, handed_at=START)),
    (rules.attempts_are_counted, "one runs on after the end", lambda h: attempt(h, "r1", 1, ended_at=None)),
    (rules.one_at_a_time, "two at once", lambda h: step(h, "r3", 1, id=32)),
    (rules.order_is_kept, "the second came first", lambda h: step(h, "r3", 1, id=3)),
    (rules.order_is_kept, "a requeued one has to wait", lambda h: run_first(h, "r3", 29)),
    (rules.results_are_authentic, "the first attempt's too", lambda h: attempt(h, "r1", 0, by_result=True)),
    (rules.results_are_authentic, "completed by nobody", lambda h: attempt(h, "r1", 1, by_result=False)),
    (rules.results_are_authentic, "cancelled by a result", lambda h: row(h, "r3", error_code="space_removed")),
    (rules.connections_are_numbered, "two at one epoch", lambda h: h.epochs.update(cats=1)),
    (rules.connections_are_numbered, "back without an epoch", lambda h: attempt(h, "r3", 0, connection_id="c1")),
    (rules.time_is_bounded, "an attempt too long", lambda h: row(h, "r1", timeout_seconds=-10.0)),
    (rules.time_is_bounded, "open for ever", lambda h: setattr(h, "now", START + 1_000)),
    (rules.users_were_told_the_truth, "another end", lambda h: h.answers[0].update(status="timed_out")),
    (rules.users_were_told_the_truth, "another result", lambda h: h.answers[0].update(output=[])),
    (rules.users_were_told_the_truth, "a change after the end", lambda h: row(h, "r1", seq=6)),
    (rules.apps_were_told_the_truth, "accepted and not kept", lambda h: h.acks.append(Ack("r2", None, "accepted"))),
    (rules.apps_were_told_the_truth, "the wrong attempt", lambda h: h.acks.append(Ack("r1", "a1-1", "duplicate"))),
    (rules.apps_were_told_the_truth, "refused and kept", lambda h: h.acks.append(Ack("r1", "a1-2", "already_final"))),
    (rules.apps_were_told_the_truth, "accepted twice", lambda h: h.acks.append(Ack("r1", "a1-2", "accepted"))),
    (rules.what_was_handed_over_is_recorded, "unknown", lambda h: h.handed[0].update(attempt_id="other")),
    (rules.what_was_handed_over_is_recorded, "another number", lambda h: h.handed[0].update(attempt=1)),
    (rules.what_was_handed_over_is_recorded, "not told again", lambda h: h.handed[0].update(redelivered=False)),
]


@pytest.mark.parametrize(("rule", "how", "break_it"), BROKEN)
def test_each_rule_sees_what_breaks_it(rule: Callable[[History], rules.Violations], how: str, break_it: Break) -> None:
    history = good()
    break_it(history)
    found = list(rule(history))
    assert found, f"nothing was said about: {how}"
    assert found[0] in rules.violations(history)
    assert rules.report(history, found).startswith(f"{len(found)} violations:\n- {found[0].what}")


def test_every_rule_was_broken() -> None:
    assert {rule for rule, _, _ in BROKEN} == set(rules.RULES)


def test_what_is_allowed_is_not_a_violation() -> None:
    """A row taken away, time in which nothing ran, and an app without attempt ids."""
    history = good()
    history.stories.pop("r2")
    history.excused = {"r2"}
    history = replace(history, now=START + 1_000, slack=1_000)
    history.acks.append(Ack("r1", None, "already_final"))
    assert rules.violations(history) == []


def test_a_request_whose_wait_is_over_may_be_passed() -> None:
    history = good()
    step(history, "r3", 1, id=3)
    assert list(rules.order_is_kept(history))
    for passed in ("r1", "r2"):
        row(history, passed, expires_at=START + 12)
    assert not list(rules.order_is_kept(history))


def test_the_last_attempt_may_fail_for_a_lost_app() -> None:
    given_up = story(1, ("processing", 5, 1, None), ("failed", 6, 1, "app_disconnected"), first_id=1, max_attempts=1)
    assert rules.violations(History({"r1": given_up}, now=START)) == []


def test_a_report_tells_the_story_of_what_was_broken() -> None:
    history = good()
    attempt(history, "r1", 1, by_result=False)
    told = rules.report(history, rules.violations(history))
    assert "request r1 number 1 of cats: completed None 'hello'" in told
    assert "00:16:45.000 processing attempt 1  #11" in told
    assert "attempt 2 a1-2 by c2, 00:16:51.000 to 00:16:52.000" in told
    assert "request r3" not in told
