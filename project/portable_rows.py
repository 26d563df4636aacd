"""Rows that every database can give and take: one JSON object a line.

Only what the tables really have is read, so an older schema is copied as it is. JSON columns travel as the text that
is stored: nothing is read into them, and an empty column stays different from the JSON value ``null``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from sqlalchemy import JSON, MetaData, Text, TypeDecorator, cast, event, func, insert, inspect, select, text
from sqlalchemy.engine import Connection as SqlConnection
from sqlalchemy.exc import SQLAlchemyError

from project.archive import BadArchive
from project.models import Base

#: Rows that are written in one statement, and read from the database at once.
BATCH = 500
#: All tables that this program knows, in an order in which they can be filled.
KNOWN = [table.name for table in Base.metadata.sorted_tables]
#: Tables that never give an id twice: old rows, which no key protects, go on meaning what they meant.
NUMBERED = [table.name for table in Base.metadata.sorted_tables if table.dialect_options["sqlite"]["autoincrement"]]

Row = dict[str, Any]


class _JsonText(TypeDecorator[str]):
    """A JSON column of PostgreSQL, given and taken as the text that it stores."""

    impl = Text
    cache_ok = True

    def bind_expression(self, bindparam: Any) -> Any:
        """Take text."""
        return cast(bindparam, JSON)

    def column_expression(self, column: Any) -> Any:
        """Give text."""
        return cast(column, Text)


def tables(connection: SqlConnection) -> list[Any]:
    """Return the site's tables as they are in this database, in an order in which they can be filled."""
    there = set(inspect(connection).get_table_names())
    json_type = Text() if connection.dialect.name == "sqlite" else _JsonText()
    found = MetaData()

    @event.listens_for(found, "column_reflect")
    def _json_as_text(_inspector: Any, _table: Any, column: Any) -> None:
        if isinstance(column["type"], JSON):
            column["type"] = json_type

    found.reflect(bind=connection, only=[name for name in KNOWN if name in there])
    return [found.tables[name] for name in KNOWN if name in found.tables]


def revision(connection: SqlConnection) -> str | None:
    """Return the revision of the database's schema; None when it has none."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return found


def lines(connection: SqlConnection, table: Any) -> Iterator[bytes]:
    """Yield all rows of a table, oldest key first; each is a JSON object with its newline."""
    query = select(table).order_by(*table.primary_key.columns).execution_options(yield_per=BATCH)
    for row in connection.execute(query).mappings():
        yield json.dumps(dict(row), ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def load(connection: SqlConnection, table: Any, source: Iterable[bytes], wanted: Callable[[Row], bool]) -> int:
    """Write the rows that are ``wanted`` into an empty table; return how many lines there were.

    Raises :class:`BadArchive` when they do not fit the table.
    """
    count, names = 0, {column.name for column in table.columns}
    statement = insert(table)
    rows = parsed(source, table.name)
    while batch := list(islice(rows, BATCH)):
        count += len(batch)
        if any(row.keys() != names for row in batch):
            raise BadArchive(f"A row of {table.name} has other columns than the table.")
        if kept := [row for row in batch if wanted(row)]:
            try:
                connection.execute(statement, kept)
            except (SQLAlchemyError, ValueError, TypeError) as error:
                raise BadArchive(f"The rows of {table.name} do not fit: {str(error).splitlines()[0][:300]}") from error
    return count


def parsed(source: Iterable[bytes], table: str) -> Iterator[Row]:
    """Yield the rows of lines. Raises :class:`BadArchive` when one holds none."""
    for line in source:
        try:
            row = json.loads(line)
        except ValueError as error:
            raise BadArchive(f"A row of {table} cannot be read.") from error
        if not isinstance(row, dict):
            raise BadArchive(f"A row of {table} is none.")
        yield row


def last_ids(connection: SqlConnection, among: Iterable[Any]) -> dict[str, int]:
    """Return the highest id that each of these tables has ever given."""
    return {table.name: _last_id(connection, table.name) for table in among if table.name in NUMBERED}


def set_last_ids(connection: SqlConnection, among: Iterable[Any], known: dict[str, int]) -> None:
    """See that these tables give no id that was given before."""
    for table in among:
        if table.name in NUMBERED:
            highest = connection.scalar(select(func.max(table.c.id))) or 0
            _set_last_id(connection, table.name, max(highest, known.get(table.name, 0)))


def _last_id(connection: SqlConnection, table: str) -> int:
    if connection.dialect.name == "sqlite":
        query = text("SELECT seq FROM sqlite_sequence WHERE name = :name")
        return int(connection.scalar(query, {"name": table}) or 0)
    query = text("SELECT pg_sequence_last_value(pg_get_serial_sequence(:name, 'id'))")
    return int(connection.scalar(query, {"name": table}) or 0)


def _set_last_id(connection: SqlConnection, table: str, last_id: int) -> None:
    if connection.dialect.name == "sqlite":
        connection.execute(text("DELETE FROM sqlite_sequence WHERE name = :name"), {"name": table})
        connection.execute(text("INSERT INTO sqlite_sequence VALUES (:name, :last)"), {"name": table, "last": last_id})
    elif last_id:
        statement = text("SELECT setval(pg_get_serial_sequence(:name, 'id'), :last)")
        connection.execute(statement, {"name": table, "last": last_id})
