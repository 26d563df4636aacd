"""The schema's revisions: which this program knows, and how a database is brought to one of them."""

from __future__ import annotations

from typing import Any

from alembic import command
from alembic.script import ScriptDirectory
from flask import current_app
from sqlalchemy.engine import Connection as SqlConnection


def is_known(revision: str) -> bool:
    """Whether this program has the migrations up to that revision."""
    return any(script.revision == revision for script in _scripts().walk_revisions())


def newest() -> str | None:
    """Return the revision that this program works on."""
    return _scripts().get_current_head()


def upgrade(connection: SqlConnection, revision: str = "head") -> None:
    """Bring the database up to a revision, in the transaction that ``connection`` is in."""
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())


def _config() -> Any:
    return current_app.extensions["migrate"].migrate.get_config()
