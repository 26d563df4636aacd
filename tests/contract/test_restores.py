"""A restore is all or nothing, never over something else unasked, and what was there before can be had back."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from project.sqlite_file import lock_folder
from tests import schemas
from tests.house import House
from tests.places import MakePlace, Place, Row, fill, manifest_of, rewritten
from tests.site_process import ROOT

# Into a place that is not empty


def test_a_site_is_not_written_over(place: Place, make_place: MakePlace, backup: Path) -> None:
    fill(place)
    place.run("backup", backup)
    other = make_place().make()
    with other.site() as site:
        House(site.store, site.database)
    before = other.rows(), other.files()
    assert "--replace" in other.run("restore", backup, expect=1)
    assert (other.rows(), other.files()) == before


def test_files_without_a_database_are_not_written_over(place: Place, make_place: MakePlace, backup: Path) -> None:
    fill(place)
    place.run("backup", backup)
    other = make_place()
    stray = other.folder / "files" / "kept" / "aa" / ("a" * 32)
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"precious")
    assert "--replace" in other.run("restore", backup, expect=1)
    assert stray.read_bytes() == b"precious"


def test_replace_keeps_the_old_site(place: Place, make_place: MakePlace, backup: Path, backend: str) -> None:
    fill(place)
    place.run("backup", backup)
    other = make_place().make()
    fill(other)
    rows, files = other.rows(), other.files()
    other.run("restore", "--replace", backup)
    [aside] = other.folder.glob("before-restore-*")
    assert restored(other) == restored(place)
    if backend == "sqlite":
        kept = schemas.rows(f"sqlite:///{aside / 'spaces.db'}")
    else:
        engine = create_engine(other.url, connect_args={"options": f"-c search_path={aside.name}"})
        kept = schemas.rows_of(engine)
        engine.dispose()
    assert kept == rows
    there = {str(path.relative_to(aside)) for path in aside.rglob("*") if path.is_file()}
    assert set(files) <= there
    with other.site() as site:
        site.files.claim_storage()
        site.files.sweep(time.time() + 1e6)
    assert all((aside / name).exists() for name in files), "the sweep took what was kept aside"
    assert {name for name in other.files() if name.startswith("files/kept")} == {
        name for name in place.files() if name.startswith("files/kept")
    }


def test_one_can_go_back_to_the_site_that_was_replaced(
    place: Place, make_place: MakePlace, backup: Path, backend: str
) -> None:
    """By hand, as docs/operations.md says."""
    fill(place)
    place.run("backup", backup)
    other = make_place().make()
    fill(other)
    rows, files = other.rows(), other.files()
    other.run("restore", "--replace", backup)
    [aside] = other.folder.glob("before-restore-*")
    shutil.rmtree(other.folder / "files")
    for kept in aside.iterdir():
        kept.rename(other.folder / kept.name)
    aside.rmdir()
    if backend == "postgresql":
        engine = create_engine(other.url)
        with engine.begin() as connection:
            connection.execute(text("ALTER SCHEMA public RENAME TO restored"))
            connection.execute(text(f'ALTER SCHEMA "{aside.name}" RENAME TO public'))
        engine.dispose()
    assert (other.rows(), other.files()) == (rows, files)


def restored(place: Place) -> schemas.Rows:
    """All rows but the name of the storage, which belongs to the place."""
    return {name: rows for name, rows in place.rows().items() if name != "file_store"}


# All or nothing


def twice(table: str, row: Row) -> Row:
    return row | {"id": 1} if table == "transitions" else row


def nobody(table: str, row: Row) -> Row | None:
    return None if table == "users" and row["id"] == 1 else row


def other_file(table: str, row: Row) -> Row:
    return row | {"sha256": "0" * 64} if table == "files" else row


def new_column(table: str, row: Row) -> Row:
    return row | {"surprise": 1} if table == "spaces" else row


def shortened(backup: Path) -> Path:
    target = backup.with_name("short.tar")
    target.write_bytes(backup.read_bytes()[:-700])
    return target


def damaged(backup: Path) -> Path:
    target, content = backup.with_name("damaged.tar"), bytearray(backup.read_bytes())
    content[content.index(b"oneone")] ^= 4
    target.write_bytes(content)
    return target


#: What is wrong with a backup, and what is said of it.
WRONG: dict[str, tuple[Callable[[Path], Path], str]] = {
    "shortened": (shortened, "damaged"),
    "damaged": (damaged, "damaged"),
    "not there": (lambda backup: backup / "nowhere", "cannot be read"),
    "newer format": (lambda backup: rewritten(backup, format=2), "format 2"),
    "foreign": (lambda backup: rewritten(backup, program="another"), "no backup of this program"),
    "newer schema": (lambda backup: rewritten(backup, revision="9999"), "newer version"),
    "another schema": (lambda backup: rewritten(backup, revision="0001"), "other tables"),
    "lacks a key": (lambda backup: rewritten(backup, last_ids=None), "lacks something"),
    "an id twice": (lambda backup: rewritten(backup, twice), "transitions do not fit"),
    "lacks a person": (lambda backup: rewritten(backup, nobody, rows=ROWS), "spaces|requests|fit together"),
    "lacks rows": (lambda backup: rewritten(backup, nobody), "not as many rows of users"),
    "other file": (lambda backup: rewritten(backup, other_file), "not the file"),
    "other columns": (lambda backup: rewritten(backup, new_column), "other columns"),
}
ROWS: dict[str, int] = {}


def test_a_backup_with_anything_wrong_changes_nothing(place: Place, make_place: MakePlace, backup: Path) -> None:
    """Neither an empty place, nor one with a site, with --replace."""
    fill(place)
    place.run("backup", backup)
    ROWS.update(manifest_of(backup)["rows"] | {"users": 1})
    empty, full = make_place(), make_place().make()
    fill(full)
    empty.run("--help")  # the folder itself and its key are made by any command
    before = full.rows(), full.files(), empty.files()
    for what, (make, words) in WRONG.items():
        source = make(backup)
        for one in (["restore", source], ["restore", "--replace", source]):
            said = (full if "--replace" in one else empty).run(*one, expect=1)
            assert re.search(words, said), f"{what}: {said}"
        assert (full.rows(), full.files(), empty.files()) == before, what
        assert not (empty.folder / "spaces.db").exists(), what
        assert empty.settings.database_url == "" or schemas.shape(empty.url) == {}, what


def test_a_full_disk_changes_nothing(place: Place, make_place: MakePlace, backup: Path) -> None:
    fill(place)
    place.run("backup", backup)
    new = make_place(min_free_mb=1e12)
    assert "nothing has changed" in new.run("restore", backup, expect=1)
    assert [name for name in new.files() if name != "secret-key"] == []


def test_a_database_that_somebody_reads_is_not_replaced(
    place: Place, make_place: MakePlace, backup: Path, backend: str
) -> None:
    """On SQLite that shows when the bytes of the backup are in place already: they go again."""
    other = make_place().make()
    fill(other)
    other.run("backup", backup)
    fill(place)
    before = place.rows(), place.files()
    engine = create_engine(place.url)
    with engine.connect() as reader:
        if backend == "sqlite":
            reader.exec_driver_sql("BEGIN")
        reader.execute(text("SELECT * FROM users")).all()
        place.run("restore", "--replace", backup, expect=1)
    engine.dispose()
    assert (place.rows(), place.files()) == before
    place.run("restore", "--replace", backup)


def test_a_site_that_runs_is_left_alone(place: Place, backup: Path, backend: str) -> None:
    fill(place)
    place.run("backup", backup)
    if backend == "sqlite":
        lock = lock_folder(place.folder)
        assert lock
        with lock:
            assert "Stop it first" in place.run("restore", "--replace", backup, expect=1)
    else:
        with place.site() as site:
            site.store.start_process("a" * 32, "host", 1, 1.0, time.time())
        assert "Stop it" in place.run("restore", "--replace", backup, expect=1)
        with place.site() as site:
            site.store.heartbeat("a" * 32, time.time() - 60)
    place.run("restore", "--replace", backup)


#: Restores a backup and dies at a moment: when it says something that begins so, or just before it is done.
DYING = """
import os, sys
from pathlib import Path
from project.restore import restore
from tests.places import Place

