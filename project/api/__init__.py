"""The HTTP API, ``/api/v1``: one set of models validates it and describes it."""

from __future__ import annotations

from typing import Any, NoReturn

from flask_openapi3 import Info, OpenAPI
from pydantic import ValidationError

from project.api import docs, files, health, live, requests, space_views, spaces, tokens
from project.api.models import ErrorBody
from project.validation import refusal

VERSION = "1.1.0"
ABOUT = (
    "Submit requests to spaces, follow them, and run the site. Programs send `Authorization: Bearer <token>` with a "
    "token of scope `api`; pages use the session cookie, and for every change the header `X-CSRFToken` with the value "
    'of `<meta name="csrf-token">`. A refusal is `{"error": {"code", "message", "details"}}`.'
)


API_INFO = Info(title="WebSocket Spaces", version=VERSION, description=ABOUT)
SECURITY_SCHEMES: dict[str, Any] = {
    "bearerAuth": {"type": "http", "scheme": "bearer", "description": "A token of scope `api` (or `admin`)"},
    "signedLink": {
        "type": "apiKey",
        "in": "query",
        "name": "signature",
        "description": "The signature of a link that the site gave to an app; valid while its attempt is current",
    },
    "cookieAuth": {"type": "apiKey", "in": "cookie", "name": "session", "description": "A browser's login session"},
}


def register_api(app: OpenAPI) -> None:
    """Add the API, its description and the health checks to ``app``."""
    _describe(app)
    space_views.register(app)
    for routes in (spaces.routes, requests.routes, files.routes, live.routes, tokens.blueprint, health.routes):
        app.register_api(routes)
    app.register_blueprint(docs.blueprint)


def _describe(app: OpenAPI) -> None:
    app.info = API_INFO
    cookie = SECURITY_SCHEMES["cookieAuth"] | {"name": app.config["SESSION_COOKIE_NAME"]}
    app.security_schemes = SECURITY_SCHEMES | {"cookieAuth": cookie}
    app.validation_error_status = "422"
    app.validation_error_model = ErrorBody
    app.validation_error_callback = _refuse


def _refuse(error: ValidationError) -> NoReturn:
    raise refusal(error) from error
