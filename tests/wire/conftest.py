"""Fixtures of the wire tests: one running site a module, and programs beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.http_caller import HttpCaller
from tests.program import Program
from tests.site_process import SiteProcess


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SiteProcess]:
    """A running site with short times, shared by the tests of one module."""
    folder = tmp_path_factory.mktemp("site")
    with SiteProcess(folder, SPACES_GRACE=3, SPACES_ACK_TIMEOUT=3, SPACES_REQUEST_TIMEOUT=20) as running:
        yield running


@pytest.fixture(scope="module")
def admin(site: SiteProcess) -> HttpCaller:
    """The first admin, signed in."""
    return site.admin()


@pytest.fixture
def own_site(tmp_path: Path) -> Iterator[Callable[..., SiteProcess]]:
    """Make sites (not started) that this test may stop, kill and restart; all are gone afterwards."""
    made: list[SiteProcess] = []

    def make(**settings: object) -> SiteProcess:
        made.append(SiteProcess(tmp_path / f"site{len(made)}", **settings))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for one in made:
        one.kill9()


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Callable[..., Program]]:
    """Start programs (``mock_app.py``, node, ...) that are ended after the test."""
    started: list[Program] = []

    def start(*command: str, **environment: str) -> Program:
        started.append(Program(list(command), tmp_path / f"program{len(started)}.log", environment))
        return started[-1]

    yield start
    for one in started:
        one.kill()
