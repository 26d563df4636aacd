"""One soak from beginning to end: set up, look, load, let it drain, look again, ask everybody what became of it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults import rules
from tests.faults.evidence import Witness
from tests.faults.history import History
from tests.soak.figures import Figures, Second, percentile
from tests.soak.load import Load
from tests.soak.measuring import Measuring
from tests.soak.people import Crowd, Person
from tests.soak.stage import Stage, stage
from tests.soak.wire import Wire

#: For what is queued when nobody submits any more, in seconds; a deadline, a grace and a second attempt fit in.
DRAIN_SECONDS = 120.0
#: Until hung-up connections are gone, in seconds.
REST_SECONDS = 30.0
TELL_SECONDS = 10.0
LOOK_SECONDS, SETTLING_LOOKS = 0.5, 4
Tell = Callable[[str], None]


@dataclass
class Outcome:
    """What a soak has found. ``start`` and ``end`` are looks at the site at rest, with every app connected.

    ``found`` are all requests that the site knows of each person, by name; ``history`` is what its database says.
    """

    load: Load
    mode: str
    figures: Figures
    start: Second
    end: Second
    people: list[Person]
    found: dict[str, list[dict[str, Any]]]
    history: History
    surprises: list[str]

    def violations(self) -> str:
        """Return what breaks a rule, with the stories of the requests; nothing if nothing does."""
        found = rules.violations(self.history)
        return rules.report(self.history, found) if found else ""


def soak(load: Load, folder: Path, mode: str | None = None, tell: Tell = print) -> Outcome:
    """Run one soak with its files in ``folder``. Raises :class:`AssertionError` when it could not be run to its end."""
    folder.mkdir(parents=True, exist_ok=True)
    with stage(load, folder, mode) as ready:
        tell(f"{load.spaces} apps and {load.users} users are there; {load.seconds:g} s from now on")
        return asyncio.run(_Soak(load, ready, tell).run())


class _Soak:
    def __init__(self, load: Load, ready: Stage, tell: Tell) -> None:
        self._load, self._stage, self._tell = load, ready, tell
        self._figures = Figures()
        self._witness = Witness()
        self._crowd = Crowd(ready.site.url, ready.people, ready.spaces, load, self._figures)
        self._measuring = Measuring(
            ready.site, ready.admin_token, ready.bare_url, self._figures, lambda: self._crowd.accepted
        )

    async def run(self) -> Outcome:
        start = await self._before()
        looks = [self._measuring.every_second(), self._measuring.ask_the_bare_server(), self._report()]
        tasks = [asyncio.create_task(look) for look in looks]
        await self._load_it()
        await self._drain()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._crowd.leave()
        end = await self._after(start)
        self._measuring.close()
        return await self._outcome(start, end)

    async def _load_it(self) -> None:
        self._crowd.start()
        self._stage.churn(begin=True)
        ends = time.monotonic() + self._load.seconds
        while (left := ends - time.monotonic()) > 0:
            kill = self._load.kill_seconds
            await asyncio.sleep(min(left, kill or left))
            if kill and ends - time.monotonic() > kill / 2:
                self._figures.kills.append(self._figures.seconds[-1].at)
                await asyncio.to_thread(self._stage.site.restart, kill=True)
        self._stage.churn(begin=False)
        await self._crowd.stop_submitting()

    async def _drain(self) -> None:
        """Wait until nothing is queued or processing, and every app is there."""
        deadline = time.monotonic() + DRAIN_SECONDS

        def is_drained() -> bool:
            last = self._figures.seconds[-1]
            return last.queued == last.processing == 0 and last.connected == self._load.spaces

        looked = len(self._figures.seconds)
        while len(self._figures.seconds) < looked + 2 or not is_drained():
            assert time.monotonic() < deadline, f"not drained within {DRAIN_SECONDS:g} s: {self._figures.seconds[-1]}"
            await asyncio.sleep(0.2)

    async def _before(self) -> Second:
        """Look at the site when nobody calls; those who prepared it have just hung up."""
        looks = [await self._measuring.look()]
        while len(looks) < SETTLING_LOOKS:
            await asyncio.sleep(LOOK_SECONDS)
            looks.append(await self._measuring.look())
        return min(looks, key=lambda one: one.sockets)

    async def _after(self, start: Second) -> Second:
        """Look at the site when nobody calls any more, once connections and threads are gone, if they ever are."""
        deadline = time.monotonic() + REST_SECONDS
        seen = await self._measuring.look()
        while (seen.sockets > start.sockets or seen.threads > start.threads) and time.monotonic() < deadline:
            await asyncio.sleep(LOOK_SECONDS)
            seen = await self._measuring.look()
        return seen

    async def _report(self) -> None:
        """Tell now and then how it goes."""
        while True:
            await asyncio.sleep(TELL_SECONDS)
            last = self._figures.seconds[-1]
            recent = [one.seconds for one in self._figures.status if one.at > last.at - TELL_SECONDS]
            self._tell(
                f"{last.at:5.0f} s: {last.accepted} accepted, {last.queued} queued, {last.connected} apps, "
                f"{last.megabytes:.1f} MB, {last.threads} threads, {last.sockets + last.files} descriptors, "
                f"{last.cpu:.0%} of a core, p99 of {len(recent)} status calls {percentile(recent, 0.99) * 1000:.0f} ms"
            )

    async def _outcome(self, start: Second, end: Second) -> Outcome:
        stage, figures = self._stage, self._figures
        found = {person.name: await self._all_of(person) for person in stage.people}
        figures.endings = Counter(_ending(one) for requests in found.values() for one in requests)
        figures.churn = stage.said()
        return Outcome(
            load=self._load,
            mode=stage.site.environment["SPACES_ASYNC_MODE"],
            figures=figures,
            start=start,
            end=end,
            people=stage.people,
            found=found,
            history=self._history(found),
            surprises=figures.strange + stage.surprises(),
        )

    def _history(self, found: dict[str, list[dict[str, Any]]]) -> History:
        """Hold what people and apps were told, on the way and at the end, against what the database says."""
        for person in self._stage.people:
            self._witness.accepted |= {one: (person.name, time.time()) for one in person.accepted}
        self._witness.answers += [*self._crowd.told.values(), *(one for shown in found.values() for one in shown)]
        for event, body, answer in self._stage.heard():
            self._witness.hear_app(event, body, answer)
        return self._witness.history([self._stage.site])

    async def _all_of(self, person: Person) -> list[dict[str, Any]]:
        """Return every request that the site knows of this person, page by page."""
        wire, cursor, found = Wire(self._stage.site.url, person.token), "", list[dict[str, Any]]()
        with contextlib.closing(wire):
            while True:
                page = (await wire.get(f"/api/v1/requests?limit=100{cursor}")).body
                found += page["items"]
                if not page["next_cursor"]:
                    return found
                cursor = f"&cursor={page['next_cursor']}"


def _ending(request: dict[str, Any]) -> str:
    code = (request["error"] or {}).get("code")
    return f"{request['status']} ({code})" if code else str(request["status"])
