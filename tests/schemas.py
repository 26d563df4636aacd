"""The schemas of the releases, with rows in every table, as ``tests/data/schemas`` keeps them.

``python -m tests.schemas REVISION`` writes the schema of a new revision, and its rows as the migration makes them of
those of the revision before; rows of new tables are then added by hand. Rows that are there already stay.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flask import Flask
from flask_migrate import upgrade
from sqlalchemy import JSON, Boolean, Engine, create_engine, event, inspect, text

from project import portable_rows
from project.database import Database
from project.extensions import db, migrate
from tests.postgres import PostgresServer, find_binaries

MIGRATIONS = Path(__file__).resolve().parents[1] / "migrations"
FOLDER = Path(__file__).resolve().parent / "data" / "schemas"
STORED = sorted(path.name.partition(".")[0] for path in FOLDER.glob("*.rows.sql"))

Rows = dict[str, list[dict[str, Any]]]


def load(url: str, revision: str) -> None:
    """Make the empty database at ``url`` what a site of that revision would have left."""
    with _engine(url) as engine, engine.begin() as connection:
        raw: Any = connection.connection.driver_connection
        run = raw.executescript if engine.dialect.name == "sqlite" else raw.execute
        run((FOLDER / f"{revision}.{engine.dialect.name}.sql").read_text(encoding="utf-8"))
        run((FOLDER / f"{revision}.rows.sql").read_text(encoding="utf-8"))
        run(f"INSERT INTO alembic_version VALUES ('{revision}')")
        portable_rows.set_last_ids(connection, portable_rows.tables(connection), {})


def rows(url: str) -> Rows:
    """Return all rows of all tables, in the order of their keys."""
    with _engine(url) as engine:
        return rows_of(engine)


def rows_of(engine: Engine) -> Rows:
    """Return what :func:`rows` does."""
    with engine.connect() as connection:
        found = {table.name: portable_rows.lines(connection, table) for table in portable_rows.tables(connection)}
        read = {name: [json.loads(line) for line in lines] for name, lines in found.items()}
    return {name: sorted(one, key=lambda row: json.dumps(list(row.values())[:2])) for name, one in read.items()}


def as_in(newer: Rows, older: Rows) -> Rows:
    """Return of ``newer`` rows what a schema with the tables and columns of ``older`` ones can hold."""
    return {name: [{column: row[column] for column in older[name][0]} for row in newer.get(name, [])] for name in older}


def shape(url: str) -> dict[str, Any]:
    """Return all tables with their columns, keys and indexes, comparable."""
    with _engine(url) as engine:
        look = inspect(engine)
        parts = ("columns", "indexes", "foreign_keys", "unique_constraints", "pk_constraint")
        return {
            name: {part: _sorted(getattr(look, f"get_{part}")(name)) for part in parts}
            for name in look.get_table_names()
        }


def _sorted(found: Any) -> list[str]:
    return sorted(map(_plain, found if isinstance(found, list) else [found]))


def _plain(found: Any) -> str:
    """Return a description that says the same of equal things, also of conditions of indexes."""
    if isinstance(found, dict):
        return str(sorted((key, _plain(value)) for key, value in found.items()))
    return str([_plain(one) for one in found]) if isinstance(found, list) else str(found)


@contextmanager
def migrating(url: str, folder: Path = MIGRATIONS) -> Iterator[Flask]:
    """Yield an application whose database is set up as the site does it, for the migrations in ``folder``."""
    app = Flask("migrations")
    app.config["SQLALCHEMY_DATABASE_URI"] = url
    db.init_app(app)
    migrate.init_app(app, db, directory=str(folder))
    with app.app_context():
        Database(db.engine)
        try:
            yield app
        finally:
            db.engine.dispose()


@contextmanager
def _engine(url: str) -> Iterator[Engine]:
    engine = create_engine(url)
    if engine.dialect.name == "sqlite":
        Database(engine)
    try:
        yield engine
    finally:
        engine.dispose()


def _write(revision: str) -> None:
    server = PostgresServer(find_binaries() or Path())
    server.start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            _write_schema(server.url(), revision)
            _write_schema(f"sqlite:///{folder}/empty.db", revision)
            if STORED and not (FOLDER / f"{revision}.rows.sql").exists():
                _write_rows(f"sqlite:///{folder}/rows.db", revision)
    finally:
        server.stop()


def _write_schema(url: str, revision: str) -> None:
    said: list[str] = []

    def listen(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        if statement.lstrip().startswith(("CREATE", "ALTER", "DROP")):
            said.append("\n".join(line.rstrip() for line in statement.strip().splitlines()) + ";\n")

    with migrating(url):
        event.listen(db.engine, "before_cursor_execute", listen)
        upgrade(revision=revision)
        name = db.engine.dialect.name
    (FOLDER / f"{revision}.{name}.sql").write_text("\n".join(said), encoding="utf-8")


def _write_rows(url: str, revision: str) -> None:
    load(url, max(one for one in STORED if one < revision))
    with migrating(url):
        upgrade(revision=revision)
    with _engine(url) as engine, engine.connect() as connection:
        tables = portable_rows.tables(connection)
        lines = [
            _insert(table, row)
            for table in tables
            for row in connection.execute(text(f"SELECT * FROM {table.name}")).mappings()
        ]
    (FOLDER / f"{revision}.rows.sql").write_text("".join(lines), encoding="utf-8")


def _insert(table: Any, row: Any) -> str:
    values = ", ".join(_literal(table.columns[name], value) for name, value in row.items())
    return f"INSERT INTO {table.name} ({', '.join(row)}) VALUES ({values});\n"


def _literal(column: Any, value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(column.type, Boolean):
        return "TRUE" if value else "FALSE"
    if isinstance(column.type, JSON) or isinstance(value, str):
        return "'" + str(value).replace("'", "''") + "'"
    return repr(value)


if __name__ == "__main__":
    _write(sys.argv[1])
