"""Apps that move files, a raw HTTP peer, and a scene with both."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

from tests.faults.apps import SECONDS, FaultApp
from tests.http_caller import HttpCaller
from tests.site_process import SiteProcess, wait_until

EVERYTHING = {"prompt": True, "audio": True, "video": True, "file": True}


class Filer(FaultApp):
    """Fetches its files whole and answers with one file: what ``make`` makes of them; ``codes`` as Echo's."""

    def __init__(self, *args: Any, **more: Any) -> None:
        self.got: list[bytes] = []
        self.codes: list[str] = []
        self.make: Callable[[list[bytes]], bytes] = lambda got: b"".join(got) or b"nothing came"
        self.http = requests.Session()
        self.http.trust_env = False
        super().__init__(*args, **more)

    def on_request(self, request: dict[str, Any]) -> None:
        got = [self.fetch(file["url"]) for file in request["files"]]
        self.got += got
        self.codes.append(self.hand_in(request, self.upload(request, self.make(got))))

    def fetch(self, url: str) -> bytes:
        """Return the bytes at a signed link."""
        answer = self.http.get(url, timeout=SECONDS)
        assert answer.status_code == 200, f"{answer.status_code} {answer.text[:300]}"
        return answer.content

    def upload(self, request: dict[str, Any], content: bytes, name: str = "result.bin") -> str:
        """Bring a file and return its id."""
        answer = self.http.put(request["upload"]["url"], content, params={"name": name}, timeout=SECONDS)
        assert answer.status_code == 201, f"{answer.status_code} {answer.text[:300]}"
        return str(answer.json()["file_id"])

    def hand_in(self, request: dict[str, Any], *file_ids: str) -> str:
        """Send a result of these files and return the code of the acknowledgement."""
        parts = [{"type": "file", "file_id": file_id} for file_id in file_ids]
        return str(self.call("inference_result", result_of(request, {"parts": parts}))["code"])

    def close(self) -> None:
        """Leave, and give the HTTP connections back."""
        self.http.close()
        super().close()


class Waiting(Filer):
    """Takes requests and moves nothing until a test says so."""

    def on_request(self, request: dict[str, Any]) -> None:
        pass


