"""Tokens: the credentials of programs. Random, prefixed, kept as a hash, shown once.

What a token may do is asked anew each time: its maker may have lost the role, the space or the account.
"""

from __future__ import annotations

import hashlib
import logging
import math
import secrets
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import and_, bindparam, insert, or_, select, update
from sqlalchemy.engine import Connection as SqlConnection
from sqlalchemy.engine import RowMapping

from project import token_rules
from project.errors import DatabaseAway, NotFound
from project.models import Space, Token, TokenSpace, User
from project.recent import Recent
from project.services import services

START = "spaces_"
#: 320 random bits, so that over 256 stay secret beside the eight characters that lists show.
RANDOM_BYTES = 40
PREFIX_LENGTH = len(START) + 8
#: The largest number that the id columns hold; PostgreSQL refuses to compare them with a larger one.
MAX_ID = 2**31 - 1
#: Seconds for which another process may not have heard of a revocation.
REMEMBERED = 1.0
#: Seconds between two notes of when a token was last used.
NOTE_EVERY = 60.0
#: Seconds that such a note may wait for other writers: the call it is about waits with it.
NOTE_PATIENCE = 0.1

logger = logging.getLogger(__name__)
_recent: Recent[tuple[TokenInfo, User]] = Recent(REMEMBERED)
_TOKEN = Token.__table__.c
_USER = User.__table__.c
_IS_VALID = and_(
    Token.revoked_at.is_(None), or_(Token.expires_at.is_(None), Token.expires_at > bindparam("now")), User.active
)
_WITH_MAKER = select(*_TOKEN, *_USER).select_from(Token).join(User, User.id == Token.user_id).where(_IS_VALID)
_BY_HASH = _WITH_MAKER.where(Token.token_hash == bindparam("hash"))
_BY_ID = _WITH_MAKER.where(Token.id == bindparam("id"))


class Entitled(Protocol):
    """What of a space decides who may serve it (a row or a :class:`Space`)."""

    @property
    def id(self) -> int:
        """The space's id."""

    @property
    def owner_id(self) -> int | None:
        """Its owner, if it has one."""

    @property
    def allow_app_without_token(self) -> bool:
        """Whether an app without a token may connect."""


@dataclass(frozen=True)
class TokenInfo:
    """A valid token and its maker. ``space_ids`` limits an app token unless ``all_spaces``; times are Unix seconds."""

    id: int
    user_id: int
    username: str
    role: str
    scopes: frozenset[str]
    all_spaces: bool
    space_ids: frozenset[int]
    expires_at: float | None


def verify(plaintext: str, now: float) -> TokenInfo | None:
    """Return the token of this text, or nothing when it is unknown, expired, revoked or its maker switched off."""
    known = identify(plaintext, now)
    return known[0] if known else None


def identify(plaintext: str, now: float) -> tuple[TokenInfo, User] | None:
    """Return the token of this text and its maker, as :func:`verify` does."""
    if not plaintext.startswith(START) or len(plaintext) > 200:
        return None
    hashed, generation = _hash(plaintext), _recent.generation
    known = _recent.get(hashed, now)
    if known and now < (known[0].expires_at or math.inf):
        return known
    with services().database.read() as connection:
        row = connection.execute(_BY_HASH, {"now": now, "hash": hashed}).mappings().first()
        if row is None:
            return None
        maker = User(**{column.name: row[column] for column in _USER})
        known = _info(row, maker, _space_ids(connection, row)), maker
    if now - (row[_TOKEN.last_used_at] or 0) >= NOTE_EVERY:
        _note_use(known[0].id, now)
    _recent.put(hashed, known, now, generation)
    return known


def current(token_id: int, now: float) -> TokenInfo | None:
    """Return the token as it is now, or nothing when it is valid no more."""
    with services().database.read() as connection:
        row = connection.execute(_BY_ID, {"now": now, "id": token_id}).mappings().first()
        if row is None:
            return None
        maker = User(**{column.name: row[column] for column in _USER})
        return _info(row, maker, _space_ids(connection, row))


def may_serve(token: TokenInfo | None, space: Entitled) -> bool:
    """Say whether an app with this token (or with none) may connect to ``space``."""
    if token is None:
        return space.allow_app_without_token
    if "app" not in token.scopes or not (token.all_spaces or space.id in token.space_ids):
        return False
    return token.role == "admin" or space.owner_id == token.user_id


def create(
    owner: User, name: str, scopes: Iterable[str], space_names: Iterable[str], expires_at: float | None, now: float
) -> tuple[Token, str]:
    """Make a token and return it with its text, which is nowhere kept.

    No ``space_names``: all spaces that its maker owns, all for an admin. Raises :class:`Invalid`,
    :class:`Forbidden`, :class:`NotFound` (a space) or :class:`Conflict` (too many tokens).
    """
    wanted, names = set(scopes), {name.lower() for name in space_names}
    token_rules.check(owner, name, wanted, names, expires_at, now)
    plaintext = START + secrets.token_urlsafe(RANDOM_BYTES)
    values = {
        "user_id": owner.id,
        "name": name.strip(),
        "prefix": plaintext[:PREFIX_LENGTH],
        "token_hash": _hash(plaintext),
        "scopes": [scope for scope in token_rules.SCOPES if scope in wanted],
        "all_spaces": not names,
        "created_at": now,
        "expires_at": expires_at,
    }
    with services().database.write() as connection:
        space_ids = token_rules.spaces_for(connection, owner, names) if "app" in wanted else []
        token_rules.check_count(connection, owner.id)
        token = _insert(connection, values, space_ids)
    return token, plaintext


