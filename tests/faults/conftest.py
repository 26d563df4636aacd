"""Fixtures of the fault tests: real sites with short times, and apps that misbehave.

A failed test shows what its sites and programs printed meanwhile, and what its apps heard.
After every test the guarantees of :mod:`tests.faults.rules` are checked over all that happened at its sites.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.faults import rules
from tests.faults.apps import FaultApp
from tests.faults.evidence import Witness
from tests.faults.looking import SHORT_TIMES, sites_in_modes
from tests.faults.raw_peer import RawPeer
from tests.http_caller import HttpCaller
from tests.program import Program
from tests.site_process import SiteProcess

A = TypeVar("A", FaultApp, RawPeer)


@dataclass
class Logs:
    """What a failed test shows."""

    sites: list[tuple[SiteProcess, int]] = field(default_factory=list)
    programs: list[Program] = field(default_factory=list)
    apps: list[Any] = field(default_factory=list)

    def watch(self, site: SiteProcess) -> None:
        """Show what the site prints from now on."""
        self.sites.append((site, len(site.output()) if site.log.exists() else 0))

    def of_sites(self) -> str:
        """Return what the sites printed since they are watched."""
        return "\n".join(site.output()[start:] for site, start in self.sites)

    def __str__(self) -> str:
        printed = [f"--- site:\n{self.of_sites()}"]
        printed += [f"--- {one.process.args!r}:\n{one.output()}" for one in self.programs]
        return "\n".join([*printed, *(f"--- {one!r}" for one in self.apps)])


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    outcome: Any = yield
    report, logs = outcome.get_result(), getattr(item, "funcargs", {}).get("logs")
    if report.failed and logs:
        report.sections.append(("both sides", str(logs)))


@pytest.fixture
def dice() -> random.Random:
    """Chance that can be repeated: the seed is printed, and taken from TEST_SEED when that is set."""
    seed = int(os.environ.get("TEST_SEED") or random.SystemRandom().randrange(1_000_000))
    print(f"TEST_SEED={seed}")
    return random.Random(seed)


@pytest.fixture
def witness() -> Iterator[Witness]:
    """Hears what all callers and apps of this test are told."""
    one = Witness()
    one.listen()
    yield one
    one.stop()


@pytest.fixture
def logs(witness: Witness) -> Iterator[Logs]:
    """What the test's sites, programs and apps say. No fault may break a guarantee, nor surprise the site."""
    kept = Logs()
    yield kept
    history = witness.history([site for site, _ in kept.sites])
    broken = rules.violations(history)
    assert not broken, rules.report(history, broken)
    assert "Traceback" not in kept.of_sites(), f"an error nobody foresaw:\n{kept.of_sites()}"


@pytest.fixture(scope="session")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str | None], SiteProcess]]:
    """Running sites with short times, one a mode, shared by all tests of this folder."""
    with sites_in_modes(tmp_path_factory, **SHORT_TIMES) as in_mode:
        yield in_mode


@pytest.fixture
def site(sites: Callable[[str | None], SiteProcess], request: pytest.FixtureRequest, logs: Logs) -> SiteProcess:
    """A running site with short times, shared with other tests; in the mode that the test is parametrised with."""
    found = sites(getattr(request, "param", None))
    logs.watch(found)
    return found


@pytest.fixture(scope="session")
def admins() -> dict[str, HttpCaller]:
    """The signed-in first admin of each shared site."""
    return {}


@pytest.fixture
def admin(site: SiteProcess, admins: dict[str, HttpCaller]) -> HttpCaller:
    """The first admin of the shared site, signed in."""
    if site.url not in admins:
        admins[site.url] = site.admin()
    return admins[site.url]


@pytest.fixture
def own_site(tmp_path: Path, logs: Logs) -> Iterator[Callable[..., SiteProcess]]:
    """Start sites that this test may stop, kill and restart; all are gone afterwards."""
    made: list[SiteProcess] = []

    def make(**settings: Any) -> SiteProcess:
        made.append(SiteProcess(tmp_path / f"site{len(made)}", **(SHORT_TIMES | settings)))
        logs.watch(made[-1])
        return made[-1].start()

    yield make
    for one in made:
        one.kill9()


@pytest.fixture
def space(admin: HttpCaller) -> str:
    """A space in which an app may take 30 s, so that only tests of the timeout see it."""
    return admin.make_space(timeout_seconds=30)


@pytest.fixture
def token(admin: HttpCaller, space: str) -> str:
    """An app token for the space."""
    return admin.make_token(spaces=[space])


@pytest.fixture
def started(logs: Logs) -> Iterator[Callable[[A], A]]:
    """Hand an app or a raw peer over, to be shown on failure and closed afterwards."""

    def keep(app: A) -> A:
        logs.apps.append(app)
        return app

    yield keep
    for app in logs.apps:
        app.close()


@pytest.fixture
def connect(site: SiteProcess, space: str, token: str, started: Callable[[FaultApp], FaultApp]) -> Callable[..., Any]:
    """Connect an app of the given kind to the site, registered for the test's space."""

    def make(kind: type[FaultApp], **register: Any) -> FaultApp:
        return started(kind(site.url, token)).serve(space, **register)

    return make


@pytest.fixture
def program(tmp_path: Path, logs: Logs) -> Iterator[Callable[..., Program]]:
    """Start programs that are ended after the test."""

    def start(*command: str, **environment: str) -> Program:
        one = Program(list(command), tmp_path / f"program{len(logs.programs)}.log", environment)
        logs.programs.append(one)
        return one

    yield start
    for one in logs.programs:
        one.kill()
