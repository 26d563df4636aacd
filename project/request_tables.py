"""The tables of the queue as SQLAlchemy Core sees them, and the statements that several rooms of the store share.

States are written into the statements as literals, not as parameters: only so can the database prove that
the partial indexes on queued and processing rows apply.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import bindparam, func, insert, literal_column, select
from sqlalchemy.engine import Connection as SqlConnection

from project.models import (
    PROCESSING,
    QUEUED,
    Attempt,
    Connection,
    InferenceRequest,
    Process,
    Space,
    Transition,
)

requests: Any = InferenceRequest.__table__
attempts: Any = Attempt.__table__
transitions: Any = Transition.__table__
connections: Any = Connection.__table__
processes: Any = Process.__table__
spaces: Any = Space.__table__

is_queued: Any = requests.c.status == literal_column(f"'{QUEUED}'")
is_processing: Any = requests.c.status == literal_column(f"'{PROCESSING}'")

by_id = select(requests).where(requests.c.id == bindparam("id"))
processing_in_space = select(requests).where(requests.c.space_id == bindparam("space"), is_processing)
count_queued = select(func.count()).select_from(requests).where(requests.c.space_id == bindparam("space"), is_queued)
count_queued_of_user = (
    select(func.count()).select_from(requests).where(requests.c.user_id == bindparam("user"), is_queued)
)


_note = insert(transitions)


def note(
    connection: SqlConnection,
    request_id: str,
    at: float,
    from_state: str | None,
    to_state: str,
    attempt: int,
    code: str | None,
) -> None:
    """Record one transition as evidence (guarantee G17)."""
    said = {"request_id": request_id, "at": at, "attempt": attempt, "code": code}
    connection.execute(_note, {**said, "from_state": from_state, "to_state": to_state})
