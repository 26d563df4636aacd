"""How Alembic reaches the site's database: by the engine of the current application."""

from __future__ import annotations

from alembic import context
from flask import current_app

from project.database import begin_immediate
from project.models import Base

engine = current_app.extensions["migrate"].db.engine


def run() -> None:
    """Run the migrations on one connection, all in one transaction: they happen as a whole or not at all."""
    with engine.connect() as connection, connection.begin():
        if engine.dialect.name == "sqlite":
            begin_immediate(connection)
        context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True, compare_type=True)
        with context.begin_transaction():
            context.run_migrations()


run()
