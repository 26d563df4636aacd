"""``Idempotency-Key``: the same submit, however often it is sent, is one request (guarantee G10)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import update

from project.extensions import db
from project.models import Space
from project.services import KEY
from tests.web.conftest import Program
from tests.web.giving import ALL, form, refused

SPACE = "spaces/cats/requests"


@pytest.fixture
def ann(program: Callable[..., Program], make_space: Callable[..., Any]) -> Program:
    """A program of somebody who may use two spaces that queue while offline."""
    make_space("cats", queue_when_offline=True, **ALL)
    make_space("dogs", queue_when_offline=True, **ALL)
    return program("ann")


def keyed(ann: Program, key: str = "k-1", space: str = "cats", **body: Any) -> Any:
    return ann.post(f"spaces/{space}/requests", json={"prompt": "hello", **body}, headers={"Idempotency-Key": key})


def with_file(ann: Program, content: bytes = b"bytes", key: str = "k-1", field: str = "file", **fields: str) -> Any:
    data = form(**{field: content}, **fields)
    return ann.post(SPACE, data=data, content_type="multipart/form-data", headers={"Idempotency-Key": key})


def waiting(ann: Program) -> int:
    return len(ann.get("requests").json["items"])


def change_space(app: Flask, **columns: Any) -> None:
    with app.app_context():
        db.session.execute(update(Space).where(Space.name == "cats").values(**columns))
        db.session.commit()


def test_the_same_submit_again_is_answered_with_its_request(ann: Program) -> None:
    first = keyed(ann, parameters={"n": 1, "m": 2})
    again = keyed(ann, parameters={"m": 2, "n": 1})
    assert (first.status_code, again.status_code) == (202, 200)
    assert again.json == first.json
    assert again.headers["Location"] == first.headers["Location"]
    assert waiting(ann) == 1


@pytest.mark.parametrize(
    "other",
    [{"prompt": "hello "}, {"parameters": {"n": 1}}, {"space": "dogs"}],
    ids=["prompt", "parameters", "space"],
)
def test_another_body_with_the_same_key_is_refused(ann: Program, other: dict[str, Any]) -> None:
    keyed(ann)
    refused(keyed(ann, **other), 422, "key_reused")
    assert waiting(ann) == 1


def test_without_a_key_each_submit_is_new(ann: Program) -> None:
    ids = {ann.submit("cats")["id"] for _ in range(2)} | {keyed(ann, key).json["id"] for key in ("a", "b")}
    assert len(ids) == 4


def test_a_key_is_one_users_own(ann: Program, program: Callable[..., Program]) -> None:
    ids = {keyed(one).json["id"] for one in (ann, program("bob"))}
    assert len(ids) == 2


def test_files_are_told_apart_by_their_bytes_and_their_field(ann: Program, on_disk: Callable[[], list[str]]) -> None:
    first = with_file(ann, prompt="x")
    there = on_disk()
    again = with_file(ann, prompt="x")
    assert (first.status_code, again.status_code, again.json) == (202, 200, first.json)
    refused(with_file(ann, b"other", prompt="x"), 422, "key_reused")
    refused(with_file(ann, prompt="y"), 422, "key_reused")
    assert on_disk() == there, "what came again is not kept twice"
    assert waiting(ann) == 1


@pytest.mark.parametrize("key", ["", " ", "a b", "ä", "x" * 256, "a\tb"])
def test_a_key_is_short_visible_ascii(ann: Program, key: str) -> None:
    refused(keyed(ann, key), 422, "invalid")
    assert waiting(ann) == 0


def test_the_longest_key_is_taken(ann: Program) -> None:
    assert [keyed(ann, "~" * 255).status_code for _ in range(2)] == [202, 200]


def test_a_refused_submit_is_not_remembered(ann: Program) -> None:
    refused(keyed(ann, prompt=""), 422, "invalid")
    assert keyed(ann).status_code == 202


@pytest.mark.parametrize(
    "change", [{"enabled": False}, {"queue_when_offline": False}, {"queue_length": 1}, {"input_prompt": False}], ids=str
)
def test_what_was_accepted_is_answered_whatever_the_space_takes_now(
    app: Flask, ann: Program, change: dict[str, Any]
) -> None:
    first = keyed(ann)
    change_space(app, **change)
    again = keyed(ann)
    assert (again.status_code, again.json["id"]) == (200, first.json["id"])


@pytest.mark.parametrize("change", [{"enabled": False}, {"queue_when_offline": False}, {"input_file": False}], ids=str)
def test_the_same_for_a_form_with_a_file(app: Flask, ann: Program, change: dict[str, Any]) -> None:
    first = with_file(ann, prompt="x")
    change_space(app, **change)
    again = with_file(ann, prompt="x")
    assert (again.status_code, again.json["id"]) == (200, first.json["id"])
    refused(with_file(ann, prompt="y"), 422, "key_reused")


def test_a_site_that_stops_still_says_what_it_accepted(app: Flask, ann: Program) -> None:
    first = keyed(ann)
    app.extensions[KEY].manager.accepting = False
    assert keyed(ann).json["id"] == first.json["id"]
    refused(keyed(ann, "k-2"), 503, "shutting_down")


def test_while_the_first_is_read_the_second_is_told_to_wait(app: Flask, ann: Program) -> None:
    user_id = app.extensions[KEY].store.get(ann.submit("cats")["id"])["user_id"]
    with app.extensions[KEY].submit_keys.place(f"{user_id}:k-1"):
        answer = keyed(ann)
        refused(answer, 409, "in_progress")
        assert answer.headers["Retry-After"] == "1"
        assert keyed(ann, "k-2").status_code == 202
    assert keyed(ann).status_code == 202


def test_after_a_day_the_key_is_new(app: Flask, ann: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    first = keyed(ann).json["id"]
    now = time.time()
    with monkeypatch.context() as later:
        later.setattr("project.submission.time.time", lambda: now + 86_401)
        assert keyed(ann).json["id"] != first


def test_a_deleted_request_stays_deleted(ann: Program) -> None:
    request_id = keyed(ann).json["id"]
    ann.post(f"requests/{request_id}/cancel")
    assert ann.delete(f"requests/{request_id}").status_code == 204
    refused(keyed(ann), 404, "not_found")
    assert waiting(ann) == 0


def test_a_retry_can_be_sent_again_too(ann: Program) -> None:
    old = with_file(ann, prompt="x").json["id"]
    ann.post(f"requests/{old}/cancel")
    answers = [ann.post(f"requests/{old}/retry", headers={"Idempotency-Key": "r-1"}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 200]
    assert answers[0].json == answers[1].json
    assert (answers[0].json["retry_of"], waiting(ann)) == (old, 2)
    refused(with_file(ann, key="r-1", prompt="x"), 422, "key_reused")


def test_whoever_waits_gets_the_request_of_the_first_time(ann: Program) -> None:
    first = keyed(ann).json["id"]
    ann.post(f"requests/{first}/cancel")
    headers = {"Idempotency-Key": "k-1", "Prefer": "wait=5"}
    answer = ann.post(SPACE, json={"prompt": "hello"}, headers=headers)
    assert (answer.status_code, answer.json["id"], answer.json["status"]) == (200, first, "cancelled")
