"""The migrations make exactly the tables that the models describe, and take every row of every release up and down."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from flask_migrate import downgrade, upgrade
from sqlalchemy import create_engine, inspect

from project.extensions import db
from project.models import FINAL_STATES, OPEN_STATES, Base
from project.portable_rows import KNOWN
from tests import schemas
from tests.contract.conftest import migration_app
from tests.schemas import FOLDER, MIGRATIONS, STORED

REVISIONS = sorted(script.revision for script in ScriptDirectory(str(MIGRATIONS)).walk_revisions())
HEAD = REVISIONS[-1]
every_release = pytest.mark.parametrize("revision", STORED)

#: Makes a table anew, as SQLite must for most changes of a column.
REBUILD = """
    with op.batch_alter_table('{table}') as batch_op:
        batch_op.alter_column('{column}', existing_type=sa.Text(), type_=sa.String(length=100_000))
"""
NEXT = """
import sqlalchemy as sa
from alembic import op

revision, down_revision = '9999', '{head}'


def upgrade():
    {up}


def downgrade():
    {down}
"""


def test_the_migrations_equal_the_models(url: str) -> None:
    engine = create_engine(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        differences = compare_metadata(context, Base.metadata)
    engine.dispose()
    assert differences == []


def test_partial_indexes_are_partial(url: str) -> None:
    """Autogenerate does not compare their conditions, and without them two requests of a space could never end."""
    engine = create_engine(url)
    indexes = {index["name"]: index for index in inspect(engine).get_indexes("requests")}
    engine.dispose()
    for name, state, unique in (("uq_requests_processing", "processing", 1), ("ix_requests_queue", "queued", 0)):
        options = indexes[name]["dialect_options"]
        condition = str(options.get("sqlite_where", options.get("postgresql_where", "")))
        assert f"'{state}'" in condition, f"{name}: {condition}"
        assert indexes[name]["unique"] == unique


def test_down_and_up_again(empty_url: str) -> None:
    app = migration_app(empty_url)
    engine = create_engine(empty_url)
    with app.app_context():
        upgrade()
        assert set(inspect(engine).get_table_names()) == {*Base.metadata.tables, "alembic_version"}
        downgrade(revision="base")
        assert inspect(engine).get_table_names() == ["alembic_version"]
        upgrade()
        assert set(inspect(engine).get_table_names()) == {*Base.metadata.tables, "alembic_version"}
        db.engine.dispose()
    engine.dispose()


# Every release


def test_whoever_adds_a_migration_keeps_the_schema_before_it() -> None:
    for revision in REVISIONS[:-1]:
        assert revision in STORED, f"run: python -m tests.schemas {revision}, and add rows for its new tables"
    assert set(STORED) <= set(REVISIONS), "a released migration is gone"


@every_release
def test_a_stored_schema_is_what_its_migrations_make(revision: str, empty_url: str, other_url: str) -> None:
    """A released migration stays as it is; one that is not released yet is stored anew after each change."""
    schemas.load(empty_url, revision)
    with schemas.migrating(other_url):
        upgrade(revision=revision)
    assert schemas.shape(empty_url) == schemas.shape(other_url)


@every_release
def test_a_stored_schema_has_rows_in_every_table_and_state(revision: str, backend: str, empty_url: str) -> None:
    schemas.load(empty_url, revision)
    rows = schemas.rows(empty_url)
    assert all(rows.values()), (
        f"add rows to {FOLDER.name}/{revision}.rows.sql: {[one for one in rows if not rows[one]]}"
    )
    assert {row["status"] for row in rows["requests"]} == {*OPEN_STATES, *FINAL_STATES}
    tables = set(schemas.shape(empty_url)) - {"alembic_version"}
    assert tables == set(rows) <= set(KNOWN), "a backup of this release would lack tables"


@every_release
def test_an_upgrade_keeps_every_row_and_value(revision: str, empty_url: str) -> None:
    schemas.load(empty_url, revision)
    before = schemas.rows(empty_url)
    with schemas.migrating(empty_url):
        upgrade()
    assert schemas.as_in(schemas.rows(empty_url), before) == before


@every_release
def test_a_downgrade_keeps_what_the_older_schema_can_hold(revision: str, empty_url: str, other_url: str) -> None:
    schemas.load(other_url, revision)
    older = schemas.rows(other_url)
    schemas.load(empty_url, STORED[-1])
    with schemas.migrating(empty_url):
        upgrade()
        newest = schemas.as_in(schemas.rows(empty_url), older)
        downgrade(revision=revision)
        assert schemas.rows(empty_url) == newest
        assert schemas.shape(empty_url) == schemas.shape(other_url), "the older release could not run on this"
        upgrade()
    assert schemas.as_in(schemas.rows(empty_url), newest) == newest


# What the next migration may do


@pytest.fixture
def next_migration(tmp_path: Path) -> Path:
    """A folder with all migrations, to which a test adds one."""
    return Path(shutil.copytree(MIGRATIONS, tmp_path / "migrations"))


def add(folder: Path, up: str, down: str = "pass") -> None:
    (folder / "versions" / "9999_next.py").write_text(NEXT.format(head=HEAD, up=up.strip(), down=down.strip()))


@pytest.mark.parametrize(("table", "column"), [("requests", "prompt"), ("users", "password_hash"), ("spaces", "title")])
def test_a_table_that_is_made_anew_keeps_its_rows_and_what_hangs_on_them(
    empty_url: str, next_migration: Path, table: str, column: str
) -> None:
    """SQLite drops the old table, and with foreign keys on that would delete the rows of others (ON DELETE CASCADE)."""
    rebuild = REBUILD.format(table=table, column=column)
    add(next_migration, rebuild, rebuild)
    schemas.load(empty_url, STORED[-1])
    with schemas.migrating(empty_url, next_migration):
        upgrade(revision=HEAD)
        before = schemas.rows(empty_url)
        upgrade()
        assert schemas.rows(empty_url) == before
        downgrade(revision=HEAD)
    assert schemas.rows(empty_url) == before


def test_foreign_keys_are_on_again_after_a_migration(tmp_path: Path) -> None:
    with schemas.migrating(f"sqlite:///{tmp_path / 'new.db'}"):
        upgrade()
        with db.engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


def test_a_migration_that_tears_rows_apart_is_undone(tmp_path: Path, next_migration: Path) -> None:
    """PostgreSQL refuses it by itself."""
    add(next_migration, "op.execute('DELETE FROM users WHERE id = 2')")
    url = f"sqlite:///{tmp_path / 'old.db'}"
    schemas.load(url, STORED[-1])
    with schemas.migrating(url, next_migration):
        upgrade(revision=HEAD)
        before = schemas.rows(url)
        with pytest.raises(sqlite3.IntegrityError, match="requests"):
            upgrade()
    assert schemas.rows(url) == before
