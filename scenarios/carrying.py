"""The scenario of files: every kind goes to the app and comes back as it was."""

from __future__ import annotations

import hashlib
import io
import secrets
import wave
from typing import Any

from scenarios.stage import Stage, check, check_completed, expect

#: A picture of one point, and the beginning of a WebM file: enough for the site to know what they are.
PICTURE = (
    b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"
)
VIDEO = b"\x1aE\xdf\xa3\x9fB\x86\x81\x01B\xf7\x81\x01B\xf2\x81\x04B\xf3\x81\x08B\x82\x84webmB\x87\x81\x04B\x85\x81\x02"
LARGE = 5_000_000


def files_both_ways(stage: Stage) -> None:
    """A sound, a video, a picture and a large file reach the app, and the same bytes come back."""
    space = stage.space()
    app = stage.connect(space, "--delay", "0-0.2")
    sent = {
        "a sound.wav": ("audio", _sound()),
        "a video.webm": ("video", VIDEO + secrets.token_bytes(1_000)),
        "ein Bild, 画像.gif": ("file", PICTURE),
        "large.bin": ("file", secrets.token_bytes(LARGE)),
    }
    prompt = f"Files {secrets.token_hex(4)}"
    form: list[tuple[str, Any]] = [("prompt", (None, prompt))]
    form += [(field, (name, content)) for name, (field, content) in sent.items()]
    request = expect(stage.admin.api("POST", f"spaces/{space}/requests", files=form), 202)
    hashes = {name: hashlib.sha256(content).hexdigest() for name, (_, content) in sent.items()}
    given = {file["name"]: file["sha256"] for file in request["input"]["files"]}
    check(given == hashes, f"the site took other files than were sent: {given}")
    done = stage.wait_final(request["id"])
    check_completed(done, prompt)
    app.wait_for("[RESULT]", request["id"])
    back = {part["name"]: part for part in done["output"] if "file_id" in part}
    check({name: part["sha256"] for name, part in back.items()} == hashes, f"other files came back: {sorted(back)}")
    kinds = [back[name]["type"] for name in sent]
    check(kinds == ["audio", "video", "image", "file"], f"the files are shown as {kinds}")
    _check_downloads(stage, back)
    stage.note(f"{len(sent)} files, {sum(len(content) for _, content in sent.values()) / 1e6:.1f} MB each way")


def _check_downloads(stage: Stage, parts: dict[str, dict[str, Any]]) -> None:
    for name, part in parts.items():
        status, content = stage.admin.download(part["url"])
        check(status == 200, f"{name} cannot be downloaded: status {status}")
        check(hashlib.sha256(content).hexdigest() == part["sha256"], f"{name} is downloaded with other bytes")


def _sound() -> bytes:
    """Return a tenth of a second of silence."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8_000)
        sound.writeframes(b"\x00\x00" * 800)
    return buffer.getvalue()