def result_of(request: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    """Return the body of ``inference_result`` for a request that was completed."""
    named = {key: request[key] for key in ("request_id", "attempt_id")}
    return {**named, "status": "completed", "result": result}


@dataclass
class Answer:
    """What came back on a raw connection, and after how many seconds."""

    raw: bytes
    seconds: float

    @property
    def status(self) -> int:
        """The status of the first final answer; 0 when there was none."""
        final = self._final()
        return int(final.split(b" ", 2)[1]) if final else 0

    @property
    def json(self) -> Any:
        """The body, or None when it is no JSON, as when the server itself answered."""
        with contextlib.suppress(ValueError):
            return json.loads(self._body())
        return None

    @property
    def code(self) -> str | None:
        """The error code of the API, or None when it has none."""
        said = self.json
        return str(said["error"]["code"]) if said and said.get("error") else None

    @property
    def is_whole(self) -> bool:
        """Whether the body is as long as it was announced."""
        return self._length() is not None and len(self._body()) == self._length()

    def _final(self) -> bytes:
        rest = self.raw
        while rest.startswith(b"HTTP/1.1 100"):
            rest = rest.partition(b"\r\n\r\n")[2]
        return rest

    def _length(self) -> int | None:
        head = self._final().partition(b"\r\n\r\n")[0].lower().split(b"\r\n")
        return next((int(line.split(b":")[1]) for line in head if line.startswith(b"content-length:")), None)

    def _body(self) -> bytes:
        return self._final().partition(b"\r\n\r\n")[2][: self._length()]


class RawHttp:
    """One HTTP connection on which a test says every byte itself."""

    def __init__(self, url: str, seconds: float = SECONDS) -> None:
        address = urlsplit(url)
        self.socket = socket.create_connection((address.hostname or "", address.port or 80), timeout=seconds)
        self._seconds = seconds

    def send(self, *pieces: bytes) -> RawHttp:
        """Send bytes; whoever has been cut off meanwhile sends nothing."""
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                self.socket.sendall(piece)
        return self

    def half_close(self) -> RawHttp:
        """Say that nothing more comes, and go on listening; whoever has been cut off meanwhile says nothing."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)
        return self

    def answer(self) -> Answer:
        """Read until the answer is whole, or the site closes; fail when neither happens in time."""
        begun, raw = time.monotonic(), b""
        with contextlib.suppress(ConnectionError, TimeoutError):
            while not Answer(raw, 0).is_whole:
                self.socket.settimeout(max(0.01, begun + self._seconds - time.monotonic()))
                more = self.socket.recv(65_536)
                if not more:
                    break
                raw += more
        return Answer(raw, time.monotonic() - begun)

    def is_answered(self) -> bool:
        """Whether anything has come back, or the site has closed the connection."""
        return bool(select.select([self.socket], [], [], 0)[0])

    def until_closed(self) -> bytes:
        """Read all that comes until the site closes the connection, or nothing more comes in time."""
        raw = b""
        self.socket.settimeout(self._seconds)
        with contextlib.suppress(ConnectionError, TimeoutError):
            while more := self.socket.recv(65_536):
                raw += more
        return raw

    def close(self) -> None:
        """Leave without a word."""
        self.socket.close()


def taken(count: int, take: Callable[[], RawHttp], is_refused: Callable[[], bool]) -> list[RawHttp]:
    """Take all places, and one anew for each whose place was taken by the look; return the calls that hold them."""
    held = [take() for _ in range(count)]

    def is_full() -> bool:
        for place, one in enumerate(held):
            if one.is_answered():
                one.close()
                held[place] = take()
        return is_refused() and not any(one.is_answered() for one in held)

    wait_until(is_full, "all places are taken, and one more is refused")
    return held


def kept(data_dir: Path) -> list[Path]:
    """Return everything that lies in a site's store, however deep."""
    return [path for path in (data_dir / "files").rglob("*") if path.is_file() and path.name != "name"]


class Scene:
    """A site with a space that takes everything, an app that never answers, and one request in its hands."""

    def __init__(self, site: SiteProcess) -> None:
        self.site = site
        self.admin = site.admin()
        self.space = self.admin.make_space(timeout_seconds=100, inputs=EVERYTHING)
        self.api = HttpCaller(site.url, self.admin.make_token(scopes=("api",)))
        self.app = Waiting(site.url, self.admin.make_token(spaces=[self.space])).serve(self.space)
        self.admin.submit(self.space, "hello")
        self.request = self.app.next("inference_request")
        self.upload = self.request["upload"]["url"].removeprefix(site.url)
        self.open: list[RawHttp] = []

    def begin(self, line: str, headers: str, *pieces: bytes) -> RawHttp:
        """Open a connection, and send a head with these ``headers`` and then ``pieces``."""
        one = RawHttp(self.site.url)
        self.open.append(one)
        bearer = self.api.http.headers["Authorization"]
        head = f"{line} HTTP/1.1\r\nHost: {self.site.url[7:]}\r\nAuthorization: {bearer!s}\r\n{headers}\r\n"
        return one.send(head.encode("latin-1"), *pieces)

    def post(self, headers: str, *pieces: bytes, boundary: str = "boundary=B") -> RawHttp:
        """Begin a submit as a form."""
        kind = f"Content-Type: multipart/form-data; {boundary}\r\n"
        return self.begin(f"POST /api/v1/spaces/{self.space}/requests", kind + headers, *pieces)

    def form(self, *pieces: bytes, boundary: str = "boundary=B") -> Answer:
        """Submit a form of the right length and return the answer."""
        length = sum(map(len, pieces))
        return self.post(f"Content-Length: {length}\r\n", *pieces, boundary=boundary).answer()

    def put(self, headers: str, *pieces: bytes) -> RawHttp:
        """Begin an app's upload."""
        return self.begin(f"PUT {self.upload}&name=a.bin", headers, *pieces)

    def is_empty(self) -> bool:
        """Whether nothing is left on disk, at once or in a moment, and the site still serves."""
        wait_until(lambda: not kept(self.site.data_dir), f"the store is empty: {kept(self.site.data_dir)}", 3)
        return self.api.call("GET", f"spaces/{self.space}", timeout=2).status_code == 200

    def close(self) -> None:
        for one in self.open:
            one.close()
        self.app.close()
