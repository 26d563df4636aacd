"""An app that fetches the files of a request and sends them back as results; some prompts make it send others."""

from __future__ import annotations

import hashlib
from typing import Any

import requests

from tests.browser.samples import png
from tests.faults.apps import FaultApp

SECONDS = 20
MEDIA = {"image", "audio", "video"}
RUN = "window.top.ran = true"
SCRIPT = f"<script>{RUN}</script>"
#: Looks like a picture to whoever reads its first bytes, and like a program to whoever runs it.
POLYGLOT = b"GIF89a/*" + bytes(40) + f"*/=1;{RUN};".encode()
HOSTILE_TEXT = f'{SCRIPT}<img src=x onerror="{RUN}">\n\n[click](javascript:{RUN})\n\n<svg onload="{RUN}">'
#: Name, what the app calls it, bytes.
HOSTILE_FILES = (
    ("page.html", "file", f"<!doctype html>{SCRIPT}".encode()),
    ("picture.svg", "image", f'<svg xmlns="http://www.w3.org/2000/svg" onload="{RUN}">{SCRIPT}</svg>'.encode()),
    ("sound.html", "audio", f"<html>{SCRIPT}</html>".encode()),
    ("polyglot.gif", "image", POLYGLOT),
    ("program.js", "file", f"{RUN};".encode()),
    (f"{SCRIPT}'\"><img src=x onerror={RUN}>.txt", "file", b"a name that is code"),
)


class MediaApp(FaultApp):
    """Sends back what it gets. ``got`` maps the fields of the last request to names and sha256 of their files."""

    def __init__(self, *args: Any, **more: Any) -> None:
        self.got: dict[str, list[tuple[str, str]]] = {}
        super().__init__(*args, **more)

    def on_request(self, request: dict[str, Any]) -> None:
        self.got = {}
        parts = [self._send_back(request, file) for file in request["files"]]
        prompt = request["payload"].get("prompt", "")
        if prompt == "pictures":
            parts = [self._part(request, "image", f"picture {n}.png", png(n * 60)) for n in range(1, 4)]
        if prompt == "hostile":
            parts = self._hostile(request)
        text = {"type": "text", "text": f"{len(parts)} files for: {prompt}"}
        body = {"request_id": request["request_id"], "attempt_id": request["attempt_id"]}
        answer = self.call("inference_result", {**body, "status": "completed", "result": {"parts": [text, *parts]}})
        assert answer["code"] == "accepted", answer

    def _send_back(self, request: dict[str, Any], file: dict[str, Any]) -> dict[str, Any]:
        answer = requests.get(file["url"], timeout=SECONDS)
        answer.raise_for_status()
        found = hashlib.sha256(answer.content).hexdigest()
        assert found == file["sha256"], f"{file['name']} arrived changed"
        self.got.setdefault(file["field"], []).append((file["name"], found))
        family = file["content_type"].split("/")[0]
        kind = family if family in MEDIA else "file"
        return self._part(request, kind, file["name"], answer.content, file["content_type"])

    def _hostile(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        words = [
            {"type": "markdown", "text": HOSTILE_TEXT, "name": SCRIPT},
            {"type": "text", "text": HOSTILE_TEXT},
            {"type": "json", "data": {SCRIPT: HOSTILE_TEXT}},
        ]
        return words + [self._part(request, kind, name, content) for name, kind, content in HOSTILE_FILES]

    @staticmethod
    def _part(request: dict[str, Any], kind: str, name: str, content: bytes, declared: str = "") -> dict[str, Any]:
        where, headers = request["upload"]["url"], {"Content-Type": declared}
        answer = requests.put(where, data=content, params={"name": name}, headers=headers, timeout=SECONDS)
        answer.raise_for_status()
        return {"type": kind, "file_id": answer.json()["file_id"], "name": name}
