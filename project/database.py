"""How the site reads and writes its database: one lock, short transactions, nothing that waits inside.

SQLite allows one writer. In this process a green lock queues the writers, so that none of them waits
inside SQLite, where a green thread would freeze the whole process; other processes (a backup, a
command) are waited for by retrying in Python, up to :data:`BUSY_SECONDS`.
"""

from __future__ import annotations

import fcntl
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from sqlalchemy import Engine, event
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import scoped_session

from project.errors import DatabaseAway

BUSY_SECONDS = 5.0
BUSY_TIMEOUT_MS = 50


class Database:
    """The door to the database: :meth:`read`, :meth:`write`, :meth:`writing` (ORM)."""

    def __init__(self, engine: Engine, *, synchronous: str = "NORMAL") -> None:
        self.engine = engine
        self._lock = threading.RLock()
        self.is_sqlite = engine.dialect.name == "sqlite"
        if self.is_sqlite:
            _prepare_sqlite(engine, synchronous)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Yield a connection for reading; each statement sees what was committed before it.

        Raises :class:`DatabaseAway` when the database does not answer.
        """
        with _away_if_broken(), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self, patience: float | None = None) -> Iterator[Connection]:
        """Yield a connection in a write transaction; commits at the end, rolls back on an exception.

        Raises :class:`DatabaseAway` when others keep writing for longer than ``patience`` seconds
        (None: :data:`BUSY_SECONDS`).
        """
        queue = self._one_writer(patience)
        with _away_if_broken(), queue as deadline, self.engine.connect() as connection, connection.begin():
            self._begin(connection, deadline)
            yield connection

    @contextmanager
    def writing(self, session: scoped_session[Any]) -> Iterator[scoped_session[Any]]:
        """Yield ``session`` in a write transaction of its own, committed at the end.

        What the session had read before is read anew, so nothing is decided on stale rows.
        """
        with _away_if_broken(), self._one_writer() as deadline:
            session.rollback()
            self._begin(session.connection(), deadline)
            try:
                yield session
                session.commit()
            except BaseException:
                session.rollback()
                raise

    @contextmanager
    def _one_writer(self, patience: float | None = None) -> Iterator[float]:
        """Queue for the one place that SQLite has for writers; yield until when waiting makes sense.

        The limit counts the queue and the database together, so a locked database refuses all at once.
        """
        patience = BUSY_SECONDS if patience is None else patience
        deadline = time.monotonic() + patience
        if not self.is_sqlite:
            yield deadline
            return
        if not self._lock.acquire(timeout=patience):
            raise DatabaseAway(retry_after=1)
        try:
            yield deadline
        finally:
            self._lock.release()

    def _begin(self, connection: Connection, deadline: float) -> None:
        """Take SQLite's write lock; when another process holds it, try again up to ``deadline``."""
        while self.is_sqlite:
            try:
                begin_immediate(connection)
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise DatabaseAway(retry_after=1) from error
                threading.Event().wait(0.01)


def begin_immediate(connection: Connection) -> None:
    """Begin a write transaction on SQLite. Raises :class:`sqlite3.OperationalError` when somebody else writes.

    The driver itself begins nothing (see :func:`_prepare_sqlite`), so a read takes no transaction at all.
    """
    raw = connection.connection.driver_connection
    assert isinstance(raw, sqlite3.Connection)
    raw.execute("BEGIN IMMEDIATE")


@contextmanager
def _away_if_broken() -> Iterator[None]:
    """Turn a broken connection, a locked, full or overcrowded database into one clear refusal."""
    try:
        yield
    except (OperationalError, PoolTimeout) as error:
        raise DatabaseAway(retry_after=1) from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise DatabaseAway(retry_after=1) from error
        raise


def _prepare_sqlite(engine: Engine, synchronous: str) -> None:
    """Set WAL, foreign keys, a short busy timeout, and transactions that begin when we say so."""

    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute(f"PRAGMA synchronous = {synchronous}")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()


def lock_folder(folder: Path) -> TextIO | None:
    """Take the data folder for this process; None when another process has it. The lock lives as long as the answer."""
    file = (folder / "site.lock").open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file
