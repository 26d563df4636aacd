"""The shapes on the wire, and how results are read."""

from __future__ import annotations

import base64
import math
from typing import Any

import pytest
from hypothesis import given, strategies

from project.errors import Invalid
from project.file_links import FileLinks
from project.messages import (
    MAX_MESSAGE,
    MAX_PARTS,
    NO_FAILURE_MESSAGE,
    InferenceProgress,
    InferenceResult,
    Register,
    iso,
    parse,
    parts_of,
    request_body,
)

PIXEL = b"GIF89a\x01\x00\x01\x00\x00\x00\x00;-------"
PIXEL_64 = base64.b64encode(PIXEL).decode()
LINKS = FileLinks("a key of the site, long enough")


def result(**body: Any) -> InferenceResult:
    return parse(InferenceResult, {"request_id": "r", "status": "completed", **body})


def test_the_least_registration() -> None:
    message = parse(Register, {"space_name": "cats", "future": "key"})
    assert (message.space_name, message.acks, message.resume, message.app.instance) == ("cats", False, [], None)


def test_a_full_registration() -> None:
    body = {
        "space_name": "cats",
        "acks": True,
        "resume": [{"request_id": "r", "attempt_id": "a", "more": 1}],
        "app": {"name": "n", "version": "1", "instance": "i"},
        "inputs": {"type": "object"},
    }
    message = parse(Register, body)
    assert (message.acks, message.resume[0].attempt_id, message.app.instance) == (True, "a", "i")


@pytest.mark.parametrize("body", [None, [], "register", 1, True, b"x"], ids=repr)
def test_a_body_that_is_no_object_is_refused(body: object) -> None:
    with pytest.raises(Invalid, match="object"):
        parse(Register, body)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "space_name"),
        ({"space_name": ""}, "space_name"),
        ({"space_name": 7}, "space_name"),
        ({"space_name": "x" * 65}, "space_name"),
        ({"space_name": "a\x00b"}, "space_name"),
        ({"space_name": "cats", "acks": "yes"}, "acks"),
        ({"space_name": "cats", "acks": 1}, "acks"),
        ({"space_name": "cats", "resume": [{"request_id": "r"}]}, "resume.0.attempt_id"),
        ({"space_name": "cats", "resume": [{"request_id": "r", "attempt_id": "a"}] * 101}, "resume"),
        ({"space_name": "cats", "app": {"instance": "x" * 101}}, "app.instance"),
        ({"space_name": "cats", "app": None}, "app"),
    ],
)
def test_a_wrong_field_is_named(body: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse(Register, body)
    assert caught.value.details == [{"field": field, "message": caught.value.message.removeprefix(f"{field}: ")}]


@pytest.mark.parametrize(
    "more",
    [
        {"value": 1.01},
        {"value": -0.01},
        {"value": math.nan},
        {"value": math.inf},
        {"value": "0.5"},
        {"offset": -1},
        {"offset": 1.5},
        {"delta": 7},
        {"delta": "\ud800"},
        {"message": "x" * (MAX_MESSAGE + 1)},
    ],
    ids=repr,
)
def test_bad_progress_is_refused(more: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        parse(InferenceProgress, {"request_id": "r", **more})


@pytest.mark.parametrize("value", [None, 0, 1, 0.5])
def test_good_progress(value: float | None) -> None:
    said = parse(InferenceProgress, {"request_id": "r", "attempt_id": "a", "value": value, "delta": "x", "offset": 0})
    assert (said.value, said.delta, said.offset) == (value, "x", 0)


@pytest.mark.parametrize(
    "more",
    [
        {"status": "done"},
        {"status": None},
        {"request_id": ""},
        {"request_id": "x" * 65},
        {"request_id": "a\x00"},
        {"attempt_id": 5},
        {"result": "text"},
        {"result": [1]},
        {"result": {"x": math.nan}},
        {"result": {"parts": [{"type": "json", "data": math.inf}]}},
        {"result": {"x": "\ud800"}},
        {"result": {"\udfff": 1}},
        {"retryable": "yes"},
    ],
    ids=repr,
)
def test_a_bad_result_is_refused(more: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        result(**{"result": {}, **more})


def test_a_completed_result_needs_an_object() -> None:
    with pytest.raises(Invalid, match="result"):
        result().parts()


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ({"text": "hi"}, [{"type": "text", "text": "hi"}]),
        ({"text_output": "hi"}, [{"type": "text", "text": "hi"}]),
        ({"output": "hi"}, [{"type": "text", "text": "hi"}]),
        ({}, [{"type": "json", "data": {}}]),
        ({"score": 1}, [{"type": "json", "data": {"score": 1}}]),
        ({"output": {"a": 1}}, [{"type": "json", "data": {"output": {"a": 1}}}]),
        (
            {"text": "hi", "output": "ho", "n": 2},
            [{"type": "text", "text": "hi"}, {"type": "text", "text": "ho"}, {"type": "json", "data": {"n": 2}}],
        ),
        ({"image_url": "http://x/y.png"}, [{"type": "text", "text": "http://x/y.png", "name": "image_url"}]),
        ({"image_url": 5}, [{"type": "json", "data": {"image_url": 5}}]),
        ({"image": "a cat"}, [{"type": "json", "data": {"image": "a cat"}}]),
        ({"image": PIXEL_64}, [{"type": "image", "content": PIXEL, "declared": ""}]),
        (
            {"audio": f"data:audio/wav;base64,{PIXEL_64}", "text": "hi"},
            [{"type": "text", "text": "hi"}, {"type": "audio", "content": PIXEL, "declared": "audio/wav"}],
        ),
        (
            {"audio": PIXEL_64, "audio_format": "mp3", "n": 1},
            [
                {"type": "audio", "content": PIXEL, "declared": "audio/mpeg"},
                {"type": "json", "data": {"n": 1}},
            ],
        ),
        ({"image": [PIXEL_64, PIXEL_64]}, [{"type": "image", "content": PIXEL, "declared": ""}] * 2),
        ({"image": [PIXEL_64, "x"]}, [{"type": "json", "data": {"image": [PIXEL_64, "x"]}}]),
        (
            {"video": "data:,a%20short%20text%20that%20is%20long"},
            [{"type": "video", "content": b"a short text that is long", "declared": ""}],
        ),
        (
            {"parts": [{"type": "file", "file_id": "f", "name": "a.txt"}]},
            [{"type": "file", "file_id": "f", "name": "a.txt"}],
        ),
        (
            {"parts": [{"type": "image", "data": PIXEL_64, "format": "png"}]},
            [{"type": "image", "content": PIXEL, "declared": "image/png"}],
        ),
        ({"parts": []}, []),
        (
            {"parts": [{"type": "markdown", "text": "*a*", "name": "n"}, {"type": "json", "data": None}], "more": 1},
            [{"type": "markdown", "text": "*a*", "name": "n"}, {"type": "json", "data": None}],
        ),
    ],
)
def test_a_result_is_read_as_parts(given_: dict[str, Any], expected: list[dict[str, Any]]) -> None:
    assert result(result=given_).parts() == expected


@pytest.mark.parametrize(
    "parts",
    [
        "text",
        [{"type": "text"}],
        [{"type": "text", "text": 1}],
        [{"type": "script", "text": "x"}],
        [{"type": "image"}],
        [{"type": "image", "data": "no base64!"}],
        [{"type": "image", "data": ""}],
        [{"type": "image", "file_id": 5}],
        [{"text": "x"}],
        ["x"],
        [{"type": "text", "text": "x"}] * (MAX_PARTS + 1),
    ],
    ids=lambda parts: repr(parts)[:30],
)
def test_parts_that_cannot_be_read_are_refused(parts: object) -> None:
    with pytest.raises(Invalid, match="parts"):
        parts_of({"parts": parts})


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": "no memory"}, "no memory"),
        ({"result": {"error": "from the result"}}, "from the result"),
        ({"error": "first", "result": {"error": "second"}}, "first"),
        ({"result": {"error": {"code": 1}}}, NO_FAILURE_MESSAGE),
        ({}, NO_FAILURE_MESSAGE),
        ({"error": ""}, NO_FAILURE_MESSAGE),
        ({"error": "a\x00b"}, "a\ufffdb"),
        ({"error": "x" * (MAX_MESSAGE + 1)}, "x" * MAX_MESSAGE),
    ],
    ids=lambda value: repr(value)[:40],
)
@pytest.mark.parametrize("status", ["failed", "error"])
def test_a_failure_says_why(body: dict[str, Any], message: str, status: str) -> None:
    failed = result(status=status, **body)
    assert not failed.completed
    assert failed.failure() == message


