"""A site that does not run, and what its commands do with it."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flask_migrate import upgrade

from project import create_app
from project.archive import MANIFEST, SUMS, ArchiveReader, ArchiveWriter
from project.config import Settings
from project.extensions import db
from project.file_reception import Allowance
from project.services import KEY, Services
from tests import schemas
from tests.house import House

ANY = Allowance(frozenset({"file"}), 10, 1_000_000)
#: What changes in a data folder without meaning anything.
UNIMPORTANT = ("site.lock", "-wal", "-shm")

Row = dict[str, Any]
MakePlace = Callable[..., "Place"]


class Place:
    """A data folder and a database (``url``; empty: SQLite in the folder)."""

    def __init__(self, folder: Path, url: str = "", **settings: Any) -> None:
        self.folder = folder
        self.url = url or f"sqlite:///{folder / 'spaces.db'}"
        given = {"min_free_mb": 0, **settings}
        self.settings = Settings(data_dir=folder, database_url=url, async_mode="threading", **given)

    @contextmanager
    def site(self) -> Iterator[Services]:
        """Yield the parts of the site, in an application context."""
        app = create_app(self.settings)
        with app.app_context():
            try:
                yield app.extensions[KEY]
            finally:
                db.session.remove()
                db.engine.dispose()

    def run(self, *words: str | Path, expect: int = 0) -> str:
        """Run a command and return what it said; fails when its exit status is not ``expect``."""
        app = create_app(self.settings)
        try:
            done = app.test_cli_runner().invoke(args=[str(word) for word in words])
        finally:
            with app.app_context():
                db.engine.dispose()
        assert done.exit_code == expect, f"{words}: {done.exit_code} {done.output} {done.exception!r}"
        return str(done.output)

    def make(self, revision: str = "head") -> Place:
        """Make the tables of a revision; of a release, with its rows."""
        self.folder.mkdir(exist_ok=True, parents=True)
        if revision == "head":
            with schemas.migrating(self.url):
                upgrade()
        else:
            schemas.load(self.url, revision)
        return self

    def rows(self) -> schemas.Rows:
        """Return all rows of the database."""
        return schemas.rows(self.url)

    def files(self) -> dict[str, str]:
        """Return the SHA-256 of all that is in the data folder beside the database, by name."""
        found = {str(path.relative_to(self.folder)): path for path in self.folder.rglob("*") if path.is_file()}
        return {
            name: hashlib.sha256(path.read_bytes()).hexdigest()
            for name, path in found.items()
            if not name.endswith(UNIMPORTANT) and name != "spaces.db"
        }


def give(site: Services, house: House, *contents: bytes) -> str:
    """Submit a request with files and return its id."""
    with site.files.receive(ANY) as reception:
        for content in contents:
            arrival = reception.begin("a.txt", field="file")
            arrival.write(content)
            arrival.finish()
        reception.keep()
        request_id = house.submit(files=reception.files)
        reception.release()
    return request_id


def fill(place: Place) -> list[str]:
    """Put three requests with files there: one completed, one processing, one queued; return their ids."""
    with place.site() as site:
        site.files.claim_storage()
        house = House(site.store, site.database)
        house.bind()
        ids = [give(site, house, content, content * 2) for content in (b"one", b"two", b"three")]
        house.finish(house.claimed())
        place.run("create-admin", "root", "--random")
    return ids


def manifest_of(backup: Path) -> dict[str, Any]:
    """Return what a backup says of itself."""
    with backup.open("rb") as file:
        return ArchiveReader(file).manifest


def rewritten(backup: Path, change: Callable[[str, Row], Row | None] = lambda _table, row: row, **said: Any) -> Path:
    """Write a backup that is whole but says something else: in rows (None: nothing), and ``said`` in its manifest."""
    target = backup.with_name(f"rewritten-{backup.name}")
    with backup.open("rb") as old, target.open("w+b") as new:
        reader, writer = ArchiveReader(old), ArchiveWriter(new, 1_790_000_000)
        for name in reader.members:
            if name in (MANIFEST, SUMS):
                continue
            content = b"".join(reader.chunks(name))
            if name.startswith("rows/"):
                rows = [change(name[5:-6], json.loads(line)) for line in content.splitlines()]
                content = b"".join(json.dumps(row).encode() + b"\n" for row in rows if row is not None)
            writer.add(name, io.BytesIO(content), len(content))
        writer.finish(reader.manifest | said)
    return target
