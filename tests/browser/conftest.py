"""Fixtures of the browser tests: Chromium, one running site, people with a clean browser each, and real apps."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browser.apps import start_mock_app
from tests.browser.media_app import MediaApp
from tests.browser.visitors import Visitor
from tests.http_caller import HttpCaller
from tests.program import Program
from tests.site_process import SiteProcess, wait_until

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SWITCHES = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # A camera and a microphone that need neither hardware nor a yes.
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
]
HERE = Path(__file__).parent

Visit = Callable[..., Visitor]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.browser)


# Not longer than a module: while Playwright runs, asyncio believes that this thread runs a loop.
@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A running Chromium. Skips without one, but fails on the project's own checks (``CI=true``)."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not found:
        reason = f"no browser: none of {', '.join(BROWSERS)} is installed"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=SWITCHES)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SiteProcess]:
    """A running site with short times. Every test makes what it needs under names of its own."""
    with SiteProcess(tmp_path_factory.mktemp("site"), SPACES_GRACE=3, SPACES_REQUEST_TIMEOUT=30) as running:
        yield running


@pytest.fixture(scope="session")
def admin(site: SiteProcess) -> HttpCaller:
    """The first admin, signed in, for what a test needs but does not look at."""
    return site.admin()


@pytest.fixture(scope="session")
def ann(site: SiteProcess) -> HttpCaller:
    """An ordinary person's account."""
    return site.user("ann")


@pytest.fixture
def visit(chromium: Browser, site: SiteProcess) -> Iterator[Visit]:
    """Give somebody a browser of their own: ``visit(caller)``, signed in as the caller, or a visitor.

    Every test fails that ends with an error in a console, a page error, a CSP violation or an answer of 500.
    """
    visitors: list[Visitor] = []

    def start(caller: HttpCaller | None = None, **context: Any) -> Visitor:
        visitors.append(Visitor(chromium, site.url, caller, **context))
        return visitors[-1]

    yield start
    for visitor in visitors:
        visitor.context.close()
    for visitor in visitors:
        visitor.check()


@pytest.fixture
def media_app(site: SiteProcess, admin: HttpCaller) -> Iterator[Callable[[str], MediaApp]]:
    """Connect an app that sends files back to a space."""
    connected: list[MediaApp] = []

    def connect(space: str) -> MediaApp:
        connected.append(MediaApp(site.url, admin.make_token(spaces=[space])).serve(space))
        return connected[-1]

    yield connect
    for app in connected:
        app.close()


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """The file that lets prompts with ``hold`` go on once it exists."""
    return tmp_path / "gate"


@pytest.fixture
def start_app(site: SiteProcess, admin: HttpCaller, tmp_path: Path, gate: Path) -> Iterator[Callable[..., Program]]:
    """Start the real mock app for a space, by default with the answers of ``gated_model``."""
    started: list[Program] = []

    def start(space: str) -> Program:
        log = tmp_path / f"app{len(started)}.log"
        started.append(start_mock_app(site.url, admin.make_token(spaces=[space]), space, log, gate))
        started[-1].wait_for("Registration successful")
        wait_until(lambda: admin.space(space)["connected"], f"an app serves {space}")
        return started[-1]

    yield start
    for program in started:
        program.kill()
