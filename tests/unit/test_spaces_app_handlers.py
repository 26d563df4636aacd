"""What a handler takes by its parameters, and what the command lines around a handler do and print."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Optional

import pytest

import mock_app
from spaces_app import App, Request, commandline
from spaces_app.answers import compute
from spaces_app.binding import check
from spaces_app.printer import Printer
from tests.unit.file_site import SECRET, FileSite

HOST = "http://localhost:5001"
CONTENT = b"a file of the user"


@pytest.fixture
def site() -> Iterator[FileSite]:
    with FileSite(CONTENT) as running:
        yield running


@pytest.fixture
def make(site: FileSite) -> Iterator[Callable[..., Request]]:
    """Make requests with one file for each name of a field; they are closed afterwards."""
    made: list[Request] = []

    def build(*fields: str, **entry: Any) -> Request:
        made.append(Request.from_wire(site.body(*(site.file(field, f"{field}.bin", **entry) for field in fields))))
        return made[-1]

    yield build
    for one in made:
        one.close()


def told(handler: Callable[..., Any], request: Request) -> str:
    """Return the text that ``handler`` answers with, or the error."""
    answer = compute(handler, request)
    assert answer
    return str(answer["error"] if answer["status"] == "failed" else answer["result"]["parts"][0]["text"])


def takes_all(prompt: str, audio: Path, files: list[Path], parameters: dict, request: Request) -> str:  # type: ignore[type-arg]
    return f"{prompt} {audio.read_bytes()!r} {len(files)} {parameters} {request.id}"


def takes_text_last(video: Path, text: str) -> str:
    return f"{text} {video.suffix}"


def takes_some_other(question: str, temperature: float = 0.5) -> str:
    return f"{question} {temperature}"


def takes_optional(audio: Path | None) -> str:
    return str(audio)


def takes_old_optional(audio: Optional[Path]) -> str:  # noqa: UP045
    return str(audio)


def takes_default(audio: Path = Path("silence.wav")) -> str:
    return str(audio)


def takes_unknown_annotation(audio: OnlyForTypeCheckers | None) -> str:  # type: ignore[name-defined]  # noqa: F821
    return str(audio)


def takes_by_place(prompt: str, /, other: int = 3, *more: int) -> str:
    return f"{prompt} {other} {more}"


def takes_anything(*everything: Any) -> str:
    return str(everything[0].id)


def takes_request_by_type(prompt: Request) -> str:
    return prompt.id


class TestBinding:
    @pytest.mark.parametrize(
        ("handler", "fields", "expected"),
        [
            (takes_all, ["audio", "file"], f"hello {CONTENT!r} 2 {{'k': 1}} r1"),
            (takes_text_last, ["video"], "hello .bin"),
            (takes_some_other, [], "hello 0.5"),
            (takes_optional, [], "None"),
            (takes_old_optional, [], "None"),
            (takes_unknown_annotation, [], "None"),
            (takes_default, [], "silence.wav"),
            (takes_by_place, [], "hello 3 ()"),
            (takes_anything, [], "r1"),
            (takes_request_by_type, [], "r1"),
            (lambda request: request.id, [], "r1"),
            (lambda anything: anything.id, [], "r1"),
            (lambda file: file.read_text(), ["file"], CONTENT.decode()),
        ],
    )
    def test_parameters_say_what_a_handler_takes(
        self, make: Callable[..., Request], handler: Callable[..., Any], fields: list[str], expected: str
    ) -> None:
        check(handler)
        assert told(handler, make(*fields)) == expected

    @pytest.mark.parametrize(
        ("field", "message"), [("audio", "an audio file"), ("video", "a video file"), ("file", "a file")]
    )
    def test_a_missing_file_that_is_required_is_a_clear_failure(
        self, make: Callable[..., Request], field: str, message: str
    ) -> None:
        namespace: dict[str, Any] = {}
        exec(f"def handler({field}): return 'computed'", namespace)
        assert told(namespace["handler"], make()) == f"This space needs {message}."

    def test_no_file_is_fetched_that_no_handler_asks_for(self, site: FileSite, make: Callable[..., Request]) -> None:
        told(lambda prompt: prompt, make("file", "audio"))
        assert site.seen == []

    @pytest.mark.parametrize(
        ("handler", "words"),
        [
            (lambda: "x", "at least one argument"),
            (lambda prompt, temperature: "x", "no request has a 'temperature'"),
            (lambda prompt, *, seed: "x", "no request has a 'seed'"),
        ],
    )
    def test_a_handler_that_cannot_be_called_is_refused_when_it_is_added(
        self, handler: Callable[..., Any], words: str
    ) -> None:
        with pytest.raises(TypeError, match=words):
            App(HOST).serve("cats", handler)

    def test_a_path_is_no_text(self) -> None:
        def handler(audio: str) -> str:
            return audio

        with pytest.raises(TypeError, match=r"pathlib\.Path"):
            App(HOST).serve("cats", handler)


class TestTheMockApp:
    def test_it_sends_every_file_back_and_says_what_it_is(self, site: FileSite, make: Callable[..., Request]) -> None:
        answer = compute(mock_app.echo, make("audio", "file"))
        assert answer
        text, *files = answer["result"]["parts"]
        assert text["text"].startswith("**Answer of the mock app**\n\n> hello\n\n1 word.")
        sha256 = site.file()["sha256"]
        assert f"- `audio.bin`: {len(CONTENT)} bytes, sha256 `{sha256}`" in text["text"]
        assert [part["name"] for part in files] == ["audio.bin", "file.bin"]
        assert [one.sha256 for one in site.of("PUT")] == [sha256] * 2

    def test_without_files_it_answers_as_ever(self, make: Callable[..., Request]) -> None:
        answer = compute(mock_app.echo, make())
        text = "**Answer of the mock app**\n\n> hello\n\n1 word."
        assert answer == {"status": "completed", "result": {"parts": [{"type": "markdown", "text": text}]}}

    def test_a_file_s_name_cannot_break_out_of_its_line(self, make: Callable[..., Request]) -> None:
        (file,) = make("file").files
        file.name = "a`b\n# Heading"
        assert mock_app.describe(file).startswith("- `a?b?# Heading`: ")

    def test_a_handler_takes_the_new_parameters(self, make: Callable[..., Request]) -> None:
        options = mock_app.arguments(["--spaces", "cats", "--token", "x", "--handler", "tests.unit.handlers:size"])
        app = mock_app.make_app(options, mock_app.MockPrinter(verbose=False))
        assert told(app._handlers["cats"], make("file")) == f"{len(CONTENT)} bytes"

    def test_a_request_is_printed_with_its_files(
        self, make: Callable[..., Request], capsys: pytest.CaptureFixture[str]
    ) -> None:
        request = make("audio", content_type="audio/webm")
        request.files[0].name = "talk\x1b[2J.webm"
        Printer(verbose=True).on_request(request, 0, answered=False)
        printed = capsys.readouterr().out
        shown = f"[audio: talk?[2J.webm, audio/webm, {len(CONTENT)} bytes]"
        assert f"[REQUEST] r1 cats from : hello {shown}" in printed
        assert "Queue size: 0 (cats)" in printed
        assert SECRET not in printed


class TestTheCommandLine:
    def test_spaces_are_a_list(self) -> None:
        read = commandline.read(commandline.parser("x"), ["--spaces", " a, b,,"])
        assert (read.spaces, read.host, read.verbose, read.token) == (["a", "b"], HOST, False, None)

    @pytest.mark.parametrize("argv", [[], ["--spaces", " , "]])
    def test_no_space_ends_it(self, argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            commandline.read(commandline.parser("x"), argv)
        assert "--spaces" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("host", "handler", "words"),
        [("http://x/?token=secret", takes_optional, "address"), (HOST, lambda: "x", "at least one argument")],
    )
    def test_what_cannot_be_served_is_said_with_status_2(
        self, host: str, handler: Callable[..., Any], words: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        argv = ["--spaces", "cats", "--token", "x", "--host", host]
        assert commandline.serve(handler, "x", argv) == commandline.REFUSED_STATUS
        assert words in capsys.readouterr().out
