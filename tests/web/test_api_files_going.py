"""When files of requests go: deleted, expired, swept, with their account; and what a retry keeps of them."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from project import accounts
from project.config import Settings
from project.errors import TooLarge
from project.files import ORPHAN_SECONDS
from project.services import KEY, Services
from tests.site_process import wait_until
from tests.web.giving import ALL, TEXT, WAV, Program, cancelled, fetched, given, refused, send

Call = Callable[..., Any]

DAY = 86_400.0


@pytest.fixture
def ann(program: Call, make_space: Call) -> Program:
    """A program of somebody, beside a space that takes everything and queues without an app."""
    make_space(queue_when_offline=True, **ALL)
    made: Program = program()
    return made


@pytest.fixture
def site(app: Flask) -> Services:
    services: Services = app.extensions[KEY]
    return services


def test_deleting_takes_rows_and_bytes_but_not_from_who_is_reading(ann: Program, on_disk: Call) -> None:
    content = secrets.token_bytes(300_000)
    request_id, file = given(ann, content)
    refused(ann.delete(f"requests/{request_id}"), 409, "not_final")
    assert on_disk() == [file["file_id"]]
    ann.post(f"requests/{request_id}/cancel")
    reading = ann.get(file["url"], buffered=False)
    pieces = iter(reading.response)
    first = next(pieces)
    assert ann.delete(f"requests/{request_id}").status_code == 204
    assert on_disk() == []
    assert first + b"".join(pieces) == content
    reading.close()
    refused(ann.get(file["url"]), 404, "not_found")


def test_an_account_takes_its_files_along(
    app: Flask, ann: Program, on_disk: Call, make_user: Call, program: Call
) -> None:
    given(ann)
    make_user("bob")
    kept = given(program("bob"))[1]["file_id"]
    with app.app_context():
        person = accounts.get_by_username("ann")
        assert person
        accounts.delete_user(person.id)
    assert on_disk() == [kept]


def test_retention_takes_only_what_ended_before(ann: Program, site: Services, on_disk: Call) -> None:
    old, waiting = cancelled(ann, file=b"old"), given(ann)[1]["file_id"]
    ended = time.time()
    assert site.files.expire(ended - DAY) == 0
    assert site.files.expire(ended + 0.00002 * DAY) == 1
    assert ann.get(f"requests/{old['id']}").status_code == 404
    assert on_disk() == [waiting]
    assert site.files.expire(ended + 1_000 * DAY) == 0


def test_the_sweep_takes_what_no_request_has_and_what_stopped_arriving(
    ann: Program, site: Services, settings: Settings, on_disk: Call
) -> None:
    kept, arriving = settings.data_dir / "files" / "kept", settings.data_dir / "files" / "arriving"
    mine = given(ann)[1]["file_id"]
    now = time.time()
    old, fresh = now - ORPHAN_SECONDS - 5, now - 5

    def left(folder: Path, moment: float) -> str:
        name = "0a" + secrets.token_hex(15)
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"left by a crash")
        os.utime(folder / name, (moment, moment))
        return name

    for moment in (old, fresh):
        left(arriving, moment)
        left(kept / "0a", moment)
    os.utime(kept / mine[:2] / mine, (old, old))
    assert len(on_disk()) == 5
    site.files.sweep(now)
    assert len(on_disk()) == 3
    site.files.sweep(now + ORPHAN_SECONDS)
    assert on_disk() == [mine]


def test_the_sweep_takes_uploads_that_no_result_named(
    ann: Program, visitor: Program, connect: Call, site: Services, on_disk: Call
) -> None:
    remote = connect("cats")
    request_id, file = given(ann)
    request = remote.next("inference_request")
    path = request["upload"]["url"].removeprefix("http://localhost")
    named, forgotten = (visitor.call("PUT", path, data=content).json["file_id"] for content in (b"named", b"not"))
    late = time.time() + ORPHAN_SECONDS + site.settings.grace + 5
    site.files.sweep(late)
    assert on_disk() == sorted([file["file_id"], named, forgotten]), "it may still be named"
    remote.answer(request, {"parts": [{"type": "file", "file_id": named}]})
    wait_until(lambda: ann.request(request_id)["status"] == "completed", "the result is recorded")
    site.files.sweep(time.time())
    assert len(on_disk()) == 3
    site.files.sweep(late)
    assert on_disk() == sorted([file["file_id"], named])
    assert fetched(ann, f"/api/v1/files/{named}").data == b"named"
    refused(ann.get(f"files/{forgotten}"), 404, "not_found")


def test_uploads_side_by_side_share_what_one_attempt_may_bring(
    make_app: Call, settings: Settings, ann: Program, connect: Call, on_disk: Call
) -> None:
    """Each began when nothing had been kept yet."""
    remote, (_, file) = connect("cats"), given(ann)
    attempt_id = remote.next("inference_request")["attempt_id"]
    small: Services = make_app(settings.model_copy(update={"max_upload_mb": 0.0001})).extensions[KEY]
    now = time.time()
    three = [small.files.receive_upload(attempt_id, now) for _ in range(3)]
    taken = []
    for attempt, reception in three:
        with reception, contextlib.suppress(TooLarge):
            arrival = reception.begin("a.txt")
            arrival.write(b"x" * 80)
            taken.append(arrival.finish().id)
            small.files.keep_uploads(attempt, reception, now)
    assert len(taken) == 3
    assert on_disk() == sorted([file["file_id"], *taken[:2]]), "an attempt may bring twice what a result may have"


def test_a_retry_has_the_same_bytes_whatever_becomes_of_the_old_one(ann: Program, on_disk: Call) -> None:
    old = cancelled(ann, prompt="again", file=[(TEXT, "a.txt"), (b"two", "b.txt")], audio=(WAV, "s.wav"))
    answer = ann.post(f"requests/{old['id']}/retry")
    assert answer.status_code == 202, answer.text
    files = {file["name"]: file for file in answer.json["input"]["files"]}
    assert answer.json["retry_of"] == old["id"]
    assert [fetched(ann, file["url"]).status_code for file in old["input"]["files"]] == [200] * 3
    assert ann.delete(f"requests/{old['id']}").status_code == 204
    assert on_disk() == sorted(file["file_id"] for file in files.values())
    bytes_now = {name: fetched(ann, file["url"]).data for name, file in files.items()}
    assert bytes_now == {"a.txt": TEXT, "b.txt": b"two", "s.wav": WAV}
    before = {file["name"]: (file["field"], file["sha256"]) for file in old["input"]["files"]}
    assert {name: (file["field"], file["sha256"]) for name, file in files.items()} == before


def test_a_full_disk_refuses_files_and_nothing_else(
    make_app: Call, settings: Settings, program: Call, ann: Program, on_disk: Call
) -> None:
    full = make_app(settings.model_copy(update={"min_free_mb": 1e9}))
    there = type(ann)(full, ann.token)
    old = cancelled(ann, file=b"kept before")
    before = on_disk()
    refused(send(there, prompt="x", file=b"x"), 507, "storage_full")
    assert on_disk() == before
    assert send(there, prompt="x").status_code == 202
    assert there.post("spaces/cats/requests", json={"prompt": "x"}).status_code == 202
    assert fetched(there, old["input"]["files"][0]["url"]).data == b"kept before"
