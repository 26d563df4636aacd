"""The held call of an open page: the space and the caller's requests there, as soon as something changes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import event

from project.api.models import LiveObject
from project.extensions import db

#: Seconds after which a held call that should have answered has failed.
LATE = 10.0


@pytest.fixture
def held() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(32) as pool:
        yield pool


@pytest.fixture(autouse=True)
def cats(make_space):
    return make_space("cats", queue_when_offline=True)


@pytest.fixture
def ann(program):
    return program("ann")


def look(program, after=None, wait=0.0):
    cursor = f"&after={after}" if after is not None else ""
    answer = program.get(f"spaces/cats/live?wait={wait}{cursor}")
    assert answer.status_code == 200, answer.text
    return LiveObject.model_validate(answer.json)


def settled(program):
    """Look until the cursor says that there is nothing new, and return what was seen last."""
    seen = look(program)
    deadline = time.monotonic() + LATE
    while True:
        began = time.monotonic()
        again = look(program, seen.cursor, 0.2)
        if time.monotonic() - began >= 0.2 and again.space == seen.space and again.requests == seen.requests:
            return again
        assert time.monotonic() < deadline, "the space does not settle"
        seen = again


def wait_until(condition, message):
    deadline = time.monotonic() + LATE
    while not condition():
        assert time.monotonic() < deadline, message
        threading.Event().wait(0.01)


def waiters(app):
    return app.extensions["spaces"].notifier.waiters()


def test_the_first_look_answers_at_once_with_everything(ann):
    request = ann.submit("cats")
    seen = look(ann, wait=20)
    assert (seen.space.name, seen.space.queue_size, seen.space.connected) == ("cats", 1, False)
    assert [item.id for item in seen.requests] == [request["id"]]
    assert seen.requests[0].position == 1


def test_a_visitor_sees_the_space_and_nobodys_requests(ann, visitor):
    ann.submit("cats")
    seen = look(visitor)
    assert (seen.space.queue_size, seen.requests) == (1, [])


def test_another_user_sees_no_foreign_requests(ann, program):
    ann.submit("cats")
    assert look(program("bob")).requests == []


def test_nothing_new_is_held_for_the_whole_time(ann):
    seen = settled(ann)
    began = time.monotonic()
    again = look(ann, seen.cursor, 1.2)
    assert 1.2 <= time.monotonic() - began < LATE
    assert again.space == seen.space


def test_a_page_comes_alive_when_the_app_connects(visitor, app, held, connect):
    seen = settled(visitor)
    call = held.submit(look, visitor, seen.cursor, 20)
    wait_until(lambda: waiters(app) == 1, "the call is not held")
    connected_at = time.monotonic()
    connect("cats")
    assert call.result(timeout=LATE).space.connected is True
    assert time.monotonic() - connected_at < 3


def test_ones_own_request_is_told_at_once(ann, app, held):
    request = ann.submit("cats")
    seen = settled(ann)
    call = held.submit(look, ann, seen.cursor, 20)
    wait_until(lambda: waiters(app) == 1, "the call is not held")
    cancelled_at = time.monotonic()
    ann.post(f"requests/{request['id']}/cancel")
    assert [(item.id, item.status) for item in call.result(timeout=LATE).requests] == [(request["id"], "cancelled")]
    assert time.monotonic() - cancelled_at < 0.9


def test_a_request_that_came_and_went_between_two_calls_is_not_missed(ann):
    seen = settled(ann)
    request = ann.submit("cats")
    ann.post(f"requests/{request['id']}/cancel")
    again = look(ann, seen.cursor, 20)
    assert [(item.id, item.status) for item in again.requests] == [(request["id"], "cancelled")]


def test_progress_and_partial_output_are_told(ann, app, held, connect):
    remote = connect("cats")
    ann.submit("cats")
    handed = remote.next("inference_request")
    seen = settled(ann)
    call = held.submit(look, ann, seen.cursor, 20)
    wait_until(lambda: waiters(app) == 1, "the call is not held")
    remote.report(handed, value=0.25, delta="me")
    (request,) = call.result(timeout=LATE).requests
    assert (request.progress.value, request.partial) == (0.25, "me")


def test_changes_of_the_space_are_told_at_most_once_a_second(visitor, program):
    bob = program("bob")
    seen = settled(visitor)
    stop, answers = threading.Event(), []

    def follow():
        cursor = seen.cursor
        while not stop.is_set():
            answer = look(visitor, cursor, 1)
            cursor = answer.cursor
            answers.append(answer)

    follower = threading.Thread(target=follow)
    follower.start()
    began = time.monotonic()
    for _ in range(30):
        bob.submit("cats")
        threading.Event().wait(0.05)
    wait_until(lambda: answers and answers[-1].space.queue_size == 30, "the last change is not told")
    took = time.monotonic() - began
    stop.set()
    follower.join(timeout=LATE)
    assert 1 <= len({answer.space.queue_size for answer in answers}) <= took + 2


def test_a_page_ends_with_404_when_the_space_goes(visitor, admin, app, held):
    seen = settled(visitor)
    call = held.submit(visitor.get, f"spaces/cats/live?wait=20&after={seen.cursor}")
    wait_until(lambda: waiters(app) == 1, "the call is not held")
    admin.delete("spaces/cats")
    assert call.result(timeout=LATE).status_code == 404


def test_a_page_ends_with_404_when_the_space_becomes_private(visitor, admin, app, held):
    seen = settled(visitor)
    call = held.submit(visitor.get, f"spaces/cats/live?wait=20&after={seen.cursor}")
    wait_until(lambda: waiters(app) == 1, "the call is not held")
    admin.patch("spaces/cats", json={"visibility": "private"})
    assert call.result(timeout=LATE).status_code == 404


def test_held_pages_ask_the_database_nothing_and_share_one_look(visitor, app, held):
    """Twenty pages are held: no statement while nothing happens, and few when the space changes for all of them."""
    seen = settled(visitor)
    statements = []

    def note(_connection, _cursor, statement, *_):
        if not statement.startswith(("BEGIN", "PRAGMA")):
            statements.append(statement)

    calls = [held.submit(look, visitor, seen.cursor, 20) for _ in range(20)]
    wait_until(lambda: waiters(app) == 20, "the calls are not held")
    threading.Event().wait(1.5)  # each call takes a second look after a second, if it found an older one
    site = app.extensions["spaces"]
    with app.app_context():
        space_id = db.session.scalar(db.text("SELECT id FROM spaces"))
        db.session.execute(db.text("UPDATE spaces SET title = 'Chats'"))
        db.session.commit()
        event.listen(db.engine, "before_cursor_execute", note)
    threading.Event().wait(1.5)
    idle = list(statements)
    site.notifier.publish(f"space:{space_id}")
    titles = {call.result(timeout=LATE).space.title for call in calls}
    with app.app_context():
        event.remove(db.engine, "before_cursor_execute", note)
    assert titles == {"Chats"}
    assert idle == []
    assert 1 <= len(statements) <= 6


@pytest.mark.parametrize("query", ["after=x", "after=", "wait=-1", "after=WzFd"])
def test_a_wrong_query_is_refused(visitor, query):
    assert visitor.get(f"spaces/cats/live?{query}").status_code == 422
