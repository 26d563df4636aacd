"""A backup becomes a site again: all of it or nothing, and never over something else without being asked.

The archive is checked to its last byte first. Bytes are kept beside what is there, rows are written into a new
database at the schema of the backup and migrated from there, and then one step makes them the site's.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from sqlalchemy import insert, update
from sqlalchemy.engine import Connection as SqlConnection

from project import archive, portable_rows, schema
from project.archive import ArchiveReader, BadArchive
from project.backup import FORMAT, MEGABYTE, PROGRAM, SMALL_FILES, Refused, Say
from project.config import Settings, write_private
from project.database import Database
from project.file_storage import FolderStorage
from project.models import FileStore
from project.restore_target import target_of
from project.sqlite_file import check_foreign_keys, lock_folder

STAGING = "restoring"
THERE_IS_ONE = (
    "There is a site already, in {} or its database. With --replace it is moved aside, and the backup takes its place."
)
#: Tables whose rows belong to the request that their ``request_id`` names.
OF_REQUESTS = ("files", "attempts", "transitions")


class Manifest(BaseModel):
    """What a backup says of itself; see ``docs/decisions/0016-backups.md``."""

    format: int
    program: str
    revision: str
    taken_at: str
    storage: str | None
    has_key: bool
    rows: dict[str, int]
    last_ids: dict[str, int]
    files: int
    deleted: list[str]
    missing: dict[str, str]


@dataclass(frozen=True)
class Restored:
    """What was restored. ``aside`` is where the old site is kept, if there was one."""

    manifest: Manifest
    rows: int
    files: int
    aside: Path | None


def restore(
    settings: Settings, database: Database, source: Path, *, replace: bool = False, say: Say = lambda _: None
) -> Restored:
    """Make the site what it was when the backup ``source`` was taken; ``say`` is told how far it is.

    Raises :class:`Refused` and :class:`BadArchive`, the site being as it was before.
    """
    aside = settings.data_dir / f"before-restore-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}"
    target, storage = target_of(database, aside), _storage(settings.files_dir, settings)
    with _folder_of_our_own(settings.data_dir), _opened(source) as file:
        target.check_unused()
        one = _Restore(settings, ArchiveReader(file, _Meter(source.stat().st_size, say).read), say)
        is_empty = target.is_empty() and storage.is_empty()
        if not is_empty and not replace:
            raise Refused(THERE_IS_ONE.format(settings.data_dir))
        one.stage_files()
        with target.filling() as connection:
            one.fill(connection)
            name = one.name_storage(connection, storage)
            with nullcontext() if is_empty else _kept_aside(settings, aside), one.bytes_in(storage):
                target.switch(connection)
        one.put_small_files()
        if name:
            storage.belongs_to(name)
        return Restored(one.manifest, one.rows, one.files, None if is_empty else aside)


@contextmanager
def _kept_aside(settings: Settings, aside: Path) -> Iterator[None]:
    """Keep the old files, key and password in a new folder, where the old database goes too; on failure it goes."""
    aside.mkdir(mode=0o700)
    try:
        _storage(settings.files_dir, settings).copy_to(aside / "files")
        for name in SMALL_FILES:
            if (settings.data_dir / name).exists():
                shutil.copy2(settings.data_dir / name, aside / name)
        yield
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


class _Restore:
    """One backup on its way into a site."""

    def __init__(self, settings: Settings, reader: ArchiveReader, say: Say) -> None:
        self._settings, self._reader, self._say = settings, reader, say
        self.manifest = _manifest(reader)
        self._deleted = set(self.manifest.deleted)
        self._staged = _storage(settings.data_dir / STAGING, settings)
        self.rows = self.files = 0

    def stage_files(self) -> None:
        """Keep all files of the backup beside those of the site."""
        for row in self._file_rows():
            if row["request_id"] in self._deleted or row["id"] in self.manifest.missing:
                continue
            name = archive.FILES.format(row["id"])
            member = self._reader.member(name)
            if (member.size, member.sha256) != (row["size"], row["sha256"]):
                raise BadArchive(f"{name} is not the file that its row names.")
            incoming = self._staged.receive(row["id"], member.size)
            for chunk in self._reader.chunks(name):
                incoming.write(chunk)
            incoming.close()
            incoming.keep()
            self.files += 1
            self._say(f"{self.files} of {self.manifest.files} files.")

    def _file_rows(self) -> Iterator[dict[str, Any]]:
        if "files" in self.manifest.rows:
            for row in portable_rows.parsed(self._reader.lines(archive.ROWS.format("files")), "files"):
                if not row.keys() >= {"id", "request_id", "size", "sha256"}:
                    raise BadArchive("A row of files does not say which file.")
                yield row

    def fill(self, connection: SqlConnection) -> None:
        """Write the rows at the schema of the backup, and bring them to today's."""
        schema.upgrade(connection, self.manifest.revision)
        tables = portable_rows.tables(connection)
        if {table.name for table in tables} != set(self.manifest.rows):
            raise BadArchive("The backup has other tables than its schema.")
        for table in tables:
            self._say(f"Rows of {table.name}.")
            lines = self._reader.lines(archive.ROWS.format(table.name))
            count = portable_rows.load(connection, table, lines, partial(self._is_wanted, table.name))
            if count != self.manifest.rows[table.name]:
                raise BadArchive(f"The backup has not as many rows of {table.name} as it says.")
            self.rows += count
        portable_rows.set_last_ids(connection, tables, self.manifest.last_ids)
        try:
            schema.upgrade(connection)
            check_foreign_keys(connection)
        except sqlite3.IntegrityError as error:
            raise BadArchive(f"The backup does not fit together: {error}.") from error

    def _is_wanted(self, table: str, row: dict[str, Any]) -> bool:
        """Whether a row is not one of a request that was deleted while the backup was taken."""
        if table == "requests":
            return row["id"] not in self._deleted
        return table not in OF_REQUESTS or row["request_id"] not in self._deleted

    def name_storage(self, connection: SqlConnection, storage: FolderStorage) -> str | None:
        """Tell the database which storage gets its files, and return that one's name, if it is to have one already."""
        name = storage.name() or self.manifest.storage
        if name and not connection.execute(update(FileStore).values(name=name)).rowcount:
            connection.execute(insert(FileStore).values(number=1, name=name))
        return name

    @contextmanager
    def bytes_in(self, storage: FolderStorage) -> Iterator[None]:
        """Have the bytes in the storage before their rows count; should that fail, those that are new go again."""
        new: list[str] = []
        try:
            new += storage.take_over(self._staged)
            yield
        except BaseException:
            for key in new:
                storage.delete(key)
            raise

    def put_small_files(self) -> None:
        """Write the key and the first admin's password as the backup has them; without one there is none."""
        for name in SMALL_FILES:
            member = archive.FOLDER.format(name)
            if member in self._reader.members:
                write_private(self._settings.data_dir / name, self._reader.read(member).decode("utf-8"))
            elif name != "secret-key":
                (self._settings.data_dir / name).unlink(missing_ok=True)


