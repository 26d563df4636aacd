"""A big video to the app and a big result back: not a byte changed, hardly any memory, and nobody else waits."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import requests

from tests.faults.filer import EVERYTHING, Filer, Scene, Waiting, kept
from tests.http_caller import HttpCaller
from tests.site_process import SiteProcess, wait_until

OwnSite = Callable[..., SiteProcess]
Started = Callable[[Any], Any]

MEGABYTE = 1_000_000
GROWTH_MB = 50
#: Nobody else's call takes longer.
PROMPT_SECONDS = 1.0
LONG_SECONDS = 150.0
WEBM = b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\xf7\x81\x01\x42\xf2\x81\x04\x42\xf3\x81\x08\x42\x82\x84webm"
LOOK_SECONDS = 0.02
MODES = [os.environ.get("SPACES_ASYNC_MODE") or "eventlet", "gevent"]


class Pieces:
    """Bytes that nobody has as a whole: ``size`` of them after ``head``, the same at every reading, with their hash."""

    def __init__(self, head: bytes, size: int) -> None:
        self._head, self._size = head, size
        self._seed = secrets.token_bytes(MEGABYTE)

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        yield self._head
        left = self._size - len(self._head)
        while left > 0:
            yield self._seed[:left]
            left -= MEGABYTE

    def sha256(self) -> str:
        digest = hashlib.sha256()
        for piece in self:
            digest.update(piece)
        return digest.hexdigest()


class Mirror(Filer):
    """Streams its file, keeping nothing but the hash, and brings as much back."""

    def __init__(self, url: str, token: str, back: Pieces) -> None:
        self.back = back
        self.hashes: list[str] = []
        super().__init__(url, token)

    def on_request(self, request: dict[str, Any]) -> None:
        self.hashes.append(hash_at(self.http, request["files"][0]["url"]))
        name = {"name": "back.webm"}
        answer = self.http.put(request["upload"]["url"], self.back, params=name, timeout=LONG_SECONDS)
        assert answer.status_code == 201, answer.text
        assert answer.json()["sha256"] == self.back.sha256()
        self.codes.append(self.hand_in(request, answer.json()["file_id"]))


def hash_at(http: requests.Session, url: str) -> str:
    digest = hashlib.sha256()
    with http.get(url, stream=True, timeout=LONG_SECONDS) as answer:
        for piece in answer.iter_content(MEGABYTE):
            digest.update(piece)
    return digest.hexdigest()


class Form:
    """A form with one file, as a stream of known length."""

    headers: ClassVar = {"Content-Type": "multipart/form-data; boundary=B"}

    def __init__(self, field: str, content: Pieces) -> None:
        self._head = f'--B\r\nContent-Disposition: form-data; name="{field}"; filename="big.webm"\r\n\r\n'.encode()
        self._content, self._end = content, b"\r\n--B--\r\n"

    def __len__(self) -> int:
        return len(self._head) + len(self._content) + len(self._end)

    def __iter__(self) -> Iterator[bytes]:
        yield self._head
        yield from self._content
        yield self._end


class Watch:
    """Looks at the site while something big goes on: its memory, and how long other people's calls take."""

    def __init__(self, site: SiteProcess, others: list[tuple[HttpCaller, str]]) -> None:
        assert site.process
        self._status = Path(f"/proc/{site.process.pid}/status")
        self._others = others
        self._over = threading.Event()
        self.memory: list[int] = []
        self.waits: list[tuple[float, str]] = []
        self._threads = [threading.Thread(target=self._measure)]
        self._threads += [threading.Thread(target=self._call, args=other) for other in others]

    def __enter__(self) -> Watch:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(30)

    def resident(self) -> int:
        """Return the site's memory in bytes."""
        found = re.search(r"VmRSS:\s+(\d+) kB", self._status.read_text())
        assert found, "the site has no VmRSS"
        return int(found[1]) * 1024

    def _measure(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            self.memory.append(self.resident())

    def _call(self, caller: HttpCaller, path: str) -> None:
        while not self._over.wait(LOOK_SECONDS):
            begun = time.monotonic()
            status = caller.call("GET", path).status_code
            self.waits.append((time.monotonic() - begun, path))
            assert status == 200, f"{path}: {status}"


@pytest.mark.parametrize("megabytes", [80, pytest.param(200, marks=pytest.mark.long)])
@pytest.mark.parametrize("mode", dict.fromkeys(MODES))
def test_big_files_go_both_ways_without_memory_and_without_making_anybody_wait(
    own_site: OwnSite, started: Started, mode: str, megabytes: int
) -> None:
    site = own_site(async_mode=mode, SPACES_REQUEST_TIMEOUT=LONG_SECONDS)
    admin = site.admin()
    space = admin.make_space(inputs=EVERYTHING, timeout_seconds=LONG_SECONDS)
    there, back = (Pieces(WEBM, megabytes * MEGABYTE) for _ in range(2))
    app = started(Mirror(site.url, admin.make_token(spaces=[space]), back)).serve(space)
    sender = HttpCaller(site.url, admin.make_token(scopes=("api",)))
    other = site.user()
    small = admin.make_space(queue_when_offline=True)
    status = f"requests/{other.submit(small, 'small')['id']}"
    with Watch(site, [(other, "spaces"), (HttpCaller(site.url, other.make_token(scopes=("api",))), status)]) as watch:
        before = watch.resident()
        body, options = Form("video", there), {"headers": Form.headers, "timeout": LONG_SECONDS}
        sent = sender.json("POST", f"spaces/{space}/requests", 202, data=body, **options)
        final = wait_long(sender, sent["id"])
        result = final["output"][0]
        fetched = hash_at(sender.http, site.url + result["url"])
    assert final["status"] == "completed", final["error"]
    assert app.hashes == [there.sha256()] == [sent["input"]["files"][0]["sha256"]]
    assert fetched == back.sha256() == result["sha256"]
    assert result["size"] == len(back)
    wait_until(lambda: app.codes == ["accepted"], "the result is acknowledged")
    grown = (max(watch.memory) - before) / MEGABYTE
    assert grown < GROWTH_MB, f"the site grew by {grown:.0f} MB"
    slowest, path = max(watch.waits)
    assert slowest < PROMPT_SECONDS, f"GET {path} took {slowest:.2f} s"
    assert len(watch.waits) > 20, "the others were heard all the time"
    assert sender.call("DELETE", f"requests/{sent['id']}").status_code == 204
    assert kept(site.data_dir) == []


def wait_long(caller: HttpCaller, request_id: str) -> dict[str, Any]:
    """Wait for the end as long as a big file may take."""
    deadline = time.monotonic() + LONG_SECONDS
    while True:
        query = {"until": "final", "wait": "30"}
        found: dict[str, Any] = caller.json("GET", f"requests/{request_id}", params=query)
        if found["finished_at"]:
            return found
        assert time.monotonic() < deadline, found


@pytest.mark.parametrize("mode", dict.fromkeys(MODES))
def test_a_big_form_to_the_upload_link_is_streamed_too(own_site: OwnSite, started: Started, mode: str) -> None:
    site = own_site(async_mode=mode, SPACES_REQUEST_TIMEOUT=LONG_SECONDS)
    admin = site.admin()
    space = admin.make_space()
    app = started(Waiting(site.url, admin.make_token(spaces=[space]))).serve(space)
    admin.submit(space, "hello")
    request = app.next("inference_request")
    content = Pieces(WEBM, 60 * MEGABYTE)
    with Watch(site, [(admin, "spaces")]) as watch:
        before = watch.resident()
        body, options = Form("file", content), {"headers": Form.headers, "timeout": LONG_SECONDS}
        answer = app.http.post(request["upload"]["url"], data=body, **options)
    assert answer.status_code == 201, answer.text
    assert answer.json()["sha256"] == content.sha256()
    assert (max(watch.memory) - before) / MEGABYTE < GROWTH_MB
    assert max(watch.waits)[0] < PROMPT_SECONDS
    assert app.hand_in(request, answer.json()["file_id"]) == "accepted"


def test_what_looks_like_a_boundary_changes_no_byte(site: SiteProcess, started: Started) -> None:
    """Its beginning, wherever one piece of the body ends and the next begins."""
    scene = started(Scene(site))
    head, end = b'--B\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n', b"\r\n--B--\r\n"
    tricky = [b"\r", b"\n", b"\r\n", b"\r\n--", b"\r\n--BX", b"--B--", b"\r\n--B-", b"\n--Bx--\r\n", b"\r\r\n"]
    for before, odd in itertools.product((1, 65_500 - len(head)), tricky):
        content = b"z" * before + odd * 8
        answer = scene.form(head + content + end)
        assert answer.status == 202, (odd, answer.raw[-500:])
        assert answer.json["input"]["files"][0]["sha256"] == hashlib.sha256(content).hexdigest(), (before, odd)
