"""A backup holds everything as it was at one moment, on every database and for every one, and is restored whole."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path
from typing import Any

import pytest
from flask_migrate import upgrade
from sqlalchemy import create_engine, event, text

from project.backup import take
from project.models import Base
from tests import schemas
from tests.house import House
from tests.places import MakePlace, Place, fill, manifest_of
from tests.schemas import STORED

OTHER = {"sqlite": "postgresql", "postgresql": "sqlite"}


# Everything, as it was


@pytest.mark.parametrize(
    "revision", [pytest.param(one, marks=[] if one in (STORED[0], STORED[-1]) else pytest.mark.long) for one in STORED]
)
def test_a_backup_of_every_release_is_restored_on_the_other_database(
    make_place: MakePlace, backend: str, revision: str, backup: Path
) -> None:
    """The rows name files that are not there: that is said, and hinders nothing."""
    old, new, upgraded = make_place().make(revision), make_place(OTHER[backend]), make_place().make(revision)
    before, has_files = old.rows(), "files" in old.rows()
    said = old.run("backup", backup, expect=3 if has_files else 0)
    assert ("5 files are missing" in said) == has_files
    new.run("restore", backup)
    with schemas.migrating(upgraded.url):
        upgrade()
    restored = new.rows()
    assert schemas.as_in(restored, before) == before
    assert restored == upgraded.rows()
    assert set(schemas.shape(new.url)) == {*Base.metadata.tables, "alembic_version"}
    assert old.rows() == before


def test_files_key_and_first_password_are_restored(place: Place, make_place: MakePlace, backup: Path) -> None:
    fill(place)
    (place.folder / "first-admin.json").write_text('{"username": "root"}')
    place.run("backup", backup)
    new = make_place()
    assert "6 files" in new.run("restore", backup)
    assert new.files() == place.files()
    assert new.rows() == place.rows()
    for name in ("secret-key", "first-admin.json"):
        assert stat.S_IMODE((new.folder / name).stat().st_mode) == 0o600
    with new.site() as site:
        site.files.claim_storage()
        site.files.sweep(time.time() + 1e6)  # they belong to this database, and each has its row
    assert new.files() == place.files()


def test_json_stays_as_it_is_written(place: Place, make_place: MakePlace, backend: str, backup: Path) -> None:
    """To the last blank; and an empty column is not the JSON value null."""
    texts = ['{"b" :1.0,  "a":\t9007199254740993}', "null", None]
    with place.site() as site:
        house = House(site.store, site.database)
        for written in texts:
            change = text("UPDATE requests SET result = :result WHERE id = :id")
            request_id = house.submit()
            with site.database.write() as connection:
                if backend == "postgresql":
                    change = text("UPDATE requests SET result = CAST(:result AS JSON) WHERE id = :id")
                connection.execute(change, {"id": request_id, "result": written})
    place.run("backup", backup)
    new = make_place(OTHER[backend])
    new.run("restore", backup)
    with new.site() as site, site.database.read() as connection:
        found = connection.execute(text("SELECT CAST(result AS TEXT) FROM requests ORDER BY number")).scalars()
        assert list(found) == texts


def test_no_id_is_given_twice_after_a_restore(place: Place, make_place: MakePlace, backend: str, backup: Path) -> None:
    """Attempts name tokens and spaces that are gone; a new one with the same id would inherit them."""
    with place.site() as site:
        house = House(site.store, site.database)
        last = [house.add_space("Last"), house.add_user("last")]
        with site.database.write() as connection:
            connection.execute(text("DELETE FROM spaces"))
            connection.execute(text("DELETE FROM users"))
    place.run("backup", backup)
    new = make_place(OTHER[backend])
    new.run("restore", backup)
    with new.site() as site:
        house = House(site.store, site.database)
        assert [house.space > last[0], house.user > last[1]] == [True, True]


def test_the_rows_are_those_of_one_moment(place: Place, backup: Path) -> None:
    """While the tables are read one after the other, others commit."""
    fill(place)
    before = place.rows()
    with place.site() as site:
        house = House.__new__(House)
        house.store, house.database, house.user, house.space = site.store, site.database, 1, 1
        meanwhile: list[str] = []

        def submit(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
            if not meanwhile and "FROM requests" in statement:
                meanwhile.append("")
                meanwhile[0] = house.submit()

        event.listen(site.database.engine, "before_cursor_execute", submit)
        taken = take(site.settings, site.database, site.files, backup)
    assert meanwhile[0]
    assert taken.rows == {name: len(rows) for name, rows in before.items()}
    assert meanwhile[0] not in backup.read_bytes().decode("utf-8", "replace")


def test_requests_that_are_deleted_meanwhile_are_left_out(place: Place, make_place: MakePlace, backup: Path) -> None:
    ids = fill(place)
    gone: list[str] = []
    with place.site() as site:

        def delete(_line: str) -> None:
            if not gone:
                gone.extend(site.store.delete(ids[0]))
                site.files.forget(gone)

        taken = take(site.settings, site.database, site.files, backup, delete)
    assert taken.deleted == {ids[0]}
    assert not taken.missing
    new = make_place()
    new.run("restore", backup)
    assert new.rows() == place.rows()
    assert new.files() == place.files()


@pytest.mark.parametrize("how", ["gone", "damaged", "shorter"])
def test_a_file_that_the_site_lost_is_named_and_the_rest_is_kept(
    place: Place, make_place: MakePlace, backup: Path, how: str
) -> None:
    fill(place)
    lost = next(iter((place.folder / "files" / "kept").rglob("??/*")))
    content = lost.read_bytes()
    lost.unlink() if how == "gone" else lost.write_bytes(content[:-1] if how == "shorter" else content[:-1] + b"!")
    said = place.run("backup", backup, expect=3)
    assert lost.name in said
    assert list(manifest_of(backup)["missing"]) == [lost.name]
    new = make_place()
    assert "1 files were missing" in new.run("restore", backup)
    assert new.rows() == place.rows()
    assert len([name for name in new.files() if "kept" in name]) == 5


def test_a_key_from_the_environment_stays_there(make_place: MakePlace, backup: Path) -> None:
    place = make_place(secret_key="of the environment, and long enough").make()
    assert "SPACES_SECRET_KEY" in place.run("backup", backup)
    new = make_place()
    assert "SPACES_SECRET_KEY" in new.run("restore", backup)
    assert b"of the environment" not in backup.read_bytes()


# The file of the backup


def test_a_backup_is_for_its_owner_alone_and_leaves_nothing_beside_it(place: Place, backup: Path) -> None:
    os.umask(os.umask(0o000))
    place.run("backup", backup)
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    assert [path.name for path in backup.parent.iterdir() if path.name.startswith("backup")] == ["backup.tar"]


def test_a_backup_takes_no_other_files_place(place: Place, backup: Path) -> None:
    backup.write_text("precious")
    assert "there already" in place.run("backup", backup, expect=1)
    assert backup.read_text() == "precious"


def test_what_a_killed_backup_left_is_written_over(place: Place, backup: Path) -> None:
    part = backup.parent / "backup.tar.part"
    part.write_bytes(b"x" * 1_000_000)
    part.chmod(0o644)
    place.run("backup", backup)
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    assert manifest_of(backup)["format"] == 1


def test_two_backups_do_not_write_into_one_file(place: Place, backup: Path) -> None:
    said: list[str] = []
    with place.site() as site:
        take(
            site.settings,
            site.database,
            site.files,
            backup,
            lambda _: said.append(place.run("backup", backup, expect=1)),
        )
    assert "Another backup" in said[0]
    assert manifest_of(backup)["format"] == 1


@pytest.mark.parametrize("command", ["backup", "prune"])
def test_where_there_is_no_site_nothing_is_made(make_place: MakePlace, backup: Path, command: str) -> None:
    place = make_place()
    words = [command, backup] if command == "backup" else [command]
    assert "no site yet" in place.run(*words, expect=1)
    assert not backup.exists()
    assert not (place.folder / "spaces.db").exists()


def test_a_database_of_a_newer_version_is_left_to_it(place: Place, backup: Path) -> None:
    set_revision(place, "9999")
    assert "newer version" in place.run("backup", backup, expect=1)
    assert not backup.exists()


def set_revision(place: Place, revision: str) -> None:
    engine = create_engine(place.url)
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE alembic_version SET version_num = '{revision}'"))
    engine.dispose()
