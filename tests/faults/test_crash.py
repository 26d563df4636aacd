"""``kill -9`` of the site with one request processing and five queued, and what is left after the restart."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.faults.apps import Echo, FaultApp, Never
from tests.faults.looking import MODES, ending, steps, text_of, wait_connected, wait_status
from tests.program import Program
from tests.site_process import SiteProcess, wait_until

Start = Callable[..., Program]
OwnSite = Callable[..., SiteProcess]
Started = Callable[[FaultApp], FaultApp]

PROMPTS = [f"prompt {number}" for number in range(6)]
#: Longer than it takes to look at six requests and to kill a site.
FIRST_SECONDS = 4.0
SETTINGS = {"SPACES_GRACE": 8, "SPACES_REQUEST_TIMEOUT": 30}


class Scene:
    """A site with a space, an app of the package, and six requests: one processing, five queued."""

    def __init__(self, site: SiteProcess, program: Start, lines: Path) -> None:
        self.site, self.lines = site, lines
        self.admin = site.admin()
        self.space = self.admin.make_space()
        self.token = self.admin.make_token(spaces=[self.space])
        self.start = lambda: program(
            "python",
            "-m",
            "tests.faults.counting_app",
            site.url,
            self.token,
            self.space,
            str(lines),
            str(FIRST_SECONDS),
        )
        self.app = self.start()
        wait_connected(self.admin, self.space, seconds=20)
        self.ids = [self.admin.submit(self.space, prompt)["id"] for prompt in PROMPTS]
        wait_until(self.computed, "the first request is computed")
        states = [self.admin.request(one)["status"] for one in self.ids]
        assert states == ["processing"] + ["queued"] * 5

    def computed(self) -> list[str]:
        return self.lines.read_text().splitlines() if self.lines.exists() else []

    def finals(self) -> list[dict[str, Any]]:
        return [self.admin.wait_final(one) for one in self.ids]


def in_order(finals: list[dict[str, Any]]) -> bool:
    """Whether each began after the one before it had ended."""
    return all(one["finished_at"] <= next_["started_at"] for one, next_ in itertools.pairwise(finals))


@pytest.mark.parametrize("mode", MODES)
def test_with_an_app_that_lives_on_all_six_are_completed_and_computed_once(
    own_site: OwnSite, program: Start, tmp_path: Path, mode: str
) -> None:
    scene = Scene(own_site(async_mode=mode, **SETTINGS), program, tmp_path / "computed")
    scene.site.restart(kill=True)
    finals = scene.finals()
    assert [text_of(final) for final in finals] == PROMPTS
    assert [final["attempt"] for final in finals] == [1] * 6
    assert scene.computed() == PROMPTS
    assert in_order(finals)


def test_with_an_app_that_died_too_the_first_is_redelivered(own_site: OwnSite, program: Start, tmp_path: Path) -> None:
    scene = Scene(own_site(**SETTINGS), program, tmp_path / "computed")
    scene.app.kill()
    scene.site.restart(kill=True)
    assert [scene.admin.request(one)["status"] for one in scene.ids] == ["processing"] + ["queued"] * 5
    scene.app = scene.start()
    finals = scene.finals()
    assert [text_of(final) for final in finals] == PROMPTS
    assert [final["attempt"] for final in finals] == [2, 1, 1, 1, 1, 1]
    assert scene.computed() == [PROMPTS[0], *PROMPTS]
    assert in_order(finals)
    assert steps(finals[0]) == [
        ("queued", 0, None),
        ("processing", 1, None),
        ("queued", 1, "app_disconnected"),
        ("processing", 2, None),
        ("completed", 2, None),
    ]


def test_an_app_that_stays_away_loses_its_request_one_grace_after_the_restart(
    own_site: OwnSite, started: Started
) -> None:
    """A deadline that passed meanwhile is moved to that moment too; whichever comes first, it ends."""
    site = own_site()
    admin = site.admin()
    space = admin.make_space(timeout_seconds=30, queue_when_offline=True)
    token = admin.make_token(spaces=[space])
    started(Never(site.url, token)).serve(space)
    ids = [admin.submit(space, prompt)["id"] for prompt in ("one", "two")]
    wait_status(admin, ids[0], "processing")
    site.restart(kill=True)
    assert wait_status(admin, ids[0], "queued")["position"] == 1
    started(Echo(site.url, token)).serve(space)
    finals = [admin.wait_final(one) for one in ids]
    assert [(text_of(final), final["attempt"]) for final in finals] == [("one", 2), ("two", 1)]


def test_time_without_a_site_counts_neither_as_waiting_nor_as_working(own_site: OwnSite, started: Started) -> None:
    site = own_site(SPACES_QUEUE_TTL=4, SPACES_GRACE=3)
    admin = site.admin()
    space = admin.make_space(timeout_seconds=1, queue_when_offline=True)
    token = admin.make_token(spaces=[space])
    app = started(Never(site.url, token)).serve(space)
    ids = [admin.submit(space, prompt)["id"] for prompt in ("one", "two")]
    request = app.next("inference_request", request_id=ids[0])
    site.kill9()
    stopped = wait_past(request["deadline_at"])
    site.start()
    back = started(Never(site.url, token))
    claim = {"request_id": ids[0], "attempt_id": request["attempt_id"]}
    assert back.register(space, resume=[claim])["resumed"] == [claim], f"down since {stopped}"
    assert back.answer(request) == "accepted"
    assert back.answer(back.next("inference_request", request_id=ids[1])) == "accepted"


def wait_past(moment: str) -> str:
    """Wait until a time of the site has passed."""
    wait_until(lambda: datetime.now(UTC) > datetime.fromisoformat(moment), f"it is later than {moment}")
    return moment


def test_after_every_crash_one_outcome(own_site: OwnSite, started: Started) -> None:
    """What was answered before the crash stays as it was, and a result sent again is a duplicate."""
    site = own_site()
    admin = site.admin()
    space = admin.make_space()
    token = admin.make_token(spaces=[space])
    app = started(Never(site.url, token)).serve(space)
    done, cancelled = [admin.submit(space, prompt)["id"] for prompt in ("one", "two")]
    request = app.next("inference_request", request_id=done)
    assert app.answer(request) == "accepted"
    app.next("inference_request", request_id=cancelled)
    admin.json("POST", f"requests/{cancelled}/cancel")
    before = [admin.request(one) for one in (done, cancelled)]
    site.restart(kill=True)
    back = started(Never(site.url, token)).serve(space)
    assert back.answer(request, "changed") == "duplicate"
    assert [admin.request(one) for one in (done, cancelled)] == before
    assert ending(before[1]) == ("cancelled", "cancelled_by_user")