def revoke(token_id: int, actor: User) -> None:
    """Revoke a token of one's own (an admin: anybody's) and cut its connections. Raises :class:`NotFound`."""
    if token_id > MAX_ID:
        raise NotFound("There is no such token.")
    mine = () if actor.is_admin else (Token.user_id == actor.id,)
    statement = update(Token).where(Token.id == token_id, Token.revoked_at.is_(None), *mine)
    with services().database.write() as connection:
        if connection.execute(statement.values(revoked_at=time.time())).rowcount == 0:
            raise NotFound("There is no such token.")
    _recent.clear()
    services().manager.token_revoked(token_id)


def list_for(user: User) -> list[Token]:
    """Return somebody's tokens that are not revoked, newest first."""
    statement = select(*_TOKEN).where(Token.user_id == user.id, Token.revoked_at.is_(None)).order_by(Token.id.desc())
    with services().database.read() as connection:
        return [Token(**row) for row in connection.execute(statement).mappings()]


def space_names(token_ids: Sequence[int]) -> dict[int, list[str]]:
    """Return, for each token that is limited to spaces, their names in order."""
    statement = (
        select(TokenSpace.token_id, Space.name)
        .join(Space, Space.id == TokenSpace.space_id)
        .where(TokenSpace.token_id.in_(token_ids))
        .order_by(Space.name_key)
    )
    names: dict[int, list[str]] = {}
    with services().database.read() as connection:
        for token_id, name in connection.execute(statement):
            names.setdefault(token_id, []).append(name)
    return names


def lapsed(token_ids: Iterable[int], now: float) -> set[int]:
    """Return which of these tokens are valid no more: expired, revoked, deleted, or their maker switched off."""
    wanted = set(token_ids)
    valid = select(Token.id).join(User, User.id == Token.user_id).where(_IS_VALID, Token.id.in_(wanted))
    with services().database.read() as connection:
        return wanted - set(connection.scalars(valid, {"now": now}))


def cut_all_of(user_id: int) -> None:
    """Cut the connections of all of somebody's tokens, which have stopped being valid."""
    _recent.clear()
    for token_id in _ids_of(user_id):
        services().manager.token_revoked(token_id)


def cut_unentitled(user_id: int) -> None:
    """Stop the apps that serve a space with a token of this person, where it may do so no more."""
    _recent.clear()
    mine = set(_ids_of(user_id))
    held = [item for item in services().manager.connections() if item.token_id in mine]
    for item in held:
        if item.token_id is not None and not _still_serves(item.token_id, item.space_id):
            services().manager.disconnect(item.space_id)


def _still_serves(token_id: int, space_id: int) -> bool:
    token = current(token_id, time.time())
    with services().database.read() as connection:
        space = connection.execute(select(*Space.__table__.c).where(Space.id == space_id)).first()
    return token is not None and space is not None and may_serve(token, space)


def _hash(plaintext: str) -> str:
    """The text is random enough that a fast hash is safe."""
    return hashlib.sha256(plaintext.encode("utf-8", "surrogatepass")).hexdigest()


def _info(row: RowMapping, maker: User, space_ids: frozenset[int]) -> TokenInfo:
    return TokenInfo(
        id=row[_TOKEN.id],
        user_id=maker.id,
        username=maker.username,
        role=maker.role,
        scopes=frozenset(row[_TOKEN.scopes]),
        all_spaces=row[_TOKEN.all_spaces],
        space_ids=space_ids,
        expires_at=row[_TOKEN.expires_at],
    )


def _space_ids(connection: SqlConnection, row: RowMapping) -> frozenset[int]:
    if row[_TOKEN.all_spaces]:
        return frozenset()
    named = select(TokenSpace.space_id).where(TokenSpace.token_id == row[_TOKEN.id])
    return frozenset(connection.scalars(named))


def _note_use(token_id: int, now: float) -> None:
    """Write down when the token was used; a database that cannot write must not refuse a valid token."""
    statement = update(Token).where(
        Token.id == token_id, or_(Token.last_used_at.is_(None), Token.last_used_at <= now - NOTE_EVERY)
    )
    try:
        with services().database.write(NOTE_PATIENCE) as connection:
            connection.execute(statement.values(last_used_at=now))
    except DatabaseAway:
        logger.warning("Could not note the use of token %d.", token_id)


def _insert(connection: SqlConnection, values: dict[str, Any], space_ids: list[int]) -> Token:
    token = Token(**connection.execute(insert(Token).values(**values).returning(*_TOKEN)).mappings().one())
    if space_ids:
        rows = [{"token_id": token.id, "space_id": space_id} for space_id in space_ids]
        connection.execute(insert(TokenSpace), rows)
    return token


def _ids_of(user_id: int) -> list[int]:
    with services().database.read() as connection:
        return list(connection.scalars(select(Token.id).where(Token.user_id == user_id, Token.revoked_at.is_(None))))
