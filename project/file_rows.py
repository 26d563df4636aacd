"""The rows of files, inside transactions that somebody else has begun. Bytes are the storage's business."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, delete, func, insert, select, update
from sqlalchemy.engine import Connection as SqlConnection
from sqlalchemy.engine import RowMapping

from project.models import FINAL_STATES, FileStore, InferenceRequest, StoredFile
from project.request_tables import attempts, requests

INPUT, RESULT = "input", "result"
MAX_NAME = 255
#: How many requests one sweep deletes at a time, so that no transaction is long.
BATCH = 200

files: Any = StoredFile.__table__
stores: Any = FileStore.__table__


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file whose bytes are kept. ``size`` is in bytes; ``field`` is the input that it was given for, if any."""

    id: str
    name: str
    content_type: str
    size: int
    sha256: str
    field: str | None = None

    def facts(self) -> dict[str, Any]:
        """Return what a request or a result says of the file, for good."""
        said = {
            "file_id": self.id,
            "name": self.name,
            "content_type": self.content_type,
            "size": self.size,
            "sha256": self.sha256,
        }
        return {"field": self.field, **said} if self.field else said


_insert = insert(files)
_of_request = select(files).where(files.c.request_id == bindparam("request_id")).order_by(files.c.created_at)
_with_request = (
    select(files, requests.c.user_id)
    .join(requests, requests.c.id == files.c.request_id)
    .where(files.c.id == bindparam("id"))
)
_attempt = (
    select(
        attempts,
        requests.c.status,
        requests.c.deadline_at,
        requests.c.attempt_id.label("current_id"),
        requests.c.user_id,
    )
    .join(requests, requests.c.id == attempts.c.request_id)
    .where(attempts.c.attempt_id == bindparam("attempt_id"))
)
_uploaded = select(func.count(), func.coalesce(func.sum(files.c.size), 0)).where(
    files.c.attempt_id == bindparam("attempt_id"), files.c.request_id == bindparam("request_id")
)
_size_of_user = (
    select(func.coalesce(func.sum(files.c.size), 0))
    .join(requests, requests.c.id == files.c.request_id)
    .where(requests.c.user_id == bindparam("user_id"))
)
_one_at_a_time = select(requests.c.id).where(requests.c.id == bindparam("request_id")).with_for_update(key_share=True)
_is_unused = ~files.c.used
_use = update(files).where(files.c.request_id == bindparam("b_request_id"), _is_unused).values(used=True)


def add(
    connection: SqlConnection,
    request_id: str,
    new: Sequence[NewFile],
    now: float,
    *,
    attempt_id: str | None = None,
) -> None:
    """Enter files of a request: inputs, or (with ``attempt_id``) uploads of an attempt that no result names yet."""
    if not new:
        return
    shared = {
        "request_id": request_id,
        "kind": RESULT if attempt_id else INPUT,
        "attempt_id": attempt_id,
        "used": attempt_id is None,
        "created_at": now,
    }
    connection.execute(_insert, [{**shared, **_columns(file)} for file in new])


def _columns(file: NewFile) -> dict[str, Any]:
    return {
        "id": file.id,
        "field": file.field,
        "name": file.name,
        "content_type": file.content_type,
        "size": file.size,
        "sha256": file.sha256,
    }


def find(connection: SqlConnection, file_id: str) -> RowMapping | None:
    """Return the row with the ``user_id`` of its request, or None."""
    return connection.execute(_with_request, {"id": file_id}).mappings().first()


def of_request(connection: SqlConnection, request_id: str) -> dict[str, RowMapping]:
    """Return all files of a request by their ids."""
    rows = connection.execute(_of_request, {"request_id": request_id}).mappings()
    return {row["id"]: row for row in rows}


def uploaded(connection: SqlConnection, request_id: str, attempt_id: str) -> tuple[int, int]:
    """Return how many files, and how many bytes in all, have been uploaded in an attempt."""
    count, size = connection.execute(_uploaded, {"request_id": request_id, "attempt_id": attempt_id}).one()
    return int(count), int(size)


