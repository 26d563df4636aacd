"""Who gets in: admins who are signed in. A visitor is asked to sign in, everybody else finds nothing."""

from __future__ import annotations

from flask_login import current_user

from project.errors import NotAuthenticated, NotFound


def only_admins() -> None:
    """Let admins pass. Raises :class:`NotAuthenticated` for visitors and :class:`NotFound` for other people."""
    if not current_user.is_authenticated:
        raise NotAuthenticated("Sign in as an admin.")
    if not current_user.is_admin:
        raise NotFound()
