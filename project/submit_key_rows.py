"""The keys of accepted submits (guarantee G10), inside transactions that somebody else has begun."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, bindparam, delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection as SqlConnection

from project.errors import InProgress, KeyReused
from project.models import SubmitKey

keys: Any = SubmitKey.__table__
#: Seconds for which a key is remembered.
REMEMBERED = 86_400.0


@dataclass(frozen=True, slots=True)
class KeyedBody:
    """A user's ``Idempotency-Key``, and the hash (SHA-256, hexadecimal) of what came with it."""

    key: str
    body_hash: str


_this_key = and_(keys.c.user_id == bindparam("b_user"), keys.c.key == bindparam("b_key"))
_find = select(keys.c.body_hash, keys.c.request_id).where(_this_key, keys.c.created_at > bindparam("b_since"))
_forget_old = delete(keys).where(_this_key, keys.c.created_at <= bindparam("b_since"))
_inserts: dict[str, Any] = {
    "sqlite": sqlite.insert(keys).on_conflict_do_nothing().returning(keys.c.key),
    "postgresql": postgresql.insert(keys).on_conflict_do_nothing().returning(keys.c.key),
}


def find(connection: SqlConnection, user_id: int, said: KeyedBody, now: float) -> str | None:
    """Return the id of the request that was accepted with this key and body, or None when the key is new.

    Raises :class:`KeyReused` when another body came with it.
    """
    known = connection.execute(_find, _named(user_id, said.key, now)).first()
    if known is None:
        return None
    if known.body_hash != said.body_hash:
        raise KeyReused
    return str(known.request_id)


def is_known(connection: SqlConnection, user_id: int, key: str, now: float) -> bool:
    """Whether a request was accepted with this key."""
    return connection.execute(_find, _named(user_id, key, now)).first() is not None


def remember(connection: SqlConnection, user_id: int, said: KeyedBody, request_id: str, now: float) -> None:
    """Keep the key of a request that this transaction accepts.

    Raises :class:`InProgress` when somebody else has just done so: whoever asks again then finds that request.
    """
    connection.execute(_forget_old, _named(user_id, said.key, now))
    row = {"user_id": user_id, "key": said.key, "body_hash": said.body_hash}
    statement = _inserts[connection.dialect.name]
    kept = connection.execute(statement, {**row, "request_id": request_id, "created_at": now}).first()
    if kept is None:
        raise InProgress(retry_after=1)


def drop_old(connection: SqlConnection, now: float) -> int:
    """Delete the keys that are remembered no longer; return how many."""
    return connection.execute(delete(keys).where(keys.c.created_at <= now - REMEMBERED)).rowcount


def _named(user_id: int, key: str, now: float) -> dict[str, Any]:
    return {"b_user": user_id, "b_key": key, "b_since": now - REMEMBERED}
