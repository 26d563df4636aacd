"""How one request moves from state to state, inside a transaction that the store has begun.

Each move reads its row with a lock and then changes it by a guarded UPDATE, so that of two at the same
moment exactly one wins (guarantee G2).
"""

from __future__ import annotations

import secrets
from typing import Any

from sqlalchemy import String, bindparam, exists, insert, literal_column, select, update
from sqlalchemy.engine import Connection as SqlConnection
from sqlalchemy.engine import RowMapping

from project import file_rows
from project.models import FAILED, OPEN_STATES, PROCESSING, QUEUED, SEQ_STEP
from project.ports import AppLink, Change, Ending
from project.request_tables import (
    attempts,
    by_id,
    is_processing,
    is_queued,
    note,
    processing_in_space,
    requests,
)

MESSAGES = {
    "cancelled_by_user": "Cancelled by its user.",
    "user_removed": "The account of its user was deleted.",
    "queue_timeout": "It waited longer than the queue time; no app took it.",
    "processing_timeout": "The app did not answer in time.",
    "space_removed": "The space was deleted or switched off.",
    "app_disconnected": "The app went away while it was working, as often as it may.",
}

_others = requests.alias("others")
_oldest = (
    select(requests.c.id)
    .where(requests.c.space_id == bindparam("b_space"), is_queued)
    .where(requests.c.expires_at > bindparam("b_now"))
    .order_by(requests.c.number)
    .limit(1)
    .scalar_subquery()
)
_none_processing = ~exists().where(
    _others.c.space_id == bindparam("b_space"), _others.c.status == literal_column(f"'{PROCESSING}'")
)
_take = (
    update(requests)
    .where(requests.c.id == _oldest, is_queued, _none_processing)
    .values(
        status=PROCESSING,
        attempt=requests.c.attempt + 1,
        attempt_id=bindparam("b_attempt_id"),
        started_at=bindparam("b_now"),
        updated_at=bindparam("b_now"),
        deadline_at=bindparam("b_now") + requests.c.timeout_seconds,
        queue_left=requests.c.expires_at - bindparam("b_now"),
        seq=requests.c.seq + SEQ_STEP,
    )
    .returning(requests)
)
_open_attempt = insert(attempts)
_close_attempt = update(attempts).where(attempts.c.attempt_id == bindparam("b_attempt_id"))
_locked = by_id.with_for_update()
_move = (
    update(requests)
    .where(requests.c.id == bindparam("b_id"), requests.c.status == bindparam("b_status"))
    .where(requests.c.attempt_id.is_not_distinct_from(bindparam("b_attempt_id", type_=String)))
    .values(seq=requests.c.seq + SEQ_STEP)
)
_finish = (
    update(requests)
    .where(requests.c.id == bindparam("b_id"), is_processing, requests.c.attempt_id == bindparam("b_attempt_id"))
    .values(seq=requests.c.seq + SEQ_STEP)
    .returning(requests.c.id, requests.c.user_id, requests.c.space_id, requests.c.attempt)
)
_holder = select(attempts.c.connection_id).where(attempts.c.attempt_id == bindparam("attempt"))


def claim(connection: SqlConnection, space_id: int, app: AppLink, now: float) -> RowMapping | None:
    """Start the next attempt of the oldest queued request, unless one is processing.

    When that one was given to this very connection, it is returned again: the caller, who has nothing in
    hand, lost the answer to a claim that was committed.
    """
    taken = take(connection, space_id, app, now)
    if taken:
        return taken
    processing = connection.execute(processing_in_space, {"space": space_id}).mappings().first()
    if processing is None:
        return None
    holder = connection.execute(_holder, {"attempt": processing["attempt_id"]}).scalar_one_or_none()
    return processing if holder == app.connection_id else None


def take(connection: SqlConnection, space_id: int, app: AppLink, now: float) -> RowMapping | None:
    """Start the next attempt of the oldest queued request, unless one is processing."""
    attempt_id = secrets.token_hex(16)
    row = connection.execute(_take, {"b_space": space_id, "b_now": now, "b_attempt_id": attempt_id}).mappings().first()
    if row is None:
        return None
    connection.execute(
        _open_attempt,
        {
            "attempt_id": attempt_id,
            "request_id": row["id"],
            "number": row["attempt"],
            "space_id": space_id,
            "token_id": app.token_id,
            "connection_id": app.connection_id,
            "handed_at": now,
            "by_result": False,
        },
    )
    note(connection, row["id"], now, QUEUED, PROCESSING, row["attempt"], None)
    return row


