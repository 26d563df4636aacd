"""The guarantees of the contract as pure functions over a history.

Each rule yields a :class:`Violation` for everything that breaks it; :func:`violations` asks all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any

from tests.faults.history import FINAL, Ack, History, Step, Story, Violation

Violations = Iterator[Violation]

#: What the site is given beyond the sum of the times (guarantee G3), in seconds.
SPARE_SECONDS = 5.0
#: What a busy machine may add to that.
BUSY_SECONDS = 5.0

#: Reasons that are the site's own; an app's failure has any other.
NOT_THE_APP = {None, "app_disconnected", "space_removed", "cancelled_by_user", "user_removed"}
#: The acknowledgements that say once and for all that the result counts, and that it does not.
COUNTS = {"accepted", "duplicate"}
COUNTS_NOT = {"stale_attempt", "already_final"}
#: What may follow what, and for which reasons.
MOVES: dict[tuple[str | None, str], set[str | None]] = {
    (None, "queued"): {None},
    ("queued", "processing"): {None},
    ("queued", "cancelled"): {"cancelled_by_user", "user_removed"},
    ("queued", "timed_out"): {"queue_timeout"},
    ("queued", "failed"): {"space_removed"},
    ("processing", "completed"): {None},
    ("processing", "cancelled"): {"cancelled_by_user", "user_removed"},
    ("processing", "timed_out"): {"processing_timeout"},
    ("processing", "queued"): {"app_disconnected"},
}


def nothing_is_lost(history: History) -> Violations:
    """What was answered with 202 is a row, unless somebody with the right to do so took it away (G1)."""
    for lost in sorted(history.accepted - history.stories.keys() - history.excused):
        yield Violation(f"request {lost} was accepted and is gone", (lost,))


def rows_are_whole(history: History) -> Violations:
    """A row, its transitions and its attempts say the same; nothing is half there."""
    for story in history.stories.values():
        for wrong in _half(story):
            yield Violation(f"request {story.id}: {wrong}", (story.id,))


def _half(story: Story) -> Iterator[str]:
    row, steps, is_final = story.row, story.steps, story.row["status"] in FINAL
    if not steps or steps[0][2:] != (None, "queued", 0, None):
        yield "it does not begin with its acceptance"
        return
    if steps[-1].to != row["status"] or steps[-1].code != (row["error_code"] if is_final else steps[-1].code):
        yield f"the row says {row['status']} {row['error_code']}, its last transition {steps[-1]}"
    if row["finished_at"] != (steps[-1].at if is_final else None):
        yield f"it is {row['status']} and finished at {row['finished_at']}"
    if (row["result"] is not None) != (row["status"] == "completed"):
        yield f"it is {row['status']} with the result {row['result']!r}"
    if row["attempt"] != len(story.attempts):
        yield f"the row counts {row['attempt']} attempts, recorded are {len(story.attempts)}"


def moves_are_legal(history: History) -> Violations:
    """Only what the table of states allows, one after the other, and nothing after a final state (G2)."""
    for story in history.stories.values():
        for step in story.steps:
            if not _is_legal(step, story.row["max_attempts"]):
                yield Violation(f"request {story.id}: no such transition: {step}", (story.id,))
        for before, after in pairwise(story.steps):
            if before.to in FINAL:
                yield Violation(f"request {story.id} went on after its end: {before}, then {after}", (story.id,))
            elif after.from_state != before.to or after.attempt != before.attempt + (after.to == "processing"):
                yield Violation(f"request {story.id}: {after} does not follow {before}", (story.id,))


def _is_legal(step: Step, max_attempts: int) -> bool:
    if (step.from_state, step.to) == ("processing", "failed"):
        if step.code == "app_disconnected":
            return step.attempt == max_attempts
        return step.code == "space_removed" or step.code not in NOT_THE_APP
    if (step.from_state, step.to) == ("processing", "queued") and step.attempt >= max_attempts:
        return False
    return step.code in MOVES.get((step.from_state, step.to), set())


def attempts_are_counted(history: History) -> Violations:
    """Attempts are numbered from 1 on, at most ``max_attempts``, and each is one transition to processing (G8)."""
    for story in history.stories.values():
        numbers = [one.number for one in story.attempts]
        handed = [(step.attempt, step.at) for step in story.steps if step.to == "processing"]
        if numbers != list(range(1, len(numbers) + 1)) or len(numbers) > story.row["max_attempts"]:
            yield Violation(
                f"request {story.id}: attempts {numbers} of at most {story.row['max_attempts']}", (story.id,)
            )
        if handed != [(one.number, one.handed_at) for one in story.attempts]:
            yield Violation(f"request {story.id}: handed over {handed}, attempts {story.attempts}", (story.id,))
        running = [one.number for one in story.attempts if one.ended_at is None]
        if running != ([story.row["attempt"]] if story.row["status"] == "processing" else []):
            yield Violation(f"request {story.id} is {story.row['status']}, attempts {running} run", (story.id,))


def one_at_a_time(history: History) -> Violations:
    """At no moment are two requests of a space processing (G4)."""
    for moves in history.moves_by_space():
        processing: Story | None = None
        for step, story in moves:
            if step.to == "processing":
                if processing:
                    both = (processing.id, story.id)
                    yield Violation(f"both are processing: {both[0]} and, by {step}, {both[1]}", both)
                processing = story
            elif processing is story:
                processing = None


def order_is_kept(history: History) -> Violations:
    """What is handed over is the oldest that waits, so a requeued request is next (G5)."""
    for moves in history.moves_by_space():
        waiting: dict[int, Story] = {}
        for step, story in moves:
            if step.to == "queued":
                waiting[story.row["number"]] = story
                continue
            waiting.pop(story.row["number"], None)
            if step.to == "processing":
                yield from _overtaken(story, step, waiting)


def _overtaken(story: Story, step: Step, waiting: Mapping[int, Story]) -> Violations:
    for number, other in sorted(waiting.items()):
        if number < story.row["number"] and other.row["expires_at"] > step.at:
            yield Violation(f"{story.id} was handed over while {other.id} had waited longer", (other.id, story.id))
            return


def results_are_authentic(history: History) -> Violations:
    """Only the last attempt can have ended a request, and a result's state is there only because of one (G7)."""
    for story in history.stories.values():
        by_result = [one.number for one in story.attempts if one.by_result]
        ended_by_app = story.row["status"] == "completed" or (
            story.row["status"] == "failed" and story.row["error_code"] not in NOT_THE_APP
        )
        if by_result != ([story.row["attempt"]] if ended_by_app else []):
            what = f"request {story.id} is {story.row['status']}, results counted of the attempts {by_result}"
            yield Violation(what, (story.id,))


