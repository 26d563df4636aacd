"""PostgreSQL stopped, frozen, read-only and with its connections killed: no hang, nothing half done, back by itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.faults.apps import Echo, FaultApp
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
from tests.faults.looking import SOME_MODES, text_of
from tests.postgres import PostgresServer, start_or_skip
from tests.site_process import SiteProcess, wait_until

OwnSite = Callable[..., SiteProcess]
Started = Callable[[Any], Any]

#: The longest that a call may wait for a frozen server: one statement in vain, then one connection in vain.
LONGEST, SPARE = 11.0, 5.0
KILLS = 5
KILL = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname LIKE 't%'"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server of this module's own, which its tests may stop."""
    one = start_or_skip()
    yield one
    one.stop()


@pytest.fixture
def postgres_site(server: PostgresServer, own_site: OwnSite) -> Callable[..., SiteProcess]:
    """Start a site on an empty database of the server."""
    return lambda **more: own_site(SPACES_DATABASE_URL=server.bare_url(server.make_database()), **more)


@pytest.mark.parametrize("mode", SOME_MODES)
def test_a_server_that_is_stopped_is_away_until_it_is_started(
    server: PostgresServer, postgres_site: OwnSite, mode: str
) -> None:
    with visitors(postgres_site(async_mode=mode)) as everybody:
        server.go_away()
        try:
            heard = everybody.call_all(*NEEDS_NOTHING, *READS, *WRITES)
            assert not dishonest([one for one in heard if one.name not in NEEDS_NOTHING])
            assert not failed([one for one in heard if one.name in NEEDS_NOTHING])
            assert everybody.app.answer(everybody.request) == "retry_later"
            wait_unready(everybody.site)
        finally:
            server.come_back()
        wait_back(everybody.site)
        everybody.check_untouched()
        everybody.check_works()


@pytest.mark.parametrize("mode", SOME_MODES)
def test_a_server_that_is_frozen_keeps_nobody_waiting_for_ever(
    server: PostgresServer, postgres_site: OwnSite, mode: str
) -> None:
    with visitors(postgres_site(async_mode=mode)) as everybody:
        server.freeze()
        try:
            heard = everybody.call_all(*NEEDS_NOTHING, *READS, *WRITES)
        finally:
            server.thaw()
        assert not dishonest([one for one in heard if one.name not in NEEDS_NOTHING])
        assert not failed([one for one in heard if one.name in NEEDS_NOTHING])
        assert max(one.seconds for one in heard) < LONGEST + SPARE, [str(one) for one in heard]
        assert max(one.seconds for one in heard if one.name in NEEDS_NOTHING) < SPARE, "others wait too"
        wait_back(everybody.site)
        everybody.check_untouched()
        everybody.check_works()


def test_a_server_that_only_reads_is_away_for_whoever_writes(server: PostgresServer, postgres_site: OwnSite) -> None:
    """As after a switch to a standby."""
    with visitors(postgres_site()) as everybody:
        make_read_only(server, "on")
        try:
            wait_unready(everybody.site)
            heard = everybody.call_all(*READS, *WRITES)
            assert not dishonest([one for one in heard if one.name in WRITES])
            assert not failed([one for one in heard if one.name in READS])
            assert everybody.app.answer(everybody.request) == "retry_later"
        finally:
            make_read_only(server, "off")
        wait_back(everybody.site)
        everybody.check_untouched()
        everybody.check_works()


def make_read_only(server: PostgresServer, switch: str) -> None:
    server.execute(f"ALTER SYSTEM SET default_transaction_read_only = {switch}")
    server.execute("SELECT pg_reload_conf()")


def test_killed_connections_lose_nothing(server: PostgresServer, postgres_site: OwnSite, started: Started) -> None:
    """Whatever was answered 202 is completed, once and with its own result, however often connections are cut."""
    site = postgres_site()
    admin = site.admin()
    space = admin.make_space(timeout_seconds=60)
    app: FaultApp = started(Resending(site.url, admin.make_token(spaces=[space]))).serve(space)
    accepted, codes, stop = {}, set(), threading.Event()

    def submit() -> None:
        number = 0
        while not stop.wait(0.02):
            number += 1
            answer = admin.call("POST", f"spaces/{space}/requests", json={"prompt": f"prompt {number}"})
            codes.add(answer.status_code)
            if answer.status_code == 202:
                accepted[answer.json()["id"]] = f"prompt {number}"

    submitter = threading.Thread(target=submit)
    submitter.start()
    try:
        for kill in range(1, KILLS + 1):
            before = len(accepted)
            wait_until(lambda before=before: len(accepted) > before + 3, f"submits are accepted before kill {kill}", 20)
            server.execute(KILL)
    finally:
        stop.set()
        submitter.join(30)
    assert codes <= {202, 429, 503}, codes
    assert app.is_connected(), "the app was not sent away"
    wait_back(site)
    for request_id, prompt in accepted.items():
        assert text_of(admin.wait_final(request_id)) == prompt


class Resending(Echo):
    """Sends each result until it is taken, as every app should."""

    def on_request(self, request: dict[str, Any]) -> None:
        wait_until(lambda: self.answer(request) != "retry_later", "the result is taken", BACK_SECONDS, step=0.2)