folder, url, backup, moment = sys.argv[1:]
if moment == "end":
    os.sync = lambda: os._exit(9)
with Place(Path(folder), url).site() as site:
    die = lambda line: line.startswith(moment) and os._exit(9)
    restore(site.settings, site.database, Path(backup), replace=True, say=die)
"""


@pytest.mark.parametrize("moment", ["3 of 6 files", "Rows of transitions", "end"])
def test_a_restore_that_is_killed_changes_nothing(
    place: Place, make_place: MakePlace, backup: Path, moment: str
) -> None:
    """What it leaves beside is no hindrance to the site, nor to the next restore."""
    fill(place)
    place.run("backup", backup)
    other = make_place().make()
    fill(other)
    rows, files = other.rows(), other.files()
    url = other.settings.database_url
    command = [sys.executable, "-c", DYING, str(other.folder), url, str(backup), moment]
    died = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert died.returncode == 9, died.stderr
    assert other.rows() == rows
    assert files.items() <= other.files().items()
    other.run("restore", "--replace", backup)
    assert restored(other) == restored(place)
    assert not (other.folder / "restoring").exists()


def test_what_a_killed_restore_left_is_no_hindrance(
    place: Place, make_place: MakePlace, backup: Path, backend: str
) -> None:
    fill(place)
    place.run("backup", backup)
    new = make_place()
    staged = new.folder / "restoring" / "kept" / "aa" / ("a" * 32)
    staged.parent.mkdir(parents=True)
    staged.write_bytes(b"half")
    if backend == "sqlite":
        (new.folder / "spaces.db.restoring").write_bytes(b"no database")
        (new.folder / "spaces.db-wal").write_bytes(b"the log of a database that is gone")
    new.run("restore", backup)
    assert new.rows() == place.rows()
    assert new.files() == place.files()
    assert not (new.folder / "restoring").exists()
