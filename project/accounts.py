"""People: their accounts, passwords and roles. What is refused is raised as a :class:`SpacesError`.

A :class:`User` that comes from here is a copy of its row (see :mod:`project.user_rows`): change it by the
functions below.
"""

from __future__ import annotations

import logging
import time
from hmac import compare_digest

from flask import current_app
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from project import file_rows, passwords, tokens, user_rows
from project.errors import Conflict, DatabaseAway, DuplicateName, Forbidden, Invalid, NotAuthenticated
from project.first_admin import FirstAdmin, ensure_first_admin, forget_first_password
from project.models import User
from project.services import services
from project.throttle import SignInThrottle
from project.user_rows import MAX_NAME, ROLES, name_key

__all__ = [
    "MAX_NAME",
    "ROLES",
    "FirstAdmin",
    "authenticate",
    "change_password",
    "check_password",
    "create_user",
    "delete_user",
    "end_sessions",
    "ensure_first_admin",
    "find",
    "get_by_username",
    "list_users",
    "load_user",
    "register",
    "reset_password",
    "set_active",
    "set_role",
]

WRONG = "The user name or the password is wrong."

logger = logging.getLogger(__name__)


def find(user_id: int) -> User:
    """Return one person. Raises :class:`NotFound`."""
    return user_rows.known(user_rows.first(User.id == user_id) if user_id <= tokens.MAX_ID else None)


def get_by_username(username: str) -> User | None:
    """Return the person of this name, ignoring case."""
    key = name_key(username)
    return user_rows.first(User.username_key == key) if key.isprintable() else None


def list_users() -> list[User]:
    """Return everybody, by name."""
    return user_rows.everybody()


def load_user(session_id: str) -> User | None:
    """Return the person whom a login session names (``id:session_key``), while it is valid."""
    user_id, _, key = session_id.partition(":")
    user = user_rows.first(User.id == int(user_id)) if user_id.isdecimal() else None
    return user if user and user.active and compare_digest(user.session_key, key) else None


def register(username: str, password: str) -> User:
    """Make a visitor's own account, as :func:`create_user`. Raises :class:`Forbidden` when registration is closed."""
    if services().settings.registration != "open":
        raise Forbidden("Registration is closed here. Ask an admin for an account.")
    return create_user(username, password)


def create_user(username: str, password: str, role: str = "user") -> User:
    """Make an account. Raises :class:`Invalid` (naming the field) or :class:`DuplicateName`."""
    values = user_rows.new_user(username, role)
    passwords.check(password, values["username"])
    if get_by_username(username):
        raise _taken()
    values["password_hash"] = passwords.hashed(password)
    try:
        with services().database.write() as connection:
            return user_rows.add(connection, values)
    except IntegrityError as error:
        raise _taken() from error


def authenticate(username: str, password: str, address: str) -> User:
    """Return the person who signs in from ``address``.

    Raises :class:`NotAuthenticated` (an unknown name takes as long as a wrong password) or :class:`RateLimited`.
    """
    user = get_by_username(username)
    if not _fits(user, name_key(username), password, address) or user is None:
        raise NotAuthenticated(WRONG)
    if not user.active:
        raise NotAuthenticated("This account is switched off. Ask an admin.")
    _note_login(user)
    # The copy from before the check: when the password changed meanwhile, its session key is void, as it must be.
    return user


def check_password(user_id: int, password: str, address: str, *, field: str = "password") -> User:
    """Ask somebody who is signed in for the password once more. Raises :class:`Invalid` or :class:`RateLimited`."""
    user = find(user_id)
    if not _fits(user, user.username_key, password, address):
        raise Invalid.field(field, "This is not your password.")
    return user


def change_password(user_id: int, current: str, new: str, address: str) -> User:
    """Change one's own password. All sessions end: sign the returned person in anew.

    Raises :class:`Invalid` (naming ``current_password`` or ``new_password``) or :class:`RateLimited`.
    """
    user = check_password(user_id, current, address, field="current_password")
    passwords.check(new, user.username, field="new_password")
    return _store_password(user, new, only_if=user.password_hash)


def reset_password(user_id: int, new: str) -> User:
    """Set somebody's password without the old one; all sessions end. Raises :class:`Invalid` or :class:`NotFound`."""
    user = find(user_id)
    passwords.check(new, user.username)
    return _store_password(user, new)


def end_sessions(user_id: int) -> User:
    """Sign somebody out everywhere. Raises :class:`NotFound`."""
    with services().database.write() as connection:
        return user_rows.change(connection, user_id, session_key=user_rows.session_key())


def set_active(user_id: int, active: bool) -> User:
    """Switch an account on or off. Off ends its sessions, and its tokens stop at once.

    Raises :class:`NotFound`, or :class:`Conflict` for the last active admin.
    """
    with services().database.write() as connection:
        if active:
            return user_rows.change(connection, user_id, active=True)
        user_rows.keep_an_admin(connection, user_id)
        user = user_rows.change(connection, user_id, active=False, session_key=user_rows.session_key())
    tokens.cut_all_of(user_id)
    return user


def set_role(user_id: int, role: str) -> User:
    """Make somebody ``user`` or ``admin``.

    Raises :class:`Invalid`, :class:`NotFound`, or :class:`Conflict` for the last active admin.
    """
    user_rows.check_role(role)
    with services().database.write() as connection:
        if role != "admin":
            user_rows.keep_an_admin(connection, user_id)
        user = user_rows.change(connection, user_id, role=role)
    tokens.cut_unentitled(user_id)
    return user


def delete_user(user_id: int) -> None:
    """Delete an account with its requests and tokens.

    Raises :class:`NotFound`, or :class:`Conflict` for the last active admin.
    """
    user = set_active(user_id, False)  # first, so that nothing new arrives while its open requests end
    services().manager.user_removed(user_id)
    with services().database.write() as connection:
        file_ids = file_rows.ids_of_user(connection, user_id)
        user_rows.remove(connection, user_id)
    services().files.forget(file_ids)
    forget_first_password(user)


def _note_login(user: User) -> None:
    """Write down when somebody signed in; a database that cannot write must not refuse a right password."""
    try:
        with services().database.write(tokens.NOTE_PATIENCE) as connection:
            user_rows.change(connection, user.id, last_login_at=time.time())
    except DatabaseAway:
        logger.warning("could not note the sign-in of user %d", user.id)


def _fits(user: User | None, account: str, password: str, address: str) -> bool:
    """Say whether the password is this person's; every try counts for the throttle."""
    throttle: SignInThrottle = current_app.extensions["sign_in_throttle"]
    account = account[: MAX_NAME + 1]
    throttle.admit(account, address)
    if passwords.matches(password, user.password_hash if user else None):
        throttle.succeeded(account, address)
        return True
    throttle.failed(account, address)
    logger.info("a wrong password for %s from %s", f"user {user.id}" if user else "nobody", address)
    return False


def _store_password(user: User, new: str, *, only_if: str | None = None) -> User:
    """Keep a new password, unless the old one (``only_if``) was changed meanwhile."""
    fresh = passwords.hashed(new)
    with services().database.write() as connection:
        old = connection.scalar(select(User.password_hash).where(User.id == user.id).with_for_update())
        if only_if not in (None, old):
            raise Conflict("The password was changed elsewhere at the same moment. Sign in again.")
        changed = user_rows.change(connection, user.id, password_hash=fresh, session_key=user_rows.session_key())
    forget_first_password(changed)
    return changed


def _taken() -> DuplicateName:
    message = "This user name is taken already."
    return DuplicateName(message, details=[{"field": "username", "message": message}])