def lock_request(connection: SqlConnection, request_id: str) -> None:
    """Let uploads of a request be entered one after the other, so that they are counted together.

    The request's row, because whoever deletes it locks that first too: two orders would be a deadlock.
    """
    connection.execute(_one_at_a_time, {"request_id": request_id})


def attempt(connection: SqlConnection, attempt_id: str) -> RowMapping | None:
    """Return an attempt with its request's ``status``, ``deadline_at``, ``current_id`` (attempt) and ``user_id``."""
    return connection.execute(_attempt, {"attempt_id": attempt_id}).mappings().first()


def use(connection: SqlConnection, request_id: str, file_ids: Sequence[str]) -> None:
    """Note that the request's result names these files, so that they stay as long as it does."""
    if file_ids:
        connection.execute(_use.where(files.c.id.in_(list(file_ids))), {"b_request_id": request_id})


def store_name(connection: SqlConnection) -> str:
    """Return the name of the storage that belongs to this database, choosing one the first time."""
    known = connection.execute(select(stores.c.name)).scalar_one_or_none()
    if known is None:
        known = secrets.token_hex(16)
        connection.execute(insert(stores).values(number=1, name=known))
    return str(known)


# What time takes away: rows first, bytes afterwards


def drop_unused(connection: SqlConnection, before: float) -> list[str]:
    """Delete uploads from before that time that ended requests never named; return their ids."""
    ended = select(requests.c.id).where(requests.c.id == files.c.request_id, requests.c.status.in_(FINAL_STATES))
    query = select(files.c.id).where(_is_unused, files.c.created_at < before, ended.exists())
    return _drop(connection, list(connection.execute(query.limit(BATCH)).scalars()))


def drop_expired_requests(connection: SqlConnection, before: float) -> tuple[int, list[str]]:
    """Delete requests that ended before that time, at most :data:`BATCH`; return how many, and their files' ids."""
    old = select(requests.c.id).where(requests.c.finished_at < before).order_by(requests.c.finished_at).limit(BATCH)
    request_ids = list(connection.execute(old).scalars())
    return len(request_ids), drop_requests(connection, request_ids)


def drop_requests(connection: SqlConnection, request_ids: Sequence[str]) -> list[str]:
    """Delete requests that have ended, with all that belongs to them; return the ids of their files."""
    if not request_ids:
        return []
    ended = InferenceRequest.status.in_(FINAL_STATES)
    # Locked before their files are looked up, so that an upload which is just being entered is not missed.
    connection.execute(
        select(requests.c.id).where(requests.c.id.in_(request_ids)).order_by(requests.c.id).with_for_update()
    )
    owned = select(files.c.id).where(files.c.request_id.in_(request_ids))
    file_ids = list(connection.execute(owned).scalars())
    connection.execute(delete(requests).where(requests.c.id.in_(request_ids), ended))
    return file_ids


def ids_of_user(connection: SqlConnection, user_id: int) -> list[str]:
    """Return the ids of all files of somebody's requests."""
    mine = select(files.c.id).join(requests, requests.c.id == files.c.request_id).where(requests.c.user_id == user_id)
    return list(connection.execute(mine).scalars())


def size_of_user(connection: SqlConnection, user_id: int) -> int:
    """Return the bytes of all files of somebody's requests."""
    return int(connection.execute(_size_of_user, {"user_id": user_id}).scalar_one())


def known(connection: SqlConnection, file_ids: Sequence[str]) -> set[str]:
    """Return which of these ids have a row."""
    query = select(files.c.id).where(files.c.id.in_(list(file_ids)))
    return set(connection.execute(query).scalars())


def _drop(connection: SqlConnection, file_ids: list[str]) -> list[str]:
    if file_ids:
        connection.execute(delete(files).where(files.c.id.in_(file_ids)))
    return file_ids
