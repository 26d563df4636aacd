"""Login sessions that were signed out of. The rest the cookie says itself: it is signed, and names person and age."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete, exists, select
from sqlalchemy.dialects import postgresql, sqlite

from project.models import EndedSession
from project.services import services

ended: Any = EndedSession.__table__
_inserts: dict[str, Any] = {
    "sqlite": sqlite.insert(ended).on_conflict_do_nothing(),
    "postgresql": postgresql.insert(ended).on_conflict_do_nothing(),
}


def end(session_id: str, until: float, now: float) -> None:
    """Note that a session is over, and forget those that are too old to open anything. Times are Unix seconds."""
    with services().database.write() as connection:
        connection.execute(delete(ended).where(ended.c.until <= now))
        connection.execute(_inserts[connection.dialect.name], {"id": session_id, "until": until})


def has_ended(session_id: str) -> bool:
    """Whether somebody signed out of this session."""
    with services().database.read() as connection:
        return bool(connection.scalar(select(exists().where(ended.c.id == session_id))))