def end(connection: SqlConnection, request_id: str, ending: Ending, now: float) -> Change | None:
    """End an open request; None when it had ended."""
    row = connection.execute(_locked, {"id": request_id}).mappings().first()
    if row is None or row["status"] not in OPEN_STATES or not _moved(connection, row, _ended(ending, now), now):
        return None
    return _noted(connection, row, row["status"], row["attempt_id"], ending, now)


def end_attempt(
    connection: SqlConnection, request_id: str, attempt_id: str, ending: Ending, now: float
) -> Change | None:
    """End a request that is processing in this attempt; None when it is not so any more."""
    meant = {"b_id": request_id, "b_attempt_id": attempt_id}
    values = {**meant, **_ended(ending, now), "updated_at": now}
    row = connection.execute(_finish, values).mappings().first()
    if row is None:
        return None
    file_rows.use(connection, request_id, [part["file_id"] for part in ending.result or () if "file_id" in part])
    return _noted(connection, row, PROCESSING, attempt_id, ending, now)


def _ended(ending: Ending, now: float) -> dict[str, Any]:
    return {
        "status": ending.status,
        "error_code": ending.code,
        "error_message": ending.message or MESSAGES.get(ending.code or ""),
        "result": ending.result,
        "retryable": ending.retryable,
        "finished_at": now,
    }


def _noted(
    connection: SqlConnection, row: RowMapping, from_state: str, attempt_id: str | None, ending: Ending, now: float
) -> Change:
    """Write down that the request ended, and return whom that concerns."""
    _closed(connection, attempt_id, now, ending.by_result)
    note(connection, row["id"], now, from_state, ending.status, row["attempt"], ending.code)
    return Change(row["id"], row["user_id"], row["space_id"], ending.status)


def give_back(connection: SqlConnection, row: RowMapping, now: float) -> Change | None:
    """Requeue a processing row, read with a lock, at the head; or fail it when no attempts are left."""
    if row["attempt"] >= row["max_attempts"]:
        return end_attempt(connection, row["id"], row["attempt_id"], Ending(FAILED, "app_disconnected"), now)
    waiting = {
        "status": QUEUED,
        "attempt_id": None,
        "deadline_at": None,
        "started_at": None,
        "expires_at": now + row["queue_left"],
    }
    if not _moved(connection, row, waiting, now):
        return None
    _closed(connection, row["attempt_id"], now, False)
    note(connection, row["id"], now, PROCESSING, QUEUED, row["attempt"], "app_disconnected")
    return Change(row["id"], row["user_id"], row["space_id"], QUEUED)


def locked_processing(connection: SqlConnection, space_id: int) -> RowMapping | None:
    """Return the space's processing row, with a lock."""
    return connection.execute(processing_in_space.with_for_update(), {"space": space_id}).mappings().first()


def locked_attempt(connection: SqlConnection, request_id: str, attempt_id: str) -> RowMapping | None:
    """Return the row with a lock if it is processing in this attempt."""
    query = by_id.where(is_processing, requests.c.attempt_id == attempt_id).with_for_update()
    return connection.execute(query, {"id": request_id}).mappings().first()


def _moved(connection: SqlConnection, row: RowMapping, values: dict[str, Any], now: float) -> bool:
    """Change the row if it is still as it was read: the compare-and-set of every transition."""
    as_read = {"b_id": row["id"], "b_status": row["status"], "b_attempt_id": row["attempt_id"]}
    return bool(connection.execute(_move, {**as_read, **values, "updated_at": now}).rowcount)


def _closed(connection: SqlConnection, attempt_id: str | None, now: float, by_result: bool) -> None:
    if attempt_id:
        said = {"b_attempt_id": attempt_id, "ended_at": now, "by_result": by_result}
        connection.execute(_close_attempt, said)
