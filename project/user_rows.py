"""The rows of people, one statement each; the rules are in :mod:`project.accounts`.

A :class:`User` that comes from here is a copy of its row. It belongs to no database session, so it can be
read while a call waits, and changing it changes nothing.
"""

from __future__ import annotations

import secrets
import time
import unicodedata
from typing import Any

from sqlalchemy import ColumnElement, delete, exists, insert, select, update
from sqlalchemy.engine import Connection as SqlConnection

from project.errors import Conflict, Invalid, NotFound
from project.models import User
from project.services import services

ROLES = ("user", "admin")
#: The largest number that the id columns hold; PostgreSQL refuses to compare them with a larger one.
MAX_ID = 2**31 - 1
MAX_NAME = 64
COLUMNS = User.__table__.c


def name_key(username: str) -> str:
    """Return what makes a user name unique: it without case, outer spaces and typographic variants."""
    return unicodedata.normalize("NFKC", username.strip()).casefold()


def session_key() -> str:
    """Return a new random key for login sessions."""
    return secrets.token_urlsafe(24)


def new_user(username: str, role: str) -> dict[str, Any]:
    """Return the columns of a new account, all but the hash. Raises :class:`Invalid`."""
    check_role(role)
    name, key = username.strip(), name_key(username)
    if not (name and len(name) <= MAX_NAME and len(key) <= MAX_NAME and name.isprintable()):
        raise Invalid.field("username", f"Use 1 to {MAX_NAME} visible characters.")
    return {
        "username": name,
        "username_key": key,
        "role": role,
        "active": True,
        "session_key": session_key(),
        "created_at": time.time(),
    }


def check_role(role: str) -> None:
    """Raise :class:`Invalid` for a role that does not exist."""
    if role not in ROLES:
        raise Invalid.field("role", f"Use one of {', '.join(ROLES)}.")


def first(*conditions: ColumnElement[bool]) -> User | None:
    """Return the person who fits, or nothing."""
    with services().database.read() as connection:
        row = connection.execute(select(*COLUMNS).where(*conditions)).mappings().first()
    return User(**row) if row else None


def everybody() -> list[User]:
    """Return all people, by name."""
    with services().database.read() as connection:
        return [User(**row) for row in connection.execute(select(*COLUMNS).order_by(User.username_key)).mappings()]


def anybody() -> bool:
    """Say whether there is any account at all."""
    with services().database.read() as connection:
        return bool(connection.scalar(select(exists(select(User.id)))))


def add(connection: SqlConnection, values: dict[str, Any]) -> User:
    """Insert a row and return it; the database refuses a taken name with an ``IntegrityError``."""
    return User(**connection.execute(insert(User).values(**values).returning(*COLUMNS)).mappings().one())


def change(connection: SqlConnection, user_id: int, **values: Any) -> User:
    """Change columns of one person and return the new row. Raises :class:`NotFound`."""
    statement = update(User).where(User.id == user_id).values(**values).returning(*COLUMNS)
    row = connection.execute(statement).mappings().first() if user_id <= MAX_ID else None
    return known(User(**row) if row else None)


def remove(connection: SqlConnection, user_id: int) -> None:
    """Delete one person; requests and tokens go with the row."""
    connection.execute(delete(User).where(User.id == user_id))


def known(user: User | None) -> User:
    """Return ``user``. Raises :class:`NotFound` when there is none."""
    if user is None:
        raise NotFound("There is no such user.")
    return user


def keep_an_admin(connection: SqlConnection, user_id: int) -> None:
    """Refuse to lose the last active admin, with :class:`Conflict`.

    The rows are locked, so two admins cannot remove each other at the same moment.
    """
    admins = select(User.id).where(User.role == "admin", User.active).order_by(User.id).with_for_update()
    if list(connection.scalars(admins)) == [user_id]:
        raise Conflict("This is the last active admin. Make somebody else an admin first.")
