"""Giving files to requests over the API, and looking at what became of them."""

from __future__ import annotations

import io
from typing import Any

from tests.web.conftest import Program

INPUTS = ("prompt", "audio", "video", "file")
ALL = dict.fromkeys((f"input_{field}" for field in INPUTS), True)
WAV = b"RIFF\x24\x00\x00\x00WAVEfmt \x10\x00\x00\x00" + bytes(20)
WEBM = b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\x82\x84webm" + bytes(20)
PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)
CONTENT = {"audio": WAV, "video": WEBM, "file": b"any bytes at all"}
TEXT = b"0123456789" * 10


def form(**parts: Any) -> dict[str, Any]:
    """Return a form: text as it is, bytes as a file, ``(bytes, name)`` as a file with that name, lists of these."""
    return {key: [_part(one) for one in (part if isinstance(part, list) else [part])] for key, part in parts.items()}


def _part(part: Any) -> Any:
    if isinstance(part, str):
        return part
    content, name = part if isinstance(part, tuple) else (part, "a.bin")
    return io.BytesIO(content), name


def send(program: Program, **parts: Any) -> Any:
    """Submit a form to the space ``cats`` and return the answer, whatever it is."""
    return program.post("spaces/cats/requests", data=form(**parts), content_type="multipart/form-data")


def given(program: Program, content: bytes = TEXT, name: str = "a.txt") -> tuple[str, dict[str, Any]]:
    """Submit one file; return the request's id and the file as the API shows it."""
    answer = send(program, file=(content, name))
    assert answer.status_code == 202, answer.text
    return answer.json["id"], answer.json["input"]["files"][0]


def cancelled(program: Program, **parts: Any) -> dict[str, Any]:
    """Submit and cancel; return the request object."""
    request_id = send(program, **parts).json["id"]
    answer = program.post(f"requests/{request_id}/cancel")
    assert answer.status_code == 200, answer.text
    return dict(answer.json)


def fetched(caller: Any, url: str, method: str = "GET", **headers: str) -> Any:
    """Fetch all of a file, as servers send it: to the end, then closed. Underscores in header names are hyphens."""
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    call = caller.call(method, url, headers=named, buffered=True) if isinstance(caller, Program) else None
    return call or caller.open(url, method=method, headers=named, buffered=True)


def refused(answer: Any, status: int, code: str, field: str | None = None) -> None:
    """Check a refusal of the API, and which field it is about."""
    assert (answer.status_code, answer.json["error"]["code"]) == (status, code), answer.text
    if field:
        assert [one["field"] for one in answer.json["error"]["details"]] == [field], answer.text
