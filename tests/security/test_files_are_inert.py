"""Files that would run in a browser: sent so that nothing in them does; ranges that ask for too much."""

from __future__ import annotations

from typing import Any

import pytest

from tests.faults.filer import Filer, result_of
from tests.http_caller import HttpCaller
from tests.security.scene import Scene

RUN = b"<script>alert(1)</script>"
#: Name, declared type, bytes: what some browser somewhere would run if it were let.
RUNNING: tuple[tuple[str, str, bytes], ...] = (
    ("a.svg", "image/svg+xml", b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)">' + RUN + b"</svg>"),
    ("b.svg", "image/svg+xml", b'<?xml version="1.0"?><!DOCTYPE svg><svg xmlns="http://www.w3.org/2000/svg"/>'),
    ("c.html", "text/html", b"<!doctype html><html>" + RUN),
    ("d.png", "image/png", b"<html>" + RUN),
    ("e.xhtml", "application/xhtml+xml", b'<html xmlns="http://www.w3.org/1999/xhtml">' + RUN + b"</html>"),
    ("f.xml", "text/xml", b'<?xml version="1.0"?><?xml-stylesheet href="javascript:alert(1)"?><x/>'),
    ("g.js", "text/javascript", b"alert(1)"),
    ("h.mjs", "application/javascript", b"export default alert(1)"),
    ("i.css", "text/css", b"body{background:url(javascript:alert(1))}"),
    ("j.pdf", "application/pdf", b"%PDF-1.7\n1 0 obj<</OpenAction<</S/JavaScript/JS(app.alert(1))>>>>endobj"),
    ("k.swf", "application/x-shockwave-flash", b"CWS\x0b" + bytes(40)),
    ("l.mht", "message/rfc822", b"MIME-Version: 1.0\r\nContent-Type: text/html\r\n\r\n" + RUN),
    ("m.gif", "image/gif", b"GIF89a/*" + bytes(40) + b"*/=1;alert(1);"),
    ("n.wasm", "application/wasm", b"\x00asm\x01\x00\x00\x00"),
    ("o.txt", "text/html", RUN),
    ("p.json", "application/json", b'{"x": "' + RUN + b'"}'),
    ("q.hta", "application/hta", b"<hta:application/>" + RUN),
    ("r.jpg", "image/jpeg", b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + RUN),
    ("s", "", b"\xef\xbb\xbf<!DOCTYPE html><html>" + RUN),
    ("t.webmanifest", "application/manifest+json", b'{"start_url": "javascript:alert(1)"}'),
    ("u.appcache", "text/cache-manifest", b"CACHE MANIFEST\n/"),
    ("v.zip", "application/zip", b"PK\x03\x04" + bytes(30)),
)
SHOWN = ("image/png", "image/jpeg", "image/gif", "image/webp", "image/bmp", "image/avif", "audio/", "video/")
#: Types that a browser parses as something that can run, or that another page can load as its own.
PARSED = ("html", "xml", "svg", "javascript", "ecmascript", "css", "flash", "wasm", "manifest", "rfc822", "multipart")


@pytest.fixture(scope="module")
def sent(scene: Scene) -> list[dict[str, Any]]:
    """Every one of them as an input, as an app's upload, and as base64 within a result."""
    site, admin = scene.site, scene.admin
    space = admin.make_space(inputs={"prompt": True, "file": True})
    found: list[dict[str, Any]] = []

    class Uploader(Filer):
        def on_request(self, request: dict[str, Any]) -> None:
            parts: list[dict[str, Any]] = []
            for name, kind, content in RUNNING:
                file_id = self.upload(request, content, name)
                parts.append({"type": "image", "file_id": file_id, "name": name, "content_type": kind})
            self.codes.append(self.call("inference_result", result_of(request, {"parts": parts}))["code"])

    app = Uploader(site.url, admin.make_token(spaces=[space])).serve(space)
    for start in range(0, len(RUNNING), 10):
        files = [
            ("file", one) for one in ((name, content, kind) for name, kind, content in RUNNING[start : start + 10])
        ]
        sent_in = scene.ann.json("POST", f"spaces/{space}/requests", 202, files=files)
        done = scene.ann.wait_final(sent_in["id"])
        assert done["status"] == "completed", (done["error"], app.codes)
        found += done["input"]["files"] + done["output"]
    app.close()
    assert len(found) >= 3 * len(RUNNING)
    return found


def test_nothing_that_could_run_is_sent_so_that_it_does(scene: Scene, sent: list[dict[str, Any]]) -> None:
    contents = {content for _, _, content in RUNNING}
    for file in sent:
        for accept in ("*/*", "text/html"):
            answer = scene.ann.call("GET", file["url"], headers={"Accept": accept})
            headers, what = answer.headers, f"{file['name']}: {answer.headers['Content-Type']}"
            assert answer.status_code == 200
            assert answer.content in contents
            assert headers["X-Content-Type-Options"] == "nosniff", what
            assert "sandbox" in headers["Content-Security-Policy"], what
            assert "default-src 'none'" in headers["Content-Security-Policy"], what
            assert "allow-scripts" not in headers["Content-Security-Policy"], what
            assert not any(word in headers["Content-Type"] for word in PARSED), what
            shown = headers["Content-Type"].startswith(SHOWN)
            assert shown or headers["Content-Disposition"].startswith("attachment;"), what


def test_a_download_is_a_download(scene: Scene, sent: list[dict[str, Any]]) -> None:
    for file in sent[: len(RUNNING)]:
        answer = scene.ann.call("GET", file["url"], params={"download": "1"})
        assert answer.headers["Content-Disposition"].startswith("attachment;")


RANGES = (
    *("bytes=0-", "bytes=-1", "bytes=-99999999999999999999", "bytes=0-99999999999999999999999", "bytes=4-2"),
    *("bytes=" + ",".join(["0-"] * 1_000), "bytes=" + ",".join(f"{n}-{n}" for n in range(500)), "bytes=-0"),
    *("bytes=99999999999999999999-", "bytes=0-0,-1", "bytes=a-b", "bytes=--1", "bytes", "=", "bytes=", "lines=0-1"),
    *("bytes=0-\x00", "bytes=\uff11-\uff12", "bytes=0x0-0x1", "bytes= 0 - 1 ", "bytes=0-1;q=1", "bytes=1e3-"),
)


@pytest.mark.parametrize("said", RANGES, ids=range(len(RANGES)))
def test_no_range_makes_the_site_send_more_than_the_file(scene: Scene, said: str) -> None:
    file = scene.request["output"][0]
    answer = scene.ann.call("GET", file["url"], headers={"Range": said.encode("utf-8").decode("latin-1")})
    if answer.status_code == 400:  # a header that HTTP does not know, refused by the server
        return
    assert answer.status_code in (200, 206, 416), answer.text[:200]
    assert answer.status_code == 416 or len(answer.content) <= file["size"]
    assert answer.status_code == 416 or answer.content in b"hello"
    assert not answer.headers["Content-Type"].startswith("multipart/")


def test_a_file_is_read_by_nobody_else_in_any_way(scene: Scene, eve: HttpCaller, visitor: HttpCaller) -> None:
    url = scene.request["output"][0]["url"]
    tag = scene.ann.call("GET", url).headers["ETag"]
    asks: list[dict[str, str]] = [{"Range": "bytes=0-1"}, {"If-None-Match": tag}, {"If-Range": tag}, {"If-Match": tag}]
    for headers in asks:
        for method in ("GET", "HEAD"):
            assert eve.call(method, url, headers=headers).status_code == 404, headers
            assert visitor.call(method, url, headers=headers).status_code == 401, headers
