"""The examples' functions by themselves: they report progress, and stop when nobody waits any more."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from functools import cache
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.requirements import Requirement

from spaces_app import Request
from tests.examples import inputs
from tests.examples.needs import missing, need
from tests.site_process import ROOT

Reports = list[tuple[float | None, str | None]]


@cache
def load(name: str) -> ModuleType:
    """Import an example by its file, once: its model takes a while."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", ROOT / "examples" / f"{name}.py")
    assert spec
    assert spec.loader
    module = sys.modules[f"example_{name}"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def request_for(field: str, *paths: Path) -> tuple[Request, Reports]:
    """Return a request whose files are here already, and the list of what it reports."""
    reports: Reports = []
    files = [{"field": field, "name": path.name, "url": "http://127.0.0.1/"} for path in paths]
    body = {"request_id": "r1", "attempt_id": "a1", "space_name": "s", "files": files}
    request = Request.from_wire(body, lambda _request, value, message: reports.append((value, message)))
    for file, path in zip(request.files, paths, strict=True):
        file._path = path
    return request, reports


@pytest.fixture
def speech(tmp_path: Path) -> Callable[[], Any]:
    def ask(prepare: Callable[[Request], None]) -> tuple[Any, Reports]:
        need("pocketsphinx", "av", "numpy", "espeakng_loader")
        path = inputs.record_speech(tmp_path / "a.webm", "libopus")
        request, reports = request_for("audio", path)
        prepare(request)
        return load("speech_to_text").answer(path, request), reports

    return ask


@pytest.fixture
def motion(tmp_path: Path) -> Callable[[], Any]:
    def ask(prepare: Callable[[Request], None]) -> tuple[Any, Reports]:
        need("av", "cv2", "numpy")
        path = inputs.record_motion(tmp_path / "a.webm")
        request, reports = request_for("video", path)
        prepare(request)
        try:
            return load("motion").answer(path, request), reports
        finally:
            request.close()

    return ask


@pytest.fixture
def ocr(tmp_path: Path) -> Callable[[], Any]:
    def ask(prepare: Callable[[Request], None]) -> tuple[Any, Reports]:
        need("rapidocr_onnxruntime", "PIL")
        request, reports = request_for("file", *(inputs.write_picture(tmp_path / f"{n}.png", "Hi") for n in (1, 2)))
        prepare(request)
        return load("ocr").answer(request), reports

    return ask


@pytest.mark.parametrize("example", ["speech", "motion", "ocr"])
def test_progress_rises(example: str, request: pytest.FixtureRequest) -> None:
    _answer, reports = request.getfixturevalue(example)(lambda _request: None)
    values = [value for value, _message in reports if value is not None]
    assert len(values) >= 2
    assert values == sorted(values)
    assert 0 <= values[0] < values[-1] <= 1
    assert all(message for _value, message in reports)


@pytest.mark.parametrize("example", ["speech", "motion", "ocr"])
def test_a_cancel_stops_it(example: str, request: pytest.FixtureRequest) -> None:
    def cancel_at_the_first_report(running: Request) -> None:
        tell = running._progress
        running._progress = lambda *report: (tell(*report), running.cancelled.set())  # type: ignore[func-returns-value]

    _answer, reports = request.getfixturevalue(example)(cancel_at_the_first_report)
    assert len(reports) == 1


def test_nothing_to_rate_is_a_clear_failure() -> None:
    need("vaderSentiment")
    request, _reports = request_for("file")
    with pytest.raises(ValueError, match="Type a sentence"):
        load("sentiment").answer(" \n ", request)


def test_a_video_without_pictures_and_a_picture_that_is_none(tmp_path: Path) -> None:
    need("av", "cv2", "numpy", "espeakng_loader", "rapidocr_onnxruntime")
    sound = inputs.record_speech(tmp_path / "a.webm", "libopus")
    request, _reports = request_for("video", sound)
    with pytest.raises(ValueError, match="no pictures"):
        load("motion").answer(sound, request)
    request.close()
    request, _reports = request_for("file", sound)
    with pytest.raises(ValueError, match="cannot be read as a picture"):
        load("ocr").answer(request)


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*-requirements.txt")), ids=lambda path: path.stem)
def test_what_is_tested_here_is_what_the_requirements_pin(path: Path) -> None:
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    wanted = [Requirement(line) for line in lines]
    assert wanted
    for package in wanted:
        if package.marker is None or package.marker.evaluate():
            need_package(package.name)
            assert str(package.specifier) == f"=={metadata.version(package.name)}", f"{package.name} of {path.name}"


def need_package(name: str) -> None:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        missing(f"{name} is not installed")
