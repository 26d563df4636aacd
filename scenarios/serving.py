"""Scenarios in which everything goes well: one app, one request, several at once, and the times of all that."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from statistics import median
from threading import Barrier

from scenarios.browser import Browser
from scenarios.mock import MockApp
from scenarios.records import FIGURES, Trip, middle, shown
from scenarios.stage import Request, Stage, check, check_completed, expect

ANSWER_SECONDS = 5.0
TABS, MANY = 3, 10
MEASURED = 3


@dataclass
class Sent:
    """One prompt of several at once: when it was sent and accepted (monotonic seconds), and its latest state."""

    tab: Browser
    prompt: str
    sent: float
    accepted: float
    request: Request


def basic_connection(stage: Stage) -> None:
    """An app connects, and the site shows it."""
    space = stage.space()
    status, text = stage.admin.page(f"/spaces/{space}")
    check(status == 200 and "✗ Not connected" in text, f"the page does not say ✗ Not connected (status {status})")
    stage.connect(space, "--verbose")
    check("✓ Connected" in stage.admin.page(f"/spaces/{space}")[1], "the page does not say ✓ Connected")
    stage.note(f"Registration successful after {middle(stage.record.connections)}")


def single_request(stage: Stage) -> None:
    """A prompt reaches the app with its user's name, and the result comes back within five seconds."""
    space = stage.space()
    app = stage.connect(space, "--verbose", "--delay", "1-3")
    prompt = _prompt("A single request")
    request = stage.ask(app, space, prompt)
    check_completed(request, prompt)
    app.wait_for("[REQUEST]", request["id"], stage.admin.username)
    total = stage.record.trips[0].total
    check(total <= ANSWER_SECONDS, f"the result took {shown(total)}; {ANSWER_SECONDS:g} s are allowed")
    stage.note(f"result after {shown(total)}")


def three_at_once(stage: Stage) -> None:
    """Three tabs, each with a sign-in of its own, send at the same time."""
    space = stage.space()
    app = stage.connect(space, "--delay", "0.5-1")
    tabs = [stage.sign_in() for _ in range(TABS)]
    _check_all_served(stage, app, _send_together(stage, space, tabs))


def ten_at_once(stage: Stage) -> None:
    """Ten are open together: five sent at the same time, and five more as soon as those are accepted."""
    space = stage.space()
    app = stage.connect(space, "--delay", "0.3-0.5")
    tabs = [stage.sign_in() for _ in range(MANY)]
    sent = _send_together(stage, space, tabs[: MANY // 2], tabs[MANY // 2 :])
    _check_all_served(stage, app, sent)


def performance(stage: Stage) -> None:
    """Requests one after the other with the mock app's usual work of one to four seconds."""
    space = stage.space()
    app = stage.connect(space, "--delay", "1-4")
    for number in range(MEASURED):
        prompt = _prompt(f"Measured {number + 1}")
        check_completed(stage.ask(app, space, prompt), prompt)
    for figure in FIGURES:
        stage.note(f"{figure.title}: {middle(stage.record.values(figure.name))} (ordered: {figure.ordered})")
    total, most = median(stage.record.values("total")), FIGURES[-1].most
    check(total <= most, f"the median total is {shown(total)}; ordered were at most {shown(most)}")


def _prompt(what: str) -> str:
    return f"{what} {secrets.token_hex(4)}"


def _send_together(stage: Stage, space: str, *waves: Sequence[Browser]) -> list[Sent]:
    """Send one prompt from each tab of a wave at the same moment, wave after wave, and wait for all results."""
    with ThreadPoolExecutor(sum(map(len, waves))) as people:
        sent = [one for wave in waves for one in _send_wave(stage, space, wave, people)]
        list(people.map(lambda one: _await_result(stage, one), sent))
    return sent


def _send_wave(stage: Stage, space: str, tabs: Sequence[Browser], people: ThreadPoolExecutor) -> list[Sent]:
    start = Barrier(len(tabs))

    def send(tab: Browser) -> Sent:
        prompt = _prompt("Together")
        start.wait(30)
        sent = time.monotonic()
        request = expect(stage.submit(space, prompt, tab), 202)
        return Sent(tab, prompt, sent, time.monotonic(), request)

    return list(people.map(send, tabs))


def _await_result(stage: Stage, one: Sent) -> None:
    one.request = stage.wait_final(one.request["id"], one.tab)
    stage.record.trips.append(Trip(time.monotonic() - one.sent))


def _check_all_served(stage: Stage, app: MockApp, sent: list[Sent]) -> None:
    """All completed, one at a time at the site and in the app, and in the order of their acceptance."""
    for one in sent:
        check_completed(one.request, one.prompt)
        app.wait_for("[RESULT]", one.request["id"])
    served = sorted(sent, key=lambda one: _moment(one.request, "started_at"))
    _check_one_at_a_time(served)
    _check_one_at_a_time_in_app(app, [one.request["id"] for one in served])
    _check_order(served)
    stage.note(f"{len(sent)} completed, one at a time and in order, the last after {shown(_longest(stage))}")


def _check_one_at_a_time(served: list[Sent]) -> None:
    for before, after in pairwise(served):
        ended, began = _moment(before.request, "finished_at"), _moment(after.request, "started_at")
        check(began >= ended, f"{after.request['id']} began before {before.request['id']} had ended")


def _check_one_at_a_time_in_app(app: MockApp, order: list[str]) -> None:
    """The app printed [REQUEST] and [RESULT] of one, then of the next."""
    words = [line.text.split() for line in app.lines]
    seen = [(word, rest[rest.index(word) + 1]) for rest in words for word in ("[REQUEST]", "[RESULT]") if word in rest]
    wanted = [(word, request_id) for request_id in order for word in ("[REQUEST]", "[RESULT]")]
    check(seen == wanted, f"the app had more than one at a time, or another order: {seen}")


def _check_order(served: list[Sent]) -> None:
    """Whatever was accepted before another was sent comes first."""
    for place, later in enumerate(served):
        for earlier in served[:place]:
            check(later.accepted >= earlier.sent, f"{later.request['id']} was accepted first and served later")


def _moment(request: Request, field: str) -> datetime:
    return datetime.fromisoformat(request[field])


def _longest(stage: Stage) -> float:
    return max(trip.total for trip in stage.record.trips)