class _Meter:
    """Says how much of the archive was checked."""

    def __init__(self, size: int, say: Say) -> None:
        self._size, self._say, self._read = size, say, 0

    def read(self, count: int) -> None:
        self._read += count
        self._say(f"{self._read / MEGABYTE:.1f} of {self._size / MEGABYTE:.1f} MB checked.")


def _manifest(reader: ArchiveReader) -> Manifest:
    said = reader.manifest
    if said.get("program") != PROGRAM:
        raise BadArchive("This is no backup of this program.")
    if said.get("format") != FORMAT:
        raise BadArchive(f"The backup has the format {said.get('format')}; this version reads {FORMAT}.")
    try:
        manifest = Manifest.model_validate(said)
    except ValidationError as error:
        raise BadArchive(f"The backup's manifest lacks something: {error.errors()[0]['loc']}.") from error
    if not schema.is_known(manifest.revision):
        raise BadArchive(f"The backup is of a newer version (schema {manifest.revision}). Restore it with that.")
    return manifest


def _storage(folder: Path, settings: Settings) -> FolderStorage:
    return FolderStorage(folder, min_free=int(settings.min_free_mb * MEGABYTE))


@contextmanager
def _opened(source: Path) -> Iterator[Any]:
    try:
        file = source.open("rb")
    except OSError as error:
        raise Refused(f"{source} cannot be read: {error.strerror}.") from error
    with file:
        yield file


@contextmanager
def _folder_of_our_own(folder: Path) -> Iterator[None]:
    """Keep sites and other restores out of the data folder, and leave nothing half done in it."""
    lock = lock_folder(folder)
    if lock is None:
        raise Refused(f"A site process uses the data folder {folder}. Stop it first.")
    with lock:
        shutil.rmtree(folder / STAGING, ignore_errors=True)
        try:
            yield
        finally:
            shutil.rmtree(folder / STAGING, ignore_errors=True)
