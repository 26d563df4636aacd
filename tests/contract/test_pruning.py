"""``prune`` deletes what may go and nothing else, and says beforehand what that is."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from project.files import ORPHAN_SECONDS
from project.ports import Ending
from project.sqlite_file import lock_folder
from project.submit_key_rows import REMEMBERED
from tests.house import House
from tests.places import Place, give

DAY = 86_400.0
CANCELLED = Ending("cancelled", "cancelled_by_user")


@pytest.fixture
def place(make_empty_url: Callable[[str], str], backend: str, tmp_path: Path) -> Place:
    return Place(tmp_path / "place", make_empty_url(backend) if backend == "postgresql" else "").make()


def fill(place: Place) -> dict[str, str]:
    """Put a request that ended two weeks ago, one that ended now, a queued one, and things that nothing names there."""
    now = time.time()
    ids = {}
    with place.site() as site:
        site.files.claim_storage()
        house = House(site.store, site.database)
        for name, when in (("old", now - 14 * DAY), ("new", now), ("queued", None)):
            ids[name] = give(site, house, name.encode() * 10)
            if when:
                site.store.end(ids[name], CANCELLED, when)
        keep(place, "a" * 32, b"stray", ORPHAN_SECONDS + 10)
        keep(place, "b" * 32, b"younger stray", 10)
        arriving = place.folder / "files" / "arriving" / ("c" * 32)
        arriving.write_bytes(b"half")
        os.utime(arriving, (now - ORPHAN_SECONDS - 10,) * 2)
        with site.database.write() as connection:
            key = "INSERT INTO submit_keys VALUES (1, :key, '-', '-', :at)"
            connection.execute(text(key), [{"key": "old", "at": now - REMEMBERED - 10}, {"key": "new", "at": now}])
            ended = "INSERT INTO ended_sessions VALUES (:id, :until)"
            connection.execute(text(ended), [{"id": "old", "until": now - 10}, {"id": "new", "until": now + 1_000}])
    return ids


def keep(place: Place, key: str, content: bytes, age: float) -> None:
    path = place.folder / "files" / "kept" / key[:2] / key
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (time.time() - age,) * 2)


def counts(said: str) -> dict[str, tuple[int, int]]:
    """What a run said: how many of each, and how many bytes (0 where it says none)."""
    lines = re.findall(r"^([a-z -]+): (\d+)(?:, (\d+) bytes)? ", said, flags=re.MULTILINE)
    return {what: (int(count), int(size or 0)) for what, count, size in lines}


DUE = {
    "requests that ended": (1, 30),
    "uploads that no result names": (0, 0),
    "keys of submits": (1, 0),
    "login sessions that were ended": (1, 0),
    "files without a request": (1, 5),
    "uploads that never arrived whole": (1, 4),
}


def test_what_may_go_is_said_and_goes(place: Place) -> None:
    ids = fill(place)
    before = place.rows(), place.files()
    assert counts(place.run("prune", "--dry-run")) == DUE
    assert (place.rows(), place.files()) == before
    assert counts(place.run("prune")) == DUE
    rows = place.rows()
    assert {row["id"] for row in rows["requests"]} == {ids["new"], ids["queued"]}
    assert {row["request_id"] for row in rows["files"]} == {ids["new"], ids["queued"]}
    assert [row["key"] for row in rows["submit_keys"]] == ["new"]
    assert [row["id"] for row in rows["ended_sessions"]] == ["new"]
    left = {name.rpartition("/")[2] for name in place.files() if "/" in name}
    assert left == {"name", "b" * 32, *(row["id"] for row in rows["files"])}
    assert set(counts(place.run("prune")).values()) == {(0, 0)}


def test_before_takes_the_place_of_the_retention(place: Place) -> None:
    ids = fill(place)
    assert counts(place.run("prune", "--before", "30"))["requests that ended"] == (0, 0)
    assert counts(place.run("prune", "--before", "0"))["requests that ended"] == (2, 60)
    assert [row["id"] for row in place.rows()["requests"]] == [ids["queued"]]


def test_uploads_of_ended_requests_that_no_result_names_go(place: Place) -> None:
    old = time.time() - ORPHAN_SECONDS - 100
    with place.site() as site:
        house = House(site.store, site.database)
        request_id = house.submit(now=old)
        house.bind(now=old)
        attempt_id = house.claimed(now=old)["attempt_id"]
        attempt, reception = site.files.receive_upload(attempt_id, old)
        with reception:
            reception.begin("r.gif").finish()
            site.files.keep_uploads(attempt, reception, old)
        assert counts(place.run("prune", "--dry-run"))["uploads that no result names"] == (0, 0), "its request goes on"
        site.store.end(request_id, CANCELLED, time.time())
    assert counts(place.run("prune"))["uploads that no result names"] == (1, 0)
    assert place.rows()["files"] == []


def test_files_of_another_database_stay(place: Place) -> None:
    fill(place)
    (place.folder / "files" / "name").write_text("0" * 32)
    assert counts(place.run("prune", "--dry-run"))["files without a request"] == (0, 0)
    place.run("prune")
    assert "files/kept/aa/" + "a" * 32 in place.files()


def test_compact_gives_space_back_while_no_site_runs(place: Place, backend: str) -> None:
    fill(place)
    with place.site() as site:
        house = House.__new__(House)
        house.store, house.database, house.user, house.space = site.store, site.database, 1, 1
        for _ in range(20):
            site.store.end(house.submit("x" * 50_000), CANCELLED, time.time() - 14 * DAY)
    if backend == "postgresql":
        assert "compact" in place.run("prune", "--compact")
        return
    file = place.folder / "spaces.db"
    lock = lock_folder(place.folder)
    assert lock
    with lock:
        assert "needs the site stopped" in place.run("prune", "--compact", expect=1)
    size = file.stat().st_size
    place.run("prune", "--compact")
    assert file.stat().st_size < size / 2


def test_a_database_of_another_version_is_left_alone(place: Place) -> None:
    fill(place)
    engine = create_engine(place.url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0002'"))
    engine.dispose()
    assert "another version" in place.run("prune", expect=1)
    assert len(place.rows()["requests"]) == 3
