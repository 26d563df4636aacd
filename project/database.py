"""How the site reads and writes its database: one lock, short transactions, nothing that waits without end.

SQLite allows one writer. In this process a green lock queues the writers, so that none of them waits
inside SQLite, where a green thread would freeze the whole process; other processes (a backup, a
command) are waited for by retrying in Python, up to :data:`BUSY_SECONDS`. Once that was in vain, whoever comes
next is refused almost at once, until somebody gets through: callers who wait one after the other would never end.
What is special about SQLite is in :mod:`project.sqlite_file`, what bounds the waits for PostgreSQL in
:mod:`project.database_bounds`.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, text
from sqlalchemy.engine import Connection, RootTransaction
from sqlalchemy.exc import DBAPIError, OperationalError, PendingRollbackError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import scoped_session

from project.database_bounds import Bounds
from project.errors import DatabaseAway
from project.sqlite_file import BUSY_TIMEOUT_MS, COME_AGAIN, has_begun, prepare, wait_inside

BUSY_SECONDS = 5.0
#: For how long a writer waits when the one before could not write at all.
AWAY_SECONDS = 0.1
#: What a server says that takes no writes (SQLSTATE), and a file that is no database any more, or not a whole one.
READ_ONLY = "25006"
BROKEN_FILE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
MAYBE_KEPT = (
    "The database went away while this was being kept, so it may be there or not. Look before you send it again, or "
    "send it with an Idempotency-Key."
)


class Database:
    """The door to the database: :meth:`read`, :meth:`write`, :meth:`writing` (ORM)."""

    def __init__(self, engine: Engine, *, synchronous: str = "NORMAL") -> None:
        self.engine = engine
        self._lock = threading.RLock()
        self.is_sqlite = engine.dialect.name == "sqlite"
        self._commit_is_certain = self.is_sqlite and synchronous == "NORMAL"
        self._takes_writes = True
        self._bounds: Bounds | None = None
        if self.is_sqlite:
            prepare(engine, synchronous)
        else:
            self._bounds = Bounds(engine)

    def bound_waits(self) -> None:
        """Let no statement take long from now on; call it once the migrations are over."""
        if self._bounds:
            self._bounds.start()

    def check(self) -> None:
        """Raise :class:`DatabaseAway` when it does not answer, or did not take the last write.

        While the site serves it writes every few seconds, so the last write is never old.
        """
        with self.read() as connection:
            connection.execute(text("SELECT 1"))
        if not self._takes_writes:
            raise DatabaseAway(retry_after=COME_AGAIN)

    @property
    def file(self) -> Path | None:
        """The file of an SQLite database; None for PostgreSQL, and for a database that is no plain file."""
        name = self.engine.url.database or ""
        return Path(name) if self.is_sqlite and name and not name.startswith((":", "file:")) else None

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

        Raises :class:`DatabaseAway` when the database does not answer, or others keep writing for longer than
        ``patience`` seconds (None: :data:`BUSY_SECONDS`).
        """
        queue = self._one_writer(patience)
        with (
            self._noting(patience),
            _away_if_broken(),
            queue as deadline,
            self.engine.connect() as connection,
            connection.begin() as transaction,
        ):
            self._begin(connection, deadline)
            yield connection
            self._commit(transaction)

    @contextmanager
    def writing(self, session: scoped_session[Any]) -> Iterator[scoped_session[Any]]:
        """Yield ``session`` in a write transaction of its own, committed at the end.

        What the session had read before is read anew, so nothing is decided on stale rows.
        """
        with self._noting(None), _away_if_broken(), self._one_writer() as deadline:
            session.rollback()
            self._begin(session.connection(), deadline)
            try:
                yield session
                session.commit()
            except BaseException:
                session.rollback()
                raise

    @contextmanager
    def _noting(self, patience: float | None) -> Iterator[None]:
        """Remember whether the database takes writes; one that had little patience tells nothing about that."""
        try:
            yield
        except DatabaseAway:
            self._takes_writes = self._takes_writes and patience is not None
            raise
        self._takes_writes = True

    @contextmanager
    def _one_writer(self, patience: float | None = None) -> Iterator[float]:
        """Queue for the one place that SQLite has for writers; yield until when waiting makes sense.

        The limit counts the queue and the database together, so a locked database refuses all at once.
        """
        patience = BUSY_SECONDS if patience is None else patience
        if not self._takes_writes:
            patience = min(patience, AWAY_SECONDS)
        deadline = time.monotonic() + patience
        if not self.is_sqlite:
            yield deadline
            return
        if not self._lock.acquire(timeout=patience):
            raise DatabaseAway(retry_after=COME_AGAIN)
        try:
            yield deadline
        finally:
            self._lock.release()

    def _begin(self, connection: Connection, deadline: float) -> None:
        """Take SQLite's write lock; when another process holds it, try again up to ``deadline``."""
        if not self.is_sqlite or (self._takes_writes and has_begun(connection)):
            return
        wait_inside(connection, 0)  # from here on everybody else runs while this one waits
        try:
            while not has_begun(connection):
                if time.monotonic() > deadline:
                    raise DatabaseAway(retry_after=COME_AGAIN)
                threading.Event().wait(0.01)
        finally:
            wait_inside(connection, BUSY_TIMEOUT_MS)

    def _commit(self, transaction: RootTransaction) -> None:
        """Commit. Raises :class:`DatabaseAway`, which says so when nobody knows whether that went through."""
        try:
            transaction.commit()
        except DBAPIError as error:
            if self._commit_is_certain or not is_away(error):
                raise
            away = DatabaseAway(MAYBE_KEPT, retry_after=COME_AGAIN)
            away.maybe_kept = True
            raise away from error


def is_away(error: BaseException) -> bool:
    """Whether an exception says that the database does not answer, does not write, or has no connection left."""
    if isinstance(error, OperationalError | PoolTimeout | PendingRollbackError | DatabaseAway):
        return True
    if not isinstance(error, DBAPIError):
        return False
    cause = error.orig
    state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    broken = getattr(cause, "sqlite_errorcode", 0) & 0xFF in BROKEN_FILE
    return error.connection_invalidated or state == READ_ONLY or broken


@contextmanager
def _away_if_broken() -> Iterator[None]:
    """Turn a broken connection, a locked, full or overcrowded database into one clear refusal."""
    try:
        yield
    except (DBAPIError, PoolTimeout) as error:
        if is_away(error):
            raise DatabaseAway(retry_after=COME_AGAIN) from error
        raise
