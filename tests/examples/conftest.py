"""Fixtures of the examples' tests: one running site, and programs beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.http_caller import HttpCaller
from tests.program import Program
from tests.site_process import SiteProcess


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SiteProcess]:
    """A running site, shared by the tests of one module."""
    with SiteProcess(tmp_path_factory.mktemp("site")) as running:
        yield running


@pytest.fixture(scope="module")
def admin(site: SiteProcess) -> HttpCaller:
    """The first admin, signed in."""
    return site.admin()


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Callable[..., Program]]:
    """Start programs that are ended after the test."""
    started: list[Program] = []

    def start(*command: str, **environment: str) -> Program:
        started.append(Program(list(command), tmp_path / f"program{len(started)}.log", environment))
        return started[-1]

    yield start
    for one in started:
        one.kill()
