"""Who may make which token."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.engine import Connection as SqlConnection

from project.errors import Conflict, Forbidden, Invalid, NotFound
from project.models import Space, Token, User

SCOPES = ("app", "api", "admin")
MAX_NAME = 100
MAX_PER_USER = 100


def check(owner: User, name: str, scopes: set[str], names: set[str], expires_at: float | None, now: float) -> None:
    """Raise :class:`Invalid` for a field that breaks a rule, :class:`Forbidden` for a scope only admins may give."""
    if not (1 <= len(name.strip()) <= MAX_NAME and name.strip().isprintable()):
        raise Invalid.field("name", f"Use 1 to {MAX_NAME} visible characters.")
    if not scopes or scopes - set(SCOPES):
        raise Invalid.field("scopes", f"Use one or more of {', '.join(SCOPES)}.")
    if names and "app" not in scopes:
        raise Invalid.field("spaces", "Only a token with the scope app can be limited to spaces.")
    if expires_at is not None and expires_at <= now:
        raise Invalid.field("expires_at", "This must be in the future.")
    if "admin" in scopes and not owner.is_admin:
        raise Forbidden("Only admins may make a token with the scope admin.")


def check_count(connection: SqlConnection, user_id: int) -> None:
    """Raise :class:`Conflict` when somebody has as many tokens as one may have."""
    held = select(func.count()).where(Token.user_id == user_id, Token.revoked_at.is_(None))
    if (connection.scalar(held) or 0) >= MAX_PER_USER:
        raise Conflict(f"You have {MAX_PER_USER} tokens already. Revoke one first.")


def spaces_for(connection: SqlConnection, owner: User, names: set[str]) -> list[int]:
    """Return the ids of the named spaces, all of which ``owner`` must be entitled to connect an app to.

    Raises :class:`NotFound` (also for a private space of somebody else) and :class:`Forbidden`.
    """
    if not names:
        _check_owns_any(connection, owner)
        return []
    rows = connection.execute(select(*Space.__table__.c).where(Space.name_key.in_(names))).all()
    seen = {row.name_key for row in rows if owner.is_admin or owner.id == row.owner_id or row.visibility == "public"}
    if missing := sorted(names - seen):
        raise NotFound(f"There is no space {missing[0]!r}.", details=[{"field": "spaces", "message": "No such space."}])
    if not owner.is_admin and any(row.owner_id != owner.id for row in rows):
        raise Forbidden("Only the owner of a space, or an admin, may make an app token for it.")
    return [row.id for row in rows]


def _check_owns_any(connection: SqlConnection, owner: User) -> None:
    if not owner.is_admin and not connection.scalar(select(func.count()).where(Space.owner_id == owner.id)):
        raise Forbidden("You own no space, so there is none that an app could serve with your token.")
