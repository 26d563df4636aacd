"""Where a restore goes: a new database that takes the old one's place in one step, or not at all.

On SQLite that step is the renaming of a file that was filled beside the old one; on PostgreSQL it is the commit of the
one transaction in which everything was made. The old database is kept: as a file in a folder of the data
folder, or as tables in a schema of their own.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from sqlalchemy import create_engine, func, inspect, select, text
from sqlalchemy.engine import Connection as SqlConnection
from sqlalchemy.exc import OperationalError

from project.backup import Refused
from project.database import Database
from project.file_storage import linked_or_copied
from project.models import Process
from project.portable_rows import KNOWN
from project.sqlite_file import begin_immediate, without_foreign_keys

#: Seconds for which a server process counts as alive after its last heartbeat.
ALIVE_SECONDS = 10.0
#: Seconds after which it is given up that somebody else reads a table which is to be moved.
LOCK_SECONDS = 3
VERSIONS = "alembic_version"
#: What SQLite keeps beside a database file.
LOGS = ("-wal", "-shm", "-journal")


class Target(Protocol):
    """A database that a restore can fill."""

    def check_unused(self) -> None:
        """Raise :class:`Refused` when a site process works on it."""

    def is_empty(self) -> bool:
        """Whether there is nothing in it that a restore would replace."""

    @contextmanager
    def filling(self) -> Iterator[SqlConnection]:
        """Yield a connection in a transaction on an empty database, gone without a trace unless :meth:`switch`."""

    def switch(self, connection: SqlConnection) -> None:
        """Let the filled database take the place of the old one, which is kept aside."""


class SqliteTarget:
    """The file of an SQLite database, which goes to ``aside``. Whoever restores holds the lock of the data folder."""

    def __init__(self, file: Path, aside: Path) -> None:
        self._file, self._aside = file, aside
        self._new = file.with_name(f"{file.name}.restoring")

    def check_unused(self) -> None:
        """The lock of the data folder has said it; see :class:`Target`."""

    def is_empty(self) -> bool:
        """Whether there is no file, or one without any table."""
        if not self._file.exists():
            return True
        with _engine(self._file) as database, database.read() as connection:
            return not inspect(connection).get_table_names()

    @contextmanager
    def filling(self) -> Iterator[SqlConnection]:
        """Fill a file beside the old one; see :class:`Target`."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        _forget(self._new, ("", *LOGS))
        try:
            with (
                _engine(self._new) as database,
                database.engine.connect() as connection,
                without_foreign_keys(connection),
            ):
                connection.begin()
                begin_immediate(connection)
                yield connection  # what is not committed by then is rolled back
        finally:
            _forget(self._new, ("", *LOGS))

    def switch(self, connection: SqlConnection) -> None:
        """Rename the new file over the old one; see :class:`Target`."""
        connection.commit()
        _into_one_file(connection)
        if self._file.exists():
            with _engine(self._file) as database, database.engine.connect() as old:
                _into_one_file(old)
            self._aside.mkdir(exist_ok=True, mode=0o700)
            linked_or_copied(self._file, self._aside / self._file.name)
        _forget(self._file, LOGS)  # of a database that is gone: they would be taken for the new one's
        os.sync()
        self._new.rename(self._file)


def _forget(file: Path, endings: Iterable[str]) -> None:
    for ending in endings:
        file.with_name(file.name + ending).unlink(missing_ok=True)


@contextmanager
def _engine(file: Path) -> Iterator[Database]:
    engine = create_engine(f"sqlite:///{file}")
    try:
        yield Database(engine)
    finally:
        engine.dispose()


def _into_one_file(connection: SqlConnection) -> None:
    """Bring what is in the write-ahead log into the file. Raises :class:`Refused` when somebody reads it just now."""
    try:
        connection.exec_driver_sql("PRAGMA journal_mode = DELETE")
    except OperationalError as error:
        raise Refused("Another program has the database open. Close it, and try again.") from error


class PostgresTarget:
    """The tables in the first schema of a PostgreSQL database's search path. The old ones go to a schema ``aside``."""

    def __init__(self, database: Database, aside: str) -> None:
        self._database, self._aside = database, aside

    def check_unused(self) -> None:
        """Look for a fresh heartbeat; see :class:`Target`."""
        with self._database.read() as connection:
            if not inspect(connection).has_table(Process.__tablename__):
                return
            last = connection.scalar(select(func.max(Process.heartbeat_at)))
        if last is not None and last > time.time() - ALIVE_SECONDS:
            raise Refused(f"A site process works on this database. Stop it, and wait {ALIVE_SECONDS:g} seconds.")

    def is_empty(self) -> bool:
        """Whether none of the site's tables is there."""
        with self._database.read() as connection:
            return not _own_tables(connection)

    @contextmanager
    def filling(self) -> Iterator[SqlConnection]:
        """Fill new tables in one transaction, the old ones having moved; see :class:`Target`."""
        with self._database.engine.connect() as connection:
            connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'"))
            if old := _own_tables(connection):
                connection.execute(text(f'CREATE SCHEMA "{self._aside}"'))
                for name in old:
                    connection.execute(text(f'ALTER TABLE "{name}" SET SCHEMA "{self._aside}"'))
            yield connection  # what is not committed by then is rolled back

    def switch(self, connection: SqlConnection) -> None:
        """Commit; see :class:`Target`."""
        os.sync()
        connection.commit()


def _own_tables(connection: SqlConnection) -> list[str]:
    there = inspect(connection).get_table_names()
    return [name for name in (VERSIONS, *KNOWN) if name in there]


def target_of(database: Database, aside: Path) -> Target:
    """Return what a restore fills; ``aside`` is where, and as what, the old database is kept.

    Raises :class:`Refused` for a database that is neither a file nor PostgreSQL.
    """
    if database.file:
        return SqliteTarget(database.file, aside)
    if database.is_sqlite:
        raise Refused("A backup can be restored into a database file only: set SPACES_DATABASE_URL to one.")
    return PostgresTarget(database, aside.name)
