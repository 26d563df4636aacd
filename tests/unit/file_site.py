"""A real HTTP server with one file to fetch and one place to send files to, which misbehaves as a test tells it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import socket
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

SECRET = "s3cret-signature"
CHUNK = 64 * 1024
TYPES = {b"\x89PNG": "image/png", b"RIFF": "audio/x-wav", b"\x1aE\xdf\xa3": "video/webm"}


@dataclass
class Seen:
    """One HTTP request that came."""

    method: str
    path: str
    headers: dict[str, str]
    size: int = 0
    sha256: str = ""
    name: str = ""


@dataclass
class FileSite:
    """``gets`` and ``puts`` say how the next requests are answered; when they are used up, all goes well.

    A number is answered as that status. For a GET: ``cut`` breaks off in the middle, ``lie`` changes a byte, ``more``
    sends too much, ``whole`` ignores the range, ``shifted`` answers another range, ``trickle`` sends a byte now and
    then, ``endless`` never ends. For a PUT: ``cut`` breaks off, ``lie`` answers with another hash, ``strange`` answers
    no JSON. ``before`` is called at each request.
    """

    content: bytes = b""
    gets: deque[str | int] = field(default_factory=deque)
    puts: deque[str | int] = field(default_factory=deque)
    seen: list[Seen] = field(default_factory=list)
    before: Any = lambda: None
    sent: int = 0

    def __enter__(self) -> Self:
        site = self

        class Handler(_Handler):
            pass

        Handler.site = site
        self._server = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def file(self, field: str = "file", name: str = "a.png", attempt: str = "a1", **more: Any) -> dict[str, Any]:
        """Return the entry of ``files`` for this site's content."""
        return {
            "field": field,
            "name": name,
            "content_type": "application/octet-stream",
            "size": len(self.content),
            "sha256": hashlib.sha256(self.content).hexdigest(),
            "url": f"{self.address}/files/1?attempt={attempt}&signature={SECRET}",
            **more,
        }

    def body(self, *files: dict[str, Any], attempt_id: str = "a1", **more: Any) -> dict[str, Any]:
        """Return the body of ``inference_request`` for a request with these files."""
        return {
            "request_id": "r1",
            "attempt_id": attempt_id,
            "space_name": "cats",
            "payload": {"prompt": "hello", "parameters": {"k": 1}, **{one["field"]: one["url"] for one in files}},
            "files": list(files),
            "upload": {"url": f"{self.address}/upload?attempt={attempt_id}&signature={SECRET}"},
            "timeout_seconds": 20,
            **more,
        }

    def of(self, method: str) -> list[Seen]:
        return [one for one in self.seen if one.method == method]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a peer that left in the middle: that is what some tests are about."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    site: FileSite
    protocol_version = "HTTP/1.1"

    def log_message(self, *_args: Any) -> None:
        pass

    def do_GET(self) -> None:
        how = self._next(self.site.gets)
        content, tag = self.site.content, hashlib.sha256(self.site.content).hexdigest()
        self.site.seen.append(Seen("GET", self.path, dict(self.headers)))
        if isinstance(how, int):
            self._answer(how, b"{}")
            return
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(wanted[1]) if wanted and how != "whole" and self.headers.get("If-Range") == f'"{tag}"' else 0
        if how in ("trickle", "endless"):
            self._go_on(b"x" if how == "trickle" else bytes(CHUNK), 0.01 if how == "trickle" else 0.0)
            return
        send = (b"x" + content[1:] if how == "lie" else content + b"more" if how == "more" else content)[start:]
        self.send_response(206 if start else 200)
        if start:
            begin = start + 1 if how == "shifted" else start
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(send)))
        self.end_headers()
        self.wfile.write(send[: len(send) // 2] if how == "cut" else send)
        if how == "cut":
            self._break()

    def do_PUT(self) -> None:
        how = self._next(self.site.puts)
        query = parse_qs(urlsplit(self.path).query)
        left, digest, head = int(self.headers["Content-Length"]), hashlib.sha256(), b""
        seen = Seen("PUT", self.path, dict(self.headers), left, "", query.get("name", [""])[0])
        self.site.seen.append(seen)
        if how == "cut":
            self.rfile.read(min(left, 10))
            self._break()
            return
        while left and (chunk := self.rfile.read(min(left, CHUNK))):
            head = head or chunk[:4]
            digest.update(chunk)
            left -= len(chunk)
        seen.sha256 = digest.hexdigest()
        if isinstance(how, int):
            self._answer(how, json.dumps({"error": {"code": "x", "message": "It says why."}}).encode())
        elif how == "strange":
            self._answer(201, b"<html>")
        else:
            told = {"file_id": f"f{len(self.site.of('PUT'))}", "name": seen.name, "size": seen.size}
            told |= {"sha256": "0" * 64 if how == "lie" else seen.sha256}
            told |= {"content_type": TYPES.get(head, "text/plain")}
            self._answer(201, json.dumps(told).encode())

    def _next(self, script: deque[str | int]) -> str | int:
        self.site.before()
        return script.popleft() if script else "well"

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _go_on(self, piece: bytes, pause: float) -> None:
        """Send the same piece until the other side leaves, within bounds."""
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Length", "1000000000000")
        self.end_headers()
        until = time.monotonic() + 5
        with contextlib.suppress(OSError):
            while time.monotonic() < until:
                self.wfile.write(piece)
                self.site.sent += len(piece)
                threading.Event().wait(pause)

    def _break(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)
