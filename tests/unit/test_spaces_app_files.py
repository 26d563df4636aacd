"""Files of an app against a real HTTP server: what is fetched, resumed, checked, sent, tried again, and deleted."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import random
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from spaces_app import InputFile, Media, Request, TransferError
from spaces_app.answers import compute
from spaces_app.lane import Lane
from spaces_app.local_names import local_name
from spaces_app.transfer import Passing, exchange, new_http
from tests.site_process import free_port, wait_until
from tests.unit.file_site import SECRET, FileSite

PNG = b"\x89PNG\r\n" + random.Random(1).randbytes(600_000)
LINK_OVER = "the site's link to it is over"


@pytest.fixture
def site() -> Iterator[FileSite]:
    with FileSite(PNG) as running:
        yield running


@pytest.fixture
def make(site: FileSite) -> Iterator[Callable[..., Request]]:
    """Make requests with one file; they are closed afterwards."""
    made: list[Request] = []

    def build(*files: dict[str, Any], **body: Any) -> Request:
        made.append(Request.from_wire(site.body(*(files or (site.file(),)), **body)))
        return made[-1]

    yield build
    for one in made:
        one.close()


def only(request: Request) -> InputFile:
    (file,) = request.files
    return file


def answer_of(value: object, request: Request) -> dict[str, Any]:
    answer = compute(lambda _request: value, request)
    assert answer
    return answer


class TestFetching:
    def test_a_file_is_fetched_once_when_it_is_needed(self, site: FileSite, make: Callable[..., Request]) -> None:
        file = only(make())
        assert (file.field, file.name, file.size) == ("file", "a.png", len(PNG))
        assert site.seen == []
        assert file.path.read_bytes() == PNG
        assert file.path.suffix == ".png"
        assert file.path == file.path
        assert len(site.seen) == 1
        assert "Authorization" not in site.seen[0].headers

    def test_nobody_else_may_read_it(self, make: Callable[..., Request]) -> None:
        folder = only(make()).path.parents[1]
        assert folder.stat().st_mode & 0o077 == 0

    def test_it_goes_on_where_a_connection_broke(self, site: FileSite, make: Callable[..., Request]) -> None:
        site.gets.extend(["cut", "cut"])
        assert only(make()).path.read_bytes() == PNG
        ranges = [one.headers.get("Range") for one in site.seen]
        half = len(PNG) // 2
        assert ranges == [None, f"bytes={half}-", f"bytes={half + (len(PNG) - half) // 2}-"]
        assert site.seen[1].headers["If-Range"] == f'"{hashlib.sha256(PNG).hexdigest()}"'

    def test_a_site_without_ranges_begins_anew(self, site: FileSite, make: Callable[..., Request]) -> None:
        site.gets.extend(["cut", "whole"])
        assert only(make()).path.read_bytes() == PNG

    @pytest.mark.parametrize("fault", ["shifted", 416])
    def test_another_range_than_was_asked_for_is_not_taken(
        self, site: FileSite, make: Callable[..., Request], fault: str | int
    ) -> None:
        site.gets.extend(["cut", fault])
        assert only(make()).path.read_bytes() == PNG
        assert "Range" not in site.seen[2].headers

    @pytest.mark.parametrize("fault", [503, 500, 429, 408])
    def test_passing_trouble_is_waited_out(self, site: FileSite, make: Callable[..., Request], fault: int) -> None:
        site.gets.append(fault)
        assert only(make()).path.read_bytes() == PNG

    @pytest.mark.parametrize("fault", ["lie", "more"])
    def test_changed_bytes_are_fetched_anew_once(
        self, site: FileSite, make: Callable[..., Request], fault: str
    ) -> None:
        site.gets.append(fault)
        assert only(make()).path.read_bytes() == PNG
        assert "Range" not in site.seen[1].headers
        site.gets.extend([fault, fault])
        with pytest.raises(TransferError, match=r"a\.png could not be fetched: it arrived changed\."):
            _ = only(make()).path
        assert len(site.seen) == 4

    @pytest.mark.parametrize("status", [403, 404])
    def test_a_link_that_is_over_is_not_tried_again(
        self, site: FileSite, make: Callable[..., Request], status: int
    ) -> None:
        site.gets.append(status)
        with pytest.raises(TransferError, match=LINK_OVER):
            _ = only(make()).path
        assert len(site.seen) == 1

    def test_the_deadline_ends_it(self, site: FileSite, make: Callable[..., Request]) -> None:
        site.gets.extend([503] * 100)
        with pytest.raises(TransferError, match="time is over"):
            _ = only(make(timeout_seconds=0.4)).path
        assert len(site.seen) < 20, "it hammers the site"

    def test_the_deadline_ends_a_trickle_too(self, site: FileSite, make: Callable[..., Request]) -> None:
        site.gets.append("trickle")
        began = time.monotonic()
        with pytest.raises(TransferError, match="time is over"):
            _ = only(make(timeout_seconds=0.4)).path
        assert time.monotonic() - began < 3

    def test_what_never_ends_is_given_up(self, site: FileSite, make: Callable[..., Request]) -> None:
        site.gets.extend(["endless", "endless"])
        with pytest.raises(TransferError, match="arrived changed"):
            _ = only(make()).path
        assert site.sent < 50_000_000

    def test_a_cancel_ends_it_between_two_tries(self, site: FileSite, make: Callable[..., Request]) -> None:
        request = make()
        site.gets.append(503)
        site.before = request.cancelled.set
        with pytest.raises(TransferError, match="cancelled"):
            _ = only(request).path
        assert len(site.seen) == 1
        assert not request.reusable

    def test_a_cancel_ends_it_on_the_way(self, site: FileSite, make: Callable[..., Request]) -> None:
        request = make()
        site.before = request.cancelled.set
        with pytest.raises(TransferError, match="cancelled"):
            _ = only(request).path

    def test_a_new_attempt_brings_new_links(self, site: FileSite, make: Callable[..., Request]) -> None:
        running, newer = make(), make(site.file(attempt="a2"), attempt_id="a2", attempt=2)
        site.gets.append(403)
        site.before = lambda: running.renew(newer)
        assert only(running).path.read_bytes() == PNG, "the link of the earlier attempt was not given up"
        assert "attempt=a2" in site.seen[1].path
        assert answer_of(b"x", running)["status"] == "completed"
        assert "attempt=a2" in site.of("PUT")[0].path

    def test_a_full_disk_is_said_in_plain_words(self, make: Callable[..., Request]) -> None:
        request = make()
        (request.folder / "inputs").write_text("in the way")
        with pytest.raises(TransferError, match=r"a\.png could not be fetched") as caught:
            _ = only(request).path
        assert str(request.folder) not in str(caught.value)


class TestSecrets:
    @pytest.mark.parametrize("how", ["closed port", "broken address", "403", "cut", "cut while sending"])
    def test_a_signed_address_is_never_shown(
        self, site: FileSite, make: Callable[..., Request], caplog: pytest.LogCaptureFixture, how: str
    ) -> None:
        addresses = {
            "closed port": f"http://127.0.0.1:{free_port()}/files/1?signature={SECRET}",
            "broken address": f"http://[127.0.0.1/files/1?signature={SECRET}",
        }
        site.gets.extend({"403": [403], "cut": ["cut"] * 50}.get(how, []))
        site.puts.extend(["cut"] * 50)
        entry = site.file()
        request = make(entry | {"url": addresses.get(how, entry["url"])}, timeout_seconds=0.5)
        with caplog.at_level(logging.DEBUG):
            answer = compute(lambda r: b"x" if how == "cut while sending" else r.files[0].path, request)
        assert answer
        assert answer["status"] == "failed"
        assert SECRET not in f"{answer} {request!r} {only(request)!r} {caplog.text}"
        assert answer["error"].startswith("result could not" if how == "cut while sending" else "a.png could not")

    def test_the_library_s_own_log_lines_lose_the_query(
        self, make: Callable[..., Request], caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.DEBUG):
            _ = only(make()).path
        assert "GET /files/1" in caplog.text, "this test looks for a line that is no longer written"
        assert SECRET not in caplog.text

    @pytest.mark.parametrize("address", [f"http://[127.0.0.1/?{SECRET}", f"ftp://127.0.0.1/?{SECRET}", None])
    def test_the_error_holds_on_to_nothing_that_knows_it(
        self, make: Callable[..., Request], site: FileSite, address: str | None
    ) -> None:
        site.gets.extend(["cut"] * 50)
        entry = site.file()
        with pytest.raises(TransferError) as caught:
            _ = only(make(entry | {"url": address or entry["url"]}, timeout_seconds=0.3)).path
        seen: list[BaseException | None] = [caught.value]
        while seen[-1]:
            assert SECRET not in str(seen[-1])
            seen.append(seen[-1].__cause__ or seen[-1].__context__)

    def test_an_exchange_that_fails_hides_what_the_library_said(self) -> None:
        address = f"http://127.0.0.1:{free_port()}/?signature={SECRET}"
        with pytest.raises(Passing) as caught:
            exchange(lambda: new_http().get(address))
        assert (caught.value.__cause__, caught.value.__context__) == (None, None)

    def test_a_handler_that_fetches_by_itself_cannot_leak_it(
        self, make: Callable[..., Request], caplog: pytest.LogCaptureFixture
    ) -> None:
        def handler(request: Request) -> str:
            raise RuntimeError(f"cannot open {request.payload['file']}")

        answer = compute(handler, make())
        assert answer
        assert answer["error"].startswith("cannot open http://127.0.0.1")
        assert SECRET not in f"{answer} {caplog.text}"
        assert "RuntimeError" in caplog.text


class TestNames:
    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("talk.webm", "1-talk.webm"),
            ("../../etc/passwd", "1-passwd"),
            ("C:\\temp\\a.png", "1-a.png"),
            (".bashrc", "1-bashrc"),
            ("..", "1-file"),
            ("", "1-file"),
            ("über cool\n\x00.tar.gz", "1-ber_cool_.tar.gz"),
            ("a" * 300 + ".mp4", "1-" + "a" * 80 + ".mp4"),
            ("a." + "b" * 300, "1-" + ("a." + "b" * 300)[:80]),
            ("-rf", "1--rf"),
        ],
    )
    def test_a_local_name_is_safe_and_keeps_the_extension(self, name: str, expected: str) -> None:
        assert local_name(name, 1) == expected

    def test_files_of_one_name_do_not_collide(self, site: FileSite, make: Callable[..., Request]) -> None:
        request = make(site.file(name="../x.png"), site.file(name="../x.png"))
        paths = {file.path for file in request.files}
        assert len(paths) == 2
        assert all(path.parent == request.folder / "inputs" for path in paths)


class TestSending:
    def test_each_kind_of_value_becomes_a_part(
        self, site: FileSite, make: Callable[..., Request], tmp_path: Path
    ) -> None:
        picture = tmp_path / "plot.png"
        picture.write_bytes(PNG)
        values = ["text", {"type": "json", "data": 1}, picture, b"RIFF....", io.BytesIO(b"\x1aE\xdf\xa3 webm"),
                  Media(b"plain", name="../a b&c.txt"), Media(b"RIFF", type="file")]  # fmt: skip
        parts = answer_of(values, make())["result"]["parts"]
        assert parts == [
            {"type": "text", "text": "text"},
            {"type": "json", "data": 1},
            {"type": "image", "file_id": "f1", "name": "plot.png"},
            {"type": "audio", "file_id": "f2", "name": "result"},
            {"type": "video", "file_id": "f3", "name": "result"},
            {"type": "file", "file_id": "f4", "name": "a b&c.txt"},
            {"type": "file", "file_id": "f5", "name": "result"},
        ]
        first, *_, fourth, _fifth = site.of("PUT")
        assert (first.sha256, first.headers["Content-Type"]) == (hashlib.sha256(PNG).hexdigest(), "image/png")
        assert fourth.path.endswith("&name=a%20b%26c.txt")
        assert "Authorization" not in first.headers

    def test_a_single_file_and_one_inside_an_object(self, make: Callable[..., Request]) -> None:
        request = make()
        part = {"type": "image", "file_id": "f1", "name": "result"}
        assert answer_of(PNG, request) == {"status": "completed", "result": {"parts": [part]}}
        assert answer_of({"parts": ["x", b"y"]}, request)["result"]["parts"][1]["file_id"] == "f2"

    def test_an_open_file_is_read_from_where_it_stands_and_closed(
        self, site: FileSite, make: Callable[..., Request], tmp_path: Path
    ) -> None:
        (tmp_path / "x.bin").write_bytes(b"headbody")
        file = (tmp_path / "x.bin").open("rb")
        file.seek(4)
        site.puts.append(503)
        assert answer_of(file, make())["status"] == "completed"
        assert [one.sha256 for one in site.of("PUT")] == [hashlib.sha256(b"body").hexdigest()] * 2
        assert file.closed

    def test_a_pipe_can_be_sent_twice(self, site: FileSite, make: Callable[..., Request]) -> None:
        reader, writer = os.pipe()
        with os.fdopen(writer, "wb") as out:
            out.write(b"from a pipe")
        site.puts.append("cut")
        assert answer_of(os.fdopen(reader, "rb"), make())["status"] == "completed"
        assert site.of("PUT")[-1].sha256 == hashlib.sha256(b"from a pipe").hexdigest()

    def test_an_empty_file_is_a_file(self, site: FileSite, make: Callable[..., Request]) -> None:
        assert answer_of(b"", make())["status"] == "completed"
        assert site.of("PUT")[0].size == 0

    @pytest.mark.parametrize("fault", [503, 500, 507, 408, "cut"])
    def test_passing_trouble_is_tried_again(
        self, site: FileSite, make: Callable[..., Request], fault: str | int
    ) -> None:
        site.puts.append(fault)
        assert answer_of(PNG, make())["result"]["parts"][0]["file_id"] == "f2"

    @pytest.mark.parametrize(
        ("fault", "words"),
        [
            (403, LINK_OVER),
            (404, LINK_OVER),
            (413, "it is larger than the site takes: It says why."),
            (400, "the site answered 400: It says why."),
            ("lie", "it reached the site changed"),
            ("strange", "the site did not say where it keeps it"),
        ],
    )
    def test_what_does_not_pass_is_a_failure_in_plain_words(
        self, site: FileSite, make: Callable[..., Request], fault: str | int, words: str
    ) -> None:
        site.puts.append(fault)
        request = make()
        error = f"plot.png could not be sent: {words}".rstrip(".") + "."
        assert answer_of(Media(PNG, name="plot.png"), request) == {"status": "failed", "error": error}
        assert len(site.of("PUT")) == 1
        assert not request.reusable, "a later attempt would be answered with this failure"

    def test_a_disk_that_stays_full_is_named(self, site: FileSite, make: Callable[..., Request]) -> None:
        site.puts.extend([507] * 100)
        assert "no room left, and the request's time is over" in answer_of(b"x", make(timeout_seconds=0.4))["error"]

    def test_the_deadline_ends_it(self, site: FileSite, make: Callable[..., Request]) -> None:
        site.puts.extend([503] * 100)
        answer = answer_of(b"x", make(timeout_seconds=0.4))
        assert "time is over" in answer["error"]
        assert len(site.seen) < 20, "it hammers the site"

    def test_a_cancel_ends_it(self, site: FileSite, make: Callable[..., Request]) -> None:
        request = make()
        site.puts.extend([503, 503])
        site.before = request.cancelled.set
        assert "cancelled" in answer_of(b"x", request)["error"]
        assert len(site.seen) == 1

    def test_a_site_without_a_place_for_files(self, make: Callable[..., Request]) -> None:
        assert "takes no result files" in answer_of(b"x", make(upload=None))["error"]

    def test_a_file_that_is_not_there(self, make: Callable[..., Request], tmp_path: Path) -> None:
        answer = answer_of(tmp_path / "none.png", make())
        assert answer["error"].startswith("none.png could not be sent: the app has no such file")
        assert str(tmp_path) not in answer["error"]

    @pytest.mark.parametrize("value", [io.StringIO("text"), Path, 5, object()])
    def test_what_is_no_file_is_a_failure(self, make: Callable[..., Request], value: object) -> None:
        assert answer_of([value], make())["status"] == "failed"
        with pytest.raises(TypeError):
            Media(value)  # type: ignore[arg-type]

    def test_a_type_that_no_part_has_is_refused(self) -> None:
        with pytest.raises(ValueError, match="movie"):
            Media(b"x", type="movie")  # type: ignore[arg-type]

    def test_large_files_are_not_held_in_memory(
        self, site: FileSite, make: Callable[..., Request], tmp_path: Path
    ) -> None:
        site.content = bytes(30_000_000)
        request = make(site.file())
        (tmp_path / "big.bin").write_bytes(site.content)
        tracemalloc.start()
        try:
            answer = answer_of([only(request).path, tmp_path / "big.bin"], request)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert answer["status"] == "completed"
        assert peak < 8_000_000, f"{peak:,} bytes"


class TestTheFolder:
    @pytest.mark.parametrize("ending", ["answer", "failure", "cancel"])
    def test_it_is_gone_when_the_answer_is_there(
        self, site: FileSite, make: Callable[..., Request], ending: str
    ) -> None:
        folders: list[Path] = []

        def handler(request: Request, file: Path) -> Path:
            folders.append(request.folder)
            (request.folder / "made.txt").write_text("made")
            if ending == "failure":
                raise RuntimeError("no")
            if ending == "cancel":
                request.cancelled.set()
            return request.folder / "made.txt"

        done: list[Any] = []
        lane = Lane("cats", handler, lambda _request, answer: done.append((answer, folders[0].exists())))
        lane.put(make())
        lane.close()
        ((answer, exists),) = wait_until(lambda: done, "the lane answers")
        assert answer["status"] == ("completed" if ending == "answer" else "failed")
        assert len(site.of("PUT")) == (1 if ending == "answer" else 0)
        assert not exists

    def test_a_closed_request_makes_no_new_one(self, make: Callable[..., Request]) -> None:
        request = make()
        folder = request.folder
        request.close()
        assert not folder.exists()
        with pytest.raises(TransferError, match="over"):
            _ = request.folder
        with pytest.raises(TransferError, match="over"):
            _ = only(request).path

    def test_closing_does_not_wait_for_a_file_on_its_way(self, site: FileSite, make: Callable[..., Request]) -> None:
        request, reached, go_on = make(), threading.Event(), threading.Event()
        site.before = lambda: (reached.set(), go_on.wait(10))
        answers: list[Any] = []
        fetching = threading.Thread(target=lambda: answers.append(compute(lambda r: r.file.path, request)))
        fetching.start()
        assert reached.wait(10)
        folder = request.folder
        request.cancelled.set()
        request.close()
        assert not folder.exists()
        go_on.set()
        fetching.join(10)
        assert answers[0]["status"] == "failed"
        assert not folder.exists()
