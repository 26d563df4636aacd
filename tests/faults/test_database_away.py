"""SQLite locked, moved away, replaced: honest refusals, nothing half done, and back without a restart."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import websocket

from tests.faults.apps import FaultApp, Never
from tests.faults.away import (
    BACK_SECONDS,
    NEEDS_NOTHING,
    READS,
    WRITES,
    dishonest,
    failed,
    visitors,
    wait_back,
    wait_unready,
)
from tests.faults.evidence import Witness
from tests.faults.looking import SOME_MODES, ending, text_of, wait_connected, wait_status
from tests.faults.raw_peer import RawPeer
from tests.house import together
from tests.http_caller import HttpCaller
from tests.program import Program
from tests.site_process import SiteProcess, wait_until

OwnSite = Callable[..., SiteProcess]
Started = Callable[[Any], Any]

#: How long the site waits for others to stop writing, and what a busy machine may add.
PATIENCE, SPARE = 5.0, 5.0
BESIDE = ("spaces.db", "spaces.db-wal", "spaces.db-shm")


@contextmanager
def locked(site: SiteProcess) -> Iterator[sqlite3.Connection]:
    """Hold the write lock of the site's database, as a backup or a forgotten shell would."""
    outside = sqlite3.connect(site.database, isolation_level=None, check_same_thread=False)
    outside.execute("BEGIN EXCLUSIVE")
    try:
        yield outside
    finally:
        outside.close()


@pytest.mark.parametrize("site", SOME_MODES, indirect=True)
def test_a_locked_database_refuses_what_writes_and_reads_on(site: SiteProcess) -> None:
    with visitors(site) as everybody:
        with locked(site):
            heard = everybody.call_all(*NEEDS_NOTHING, *READS, *WRITES)
            assert not dishonest([one for one in heard if one.name in WRITES])
            assert not failed([one for one in heard if one.name not in WRITES])
            assert max(one.seconds for one in heard) < PATIENCE + SPARE, [str(one) for one in heard]
            wait_unready(site)
            again = everybody.call_all(*WRITES)
            assert not dishonest(again)
            assert max(one.seconds for one in again) < PATIENCE, "it is known by now that waiting is in vain"
        wait_back(site)
        everybody.check_untouched()
        everybody.check_works()


def test_callers_of_one_space_do_not_wait_one_after_the_other(site: SiteProcess, admin: HttpCaller) -> None:
    space = admin.make_space(timeout_seconds=60, queue_when_offline=True)
    ids = [admin.submit(space, f"{number}")["id"] for number in range(10)]
    with locked(site):
        begun = time.monotonic()
        answers = together([lambda one=one: admin.call("POST", f"requests/{one}/cancel") for one in ids], 120)
        took = time.monotonic() - begun
    assert [getattr(one, "status_code", one) for one in answers] == [503] * 10
    assert took < 2 * PATIENCE + SPARE, f"ten callers took {took:.1f} s together"
    wait_back(site)
    assert [admin.json("POST", f"requests/{one}/cancel")["status"] for one in ids] == ["cancelled"] * 10


def test_a_result_is_taken_once_the_database_is_back(
    site: SiteProcess, admin: HttpCaller, space: str, connect: Callable[..., FaultApp]
) -> None:
    """The app is told to come again; the same result then counts once."""
    app = connect(Never)
    ids = [admin.submit(space, prompt)["id"] for prompt in ("one", "two")]
    request = app.next("inference_request")
    with locked(site):
        assert app.answer(request) == "retry_later"
        assert admin.request(ids[0])["status"] == "processing"
        assert app.is_connected()
    wait_back(site)
    assert app.answer(request) == "accepted"
    assert app.answer(request, "changed my mind") == "duplicate"
    assert text_of(admin.wait_final(ids[0])) == "one"
    assert app.answer(app.next("inference_request", request_id=ids[1])) == "accepted"


def test_an_app_of_the_package_brings_its_result_by_itself(
    site: SiteProcess, admin: HttpCaller, space: str, token: str, program: Callable[..., Program], tmp_path: Path
) -> None:
    lines = tmp_path / "computed"
    program("python", "-m", "tests.faults.counting_app", site.url, token, space, str(lines), "1")
    wait_connected(admin, space, seconds=20)
    request_id = admin.submit(space, "kept")["id"]
    wait_until(lambda: lines.exists(), "the app computes")
    with locked(site):
        wait_unready(site)
        assert admin.request(request_id)["status"] == "processing"
    final = admin.wait_final(request_id)
    assert (text_of(final), final["attempt"]) == ("kept", 1)
    assert lines.read_text() == "kept\n", "it was computed once"


