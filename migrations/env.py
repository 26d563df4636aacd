"""How Alembic reaches the site's database: by the engine of the current application."""

from __future__ import annotations

from alembic import context
from flask import current_app

from project.models import Base

engine = current_app.extensions["migrate"].db.engine


def run() -> None:
    """Run the migrations on one connection, each in a transaction of its own."""
    with engine.connect() as connection:
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            render_as_batch=True,
            compare_type=True,
            transaction_per_migration=True,
        )
        with context.begin_transaction():
            context.run_migrations()


run()
