"""A backup while the site runs: the rows as they were at one moment, then every file that they name.

Bytes are kept before their row is committed and deleted after their row is gone. So a file of the snapshot can be
missing only because its request was deleted meanwhile; then that request is left out at the restore. A file whose
request is still there is lost or damaged on the site itself: the backup says so, and is made all the same.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO

from sqlalchemy import select
from sqlalchemy.engine import Connection as SqlConnection

from project import archive, portable_rows
from project.archive import ArchiveWriter, NotAsSaid
from project.config import Settings
from project.database import Database
from project.errors import NotFound
from project.files import Files
from project.first_admin import FILE as FIRST_ADMIN
from project.models import FileStore
from project.schema import is_known

FORMAT = 1
PROGRAM = "websocket-spaces"
#: Files of the data folder that go along, where they are there.
SMALL_FILES = ("secret-key", FIRST_ADMIN)
MEGABYTE = 1_000_000
NO_SITE = "There is no site yet: its database has no tables."

Say = Callable[[str], None]


class Refused(Exception):
    """A backup or a restore cannot be done; the message says why, and nothing has changed."""


@dataclass
class Taken:
    """What is in a backup. ``deleted`` are requests that went while it was taken, ``missing`` files the site lost."""

    rows: dict[str, int] = field(default_factory=dict)
    files: int = 0
    bytes: int = 0
    deleted: set[str] = field(default_factory=set)
    missing: dict[str, str] = field(default_factory=dict)


def take(settings: Settings, database: Database, files: Files, target: Path, say: Say = lambda _: None) -> Taken:
    """Write a backup to ``target``, which appears as a whole or not at all; ``say`` is told how far it is.

    Raises :class:`Refused`, and :class:`DatabaseAway`.
    """
    if database.file and not database.file.exists():
        raise Refused(NO_SITE)
    with _appearing(target) as file:
        return _Backup(settings, database, files, file, target.parent, say).take()


@contextmanager
def _appearing(target: Path) -> Iterator[BinaryIO]:
    """Yield a file beside ``target`` that takes its name at the end; what a killed backup left there is overwritten."""
    if target.exists():
        raise Refused(f"{target} is there already: give another name.")
    part = target.with_name(f"{target.name}.part")
    try:
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise Refused(f"{part} cannot be written: {error.strerror}.") from error
    with os.fdopen(descriptor, "w+b") as file:
        _claim(file, part)
        try:
            yield file
            file.flush()
            os.fsync(descriptor)
            part.rename(target)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    _settle(target.parent)


def _claim(file: BinaryIO, part: Path) -> None:
    """Take a file for this backup alone; another one may have begun it, or have just given it its final name."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_ours = part.stat().st_ino == os.fstat(file.fileno()).st_ino
    except OSError:
        is_ours = False
    if not is_ours:
        raise Refused(f"Another backup is just writing {part}.")
    os.fchmod(file.fileno(), 0o600)
    file.truncate()


def _settle(folder: Path) -> None:
    """See that a new name survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _Backup:
    """One backup that is being taken."""

    def __init__(
        self, settings: Settings, database: Database, files: Files, file: BinaryIO, folder: Path, say: Say
    ) -> None:
        self._settings, self._database, self._files, self._folder, self._say = settings, database, files, folder, say
        self._at = time.time()
        self._writer = ArchiveWriter(file, int(self._at))
        self._taken = Taken()

    def take(self) -> Taken:
        with TemporaryFile(dir=self._folder) as file_rows:
            manifest = self._take_rows(file_rows)
            self._say(f"{sum(self._taken.rows.values())} rows are in the backup.")
            file_rows.seek(0)
            for line in file_rows:
                self._take_file(json.loads(line))
        self._take_small_files()
        found = self._taken
        manifest |= {"files": found.files, "bytes": found.bytes, "missing": found.missing}
        self._writer.finish(manifest | {"deleted": sorted(found.deleted)})
        return found

    def _take_rows(self, file_rows: BinaryIO) -> dict[str, Any]:
        with snapshot(self._database) as connection:
            revision = portable_rows.revision(connection)
            if revision is None:
                raise Refused(NO_SITE)
            if not is_known(revision):
                raise Refused(f"The database is of a newer version (schema {revision}): use that to back it up.")
            tables = portable_rows.tables(connection)
            for table in tables:
                self._taken.rows[table.name] = self._take_table(connection, table, file_rows)
            last_ids = portable_rows.last_ids(connection, tables)
            has_storage = "file_store" in self._taken.rows
            storage = connection.scalar(select(FileStore.name)) if has_storage else None
        return {
            "format": FORMAT,
            "has_key": not self._settings.secret_key,
            "program": PROGRAM,
            "revision": revision,
            "taken_at": datetime.fromtimestamp(self._at, UTC).isoformat(),
            "database": connection.dialect.name,
            "storage": storage,
            "rows": self._taken.rows,
            "last_ids": last_ids,
        }

    def _take_table(self, connection: SqlConnection, table: Any, file_rows: BinaryIO) -> int:
        """Add a table; its size must be known before, so it goes through a file without a name."""
        count = 0
        with TemporaryFile(dir=self._folder) as spool:
            for count, line in enumerate(portable_rows.lines(connection, table), 1):
                spool.write(line)
                if table.name == "files":
                    file_rows.write(line)
                if count % 10_000 == 0:
                    self._say(f"{table.name}: {count} rows.")
            size = spool.tell()
            spool.seek(0)
            self._writer.add(archive.ROWS.format(table.name), spool, size)
        return count

    def _take_file(self, row: dict[str, Any]) -> None:
        found = self._taken
        try:
            with self._files.open(row["id"]) as source:
                self._writer.add(archive.FILES.format(row["id"]), source, row["size"], row["sha256"])
        except NotFound:
            self._take_note(row, "its bytes are gone")
        except NotAsSaid as error:
            self._take_note(row, str(error))
        else:
            found.files += 1
            found.bytes += row["size"]
            self._say(f"{found.files} of {found.rows['files']} files, {found.bytes / MEGABYTE:.1f} MB.")

    def _take_note(self, row: dict[str, Any], why: str) -> None:
        try:
            self._files.find(row["id"])
        except NotFound:
            self._taken.deleted.add(row["request_id"])
        else:
            self._taken.missing[row["id"]] = why

    def _take_small_files(self) -> None:
        for name in SMALL_FILES:
            path = self._settings.data_dir / name
            if name == "secret-key" and self._settings.secret_key:
                continue  # the key in force is elsewhere
            try:
                with path.open("rb") as source:
                    self._writer.add(archive.FOLDER.format(name), source, os.fstat(source.fileno()).st_size)
            except FileNotFoundError:
                continue


@contextmanager
def snapshot(database: Database) -> Iterator[SqlConnection]:
    """Yield a connection that sees the database as it is at this moment, for as long as it takes; nobody waits for it.

    On SQLite the write-ahead log grows meanwhile, so files are read after it.
    """
    with database.read() as connection:
        if database.is_sqlite:
            connection.exec_driver_sql("BEGIN")
        else:
            connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        yield connection
