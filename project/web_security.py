"""What protects every answer and every call of the site: headers, cookies, CSRF, login sessions, and notes in the log.

Socket.IO checks the origin and the token by itself; :func:`protect_sockets` gives its answers the headers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, TypeVar
from urllib.parse import urlsplit

from flask import Flask, Request, Response, current_app, redirect, request
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface, SessionMixin
from flask_wtf.csrf import CSRFError, validate_csrf
from werkzeug.routing import RequestRedirect
from wtforms import ValidationError

from project import identity
from project.config import Settings
from project.errors import BadRequest, NotAuthenticated
from project.extensions import csrf, login_manager
from project.throttle import SignInThrottle

YEAR = 31_536_000
UNSAFE = frozenset({"POST", "PUT", "PATCH", "DELETE"})
#: Whose changes are written to the log, each with who made it and what was answered.
NOTED = frozenset({"auth", "account", "admin", "api_spaces", "api_tokens"})
SOCKETS = "/socket.io"
CSRF_HEADER = "X-CSRFToken"

View = TypeVar("View", bound=Callable[..., Any])

logger = logging.getLogger(__name__)

POLICY = {
    "default-src": "'self'",
    # blob: is what somebody has just chosen or recorded, before it is sent.
    "img-src": "'self' data: blob:",
    "media-src": "'self' blob:",
    "object-src": "'none'",
    "base-uri": "'none'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
}
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(self), geolocation=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def init_app(app: Flask, settings: Settings) -> None:
    """Protect ``app``: call it once, before any blueprint is registered."""
    _configure_cookies(app, settings)
    app.session_interface = _BrowserSessions()
    app.extensions["sign_in_throttle"] = SignInThrottle()
    login_manager.init_app(app)
    login_manager.session_protection = "basic"  # "strong" would sign people out whose address changes on the way
    login_manager.user_loader(identity.session_user)
    csrf.init_app(app)
    app.before_request(_redirect_by_path)
    app.before_request(_check_call)
    headers = _headers(settings)

    @app.after_request
    def _protect(response: Response) -> Response:
        _note(response)
        return _add_headers(response, headers)


def protect_sockets(app: Flask, settings: Settings) -> None:
    """Give the answers of Socket.IO the headers of all others: call it once Socket.IO stands before ``app``."""
    wrapped, headers = app.wsgi_app, _headers(settings) | {"Content-Security-Policy": DEFAULT_POLICY}

    def protected(environ: dict[str, Any], start: Any) -> Any:
        if not environ.get("PATH_INFO", "").startswith(SOCKETS):
            return wrapped(environ, start)

        def start_protected(status: str, said: list[tuple[str, str]], *more: Any) -> Any:
            known = {name.lower() for name, _ in said}
            return start(status, said + [item for item in headers.items() if item[0].lower() not in known], *more)

        return wrapped(environ, start_protected)

    app.wsgi_app = protected  # type: ignore[method-assign, assignment]


def _headers(settings: Settings) -> dict[str, str]:
    """Return what every answer says, unless it says something else itself."""
    strict = {"Strict-Transport-Security": f"max-age={YEAR}"} if settings.secure_cookies else {}
    # Pages and answers belong to whoever asked; static files bring a rule of their own.
    return HEADERS | {"Cache-Control": "no-store"} | strict


def reads_its_form(view: View) -> View:
    """Mark a view that reads forms in a stream: it calls :func:`check_form` before the first file is taken.

    The usual check looks for the CSRF token in the whole form, so whoever makes it has read all files already.
    """
    view.reads_its_form = True  # type: ignore[attr-defined]
    return view


def check_form(fields: Mapping[str, str]) -> None:
    """Refuse a form that neither a token nor a CSRF token, in the header or in ``fields``, vouches for.

    Raises :class:`BadRequest`.
    """
    if not identity.presents_token():
        _check_csrf(request.headers.get(CSRF_HEADER) or fields.get("csrf_token"))


def _check_csrf(token: str | None) -> None:
    try:
        validate_csrf(token)
    except ValidationError as error:
        raise _out_of_date() from error


def _out_of_date() -> BadRequest:
    return BadRequest("The form is out of date: reload the page and try again. (CSRF token)")


class _NoSession(SecureCookieSession):
    """What a call with a token has in place of a login session."""


class _BrowserSessions(SecureCookieSessionInterface):
    """Login sessions are for browsers: a call with a token neither reads nor writes one."""

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        if request.headers.get("Authorization", "")[:7].lower() == "bearer ":
            return _NoSession()
        return super().open_session(app, request)

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        if not isinstance(session, _NoSession):
            super().save_session(app, session, response)


def content_policy(**extra: str) -> str:
    """Return the content security policy, with directives replaced or added: ``content_policy(style_src="...")``.

    A view that sets the header ``Content-Security-Policy`` itself keeps what it set.
    """
    directives = POLICY | {name.replace("_", "-"): value for name, value in extra.items()}
    return "; ".join(f"{name} {value}" for name, value in directives.items())


DEFAULT_POLICY = content_policy()


def _configure_cookies(app: Flask, settings: Settings) -> None:
    secure = settings.secure_cookies
    app.config.update(
        # The prefix makes browsers refuse a cookie planted over plain http or from a neighbouring host name.
        SESSION_COOKIE_NAME="__Host-spaces_session" if secure else "spaces_session",
        SESSION_COOKIE_SECURE=secure,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_PATH="/",
        PERMANENT_SESSION_LIFETIME=timedelta(seconds=identity.SESSION_SECONDS),
        # A held call that answers after a sign-out must not bring the old session back.
        SESSION_REFRESH_EACH_REQUEST=False,
        WTF_CSRF_CHECK_DEFAULT=False,
        WTF_CSRF_TIME_LIMIT=None,
        # Programs with a session send no Referer; the signed token and the cookie's prefix already tell.
        WTF_CSRF_SSL_STRICT=False,
    )


def _redirect_by_path() -> Any:
    """Send whoever forgot a slash, or typed two, to the right path: the framework would name the Host header's host."""
    wanted = request.routing_exception
    if isinstance(wanted, RequestRedirect):
        return redirect(urlsplit(wanted.new_url)._replace(scheme="", netloc="").geturl(), wanted.code)
    return None


def _check_call() -> None:
    """Refuse an invalid token anywhere, and an unsafe call that neither a token nor a CSRF token vouches for."""
    if identity.presents_token():
        identity.caller()
        return
    view = current_app.view_functions.get(request.endpoint or "")
    if request.mimetype == "multipart/form-data" and hasattr(view, "reads_its_form"):
        if CSRF_HEADER in request.headers:
            _check_csrf(request.headers[CSRF_HEADER])
        return
    try:
        csrf.protect(apply_exemptions=True)
    except CSRFError as error:
        if request.path.startswith("/api/") and identity.caller() is None:
            raise NotAuthenticated from error  # a program that forgot its token, not a forged form
        raise _out_of_date() from error


def _note(response: Response) -> None:
    """Write to the log who changed what of accounts, tokens and spaces, and who was refused; never what was sent."""
    if (request.method in UNSAFE and request.blueprint in NOTED) or response.status_code == 403:
        said = (request.method, request.path, identity.known_name(), request.remote_addr, response.status_code)
        logger.info("%s %s by %s from %s: %d", *said)


def _add_headers(response: Response, headers: Mapping[str, str]) -> Response:
    for name, value in headers.items():
        response.headers.setdefault(name, value)
    response.headers.setdefault("Content-Security-Policy", DEFAULT_POLICY)
    if response.status_code == 401:
        response.headers.setdefault("WWW-Authenticate", "Bearer")
    return response
