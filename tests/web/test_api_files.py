"""Files of requests over HTTP: which inputs are taken, who may have the bytes, how they are sent."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from tests.conftest import browser_of, signed_in
from tests.web.giving import ALL, CONTENT, INPUTS, PNG, TEXT, WAV, Program, fetched, form, given, refused, send

Call = Callable[..., Any]

COMBINATIONS = list(itertools.product((False, True), repeat=4))


@pytest.fixture
def ann(program: Call, make_space: Call) -> Program:
    """A program of somebody, beside a space that takes everything and queues without an app."""
    make_space(queue_when_offline=True, **ALL)
    made: Program = program()
    return made


@pytest.mark.parametrize("on", COMBINATIONS, ids=lambda on: "-".join(itertools.compress(INPUTS, on)) or "nothing")
def test_only_what_is_switched_on_is_taken(
    make_space: Call, program: Call, on_disk: Call, on: tuple[bool, ...]
) -> None:
    enabled = set(itertools.compress(INPUTS, on))
    make_space(queue_when_offline=True, **{f"input_{field}": field in enabled for field in INPUTS})
    ann = program()
    whole: dict[str, Any] = {"prompt": "hello", **CONTENT}
    for field, part in whole.items():
        answer = send(ann, **{field: part})
        if field in enabled:
            assert answer.status_code == 202, answer.text
        else:
            refused(answer, 422, "invalid", field)
    assert len(on_disk()) == len(enabled - {"prompt"})
    taken = {field: part for field, part in whole.items() if field in enabled}
    answer = send(ann, **taken) if taken else send(ann, prompt="")
    assert answer.status_code == (202 if taken else 422), answer.text
    for field in set(INPUTS) - enabled:  # what is off spoils the whole, whatever came before it
        refused(send(ann, **taken, **{field: whole[field]}), 422, "invalid", field)
    assert len(on_disk()) == 2 * len(enabled - {"prompt"})


def test_what_is_not_what_it_says_is_refused(ann: Program, on_disk: Call) -> None:
    for field, part in (("audio", b"only text"), ("video", PNG), ("audio", PNG), ("video", (b"x" * 9_000, "a.mp4"))):
        refused(send(ann, **{field: part}), 422, "invalid", field)
    for field in ("audio", "video", "file"):
        refused(send(ann, **{field: b""}), 422, "invalid", field)
        refused(send(ann, **{field: "text in place of a file"}), 422, "invalid", field)
        refused(ann.post("spaces/cats/requests", json={"prompt": "x", field: "aGVsbG8="}), 422, "invalid", field)
    refused(send(ann, audio=[WAV, WAV]), 422, "invalid", "audio")
    refused(send(ann, picture=PNG), 422, "invalid", "picture")
    refused(send(ann, file=b"x", parameters="[1]"), 422, "invalid")
    refused(send(ann, file=b"x", prompt="p" * 100_001), 413, "too_large", "prompt")
    assert on_disk() == []
    empty = ann.post("spaces/cats/requests", data=form(prompt="p", file=(b"", "")), content_type="multipart/form-data")
    assert empty.status_code == 202, "a file input in which nothing was chosen"


def test_a_space_has_limits_of_its_own(make_space: Call, program: Call, on_disk: Call) -> None:
    make_space(queue_when_offline=True, upload_mb=0.01, files=2, **ALL)
    ann = program()
    refused(send(ann, file=[b"1", b"2", b"3"]), 422, "invalid", "file")
    refused(send(ann, file=[b"x" * 5_001, b"y" * 5_000]), 413, "too_large", "file")
    assert on_disk() == []
    assert send(ann, file=[b"x" * 5_000, b"y" * 5_000]).status_code == 202
    assert len(on_disk()) == 2


NAMES = {
    'quo"te.txt': 'quo"te.txt',
    "naïve ☃ 😀.txt": "naïve ☃ 😀.txt",
    "gpj.\u202eexe.txt": "gpj._exe.txt",
    "../../etc/passwd": "passwd",
    "..\\..\\boot.ini": "boot.ini",
    "..": "file",
    "/": "file",
    "a\r\nSet-Cookie: x=1.txt": "a__Set-Cookie: x=1.txt",
    "nul\x00l.txt": "nul_l.txt",
    "x" * 1_000 + ".txt": "x" * 251 + ".txt",
    "CON": "CON",
    "100%41%2e%2e%2f.txt": "100%41%2e%2e%2f.txt",
    "; filename=evil.html": "; filename=evil.html",
}


@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name[:30]))
def test_any_name_is_kept_harmless(ann: Program, on_disk: Call, name: str) -> None:
    """The name comes as RFC 8187 spells it, so that every character arrives."""
    spelled = "".join(f"%{byte:02X}" for byte in name.encode())
    body = f"--B\r\nContent-Disposition: form-data; name=\"file\"; filename*=UTF-8''{spelled}\r\n\r\nhi\r\n--B--\r\n"
    answer = ann.post("spaces/cats/requests", data=body, content_type="multipart/form-data; boundary=B")
    assert answer.status_code == 202, answer.text
    file = answer.json["input"]["files"][0]
    assert file["name"] == NAMES[name]
    assert on_disk() == [file["file_id"]], "names never become paths"
    headers = fetched(ann, file["url"]).headers
    assert len(headers.getlist("Content-Disposition")) == 1
    assert "Set-Cookie" not in headers
    plain = headers["Content-Disposition"].split('"')
    assert len(plain) == 3, f"the quoted name ends where it should: {headers['Content-Disposition']}"
    assert (plain[0], plain[2][:18]) == ("attachment; filename=", "; filename*=UTF-8'")


SENT_AS = {
    "html": (b"<!DOCTYPE html><script>alert(1)</script>", "application/octet-stream"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>", "application/octet-stream"),
    "xml": (b"<?xml version='1.0'?><a/>", "application/octet-stream"),
    "js": (b"alert(1)", "text/plain; charset=utf-8"),
    "pdf": (b"%PDF-1.4\n", "application/pdf"),
    "unknown": (b"\x00\x01\x02\x03", "application/octet-stream"),
    "image": (PNG, "image/png"),
    "audio": (WAV, "audio/wav"),
}


@pytest.mark.parametrize("kind", SENT_AS)
def test_nothing_that_runs_is_sent_inline(ann: Program, kind: str) -> None:
    content, content_type = SENT_AS[kind]
    file = given(ann, content, f"a.{kind}")[1]
    answer = fetched(ann, file["url"])
    assert (answer.status_code, answer.data, answer.headers["Content-Type"]) == (200, content, content_type)
    inline = kind in ("image", "audio")
    assert answer.headers["Content-Disposition"].split(";")[0] == ("inline" if inline else "attachment")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    policy = answer.headers["Content-Security-Policy"]
    assert "sandbox" in policy
    assert "default-src 'none'" in policy
    assert "private" in answer.headers["Cache-Control"]
    assert fetched(ann, file["url"] + "?download=1").headers["Content-Disposition"].startswith("attachment")


def test_ranges_are_sent_as_asked(ann: Program) -> None:
    file = given(ann)[1]
    tag = f'"{file["sha256"]}"'
    assert file["sha256"] == hashlib.sha256(TEXT).hexdigest()

    def get(status: int, body: bytes, **headers: str) -> Any:
        answer = fetched(ann, file["url"], **headers)
        assert (answer.status_code, answer.data) == (status, body), headers
        return answer

    assert get(200, TEXT).headers["ETag"] == tag
    for wanted, part in {"0-4": TEXT[:5], "90-": TEXT[90:], "-7": TEXT[-7:], "95-500": TEXT[95:]}.items():
        answer = get(206, part, Range=f"bytes={wanted}")
        start = TEXT.rindex(part) if wanted != "0-4" else 0
        assert answer.headers["Content-Range"] == f"bytes {start}-{start + len(part) - 1}/100"
        assert answer.headers["Content-Length"] == str(len(part))
    assert fetched(ann, file["url"], Range="bytes=100-").status_code == 416
    get(206, TEXT[:1], Range="bytes=0-0", If_Range=tag)
    get(200, TEXT, Range="bytes=0-0", If_Range='"other"')
    get(200, TEXT, Range="lines=0-0")
    get(304, b"", If_None_Match=tag)
    get(200, TEXT, If_None_Match='"other"')
    head = fetched(ann, file["url"], "HEAD")
    assert (head.status_code, head.data, head.headers["Content-Length"]) == (200, b"", "100")


def test_files_are_their_users_alone(app: Flask, ann: Program, program: Call, make_user: Call, admin: Program) -> None:
    file = given(ann)[1]
    assert fetched(signed_in(app, "ann"), file["url"]).data == TEXT
    make_user("bob")
    unknown = program("bob").get(f"files/{'0' * 32}")
    refused(unknown, 404, "not_found")
    for stranger in (program("bob"), admin):
        answer = stranger.get(file["url"])
        assert (answer.status_code, answer.json) == (404, unknown.json)
    assert signed_in(app, "bob").get(file["url"]).status_code == 404
    refused(browser_of(app).get(file["url"]), 401, "unauthorized")
    refused(program("admin", "app").get(file["url"]), 403, "forbidden")


@pytest.mark.parametrize(
    "path",
    ["../../secret-key", "..%2f..%2fsecret-key", "%2e%2e%2fsecret-key", "%2fetc%2fpasswd", "a%00b", "x" * 5_000,
     "\u0660" * 32, "F" * 32, "0" * 31 + "%0a"],
    ids=lambda path: ascii(path[:20]),
)  # fmt: skip
def test_no_path_leads_anywhere_else(ann: Program, path: str) -> None:
    for query in ("", f"?attempt={'0' * 32}&expires=9999999999&signature=x"):
        assert ann.get(f"/api/v1/files/{path}{query}").status_code == 404


@pytest.mark.parametrize("path", ["/api/v1/spaces/cats/requests", "/spaces/cats"])
def test_a_form_of_a_page_needs_its_token_before_its_files(app: Flask, ann: Program, on_disk: Call, path: str) -> None:
    browser = signed_in(app, "ann")
    token = browser.csrf()
    file = 'name="file"; filename="a"\r\n\r\nhi'
    right, wrong = f'name="csrf_token"\r\n\r\n{token}', 'name="csrf_token"\r\n\r\nwrong'

    def post(*parts: str, header: str | None = None) -> int:
        body = "".join(f"--B\r\nContent-Disposition: form-data; {part}\r\n" for part in parts) + "--B--\r\n"
        named = {"X-CSRFToken": header} if header else {}
        return browser.post(path, data=body, content_type="multipart/form-data; boundary=B", headers=named).status_code

    for parts in ((file,), (file, right), (wrong, file), (right + "x", file), ('name="prompt"\r\n\r\nhi',)):
        assert post(*parts) == 400, parts
    assert post(right, file, header="wrong") == 400
    assert on_disk() == []
    accepted = 202 if path.startswith("/api") else 303
    assert post(right, file) == accepted
    assert post(file, header=token) == accepted
    assert post(file, wrong, header=token) == accepted, "the header speaks for the whole call"
    assert len(on_disk()) == 3


def test_the_page_of_a_space_refuses_what_the_api_refuses(app: Flask, ann: Program, on_disk: Call) -> None:
    browser = signed_in(app, "ann")
    head = f'--B\r\nContent-Disposition: form-data; name="csrf_token"\r\n\r\n{browser.csrf()}\r\n--B\r\n'
    file = 'Content-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    for status, body in {
        400: head + file + "cut",
        413: head + file.replace("\r\n\r\n", "\r\nX: " + "x" * 300_000),
        422: head + file.replace('"file"', '"audio"') + "no sound\r\n--B--\r\n",
    }.items():
        answer = browser.post("/spaces/cats", data=body, content_type="multipart/form-data; boundary=B")
        assert (answer.status_code, answer.mimetype) == (status, "text/html")
    visitor = browser_of(app).post("/spaces/cats", data=head + file, content_type="multipart/form-data; boundary=B")
    assert visitor.status_code in (302, 303)
    assert on_disk() == []
