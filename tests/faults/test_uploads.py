"""Uploads as no HTTP library sends them: a clear refusal in time, nothing left behind, and the site goes on."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.faults.conftest import Logs
from tests.faults.filer import Answer, Filer, Scene, kept
from tests.faults.looking import MODES, wait_status
from tests.site_process import SiteProcess, wait_until

OwnSite = Callable[..., SiteProcess]
Started = Callable[[Any], Any]

STALL = 1.0
LIMIT = 200_000
AT_ONCE, IN_TIME = 2.0, 5.0
SETTINGS = {
    "SPACES_UPLOAD_STALL": STALL,
    "SPACES_UPLOADS_PER_USER": 100,
    "SPACES_MAX_UPLOADS": 200,
    "SPACES_MAX_UPLOAD_MB": LIMIT / 1e6,
    "SPACES_MAX_PROMPT_CHARS": 1_000,
    "SPACES_GRACE": 1.5,
}
FILE = b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
PROMPT = b'--B\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n'
END = b"\r\n--B--\r\n"


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Scene]]:
    """One site a mode, with its scene."""
    made: dict[str, Scene] = {}

    def of_mode(mode: str) -> Scene:
        if mode not in made:
            made[mode] = Scene(SiteProcess(tmp_path_factory.mktemp(mode), async_mode=mode, **SETTINGS).start())
        return made[mode]

    yield of_mode
    for scene in made.values():
        scene.close()
        scene.site.kill9()


@pytest.fixture
def scene(scenes: Callable[[str], Scene], mode: str, logs: Logs) -> Iterator[Scene]:
    found = scenes(mode)
    logs.watch(found.site)
    yield found
    while found.open:
        found.open.pop().close()


each_mode = pytest.mark.parametrize("mode", MODES)


def chunk(content: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(content), content)


def refused(answer: Answer, status: int, code: str, seconds: float = AT_ONCE) -> bool:
    assert (answer.status, answer.code) == (status, code), answer.raw[:1_000]
    assert answer.seconds < seconds, answer
    return True


BROKEN = {
    "no terminating boundary": (FILE + b"hello", 400, "bad_request"),
    "half a boundary at the end": (FILE + b"hello\r\n--B", 400, "bad_request"),
    "ends after a boundary": (FILE + b"hello\r\n--B\r\n", 400, "bad_request"),
    "another boundary": (FILE.replace(b"--B", b"--C") + b"hello\r\n--C--\r\n", 400, "bad_request"),
    "nothing at all": (b"", 400, "bad_request"),
    "no Content-Disposition": (b"--B\r\nContent-Type: text/plain\r\n\r\nhello" + END, 400, "bad_request"),
    "no field name": (FILE.replace(b' name="file";', b"") + b"hello" + END, 400, "bad_request"),
    "nested form": (
        b'--B\r\nContent-Disposition: form-data; name="file"\r\nContent-Type: multipart/mixed; boundary=C\r\n\r\n'
        b'--C\r\nContent-Disposition: file; filename="a"\r\n\r\nhello\r\n--C--' + END,
        422,
        "invalid",
    ),
    "a name that is no UTF-8": (FILE.replace(b"a.txt", b"\xff\xfe") + b"hello" + END, 400, "bad_request"),
    "text that is no UTF-8": (PROMPT + b"\xff" + END, 400, "bad_request"),
    "1,001 parts": (
        b"".join(b'--B\r\nContent-Disposition: form-data; name="p%d"\r\n\r\nx\r\n' % one for one in range(1_001)),
        413,
        "too_large",
    ),
    "a huge header": (FILE.replace(b"\r\n\r\n", b"\r\nX-Long: " + b"x" * 400_000 + b"\r\n\r\n"), 413, "too_large"),
    "text too long": (
        PROMPT + b"x" * 1_300_000 + END,
        413,
        "too_large",
    ),
    "a file, then a prompt too long": (
        FILE + b"hello\r\n" + PROMPT + b"x" * 1_001 + END,
        413,
        "too_large",
    ),
    "too many files": ((FILE + b"hello\r\n") * 11 + END[2:], 422, "invalid"),
    "files that are too large together": (FILE + b"x" * LIMIT + b"\r\n" + FILE + b"y" + END, 413, "too_large"),
}


@each_mode
def test_broken_forms_are_refused_and_leave_nothing(scene: Scene) -> None:
    for name, (body, status, code) in BROKEN.items():
        assert refused(scene.form(body), status, code), name
        assert scene.is_empty(), name
    for boundary in ("", "boundary=", 'boundary=""', "charset=utf-8"):
        assert refused(scene.form(FILE + b"hello" + END, boundary=boundary), 400, "bad_request")
    odd = "()+_,-./:=?' x" * 4
    unknown = (FILE.replace(b'"file"', b'"none"') + b"hello" + END).replace(b"--B", f"--{odd}".encode())
    assert refused(scene.form(unknown, boundary=f'boundary="{odd}"'), 422, "invalid")
    assert scene.is_empty()


@each_mode
def test_what_announces_more_than_it_may_is_refused_before_it_is_sent(scene: Scene) -> None:
    length = "Content-Length: 2000000000\r\n"
    for begin in (scene.post, scene.put):
        assert refused(begin(length).answer(), 413, "too_large")
        assert refused(begin(length, FILE + b"x" * 1_000).answer(), 413, "too_large")
        leave = begin(length + "Expect: 100-continue\r\n").answer()
        assert refused(leave, 413, "too_large")
        if scene.site.environment["SPACES_ASYNC_MODE"] != "threading":  # Werkzeug asks for every body
            assert not leave.raw.startswith(b"HTTP/1.1 100"), "it was asked for two gigabytes"
    assert scene.is_empty()


@each_mode
def test_what_has_no_end_is_cut_at_the_limit(scene: Scene) -> None:
    chunked, piece = "Transfer-Encoding: chunked\r\n", chunk(b"x" * 65_536)
    text = chunk(PROMPT.replace(b"\r\n\r\n", b"\r\nX-Long: " + b"x" * 60_000 + b"\r\n\r\nhello\r\n"))
    for one in (
        scene.put(chunked, *[piece] * 10),
        scene.post(chunked, chunk(FILE), *[piece] * 10),
        scene.post(chunked, *[text] * 60),
    ):
        assert refused(one.answer(), 413, "too_large", IN_TIME)
    assert scene.is_empty()


@each_mode
def test_a_body_that_is_shorter_than_announced_is_never_taken_for_whole(scene: Scene) -> None:
    length, some = "Content-Length: 100000\r\n", b"x" * 70_000
    for content in (b"hello", some):
        for one in (scene.put(length, content), scene.post(length, FILE + content)):
            assert refused(one.half_close().answer(), 400, "bad_request")
    for begin, content in ((scene.put, some), (scene.post, FILE + some)):
        one = begin(length, content)
        wait_until(lambda: kept(scene.site.data_dir), "it has begun")
        one.close()
        assert scene.is_empty()
    chunked = "Transfer-Encoding: chunked\r\n"
    for broken in (b"ff\r\nhello", b"zz\r\nhello\r\n", b"-5\r\nhello\r\n", b"5\r\nhello\r\n"):
        assert refused(scene.put(chunked, broken).half_close().answer(), 400, "bad_request"), broken
    assert scene.is_empty()


@each_mode
def test_a_body_that_is_longer_than_announced_ends_where_it_said(scene: Scene) -> None:
    form = FILE + b"hello" + END
    for rest in (form, b"x" * 1_000):
        assert refused(scene.post(f"Content-Length: {len(form) - 10}\r\n", form, rest).answer(), 400, "bad_request")
    assert scene.is_empty()


@each_mode
def test_nothing_of_a_refused_body_is_read_as_a_request(scene: Scene) -> None:
    """The connection is either closed or goes on after the whole body."""
    hidden = b"\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    body = FILE.replace(b'"file"', b'"none"') + hidden * 5_000 + END
    after = b"GET /not-there HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    for one in (
        scene.post(f"Content-Length: {len(body)}\r\n", body, after),
        scene.post("Transfer-Encoding: chunked\r\n", chunk(body), chunk(b""), after),
        scene.put(f"Content-Length: {LIMIT + 1}\r\n", (hidden * 5_000)[: LIMIT + 1].ljust(LIMIT + 1), after),
    ):
        statuses = re.findall(rb"^HTTP/1.1 (\d+)", one.half_close().until_closed(), re.MULTILINE)
        assert statuses in ([b"422"], [b"413"], [b"422", b"404"], [b"413", b"404"]), statuses
    assert scene.is_empty()


@each_mode
def test_who_stalls_or_drips_is_told_so_and_leaves_nothing(scene: Scene) -> None:
    length = "Content-Length: 100000\r\n"
    for one in (scene.put(length, b"x"), scene.post(length, FILE + b"x"), scene.post(length)):
        assert refused(one.answer(), 408, "upload_stalled", STALL + AT_ONCE)
    for one in (scene.put(length, b"x"), scene.post(length, FILE + b"x")):
        one.socket.settimeout(STALL / 5)
        begun, heard = time.monotonic(), b""
        while not heard and time.monotonic() < begun + IN_TIME:
            one.send(b"x")
            try:
                heard = one.socket.recv(12)
            except TimeoutError:
                continue
        assert heard == b"HTTP/1.1 408", f"after {time.monotonic() - begun:.1f} s"
    assert scene.is_empty()


@each_mode
def test_without_a_length_nothing_is_taken(scene: Scene) -> None:
    for begin in (scene.put, scene.post):
        assert refused(begin("").answer(), 411, "length_required")
    for length in ("-5", "abc", "1e3", "5, 6"):
        for begin in (scene.put, scene.post):
            assert begin(f"Content-Length: {length}\r\n", b"hello").answer().status in (400, 411), length
    for coding in ("gzip, chunked", "chunked, gzip", "xchunked"):  # what no server here undoes
        for begin in (scene.put, scene.post):
            answer = begin(f"Transfer-Encoding: {coding}\r\n", chunk(b"hello"), chunk(b"")).answer()
            assert answer.status in (400, 411, 415, 501), coding
    assert scene.is_empty()


@pytest.mark.parametrize("mode", MODES[:1])
def test_many_slow_uploads_take_nothing_from_others(scene: Scene) -> None:
    """More than there are connections to the database."""
    length = "Content-Length: 100000\r\n"
    slow = [begin(length, FILE + b"x" * 20_000) for begin in (scene.put, scene.post) for _ in range(70)]
    begun = time.monotonic()
    assert scene.admin.call("GET", "spaces", timeout=1).status_code == 200
    assert scene.api.submit(scene.space, "prompt alone")["status"] == "queued"
    assert time.monotonic() - begun < STALL, "they were all still open"
    assert {one.answer().status for one in slow} == {408}
    assert scene.is_empty()


@each_mode
def test_exactly_what_is_allowed_is_taken(own_site: OwnSite, started: Started, mode: str) -> None:
    site = own_site(async_mode=mode, **SETTINGS)
    scene = started(Scene(site))
    whole, half = b"x" * LIMIT, b"y" * (LIMIT // 2)
    assert scene.form(FILE + whole + END).status == 202
    polite = scene.put(f"Content-Length: {len(half)}\r\nExpect: 100-continue\r\n")
    assert polite.socket.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert polite.send(half).answer().status == 201
    assert scene.put("Transfer-Encoding: chunked\r\n", chunk(half), chunk(b"")).answer().status == 201
    assert scene.put(f"Content-Length: {len(whole)}\r\n", whole).answer().status == 201
    assert refused(scene.put("Content-Length: 1\r\n", b"z").answer(), 413, "too_large")
    assert sorted(path.stat().st_size for path in kept(site.data_dir)) == [LIMIT // 2, LIMIT // 2, LIMIT, LIMIT]


@pytest.mark.parametrize("by", ["form", "upload"])
def test_with_the_database_away_nothing_is_half_accepted(own_site: OwnSite, started: Started, by: str) -> None:
    scene = started(Scene(own_site(**SETTINGS)))
    before = scene.admin.json("GET", "requests")
    with closing(sqlite3.connect(scene.site.data_dir / "spaces.db", isolation_level=None)) as outside:
        outside.execute("BEGIN IMMEDIATE")
        if by == "form":
            answer = scene.admin.call("POST", f"spaces/{scene.space}/requests", files={"file": b"hello"})
        else:
            answer = scene.app.http.put(scene.request["upload"]["url"], b"hello", timeout=20)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "database_away"), answer
        assert outside.execute("SELECT count(*) FROM files").fetchone() == (0,)
    assert scene.admin.json("GET", "requests") == before
    assert scene.form(FILE + b"hello" + END).status == 202


def test_after_a_crash_accepted_files_are_whole_and_half_ones_were_never_accepted(
    own_site: OwnSite, started: Started
) -> None:
    site = own_site(**SETTINGS)
    scene = Scene(site)
    files = [("file", ("a", b"one")), ("file", ("b", b"two"))]
    sent = scene.api.json("POST", f"spaces/{scene.space}/requests", 202, files=files)
    half = scene.post("Content-Length: 100000\r\n", FILE + b"x" * 70_000)
    wait_until(lambda: len(kept(site.data_dir)) == 3, "half of another upload has come")
    before = len(scene.admin.json("GET", "requests")["items"])
    site.kill9()
    half.close()
    scene.close()
    site.start()
    assert len(scene.admin.json("GET", "requests")["items"]) == before
    scene.admin.json("POST", f"requests/{scene.request['request_id']}/cancel")
    app = started(Filer(site.url, scene.admin.make_token(spaces=[scene.space]))).serve(scene.space)
    final = scene.api.wait_final(sent["id"])
    assert app.got == [b"one", b"two"]
    wait_until(lambda: app.codes == ["accepted"], "the result is acknowledged")
    assert scene.api.call("GET", final["output"][0]["url"]).content == b"onetwo"
    assert wait_status(scene.api, sent["id"], "completed")["attempt"] == 1


def test_a_full_queue_is_told_before_the_upload(own_site: OwnSite, started: Started) -> None:
    scene = started(Scene(own_site(**SETTINGS, SPACES_QUEUE_LENGTH=1)))
    scene.admin.submit(scene.space, "the queue is full now")
    began = scene.post(f"Content-Length: {LIMIT}\r\n", FILE + b"x" * 70_000)  # and the rest never comes
    answer = began.answer()
    assert refused(answer, 429, "queue_full")
    assert answer.seconds < AT_ONCE
    assert kept(scene.site.data_dir) == []
