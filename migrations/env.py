"""How Alembic reaches the site's database: by the application's engine, or by a connection that is given."""

from __future__ import annotations

from typing import Any

from alembic import context
from flask import current_app

from project.models import Base
from project.sqlite_file import begin_immediate, check_foreign_keys, without_foreign_keys

engine = current_app.extensions["migrate"].db.engine


def run() -> None:
    """Run the migrations on one connection, all in one transaction: they happen as a whole or not at all.

    A caller's own connection (``attributes["connection"]`` of the configuration) is in a transaction that is the
    caller's to end.
    """
    given = context.config.attributes.get("connection")
    if given is not None:
        migrate(given)
        return
    with engine.connect() as connection, without_foreign_keys(connection), connection.begin():
        if engine.dialect.name == "sqlite":
            begin_immediate(connection)
        migrate(connection)


def migrate(connection: Any) -> None:
    """Run the migrations in the transaction that ``connection`` is in; what was moved must still fit together."""
    context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True, compare_type=True)
    before = context.get_context().get_current_heads()
    with context.begin_transaction():
        context.run_migrations()
    if context.get_context().get_current_heads() != before:
        check_foreign_keys(connection)


run()
