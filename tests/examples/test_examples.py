"""The examples as people run them: a real site, the example as a program, a real input, and what the answer means."""

from __future__ import annotations

import hashlib
import io
import random
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.examples import inputs
from tests.examples.needs import need
from tests.http_caller import HttpCaller
from tests.program import Program
from tests.site_process import ROOT, SiteProcess

Start = Callable[..., Program]
ALL_INPUTS = {"prompt": True, "audio": True, "video": True, "file": True}
START_SECONDS = 40.0


class Space:
    """A space served by a program, and what is sent to it."""

    def __init__(self, admin: HttpCaller, name: str) -> None:
        self.admin = admin
        self.name = name

    def ask(self, prompt: str = "", *files: tuple[str, Path]) -> dict[str, Any]:
        """Send a prompt and files (field and path) in a form, and return the ended request."""
        with ExitStack() as stack:
            opened = [(field, (path.name, stack.enter_context(path.open("rb")))) for field, path in files]
            form = {"prompt": (None, prompt)} if prompt or not files else {}
            sent = [*form.items(), *opened]
            made = self.admin.json("POST", f"spaces/{self.name}/requests", 202, files=sent)
        return self.admin.wait_final(made["id"])

    def answer(self, prompt: str = "", *files: tuple[str, Path]) -> list[dict[str, Any]]:
        """The same, and return the parts of the result; fails when there is none."""
        final = self.ask(prompt, *files)
        assert final["status"] == "completed", final
        parts: list[dict[str, Any]] = final["output"]
        return parts

    def bytes_of(self, part: dict[str, Any]) -> bytes:
        answer = self.admin.call("GET", part["url"])
        assert answer.status_code == 200, answer.text
        assert hashlib.sha256(answer.content).hexdigest() == part["sha256"]
        return answer.content


@pytest.fixture
def serve(site: SiteProcess, admin: HttpCaller, program: Start) -> Callable[..., Space]:
    """Start a program for a space of its own and wait until it is registered."""

    def start(*command: str) -> Space:
        name = admin.make_space(inputs=ALL_INPUTS)
        token = admin.make_token(spaces=[name])
        words = ("--host", site.url, "--spaces", name)
        app = program("python", *command, *words, SPACES_TOKEN=token, PYTHONPATH=str(ROOT))
        app.wait_for("Registration successful", START_SECONDS)
        return Space(admin, name)

    return start


def data_of(parts: list[dict[str, Any]]) -> Any:
    return next(part["data"] for part in parts if part["type"] == "json")


def test_sentiment_of_a_prompt(serve: Callable[..., Space]) -> None:
    need("vaderSentiment")
    space = serve("examples/sentiment.py")
    good = data_of(space.answer("What a wonderful, friendly place. I love it!"))
    bad = data_of(space.answer("This is horrible. I hate it."))
    assert (good["sentiment"], bad["sentiment"]) == ("positive", "negative")
    assert good["score"] > 0.5 > -0.5 > bad["score"]
    assert len(good["sentences"]) == 2


@pytest.mark.parametrize(("name", "codec"), [("recording.webm", "libopus"), ("recording.m4a", "aac")])
def test_speech_of_a_recording(serve: Callable[..., Space], tmp_path: Path, name: str, codec: str) -> None:
    need("pocketsphinx", "av", "numpy", "espeakng_loader")
    space = serve("examples/speech_to_text.py")
    parts = space.answer("", ("audio", inputs.record_speech(tmp_path / name, codec)))
    heard, spoken = parts[0]["text"].split(), inputs.SPOKEN.split()
    assert len(set(heard) & set(spoken)) >= len(set(spoken)) - 1, heard
    words = data_of(parts)["words"]
    assert [one["word"] for one in words] == heard
    assert 2 < words[-1]["end"] <= data_of(parts)["seconds"] < 5


def test_what_is_no_recording_is_a_clear_failure(serve: Callable[..., Space], tmp_path: Path) -> None:
    need("pocketsphinx", "av", "numpy")
    space = serve("examples/speech_to_text.py")
    (tmp_path / "broken.webm").write_bytes(b"\x1aE\xdf\xa3" + bytes(2_000))
    final = space.ask("", ("audio", tmp_path / "broken.webm"))
    assert (final["error"]["code"], final["error"]["message"]) == ("app_error", "This cannot be read as audio.")
    assert space.ask("only words")["error"]["message"] == "This space needs an audio file."


def test_motion_in_a_video(serve: Callable[..., Space], tmp_path: Path) -> None:
    need("av", "cv2", "numpy")
    space = serve("examples/motion.py")
    parts = space.answer("", ("video", inputs.record_motion(tmp_path / "box.webm")))
    ((start, end),) = [(one["start"], one["end"]) for one in data_of(parts)["motion"]]
    assert abs(start - inputs.MOVES_FROM) < 0.3
    assert abs(end - inputs.MOVES_TO) < 0.3
    video = next(part for part in parts if part["type"] == "video")
    assert (video["name"], video["content_type"]) == ("box-motion.mp4", "video/mp4")
    assert red_frames(space.bytes_of(video)) == {"before": False, "meanwhile": True}
    still = next(part for part in parts if part["type"] == "image")
    assert space.bytes_of(still).startswith(b"\xff\xd8")


def red_frames(video: bytes) -> dict[str, bool]:
    """Return whether red lines are drawn before and while the box moves."""
    import av

    found = {"before": False, "meanwhile": False}
    with av.open(io.BytesIO(video)) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        for frame in container.decode(video=0):
            picture = frame.to_ndarray(format="rgb24").astype(int)
            red = bool(((picture[..., 0] > 170) & (picture[..., 1] < 90) & (picture[..., 2] < 90)).any())
            if inputs.MOVES_FROM + 0.5 < frame.time < inputs.MOVES_TO - 0.5:
                found["meanwhile"] |= red
            elif frame.time < inputs.MOVES_FROM - 0.2:
                found["before"] |= red
    return found


def test_text_in_several_pictures(serve: Callable[..., Space], tmp_path: Path) -> None:
    need("rapidocr_onnxruntime", "PIL")
    space = serve("examples/ocr.py")
    first = inputs.write_picture(tmp_path / "first.png", "Invoice 2048\nTotal 19.95")
    second = inputs.write_picture(tmp_path / "second.png", "Good morning")
    (tmp_path / "notes.txt").write_text("no picture")
    parts = space.answer("", ("file", first), ("file", second), ("file", tmp_path / "notes.txt"))
    texts = {part["name"]: part["text"] for part in parts if part["type"] == "text"}
    assert texts["first.png"].splitlines() == ["Invoice 2048", "Total 19.95"]
    assert texts["second.png"] == "Good morning"
    assert texts["notes.txt"] == "notes.txt cannot be read as a picture."
    assert data_of(parts)["pictures"][0]["lines"][0]["confidence"] > 0.8


def test_the_mock_app_sends_files_back_unchanged(serve: Callable[..., Space], tmp_path: Path) -> None:
    space = serve("mock_app.py", "--delay", "0")
    sent = {"data.bin": random.Random(1).randbytes(3_000_000), "ünï cödé 'x'.txt": b"text"}
    paths = [tmp_path / name for name in sent]
    for path in paths:
        path.write_bytes(sent[path.name])
    text, *files = space.answer("three little words", *(("file", path) for path in paths))
    assert "3 words" in text["text"]
    assert [part["name"] for part in files] == list(sent)
    for part in files:
        assert space.bytes_of(part) == sent[part["name"]]
        assert hashlib.sha256(sent[part["name"]]).hexdigest() in text["text"]
