"""Fixtures of the security tests: one running site, three people on it, and the list of all its routes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from project import create_app
from project.config import Settings
from tests.browser.conftest import chromium  # noqa: F401 - a fixture
from tests.http_caller import HttpCaller
from tests.security.routes import Route, routes_of
from tests.security.scene import Scene
from tests.site_process import SiteProcess

PUBLIC_URL = "https://spaces.example"


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SiteProcess]:
    """A running site, reached over plain http as on somebody's own network."""
    with SiteProcess(tmp_path_factory.mktemp("site"), SPACES_REQUEST_TIMEOUT=60) as running:
        yield running


@pytest.fixture(scope="session")
def secure_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SiteProcess]:
    """A running site in production, which people reach over https (through a proxy that is not there)."""
    settings = {"SPACES_PUBLIC_URL": PUBLIC_URL, "SPACES_ENV": "production", "SPACES_ASYNC_MODE": "eventlet"}
    with SiteProcess(tmp_path_factory.mktemp("secure"), **settings) as running:  # type: ignore[arg-type]
        yield running


@pytest.fixture(autouse=True)
def _no_surprises(site: SiteProcess) -> Iterator[None]:
    """Whatever a test sends, the site foresaw it: nothing ends in an error that nobody expected."""
    start = len(site.output())
    yield
    said = site.output()[start:]
    assert "Traceback" not in said, f"an error nobody foresaw:\n{said[-4000:]}"


@pytest.fixture(scope="session")
def admin(site: SiteProcess) -> HttpCaller:
    """The first admin, signed in."""
    return site.admin()


@pytest.fixture(scope="session")
def ann(site: SiteProcess) -> HttpCaller:
    """An ordinary person, who owns things."""
    return site.user("ann")


@pytest.fixture(scope="session")
def eve(site: SiteProcess) -> HttpCaller:
    """Another ordinary person, who has no business with what is ann's."""
    return site.user("eve")


@pytest.fixture(scope="session")
def visitor(site: SiteProcess) -> HttpCaller:
    """Somebody without an account, with the CSRF token of a page."""
    caller = HttpCaller(site.url)
    caller.http.headers["X-CSRFToken"] = caller._csrf("/login")
    return caller


@pytest.fixture(scope="session")
def scene(site: SiteProcess, admin: HttpCaller, ann: HttpCaller) -> Iterator[Scene]:
    """What is ann's: spaces, a completed request with files, a token."""
    made = Scene(site, admin, ann)
    yield made
    made.close()


@pytest.fixture(scope="session")
def routes(tmp_path_factory: pytest.TempPathFactory) -> list[Route]:
    """Every route of the site, as the framework knows them."""
    return routes_of(create_app(Settings(data_dir=tmp_path_factory.mktemp("routes"))))