def test_time_that_passed_meanwhile_counts_once_the_database_is_back(
    own_site: OwnSite, started: Started, witness: Witness
) -> None:
    site = own_site(SPACES_QUEUE_TTL=3)
    admin = site.admin()
    space = admin.make_space(timeout_seconds=2)
    app = started(Never(site.url, admin.make_token(spaces=[space]))).serve(space)
    ids = [admin.submit(space, prompt)["id"] for prompt in ("too slow", "waits too long")]
    app.next("inference_request")
    begun = time.monotonic()
    with locked(site):
        wait_until(lambda: time.monotonic() - begun > 4, "both times are over", step=0.5)
        assert [admin.request(one)["status"] for one in ids] == ["processing", "queued"]
    witness.slack += time.monotonic() - begun
    finals = [wait_status(admin, one, "timed_out", BACK_SECONDS) for one in ids]
    assert [ending(one)[1] for one in finals] == ["processing_timeout", "queue_timeout"]
    app.next("inference_cancel", request_id=ids[0])


def check_put_off(peer: RawPeer, token: str) -> None:
    """Check that a connection ends without a refusal, after which the JavaScript library would never come back."""
    peer.send("40" + json.dumps({"token": token}))
    packets = []
    with contextlib.suppress(websocket.WebSocketConnectionClosedException, ConnectionError):
        while packet := peer.ws.recv():
            packets.append(packet)
    peer.close()
    assert not [packet for packet in packets if packet.startswith("4")], packets


def test_an_app_that_cannot_be_registered_is_asked_to_come_back(
    site: SiteProcess, space: str, token: str, started: Started
) -> None:
    with locked(site):
        app: FaultApp = started(Never(site.url, token))
        app.send("register", {"space_name": space})
        app.wait_gone(PATIENCE + SPARE)
        assert not app.ended_for_good
        assert not app.has_heard("register_response")
    wait_back(site)
    started(Never(site.url, token)).serve(space)


@contextmanager
def moved(site: SiteProcess, *names: str) -> Iterator[Path]:
    """Move these files of the data folder away, or the folder itself when none is named, and back in the end."""
    aside = site.data_dir.with_name("aside")
    pairs = [(site.data_dir / name, aside / name) for name in names if (site.data_dir / name).exists()]
    if names:
        aside.mkdir()
    for here, there in pairs or [(site.data_dir, aside)]:
        here.rename(there)
    try:
        yield aside
    finally:
        made = [here for here, _ in pairs or [(site.data_dir, aside)] if here.exists()]
        for here, there in pairs or [(site.data_dir, aside)]:
            there.rename(here)
    assert not made, f"the site has made its own: {made}"


@pytest.mark.parametrize("names", [pytest.param((), marks=pytest.mark.long), BESIDE], ids=["the folder", "the files"])
def test_a_database_that_is_gone_is_away_and_never_made_anew(
    own_site: OwnSite, started: Started, names: tuple[str, ...]
) -> None:
    site = own_site()
    with visitors(site) as everybody:
        with moved(site, *names):
            heard = everybody.call_all(*NEEDS_NOTHING, *READS, *WRITES)
            assert not dishonest([one for one in heard if one.name not in NEEDS_NOTHING])
            assert not failed([one for one in heard if one.name in NEEDS_NOTHING])
            assert everybody.app.answer(everybody.request) == "retry_later"
            wait_unready(site)
            check_put_off(RawPeer(site.url, join=False), everybody.unused_token)
        wait_back(site)
        everybody.check_untouched()
        everybody.check_works()


def test_another_database_in_its_place_is_not_taken(own_site: OwnSite) -> None:
    """An older copy, say: nothing is written to either, until the right one is back or the site is restarted."""
    site = own_site()
    with visitors(site) as everybody:
        with moved(site, *BESIDE) as aside:
            shutil.copy(aside / BESIDE[0], site.database)
            before = site.database.read_bytes()
            assert not dishonest(everybody.call_all(*READS, *WRITES))
            wait_unready(site)
            assert site.database.read_bytes() == before
            assert "is not the one that the site began with" in site.output()
            site.database.unlink()
        wait_back(site)
        everybody.check_untouched()
        everybody.check_works()
