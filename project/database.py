"""How the site reads and writes its database: one lock, short transactions, nothing that waits inside.

SQLite allows one writer. In this process a green lock queues the writers, so that none of them waits
inside SQLite, where a green thread would freeze the whole process; other processes (a backup, a
command) are waited for by retrying in Python, up to :data:`BUSY_SECONDS`.
"""

from __future__ import annotations

import fcntl
import threading
import time
from collections.abc import Callable, Iterator
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
WRITE_OPTION = "spaces_write"
READ_OPTION = "spaces_read"


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
            yield connection.execution_options(**{READ_OPTION: True})

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Yield a connection in a write transaction; commits at the end, rolls back on an exception."""
        with _away_if_broken(), self._one_writer() as deadline, self.engine.connect() as connection:
            writer = connection.execution_options(**{WRITE_OPTION: True})
            self._begin(writer.begin, deadline)
            try:
                yield writer
                writer.commit()
            except BaseException:
                writer.rollback()
                raise

    @contextmanager
    def writing(self, session: scoped_session[Any]) -> Iterator[scoped_session[Any]]:
        """Yield ``session`` in a write transaction of its own, committed at the end.

        What the session had read before is read anew, so nothing is decided on stale rows.
        """
        with _away_if_broken(), self._one_writer() as deadline:
            session.rollback()
            options = {WRITE_OPTION: True}
            self._begin(lambda: session.connection(execution_options=options), deadline, on_retry=session.rollback)
            try:
                yield session
                session.commit()
            except BaseException:
                session.rollback()
                raise

    @contextmanager
    def _one_writer(self) -> Iterator[float]:
        """Queue for the one place that SQLite has for writers; yield until when waiting makes sense.

        The limit counts the queue and the database together, so a locked database refuses all at once.
        """
        deadline = time.monotonic() + BUSY_SECONDS
        if not self.is_sqlite:
            yield deadline
            return
        if not self._lock.acquire(timeout=BUSY_SECONDS):
            raise DatabaseAway(retry_after=1)
        try:
            yield deadline
        finally:
            self._lock.release()

    @staticmethod
    def _begin(begin: Callable[[], object], deadline: float, on_retry: Callable[[], object] | None = None) -> None:
        """Begin, and when another process holds SQLite's write lock, try again up to ``deadline``."""
        while True:
            try:
                begin()
                return
            except OperationalError as error:
                if "locked" not in str(error.orig) or time.monotonic() > deadline:
                    raise
                if on_retry:
                    on_retry()
                threading.Event().wait(0.01)


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

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        if not options.get(READ_OPTION):
            connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get(WRITE_OPTION) else "BEGIN")


def lock_folder(folder: Path) -> TextIO | None:
    """Take the data folder for this process; None when another process has it. The lock lives as long as the answer."""
    file = (folder / "site.lock").open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file
