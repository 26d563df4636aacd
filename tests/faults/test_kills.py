"""``kill -9`` at a random moment of 200 submits and their work: nothing accepted is lost, nothing is half there."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from spaces_app import Request
from tests.faults.apps import Echo
from tests.faults.evidence import Witness
from tests.faults.lasting import Packaged, Returning
from tests.faults.looking import compute, rounds, text_of, wait_connected
from tests.http_caller import HttpCaller
from tests.site_process import SiteProcess, wait_until

OwnSite = Callable[..., SiteProcess]
Started = Callable[[Any], Any]

SUBMITS, USERS = 200, 8
#: In which the site is ready again; on a machine too busy for that, this many times what its first start took.
READY_SECONDS, READY_TIMES = 10.0, 2
#: The longest that an app of this test computes.
MOST_SECONDS = 0.04
SETTINGS = {
    "SPACES_GRACE": 10,
    "SPACES_ACK_TIMEOUT": 10,
    "SPACES_REQUEST_TIMEOUT": 30,
    "SPACES_QUEUE_LENGTH": 1_000,
    "SPACES_USER_QUEUE_LENGTH": 1_000,
}


class Thinking(Echo):
    """Echo that computes for a moment."""

    def on_request(self, request: dict[str, Any]) -> None:
        compute(request["request_id"], MOST_SECONDS)
        super().on_request(request)


def packaged(request: Request) -> str:
    compute(request.id, MOST_SECONDS)
    return request.prompt


class Crowd:
    """Submits as several people to several spaces; keeps which prompts were accepted, refused, or cut off."""

    def __init__(self, site: SiteProcess, spaces: list[str]) -> None:
        self.spaces = spaces
        self.people = [HttpCaller(site.url, site.user().make_token(scopes=("api",))) for _ in range(USERS)]
        self.accepted: dict[str, tuple[HttpCaller, str]] = {}
        self.refused: list[str] = []
        self.cut: list[str] = []

    @property
    def tried(self) -> int:
        return len(self.accepted) + len(self.refused) + len(self.cut)

    def submit_as(self, number: int) -> None:
        """Submit one person's share, a little for each space in turn."""
        for one in range(number, SUBMITS, USERS):
            self._submit(self.people[number], self.spaces[one // USERS % len(self.spaces)], f"prompt {one}")

    def _submit(self, person: HttpCaller, space: str, prompt: str) -> None:
        """Submit once; after a failure wait until the space is served again."""
        try:
            answer = person.call("POST", f"spaces/{space}/requests", json={"prompt": prompt})
        except requests.RequestException:
            self.cut.append(prompt)
        else:
            if answer.status_code == 202:
                self.accepted[prompt] = (person, answer.json()["id"])
                return
            assert answer.status_code == 503, f"{answer.status_code} {answer.text[:300]}"
            self.refused.append(prompt)
        wait_until(lambda: is_served(person, space), f"{space} is served again", 25)

    def agrees_with(self, kept: Counter[str]) -> None:
        """Fail unless what is ``kept`` of each prompt is what its user was told; only what was cut off is open."""
        assert self.tried == SUBMITS
        assert [prompt for prompt in self.accepted if kept[prompt] != 1] == []
        assert [prompt for prompt in self.refused if kept[prompt]] == []
        assert [prompt for prompt in self.cut if kept[prompt] > 1] == []

    def finals(self) -> dict[str, dict[str, Any]]:
        """Wait until everything accepted is final and return that by prompt."""
        return {prompt: person.wait_final(one) for prompt, (person, one) in self.accepted.items()}


def is_served(person: HttpCaller, space: str) -> bool:
    try:
        return bool(person.space(space)["connected"])
    except requests.RequestException:
        return False


def scene(site: SiteProcess, started: Started) -> Crowd:
    """Four served spaces: by plain apps with and without acks, by two of the package; and people."""
    admin = site.admin()
    spaces = [admin.make_space(queue_when_offline=number % 2 == 0) for number in range(4)]
    token = admin.make_token()
    for space, acks in ((spaces[0], False), (spaces[1], True)):
        started(Returning(lambda: Thinking(site.url, token), space, acks=acks))
    for space in spaces[2:]:
        started(Packaged(site.url, token, space, packaged))
    for space in spaces:
        wait_connected(admin, space)
    return Crowd(site, spaces)


@pytest.mark.parametrize("number", rounds(3, 20))
def test_kill_in_the_middle_of_submits_and_work(
    own_site: OwnSite, started: Started, witness: Witness, dice: random.Random, number: int
) -> None:
    begun = time.monotonic()
    site = own_site(**SETTINGS)
    ready = max(READY_SECONDS, READY_TIMES * (time.monotonic() - begun))
    crowd = scene(site, started)
    moment = dice.randrange(10, 2 * SUBMITS - 20)
    with ThreadPoolExecutor(USERS) as pool:
        submits = [pool.submit(crowd.submit_as, one) for one in range(USERS)]
        what = f"{moment} submits and results are answered"
        wait_until(lambda: crowd.tried + len(witness.acks) >= moment, what, 60, step=0.001)
        site.kill9()
        begun = time.monotonic()
        site.start()
        took = time.monotonic() - begun
        assert took < ready
        for submit in submits:
            submit.result(60)
    finals = crowd.finals()
    attempts = Counter(final["attempt"] for final in finals.values())
    print(f"killed at {moment}, ready after {took:.1f} s: attempts {attempts}, refused {len(crowd.refused)}")
    assert {prompt: text_of(final) for prompt, final in finals.items()} == {prompt: prompt for prompt in finals}
    wait_until(lambda: all(row["finished_at"] for row in rows(site, witness)), "all that was kept is final", 20)
    crowd.agrees_with(Counter(row["prompt"] for row in rows(site, witness)))


def rows(site: SiteProcess, witness: Witness) -> list[Mapping[str, Any]]:
    return [story.row for story in witness.history([site]).stories.values()]
