"""The shapes on the wire, and how results are read."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, strategies

from project.errors import Invalid
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
        ({"image_url": "http://x/y.png"}, [{"type": "json", "data": {"image_url": "http://x/y.png"}}]),
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


def test_the_body_of_a_request() -> None:
    row = {
        "id": "r",
        "attempt_id": "a",
        "attempt": 2,
        "space_name": "Cats",
        "username": "ann",
        "prompt": "hi",
        "parameters": {"n": 1},
        "created_at": 0.0,
        "deadline_at": 120.0,
        "timeout_seconds": 120.0,
    }
    body = request_body(row, 3)
    assert (body["request_id"], body["attempt_id"], body["attempt"], body["redelivered"]) == ("r", "a", 2, True)
    assert body["payload"] == {"prompt": "hi", "parameters": {"n": 1}, "timestamp": "1970-01-01T00:00:00.000Z"}
    assert (body["deadline_at"], body["queue_size"], body["files"]) == ("1970-01-01T00:02:00.000Z", 3, [])
    assert not request_body(row | {"attempt": 1}, 0)["redelivered"]
