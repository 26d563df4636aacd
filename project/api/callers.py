"""Who calls, what they may, and how often."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from flask_limiter import RouteLimit
from flask_limiter.util import get_remote_address

from project.api.models import MAX_PREFERRED_SECONDS
from project.extensions import db, limiter
from project.identity import Caller, caller, require_admin, require_caller
from project.models import User
from project.services import services

View = TypeVar("View", bound=Callable[..., Any])

SUBMITS = "300/minute"
CHANGES = "300/minute"


def viewer() -> User | None:
    """Return who is looking, or None for a visitor. Raises Forbidden when a token may not use the API."""
    return reader().user if caller() else None


def reader() -> Caller:
    """Return the caller; a token needs the scope ``api``, or ``admin``. Raises NotAuthenticated or Forbidden.

    The database session is given back: whoever keeps one while asking the store needs two connections,
    and many such callers at once would wait for each other.
    """
    known = caller()
    token = known.token if known else None
    allowed = require_caller("admin" if token and "admin" in token.scopes else "api")
    db.session.remove()
    return allowed


def admin_only(view: View) -> View:
    """Let admins in, before anything of the call is read."""

    @wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        require_admin()
        return view(*args, **kwargs)

    return guarded  # type: ignore[return-value]


def limited(rate: str, scope: str, methods: list[str] | None = None) -> RouteLimit:
    """Allow each caller ``rate`` calls of everything in ``scope``, unless the site's rate limits are off.

    Only calls by ``methods`` count (None: all). A visitor counts by address.
    """
    return limiter.shared_limit(
        rate, scope=scope, methods=methods, key_func=who, exempt_when=lambda: services().settings.rate_limits == "off"
    )


def who() -> str:
    """Return whose calls count together: those of one user, or of one visitor's address."""
    known = caller()
    return f"user:{known.user.id}" if known else f"address:{get_remote_address()}"


def preferred_wait(prefer: str | None) -> float | None:
    """Return the seconds in ``wait=n`` of a ``Prefer`` header (RFC 7240), or None; more than 55 count as 55."""
    for preference in (prefer or "").split(","):
        name, _, value = preference.split(";")[0].partition("=")
        seconds = value.strip().strip('"')
        if name.strip().lower() == "wait" and seconds.isascii() and seconds.isdigit():
            return min(float(seconds[:4]), MAX_PREFERRED_SECONDS)
    return None
