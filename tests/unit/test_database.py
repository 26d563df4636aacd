"""The door to the database: one writer, clear refusals, and never a wait without end."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import create_engine, event, text
from sqlalchemy.exc import IntegrityError, InternalError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from project import database as module
from project.database import Database, is_away
from project.errors import DatabaseAway
from project.sqlite_file import lock_folder
from tests.house import together


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "some.db"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    engine = create_engine(f"sqlite:///{path}", pool_size=2, max_overflow=18, pool_timeout=0.2)
    database = Database(engine)
    with database.write() as connection:
        connection.execute(text("CREATE TABLE things (id INTEGER PRIMARY KEY)"))
    yield database
    engine.dispose()


@pytest.fixture
def locked(path: Path, database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[sqlite3.Connection]:
    """Somebody else holds SQLite's write lock, longer than the site waits."""
    assert database.is_sqlite
    monkeypatch.setattr(module, "BUSY_SECONDS", 0.3)
    outside = sqlite3.connect(path, isolation_level=None)
    outside.execute("BEGIN IMMEDIATE")
    yield outside
    outside.close()


def add(database: Database) -> None:
    with database.write() as connection:
        connection.execute(text("INSERT INTO things DEFAULT VALUES"))


def count(database: Database) -> int:
    with database.read() as connection:
        return int(connection.execute(text("SELECT count(*) FROM things")).scalar_one())


def test_many_writers_take_turns(database: Database) -> None:
    assert together([lambda: add(database)] * 20) == [None] * 20
    assert count(database) == 20


def test_a_locked_database_refuses_and_is_back_at_once(database: Database, locked: sqlite3.Connection) -> None:
    with pytest.raises(DatabaseAway):
        add(database)
    assert count(database) == 0, "reading goes on"
    locked.execute("ROLLBACK")
    add(database)
    assert count(database) == 1


@pytest.mark.usefixtures("locked")
def test_who_queues_behind_a_locked_database_waits_no_longer_than_the_first(database: Database) -> None:
    started = time.monotonic()
    answers = together([lambda: add(database)] * 10)
    assert all(isinstance(answer, DatabaseAway) for answer in answers), answers
    assert time.monotonic() - started < 10 * 0.3 / 2, "they waited one after the other"


def test_once_waiting_was_in_vain_the_next_do_not_wait(database: Database, locked: sqlite3.Connection) -> None:
    with pytest.raises(DatabaseAway):
        add(database)
    with pytest.raises(DatabaseAway):
        database.check()
    started = time.monotonic()
    for _ in range(3):
        with pytest.raises(DatabaseAway):
            add(database)
    assert time.monotonic() - started < 3 * 0.3, "each waited its full time"
    locked.execute("ROLLBACK")
    add(database)
    database.check()


def test_who_had_little_patience_says_nothing_about_the_database(
    database: Database, locked: sqlite3.Connection
) -> None:
    with pytest.raises(DatabaseAway), database.write(0.05):
        pass
    database.check()


def test_a_file_that_is_moved_away_is_not_made_anew(database: Database, path: Path) -> None:
    add(database)
    aside = path.with_name("aside.db")
    path.rename(aside)
    for attempt in (add, count):
        with pytest.raises(DatabaseAway):
            attempt(database)
    assert together([lambda: count(database)] * 5, 10), "also where connections must be opened anew"
    assert not path.exists()
    aside.rename(path)
    add(database)
    assert count(database) == 2


def test_another_file_in_its_place_is_not_taken(
    database: Database, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    add(database)
    aside = path.with_name("aside.db")
    path.rename(aside)
    sqlite3.connect(path).close()
    path.touch()
    for _ in range(3):
        with pytest.raises(DatabaseAway):
            add(database)
    assert caplog.text.count("is not the one") == 1, "said once, and not with every call"
    assert path.stat().st_size == 0
    aside.rename(path)
    assert count(database) == 1


@pytest.mark.parametrize(("durable", "maybe_kept"), [("NORMAL", False), ("FULL", True)])
def test_a_commit_that_fails_says_whether_somebody_knows(tmp_path: Path, durable: str, maybe_kept: bool) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'some.db'}")
    database = Database(engine, synchronous=durable)

    def fail(*_: object) -> None:
        raise OperationalError("COMMIT", {}, sqlite3.OperationalError("disk I/O error"))

    event.listen(engine, "commit", fail)
    with pytest.raises(DatabaseAway) as refused, database.write() as connection:
        connection.execute(text("CREATE TABLE things (id INTEGER PRIMARY KEY)"))
    assert refused.value.maybe_kept is maybe_kept
    assert ("may be there or not" in refused.value.message) is maybe_kept
    engine.dispose()


@pytest.mark.parametrize(
    ("cause", "away"),
    [
        (OperationalError("x", {}, sqlite3.OperationalError("disk I/O error")), True),
        (IntegrityError("x", {}, sqlite3.IntegrityError("UNIQUE")), False),
        (ProgrammingError("x", {}, Exception("no such column")), False),
        (InternalError("x", {}, psycopg.errors.ReadOnlySqlTransaction()), True),
        (InternalError("x", {}, psycopg.errors.InFailedSqlTransaction()), False),
        (PoolTimeout(), True),
        (RuntimeError(), False),
    ],
)
def test_what_is_away_and_what_is_a_mistake_of_ours(cause: Exception, away: bool) -> None:
    assert is_away(cause) is away


def test_a_file_that_is_no_database_is_away(tmp_path: Path) -> None:
    (tmp_path / "broken.db").write_bytes(b"this is no database at all" * 100)
    engine = create_engine(f"sqlite:///{tmp_path / 'broken.db'}")
    with pytest.raises(DatabaseAway):
        count(Database(engine))
    engine.dispose()


def test_a_database_without_free_connections_is_away(database: Database) -> None:
    held = [database.engine.connect() for _ in range(20)]
    with pytest.raises(DatabaseAway):
        count(database)
    for connection in held:
        connection.close()
    assert count(database) == 0


def test_a_broken_step_leaves_nothing_and_frees_the_lock(database: Database) -> None:
    def break_halfway() -> None:
        with database.write() as connection:
            connection.execute(text("INSERT INTO things (id) VALUES (1)"))
            connection.execute(text("INSERT INTO things (id) VALUES (1)"))

    with pytest.raises(IntegrityError):
        break_halfway()
    assert together([lambda: add(database)]) == [None]
    assert count(database) == 1


def test_a_file_that_is_gone_is_a_clear_refusal(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'no' / 'such' / 'folder.db'}")
    with pytest.raises(DatabaseAway):
        count(Database(engine))
    engine.dispose()


def test_sqlite_is_set_up_as_decided(database: Database) -> None:
    with database.read() as connection:
        found = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "foreign_keys", "synchronous", "busy_timeout")
        }
    assert found == {"journal_mode": "wal", "foreign_keys": 1, "synchronous": 1, "busy_timeout": 50}


def test_one_data_folder_one_process(tmp_path: Path) -> None:
    first = lock_folder(tmp_path)
    assert first is not None
    assert lock_folder(tmp_path) is None
    first.close()
    second = lock_folder(tmp_path)
    assert second is not None
    second.close()
