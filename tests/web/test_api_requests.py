"""The HTTP API for requests: submit, read, wait, cancel, repeat, delete, list."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import event

from project.api.models import ErrorBody, RequestList, RequestObject
from project.extensions import db
from project.models import SEQ_STEP

FIELD_LIMIT = 100_000


@pytest.fixture
def ann(program, make_space):
    """A program of somebody who may use two spaces; ``cats`` queues while offline, ``dogs`` does not."""
    make_space("cats", queue_when_offline=True)
    make_space("dogs")
    return program("ann")


def nested(levels):
    value = {}
    for _ in range(levels - 1):
        value = {"a": value}
    return value


def refused(answer, status, code):
    error = ErrorBody.model_validate(answer.json).error
    assert (answer.status_code, error.code) == (status, code), answer.text
    return error


def test_an_accepted_request_is_answered_202_with_its_place(ann):
    answer = ann.post("spaces/CATS/requests", json={"prompt": " hello ", "parameters": {"n": [1, None]}})
    assert answer.status_code == 202
    request = RequestObject.model_validate(answer.json)
    assert answer.headers["Location"] == request.urls.self == f"/api/v1/requests/{request.id}"
    assert request.urls.page == f"/requests/{request.id}"
    assert (request.space, request.status, request.position, request.attempt) == ("cats", "queued", 1, 0)
    assert request.input.model_dump() == {"prompt": " hello ", "parameters": {"n": [1, None]}, "files": []}
    assert (request.output, request.error, request.partial, request.eta_seconds) == ([], None, "", None)
    assert [(change.from_state, change.to_state) for change in request.transitions] == [(None, "queued")]
    assert len(request.id) >= 32
    assert ann.submit("cats")["position"] == 2
    assert ann.request(request.id) == answer.json


def test_a_form_is_taken_like_json(ann):
    answer = ann.post(
        "spaces/cats/requests",
        data={"prompt": "hé", "parameters": '{"n": 1}', "csrf_token": "x"},
        content_type="multipart/form-data",
    )
    assert answer.status_code == 202
    assert answer.json["input"] == {"prompt": "hé", "parameters": {"n": 1}, "files": []}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "prompt"),
        ({"prompt": " \n"}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"prompt": 5}, "prompt"),
        ({"prompt": "a\x00b"}, "prompt"),
        ({"prompt": "\ud800"}, "prompt"),
        ({"prompt": "x", "parameters": []}, "parameters"),
        ({"prompt": "x", "parameters": "{}"}, "parameters"),
        ({"prompt": "x", "parameters": nested(65)}, "parameters"),
        ({"prompt": "x", "parameters": {"a": "\ud800"}}, "parameters"),
        ({"prompt": "x", "audio": "data:"}, "audio"),
        ({"prompt": "x", "video": "data:"}, "video"),
        ({"prompt": "x", "file": "data:"}, "file"),
        ({"prompt": "x", "promt": "y"}, "promt"),
    ],
)
def test_a_wrong_field_is_named(ann, body, field):
    error = refused(ann.post("spaces/cats/requests", json=body), 422, "invalid")
    assert [item["field"] for item in error.details] == [field]


def test_the_deepest_parameters_that_may_be(ann):
    assert ann.post("spaces/cats/requests", json={"prompt": "x", "parameters": nested(32)}).status_code == 202


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_numbers_that_json_cannot_say_are_refused(ann, number):
    body = f'{{"prompt": "x", "parameters": {{"a": {number}}}}}'
    answer = ann.post("spaces/cats/requests", data=body, content_type="application/json")
    assert answer.status_code in {400, 422}


@pytest.mark.parametrize(
    ("options", "status", "code"),
    [
        ({"data": "{", "content_type": "application/json"}, 400, "bad_request"),
        ({"data": "[" * 100_000, "content_type": "application/json"}, 400, "bad_request"),
        ({"data": '{"a":' * 100_000, "content_type": "application/json"}, 400, "bad_request"),
        ({"data": "prompt=x", "content_type": "application/x-www-form-urlencoded"}, 415, "unsupported_media_type"),
        ({"data": "hello"}, 415, "unsupported_media_type"),
        ({"json": "prompt"}, 422, "invalid"),
        ({"json": {"prompt": "x" * (FIELD_LIMIT + 1)}}, 413, "too_large"),
        ({"json": {"prompt": "x", "parameters": {"a": "x" * 100_000}}}, 413, "too_large"),
        ({"json": {"prompt": "x" * 3_000_000}}, 413, "too_large"),
        ({"data": {"prompt": "x", "parameters": "{"}, "content_type": "multipart/form-data"}, 422, "invalid"),
    ],
)
def test_an_unreadable_or_too_large_body_is_refused(ann, options, status, code):
    refused(ann.post("spaces/cats/requests", **options), status, code)
    assert ann.get("requests").json["items"] == []


def test_the_longest_prompt_may_be_of_any_characters(ann):
    prompt = "😀" * FIELD_LIMIT
    assert ann.post("spaces/cats/requests", json={"prompt": prompt}).json["input"]["prompt"] == prompt
    form = ann.post("spaces/cats/requests", data={"prompt": prompt}, content_type="multipart/form-data")
    assert form.json["input"]["prompt"] == prompt


def test_a_space_without_prompt_takes_none(ann, admin):
    admin.patch("spaces/cats", json={"inputs": {"prompt": False, "audio": True}})
    error = refused(ann.post("spaces/cats/requests", json={"prompt": "x"}), 422, "invalid")
    assert error.details[0] == {"field": "prompt", "message": "this space takes no prompt"}
    assert refused(ann.post("spaces/cats/requests", json={}), 422, "invalid").details[0]["field"] == "audio"


def test_who_may_submit(ann, visitor, program):
    body = {"json": {"prompt": "x"}}
    refused(visitor.post("spaces/cats/requests", **body), 401, "unauthorized")
    refused(program("admin", "app").post("spaces/cats/requests", **body), 403, "forbidden")
    refused(ann.post("spaces/none/requests", **body), 404, "not_found")
    ann.token = "spaces_wrong"
    assert "Bearer" in ann.post("spaces/cats/requests", **body).headers["WWW-Authenticate"]


def test_a_browser_needs_the_csrf_token(admin_client, make_space):
    make_space("cats", queue_when_offline=True)
    without = admin_client.post("/api/v1/spaces/cats/requests", json={"prompt": "x"})
    refused(without, 400, "bad_request")
    assert admin_client.api("POST", "spaces/cats/requests", json={"prompt": "x"}).status_code == 202


def test_no_app_means_503_and_a_time_to_come_back(ann):
    answer = ann.post("spaces/dogs/requests", json={"prompt": "x"})
    refused(answer, 503, "space_offline")
    assert int(answer.headers["Retry-After"]) >= 1


def test_a_full_queue_means_429(ann, admin):
    admin.patch("spaces/cats", json={"queue_length": 1})
    ann.submit("cats")
    answer = ann.post("spaces/cats/requests", json={"prompt": "x"})
    refused(answer, 429, "queue_full")
    assert int(answer.headers["Retry-After"]) >= 1


def test_a_site_that_is_being_stopped_takes_nothing_new(ann, app):
    app.extensions["spaces"].manager.accepting = False
    refused(ann.post("spaces/cats/requests", json={"prompt": "x"}), 503, "shutting_down")
    assert ann.get("requests").json["items"] == []


def test_unknown_and_foreign_requests_answer_alike(ann, program, admin):
    request_id = ann.submit("cats")["id"]
    for stranger in (program("bob"), admin):
        calls = [("GET", ""), ("GET", "?after=0&wait=9"), ("POST", "/cancel"), ("POST", "/retry"), ("DELETE", "")]
        for method, rest in calls:
            assert stranger.call(method, f"requests/%00{rest}").status_code == 404
            foreign = stranger.call(method, f"requests/{request_id}{rest}")
            unknown = stranger.call(method, f"requests/{'0' * 32}{rest}")
            assert foreign.status_code == unknown.status_code == 404
            assert foreign.json == unknown.json
    assert ann.request(request_id)["status"] == "queued"


def test_admins_read_but_do_not_change_what_the_policy_lets_them_see(make_app, settings):
    app = make_app(settings.model_copy(update={"admins_see_requests": "on"}))
    from project import accounts

    with app.app_context():
        accounts.ensure_first_admin(settings)
        accounts.create_user("ann", "correct horse battery")
    from tests.conftest import signed_in

    admin, ann = signed_in(app, "admin"), signed_in(app, "ann")
    admin.api("POST", "spaces", json={"name": "cats", "queue_when_offline": True})
    request_id = ann.api("POST", "spaces/cats/requests", json={"prompt": "x"}).json["id"]
    assert admin.api("GET", f"requests/{request_id}").json["input"]["prompt"] == "x"
    refused(admin.api("POST", f"requests/{request_id}/cancel"), 403, "forbidden")


def test_a_request_goes_to_the_app_and_its_result_comes_back(ann, connect):
    remote = connect("dogs")
    request = ann.submit("dogs", "bark")
    handed = remote.next("inference_request")
    assert (handed["request_id"], handed["payload"]["prompt"]) == (request["id"], "bark")
    running = RequestObject.model_validate(ann.request(request["id"]))
    assert (running.status, running.attempt, running.position) == ("processing", 1, None)
    assert running.deadline_at > running.started_at
    remote.report(handed, value=0.5, message="half", delta="wo")
    seen = ann.get(f"requests/{request['id']}?after={running.seq}&wait=5").json
    assert (seen["progress"], seen["partial"]) == ({"value": 0.5, "message": "half"}, "wo")
    assert seen["seq"] > running.seq
    remote.answer(handed, {"text": "woof"})
    done = RequestObject.model_validate(ann.get(f"requests/{request['id']}?until=final&wait=5").json)
    assert (done.status, done.output, done.error) == ("completed", [{"type": "text", "text": "woof"}], None)
    assert done.seq > seen["seq"]
    assert [change.to_state for change in done.transitions] == ["queued", "processing", "completed"]
    assert done.finished_at >= done.started_at >= done.created_at


@pytest.mark.parametrize(
    ("prefer", "applied"), [("wait=5", "wait=5"), ("respond-async, wait=99; x=1", "wait=55"), ('WAIT="5"', "wait=5")]
)
def test_prefer_wait_answers_the_result_itself(ann, connect, prefer, applied):
    remote = connect("dogs")
    with ThreadPoolExecutor() as pool:
        call = pool.submit(ann.post, "spaces/dogs/requests", json={"prompt": "bark"}, headers={"Prefer": prefer})
        remote.answer(remote.next("inference_request"), {"text": "woof"})
        answer = call.result(timeout=20)
    assert (answer.status_code, answer.json["status"]) == (200, "completed")
    assert answer.headers["Preference-Applied"] == applied


def test_prefer_wait_gives_up_in_time_and_cancels_nothing(ann):
    began = time.monotonic()
    answer = ann.post("spaces/cats/requests", json={"prompt": "x"}, headers={"Prefer": "wait=1"})
    assert 1 <= time.monotonic() - began < 5
    assert (answer.status_code, answer.json["status"]) == (202, "queued")


@pytest.mark.parametrize("prefer", ["wait", "wait=", "wait=-1", "wait=x", "wait=0", "wait=٣", ""])
def test_a_preference_that_says_nothing_is_not_applied(ann, prefer):
    answer = ann.post("spaces/cats/requests", json={"prompt": "x"}, headers={"Prefer": prefer})
    assert answer.status_code == 202
    assert "Preference-Applied" not in answer.headers


@pytest.mark.parametrize("query", ["", "?wait=9", "?after=0", f"?after={SEQ_STEP - 1}&wait=9"])
def test_reading_answers_at_once_when_there_is_nothing_to_wait_for(ann, query):
    request = ann.submit("cats")
    began = time.monotonic()
    assert ann.get(f"requests/{request['id']}{query}").json["seq"] == SEQ_STEP
    assert time.monotonic() - began < 3


def test_a_final_request_is_never_waited_for(ann):
    request = ann.submit("cats")
    final = ann.post(f"requests/{request['id']}/cancel").json
    began = time.monotonic()
    for query in (f"after={final['seq']}", "after=999999999999", "until=final"):
        assert ann.get(f"requests/{request['id']}?{query}&wait=20").json == final
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("query", ["after=x", "until=then", "wait=-1", "wait=nan", "wait=inf", "afer=1"])
def test_a_wrong_query_is_refused(ann, query):
    refused(ann.get(f"requests/{ann.submit('cats')['id']}?{query}"), 422, "invalid")


@pytest.mark.parametrize("query", [f"after={SEQ_STEP}", "until=final"])
def test_waiting_ends_with_its_time(ann, query):
    request = ann.submit("cats")
    began = time.monotonic()
    assert ann.get(f"requests/{request['id']}?{query}&wait=0.3").json["status"] == "queued"
    assert 0.3 <= time.monotonic() - began < 3


def test_waiting_ends_with_a_change_and_when_the_request_is_deleted(ann, app):
    waiters = app.extensions["spaces"].notifier.waiters
    request = ann.submit("cats")
    with ThreadPoolExecutor() as pool:
        changed = pool.submit(ann.get, f"requests/{request['id']}?after={request['seq']}&wait=20")
        wait_until(lambda: waiters() == 1, "the call is not held")
        ann.post(f"requests/{request['id']}/cancel")
        assert changed.result(timeout=10).json["status"] == "cancelled"


def wait_until(condition, message):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, message
        threading.Event().wait(0.01)


def test_held_calls_ask_the_database_nothing(ann, app):
    """Sixteen calls are held; from when all wait until they are let go, not one statement runs."""
    site = app.extensions["spaces"]
    request = ann.submit("cats")
    statements = []

    def note(_connection, _cursor, statement, *_):
        statements.append(statement)

    with ThreadPoolExecutor(16) as pool:
        calls = [pool.submit(ann.get, f"requests/{request['id']}?until=final&wait=20") for _ in range(16)]
        wait_until(lambda: site.notifier.waiters() == 16, "the calls are not held")
        threading.Event().wait(0.3)  # whoever has subscribed may still be taking the first look
        with app.app_context():
            event.listen(db.engine, "before_cursor_execute", note)
        threading.Event().wait(1.0)
        held = list(statements)
        ann.post(f"requests/{request['id']}/cancel")
        assert all(call.result(timeout=20).json["status"] == "cancelled" for call in calls)
        with app.app_context():
            event.remove(db.engine, "before_cursor_execute", note)
    assert held == []
    assert statements


def test_cancel_retry_delete(ann):
    request = ann.submit("cats", "again")
    path = f"requests/{request['id']}"
    refused(ann.post(f"{path}/retry"), 409, "not_final")
    refused(ann.delete(path), 409, "not_final")
    cancelled = RequestObject.model_validate(ann.post(f"{path}/cancel").json)
    assert (cancelled.status, cancelled.error.code) == ("cancelled", "cancelled_by_user")
    refused(ann.post(f"{path}/cancel"), 409, "already_final")
    retried = ann.post(f"{path}/retry")
    assert retried.status_code == 202
    assert retried.headers["Location"] == retried.json["urls"]["self"]
    assert retried.json["retry_of"] == request["id"] != retried.json["id"]
    assert retried.json["input"] == request["input"]
    assert ann.delete(path).status_code == 204
    refused(ann.get(path), 404, "not_found")
    assert ann.request(retried.json["id"])["retry_of"] == request["id"]


def test_the_list_is_ones_own_newest_first_and_filtered(ann, program):
    ids = [ann.submit("cats", str(number))["id"] for number in range(5)]
    program("bob").submit("cats")
    ann.post(f"requests/{ids[0]}/cancel")
    pages, cursor = [], ""
    for _ in range(3):
        page = RequestList.model_validate(ann.get(f"requests?limit=2{cursor}").json)
        pages += [item.id for item in page.items]
        cursor = f"&cursor={page.next_cursor}"
    assert pages == ids[::-1]
    assert page.next_cursor is None
    assert [item["id"] for item in ann.get("requests?status=cancelled").json["items"]] == [ids[0]]
    assert [item["position"] for item in ann.get("requests?space=CATS&status=queued").json["items"]] == [4, 3, 2, 1]
    for nothing in ("none", "a%00", "%ff"):
        assert ann.get(f"requests?space={nothing}").json == {"items": [], "next_cursor": None}
    refused(ann.get("requests?status=lost"), 422, "invalid")
    refused(ann.get("requests?cursor=x"), 422, "invalid")


def test_too_many_submits_answer_429_with_a_time(ann):
    for _ in range(300):
        ann.post("spaces/dogs/requests", json={"prompt": "x"})
    answer = ann.post("spaces/dogs/requests", json={"prompt": "x"})
    refused(answer, 429, "rate_limited")
    assert 1 <= int(answer.headers["Retry-After"]) <= 60


def test_private_answers_are_not_kept_by_caches(ann):
    request = ann.submit("cats")
    assert ann.get(f"requests/{request['id']}").headers["Cache-Control"] == "no-store"