@given(
    strategies.recursive(
        strategies.none() | strategies.booleans() | strategies.integers() | strategies.floats() | strategies.text(),
        lambda inner: (
            strategies.lists(inner, max_size=4) | strategies.dictionaries(strategies.text(), inner, max_size=4)
        ),
        max_leaves=12,
    )
)
def test_whatever_comes_is_read_or_refused(body: object) -> None:
    for model in (Register, InferenceProgress, InferenceResult):
        try:
            parse(model, body)
            parse(model, {"request_id": "r", "space_name": "s", "status": "completed", "result": body})
        except Invalid:
            continue


def test_times_are_shown_in_utc_with_z() -> None:
    assert iso(None) is None
    assert iso(0.0) == "1970-01-01T00:00:00.000Z"
    assert iso(1_700_000_000.1234) == "2023-11-14T22:13:20.123Z"


ROW = {
    "id": "r",
    "attempt_id": "a",
    "attempt": 2,
    "space_name": "Cats",
    "username": "ann",
    "prompt": "hi",
    "parameters": {"n": 1},
    "files": None,
    "created_at": 0.0,
    "deadline_at": 120.0,
    "timeout_seconds": 120.0,
}


def test_the_body_of_a_request() -> None:
    body = request_body(ROW, 3, LINKS, "http://site")
    assert (body["request_id"], body["attempt_id"], body["attempt"], body["redelivered"]) == ("r", "a", 2, True)
    assert body["payload"] == {"prompt": "hi", "parameters": {"n": 1}, "timestamp": "1970-01-01T00:00:00.000Z"}
    assert (body["deadline_at"], body["queue_size"], body["files"]) == ("1970-01-01T00:02:00.000Z", 3, [])
    assert body["upload"]["url"].startswith("http://site/api/v1/attempts/a/files?expires=")
    assert not request_body(ROW | {"attempt": 1}, 0, LINKS, "")["redelivered"]


def test_a_request_with_files_names_each_and_the_first_of_its_field() -> None:
    files = [
        {"field": field, "file_id": file_id, "name": "n", "content_type": "t", "size": 1, "sha256": "s"}
        for field, file_id in (("audio", "1"), ("file", "2"), ("file", "3"))
    ]
    body = request_body(ROW | {"files": files}, 0, LINKS, "http://site")
    urls = [file["url"] for file in body["files"]]
    assert [url.partition("?")[0] for url in urls] == [f"http://site/api/v1/files/{file_id}" for file_id in "123"]
    assert {key: body["payload"].get(key) for key in ("audio", "video", "file")} == {
        "audio": urls[0],
        "video": None,
        "file": urls[1],
    }