def connections_are_numbered(history: History) -> Violations:
    """A space has one connection at a time: whenever another one got its requests, the epoch had risen (G6)."""
    for space, stories in history.by_space().items():
        handed = sorted((one for story in stories for one in story.attempts), key=lambda one: one.handed_at)
        changes = sum(before.connection_id != after.connection_id for before, after in pairwise(handed))
        if handed and space in history.epochs and changes + 1 > history.epochs[space]:
            what = f"space {space}: {changes + 1} connections had requests, the epoch is {history.epochs[space]}"
            yield Violation(what, tuple(story.id for story in stories))


def time_is_bounded(history: History) -> Violations:
    """No attempt is longer than its timeout, and no request open for longer than all its times together (G3)."""
    spare = SPARE_SECONDS + BUSY_SECONDS + history.slack
    for story in history.stories.values():
        row = story.row
        most = history.queue_time + row["max_attempts"] * row["timeout_seconds"] + spare
        taken = (row["finished_at"] or history.now) - row["created_at"]
        if taken > most:
            yield Violation(f"request {story.id} was open for {taken:.1f} s, at most {most:.1f} s", (story.id,))
        for one in story.attempts:
            took = (one.ended_at or history.now) - one.handed_at
            if took > row["timeout_seconds"] + spare:
                what = f"attempt {one.number} of {story.id} took {took:.1f} s, its time is {row['timeout_seconds']} s"
                yield Violation(what, (story.id,))


