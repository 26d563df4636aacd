"""SQLite as the site uses it: its settings, its write lock, its file, and the folder that belongs to one process."""

from __future__ import annotations

import fcntl
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from sqlalchemy import Engine, event
from sqlalchemy.engine import Connection

from project.errors import DatabaseAway

BUSY_TIMEOUT_MS = 50
COME_AGAIN = 1.0
REPLACED = "the database file %s is not the one that the site began with: put that one back, or restart the site"

logger = logging.getLogger(__name__)


def prepare(engine: Engine, synchronous: str) -> None:
    """Set WAL, foreign keys, a short busy timeout, transactions that begin when we say so, and the right file."""
    if engine.url.database not in (None, "", ":memory:"):
        HomeFile(engine)

    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute(f"PRAGMA synchronous = {synchronous}")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()


class HomeFile:
    """The file that the first connection found: while another one, or none, is in its place, the database is away.

    SQLite itself would make a new, empty database where the file is gone.
    Open connections stay open meanwhile: closing the last one would remove the log that lies beside another file.
    """

    def __init__(self, engine: Engine) -> None:
        self._path = Path(engine.url.database or "")
        self._known: tuple[int, int] | None = None
        self._is_replaced = False
        event.listen(engine, "do_connect", self._on_connecting)
        event.listen(engine, "engine_connect", self._on_use)

    def _on_connecting(self, *_arguments: Any) -> None:
        if self._known:
            self._check()

    def _on_use(self, connection: Connection) -> None:
        try:
            self._check()
        except DatabaseAway:
            connection.close()
            raise

    def _check(self) -> None:
        try:
            found = self._path.stat()
        except OSError as error:
            raise DatabaseAway(retry_after=COME_AGAIN) from error
        identity = (found.st_dev, found.st_ino)
        self._known = self._known or identity
        was_replaced, self._is_replaced = self._is_replaced, identity != self._known
        if self._is_replaced and not was_replaced:
            logger.error(REPLACED, self._path)
        if self._is_replaced:
            raise DatabaseAway(retry_after=COME_AGAIN)


def begin_immediate(connection: Connection) -> None:
    """Begin a write transaction on SQLite. Raises :class:`sqlite3.OperationalError` when somebody else writes.

    The driver itself begins nothing (see :func:`prepare`), so a read takes no transaction at all.
    """
    _raw(connection).execute("BEGIN IMMEDIATE")


def has_begun(connection: Connection) -> bool:
    """Try to take the write lock and say whether that was possible. Raises :class:`DatabaseAway` for other troubles."""
    try:
        begin_immediate(connection)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
            return False
        raise DatabaseAway(retry_after=COME_AGAIN) from error
    return True


def wait_inside(connection: Connection, milliseconds: int) -> None:
    """Let SQLite itself wait so long for a lock; green threads do not run meanwhile."""
    _raw(connection).execute(f"PRAGMA busy_timeout = {milliseconds}")


@contextmanager
def without_foreign_keys(connection: Connection) -> Iterator[None]:
    """Let tables be made anew and filled in any order: enter it before the transaction begins.

    :func:`check_foreign_keys` says before the commit whether all fits together. PostgreSQL needs neither.
    """
    if connection.dialect.name != "sqlite":
        yield
        return
    _raw(connection).execute("PRAGMA foreign_keys = OFF")
    try:
        yield
    finally:
        _raw(connection).execute("PRAGMA foreign_keys = ON")


def check_foreign_keys(connection: Connection) -> None:
    """Raise :class:`sqlite3.IntegrityError` when a row names another one that does not exist."""
    if connection.dialect.name == "sqlite":
        broken = _raw(connection).execute("PRAGMA foreign_key_check").fetchall()
        if broken:
            tables = ", ".join(sorted({str(row[0]) for row in broken}))
            raise sqlite3.IntegrityError(f"rows of {tables} name others that do not exist")


def _raw(connection: Connection) -> sqlite3.Connection:
    raw = connection.connection.driver_connection
    assert isinstance(raw, sqlite3.Connection)
    return raw


def lock_folder(folder: Path) -> TextIO | None:
    """Take the data folder for this process; None when another process has it. The lock lives as long as the answer."""
    file = (folder / "site.lock").open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file
