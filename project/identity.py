"""Who is calling: a program by its bearer token, or a person by the login session. Never both: a token wins."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from flask import g, request, session
from flask_login import current_user, login_user, logout_user

from project import accounts, session_rows, tokens
from project.errors import Forbidden, NotAuthenticated
from project.models import User
from project.tokens import TokenInfo

REFUSED = "This token is not valid: unknown, expired or revoked."
#: How long a login session lasts, whatever is done with it: after that the password is asked for again.
SESSION_SECONDS = 14 * 86_400
SESSION_ID, SIGNED_IN_AT = "session_id", "signed_in_at"


@dataclass(frozen=True)
class Caller:
    """The person for whom a call is made, and the token if a program makes it."""

    user: User
    token: TokenInfo | None

    @property
    def is_admin(self) -> bool:
        """Whether the call may do what admins do: an admin's session, or an admin's token with the scope ``admin``."""
        return self.user.is_admin and (self.token is None or "admin" in self.token.scopes)


def caller() -> Caller | None:
    """Return who is calling, or nothing for a visitor. Raises :class:`NotAuthenticated` for an invalid token."""
    if "caller" not in g:
        g.caller = _of_token() if presents_token() else _of_session()
    found: Caller | None = g.caller
    return found


def require_caller(scope: str = "api") -> Caller:
    """Return who is calling. Raises :class:`NotAuthenticated`, or :class:`Forbidden` for a token without ``scope``."""
    found = caller()
    if found is None:
        raise NotAuthenticated
    if found.token and scope not in found.token.scopes:
        raise Forbidden(f"This token lacks the scope {scope}.")
    return found


def require_admin() -> Caller:
    """Return the admin who calls, by session or by a token with the scope ``admin``.

    Raises as :func:`require_caller`.
    """
    found = require_caller("admin")
    if not found.is_admin:
        raise Forbidden("Only admins may do this.")
    return found


def require_session() -> User:
    """Return who is signed in with a browser. Raises :class:`NotAuthenticated` or, for a token, :class:`Forbidden`."""
    found = caller()
    if found is None:
        raise NotAuthenticated("Sign in first.")
    if found.token:
        raise Forbidden("Only somebody who is signed in with a browser may do this.")
    return found.user


def presents_token() -> bool:
    """Whether the call carries ``Authorization: Bearer``, valid or not."""
    return request.authorization is not None and request.authorization.type == "bearer"


def session_user(session_id: str) -> User | None:
    """Return the person of a login session (Flask-Login asks) that goes on; a call with a token has no session."""
    if presents_token() or _session_ends_at() <= time.time():
        return None
    user = accounts.load_user(session_id)
    return None if user is None or session_rows.has_ended(session[SESSION_ID]) else user


def known_name() -> str:
    """Say for the log who makes this call, as far as that has been looked up already; asks nothing."""
    if "left" in g:
        return str(g.left)
    found: Caller | None = g.get("caller")
    user: User | None = found.user if found else g.get("_login_user")
    if user is None or not user.is_authenticated:
        return "a visitor"
    return f"user {user.id}" + (f" with token {found.token.id}" if found and found.token else "")


def sign_in(user: User) -> None:
    """Begin a login session with nothing of the one before. Raises :class:`Forbidden` for a call with a token."""
    _without_token()
    session.clear()
    session.permanent = True
    session[SESSION_ID], session[SIGNED_IN_AT] = secrets.token_urlsafe(24), int(time.time())
    login_user(user)
    g.pop("csrf_token", None)  # kept for the call by Flask-WTF; the new session needs one of its own
    g.pop("caller", None)


def sign_out() -> None:
    """End the login session of this browser, and with it every copy of its cookie.

    Raises :class:`Forbidden` for a call with a token.
    """
    _without_token()
    if current_user.is_authenticated:
        g.left = known_name()
        session_rows.end(session[SESSION_ID], _session_ends_at(), time.time())
    logout_user()
    session.clear()
    g.pop("csrf_token", None)
    g.pop("caller", None)


def _session_ends_at() -> float:
    """Return when this browser's login session ends at the latest, in Unix seconds; 0 when it has none."""
    since, named = session.get(SIGNED_IN_AT), isinstance(session.get(SESSION_ID), str)
    return float(since + SESSION_SECONDS) if named and isinstance(since, int) else 0.0


def _without_token() -> None:
    """A token stands in for the CSRF token, so a call that carries one must not touch the session beside it."""
    if presents_token():
        raise Forbidden("A call with a token has no login session: leave the token out.")


def local_path(target: str | None, otherwise: str) -> str:
    """Return ``target`` when it is a path of this site, else ``otherwise``: nobody is ever sent elsewhere.

    Browsers drop tabs and line ends and read ``\\`` as ``/``, so ``/\\t/evil.example`` leaves the site too.
    """
    if not target or not target.startswith("/") or target.startswith("//"):
        return otherwise
    if "\\" in target or any(char <= " " or char == "\x7f" for char in target):
        return otherwise
    parts = urlsplit(target)
    return otherwise if parts.scheme or parts.netloc else target


def _of_token() -> Caller:
    authorization = request.authorization
    known = tokens.identify((authorization and authorization.token) or "", time.time())
    if known is None:
        raise NotAuthenticated(REFUSED)
    return Caller(user=known[1], token=known[0])


def _of_session() -> Caller | None:
    if not current_user.is_authenticated:
        return None
    return Caller(user=current_user._get_current_object(), token=None)
