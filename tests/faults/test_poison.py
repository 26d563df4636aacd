"""A request that kills its app: it fails once its attempts are used up, and the ones behind it are worked on."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.faults.apps import Echo
from tests.faults.lasting import Returning
from tests.faults.looking import ending, some_modes, steps, text_of, wait_connected
from tests.http_caller import HttpCaller
from tests.site_process import SiteProcess, wait_until

Started = Callable[[Any], Any]

POISON = "poison"
#: The longest that an app which comes back at once may need for one death and the return.
DEATH_SECONDS = 5.0


class Mortal(Echo):
    """Dies, as a process does, of one particular prompt: its transport breaks."""

    def on_request(self, request: dict[str, Any]) -> None:
        if request["payload"]["prompt"] == POISON:
            self.prompts.append(POISON)
            self.drop()
        else:
            super().on_request(request)


@pytest.fixture
def mortals(site: SiteProcess, token: str, started: Started) -> Callable[..., Returning]:
    """Serve a space with apps that die of poison; another one follows each time."""
    return lambda space, acks: started(Returning(lambda: Mortal(site.url, token), space, acks=acks))


@some_modes
@pytest.mark.parametrize("acks", [True, False], ids=["acks", "no acks"])
@pytest.mark.parametrize("attempts", [None, 3, 1])
def test_the_poison_fails_and_the_next_one_runs(
    admin: HttpCaller, space: str, mortals: Callable[..., Returning], acks: bool, attempts: int | None
) -> None:
    admin.json("PATCH", f"spaces/{space}", json={"queue_when_offline": True, "max_attempts": attempts})
    apps = mortals(space, acks)
    wait_connected(admin, space)
    begun = time.monotonic()
    ids = [admin.submit(space, prompt)["id"] for prompt in ("before", POISON, "after", "last")]
    finals = [admin.wait_final(one) for one in ids]
    times = attempts or 2
    assert time.monotonic() - begun < (times + 1) * DEATH_SECONDS
    assert [text_of(finals[number]) for number in (0, 2, 3)] == ["before", "after", "last"]
    assert [final["attempt"] for final in finals] == [1, times, 1, 1]
    assert ending(finals[1]) == ("failed", "app_disconnected")
    given_back = [("queued", number, "app_disconnected") for number in range(1, times)]
    assert [step for step in steps(finals[1]) if step[2]] == [*given_back, ("failed", times, "app_disconnected")]
    assert [prompt for app in apps.made for prompt in app.prompts] == ["before", *[POISON] * times, "after", "last"]


def test_poison_after_poison(admin: HttpCaller, space: str, mortals: Callable[..., Returning]) -> None:
    """Many of them in a row hold the good ones up, and do no more."""
    admin.json("PATCH", f"spaces/{space}", json={"queue_when_offline": True})
    mortals(space, True)
    wait_connected(admin, space)
    prompts = [POISON, POISON, "one", POISON, "two"]
    ids = [admin.submit(space, prompt)["id"] for prompt in prompts]
    ends = [ending(admin.wait_final(one))[0] for one in ids]
    assert ends == ["failed" if prompt == POISON else "completed" for prompt in prompts]
    wait_until(lambda: admin.space(space)["queue_size"] == admin.space(space)["processing"] == 0, "nothing is left")