def users_were_told_the_truth(history: History) -> Violations:
    """Whoever was shown a final state was shown the one that stays, with the same result (G2)."""
    for answer in history.answers:
        story = history.stories.get(answer["id"])
        if story and _shown(answer) != _kept(story):
            yield Violation(f"its user was shown {_shown(answer)}, kept is {_kept(story)}", (story.id,))


def _shown(answer: Mapping[str, Any]) -> tuple[Any, ...]:
    output = [{**part, "url": None} if "file_id" in part else part for part in answer["output"]]
    return answer["status"], (answer["error"] or {}).get("code"), output, answer["seq"], answer["attempt"]


def _kept(story: Story) -> tuple[Any, ...]:
    output = [{**part, "url": None} if "file_id" in part else part for part in story.row["result"] or ()]
    return story.row["status"], story.row["error_code"], output, story.row["seq"], story.row["attempt"]


def apps_were_told_the_truth(history: History) -> Violations:
    """``accepted`` and ``duplicate`` say that this attempt ended the request; the refusals that it did not (G11)."""
    accepted = Counter(ack.request_id for ack in history.acks if ack.code == "accepted")
    for ack in history.acks:
        story = history.stories.get(ack.request_id)
        if story and not _is_true(ack, story):
            yield Violation(f"the app was told {ack}, the request is {story.row['status']}", (story.id,))
    for request_id, times in accepted.items():
        if times > 1:
            yield Violation(f"{times} results of {request_id} were accepted", (request_id,))


def _is_true(ack: Ack, story: Story) -> bool:
    ended_it = any(one.by_result and ack.attempt_id in (None, one.attempt_id) for one in story.attempts)
    if ack.code in COUNTS:
        return ended_it
    return not (ack.code in COUNTS_NOT and ack.attempt_id and ended_it)


def what_was_handed_over_is_recorded(history: History) -> Violations:
    """Every hand-over that an app saw is an attempt, committed before, with the number that it was given (G8)."""
    for seen in history.handed:
        story = history.stories.get(seen["request_id"])
        if not story:
            continue
        numbers = [one.number for one in story.attempts if one.attempt_id == seen["attempt_id"]]
        if numbers != [seen["attempt"]] or seen["redelivered"] != (seen["attempt"] > 1):
            named = {key: seen[key] for key in ("attempt_id", "attempt", "redelivered")}
            yield Violation(f"an app got {named} of {story.id}, recorded are {numbers}", (story.id,))


RULES: tuple[Callable[[History], Violations], ...] = (
    nothing_is_lost,
    rows_are_whole,
    moves_are_legal,
    attempts_are_counted,
    one_at_a_time,
    order_is_kept,
    results_are_authentic,
    connections_are_numbered,
    time_is_bounded,
    users_were_told_the_truth,
    apps_were_told_the_truth,
    what_was_handed_over_is_recorded,
)
#: A report shows no more stories than somebody reads.
SHOWN = 10


def violations(history: History) -> list[Violation]:
    """Return everything in ``history`` that breaks a rule."""
    return [found for rule in RULES for found in rule(history)]


def report(history: History, found: list[Violation]) -> str:
    """Say what was broken, with the stories of the requests that show it."""
    named = dict.fromkeys(request for violation in found for request in violation.requests)
    stories = [str(history.stories[one]) for one in list(named) if one in history.stories][:SHOWN]
    return "\n".join([f"{len(found)} violations:", *(f"- {one.what}" for one in found[: 2 * SHOWN]), *stories])
