"""Two things at the same moment: exactly one happens, and everybody is told the same.

The two start in threads of their own. Which one is to start later, and by how much, follows from who won before, so
that both keep winning and the moments stay close. The site runs in every mode and on PostgreSQL. In one process the
manager lets one at a time into a space; the store's own guards are put to the test in ``tests/contract``.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import pytest
from socketio.exceptions import SocketIOError

from tests.faults.apps import Echo, FaultApp, Never
from tests.faults.looking import SHORT_TIMES, ending, interleaved, sites_in_modes, text_of
from tests.http_caller import HttpCaller
from tests.site_process import SiteProcess

Connect = Callable[..., Any]
Started = Callable[[FaultApp], Any]

FEW, ALL = 20, 200
#: By how much who won last time is held back, at first and at most, and by how much chance moves that, in seconds.
STEP, MOST, JITTER = 0.001, 0.1, 0.002
CROWD = 20

many = pytest.mark.parametrize("count", [FEW, pytest.param(ALL, marks=[pytest.mark.long, pytest.mark.timeout(600)])])


class Race:
    """Starts two actions together, again and again, and counts the winners.

    Whoever wins is held back in the next round, by twice as much each time that it wins again.
    """

    def __init__(self, dice: random.Random) -> None:
        self.won: Counter[str] = Counter()
        self._dice = dice
        self._lead = 0.0
        self._step = STEP
        self._together = threading.Barrier(2)
        self._pool = ThreadPoolExecutor(2)

    def run(self, first: Callable[[], Any], second: Callable[[], Any]) -> tuple[Any, Any]:
        """Do both, the first one later than the second by a small time, and return what they returned."""
        later = self._lead + self._dice.uniform(-JITTER, JITTER)
        waits = (max(0.0, later), max(0.0, -later))
        running = [self._pool.submit(self._do, *one) for one in zip((first, second), waits, strict=True)]
        return running[0].result(30), running[1].result(30)

    def _do(self, action: Callable[[], Any], wait: float) -> Any:
        self._together.wait(10)
        threading.Event().wait(wait)
        return action()

    def count(self, winner: str, first_won: bool) -> None:
        """Take note of who won, and hold that one back."""
        self.won[winner] += 1
        again = first_won == (self._step > 0)
        self._step = (1 if first_won else -1) * (min(2 * abs(self._step), MOST) if again else STEP)
        self._lead += self._step

    def close(self) -> None:
        self._pool.shutdown()
        print(dict(self.won))


@pytest.fixture
def race(dice: random.Random) -> Iterator[Race]:
    made = Race(dice)
    yield made
    made.close()


def cancel(caller: HttpCaller, request_id: str) -> tuple[int, Any]:
    answer = caller.call("POST", f"requests/{request_id}/cancel")
    return answer.status_code, answer.json()


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str | None], SiteProcess]]:
    """Sites that wait for whoever comes back, however busy the machine is."""
    with sites_in_modes(tmp_path_factory, **SHORT_TIMES | {"SPACES_GRACE": 15}) as in_mode:
        yield in_mode


@interleaved
@many
def test_cancel_against_result(
    site: SiteProcess, admin: HttpCaller, space: str, connect: Connect, race: Race, count: int
) -> None:
    app, user = connect(Never), site.user()
    for number in range(count):
        request_id = user.submit(space, f"prompt {number}")["id"]
        request = app.next("inference_request", request_id=request_id)
        code, (status, said) = race.run(lambda: app.answer(request), lambda: cancel(user, request_id))  # noqa: B023
        final = user.wait_final(request_id)
        race.count(final["status"], code == "accepted")
        if code == "accepted":
            assert text_of(final) == f"prompt {number}"
            assert (status, said["error"]["code"]) == (409, "already_final")
        else:
            assert (code, status) == ("already_final", 200)
            assert ending(said) == ending(final) == ("cancelled", "cancelled_by_user")
            app.next("inference_cancel", request_id=request_id)
    assert set(race.won) == {"completed", "cancelled"}, race.won


@interleaved
@many
def test_deadline_against_result(
    site: SiteProcess, admin: HttpCaller, started: Started, dice: random.Random, count: int
) -> None:
    """Ten spaces at once, so that it does not take ten times as long."""
    won: Counter[str] = Counter()
    token = admin.make_token()
    spaces = [admin.make_space(timeout_seconds=0.5) for _ in range(10)]
    apps = [started(Never(site.url, token)).serve(space) for space in spaces]
    users = [HttpCaller(site.url, admin.make_token(scopes=("api",))) for _ in spaces]
    seeds = [random.Random(dice.random()) for _ in spaces]
    with ThreadPoolExecutor(len(spaces)) as pool:
        for found in pool.map(up_to_the_deadline, apps, users, spaces, seeds, [count // len(spaces)] * len(spaces)):
            won += found
    print(dict(won))
    assert set(won) == {"completed", "timed_out"}, won


def up_to_the_deadline(app: Never, user: HttpCaller, space: str, dice: random.Random, count: int) -> Counter[str]:
    """Answer each request close to its deadline and count how they ended."""
    won: Counter[str] = Counter()
    early = 0.0
    for number in range(count):
        request_id = user.submit(space, f"prompt {number}")["id"]
        request = app.next("inference_request", request_id=request_id)
        moment = datetime.fromisoformat(request["deadline_at"]).timestamp() - early + dice.uniform(-0.01, 0.01)
        threading.Event().wait(max(0.0, moment - time.time()))
        code = app.answer(request)
        final = user.wait_final(request_id)
        won[final["status"]] += 1
        early += -0.004 if code == "accepted" else 0.004
        expected = ("completed", None) if code == "accepted" else ("timed_out", "processing_timeout")
        assert (code, ending(final)) in {("accepted", expected), ("already_final", expected)}
    return won


@interleaved
@many
@pytest.mark.parametrize("claims", [True, False], ids=["claiming", "forgetful"])
def test_disconnect_against_result(
    site: SiteProcess, token: str, space: str, connect: Connect, race: Race, started: Started, count: int, claims: bool
) -> None:
    """Whether the result came through or not, the app comes back and the request is completed once."""
    app, user = connect(Never), site.user()
    for number in range(count):
        request_id = user.submit(space, f"prompt {number}")["id"]
        request = app.next("inference_request", request_id=request_id)
        race.run(lambda: hand_in(app, request), app.drop)  # noqa: B023
        app.close()
        app = started(Never(site.url, token))
        is_kept = (claim if claims else forget)(app, space, request, user)
        final = user.wait_final(request_id)
        assert (text_of(final), final["attempt"]) == (f"prompt {number}", 1 if claims or is_kept else 2)
        race.count("kept" if is_kept else "lost", is_kept)
    assert set(race.won) == {"kept", "lost"}, race.won


def hand_in(app: FaultApp, request: dict[str, Any]) -> None:
    """Send the result and wait for nothing."""
    named = {key: request[key] for key in ("request_id", "attempt_id")}
    with contextlib.suppress(SocketIOError):
        app.send("inference_result", {**named, "status": "completed", "result": {"text": request["payload"]["prompt"]}})


def claim(app: FaultApp, space: str, request: dict[str, Any], user: HttpCaller) -> bool:
    """Come back with a claim, send the result again, and return whether the first one had been kept."""
    claims = [{key: request[key] for key in ("request_id", "attempt_id")}]
    is_kept = bool(app.register(space, resume=claims)["resumed"] != claims)
    assert app.answer(request) == ("duplicate" if is_kept else "accepted")
    return is_kept


def forget(app: FaultApp, space: str, request: dict[str, Any], user: HttpCaller) -> bool:
    """Come back without a claim, take what is handed over, and return whether the first result had been kept."""
    app.serve(space)
    if user.request(request["request_id"])["status"] == "completed":
        return True
    assert app.answer(app.next("inference_request", request_id=request["request_id"], redelivered=True)) == "accepted"
    assert app.answer(request) == "stale_attempt"
    return False


@interleaved
@many
def test_cancel_against_hand_over(site: SiteProcess, space: str, connect: Connect, race: Race, count: int) -> None:
    """It is cancelled either way; the app has heard of it either never, or of its cancel too."""
    app, user = connect(Never), site.user()
    for number in range(count):
        busy, waiting = (user.submit(space, f"{which} {number}")["id"] for which in ("busy", "waiting"))
        request = app.next("inference_request", request_id=busy)
        code, (status, said) = race.run(lambda: app.answer(request), lambda: cancel(user, waiting))  # noqa: B023
        assert (code, status, ending(said)) == ("accepted", 200, ("cancelled", "cancelled_by_user"))
        was_handed = said["attempt"] == 1
        if was_handed:
            handed = app.next("inference_request", request_id=waiting)
            app.next("inference_cancel", request_id=waiting, attempt_id=handed["attempt_id"])
            assert app.answer(handed) == "already_final"
        race.count("handed over" if was_handed else "cancelled", was_handed)
    assert not app.has_heard("inference_request"), "what was cancelled before was handed over"
    assert set(race.won) == {"handed over", "cancelled"}, race.won


@interleaved
@many
def test_simultaneous_registrations(
    site: SiteProcess, admin: HttpCaller, started: Started, dice: random.Random, count: int
) -> None:
    """Each app has a space of its own beside the one that all want, so that the losers stay connected."""
    token, together, won = admin.make_token(), threading.Barrier(CROWD), Counter[int]()
    apps = [started(Echo(site.url, token)).serve(admin.make_space()) for _ in range(CROWD)]

    def register(app: Echo, space: str, wait: float) -> str:
        together.wait(10)
        threading.Event().wait(wait)
        return str(app.register(space)["code"])

    with ThreadPoolExecutor(CROWD) as pool:
        for number in range(count):
            space = admin.make_space()
            waits = [dice.uniform(0, 2 * JITTER) for _ in apps]
            codes = list(pool.map(register, apps, [space] * CROWD, waits))
            assert sorted(codes) == ["ok"] + ["space_busy"] * (CROWD - 1)
            winner = codes.index("ok")
            won[winner] += 1
            final = admin.wait_final(admin.submit(space, f"prompt {number}")["id"])
            assert text_of(final) == f"prompt {number}"
            assert [one for one, app in enumerate(apps) if f"prompt {number}" in app.prompts] == [winner]
            admin.json("DELETE", f"spaces/{space}", 204)
    print(won)
    assert len(won) > 1, f"always the same one: {won}"
