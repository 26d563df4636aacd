"""Every refusal of the API as ``{"error": {"code", "message", "details"}}`` with the right status."""

from __future__ import annotations

import logging
import math
import time

from flask import Response, jsonify
from flask_limiter import RateLimitExceeded
from pydantic import ValidationError
from werkzeug.exceptions import HTTPException

from project.database import is_away
from project.errors import (
    DatabaseAway,
    NotAuthenticated,
    NotFound,
    RateLimited,
    SpacesError,
    TooLarge,
    UnsupportedMedia,
)
from project.extensions import limiter
from project.validation import refusal

logger = logging.getLogger(__name__)

#: What a program reads for the refusals of the web framework itself.
CODES = {
    400: "bad_request",
    401: NotAuthenticated.code,
    403: "forbidden",
    404: NotFound.code,
    405: "method_not_allowed",
    408: "request_timeout",
    409: "conflict",
    411: "length_required",
    413: TooLarge.code,
    415: UnsupportedMedia.code,
    429: RateLimited.code,
    503: "unavailable",
}


def answer(error: BaseException) -> Response:
    """Return the JSON answer for anything that was raised; what nobody foresaw is logged and answered 500."""
    if isinstance(error, HTTPException) and not isinstance(error, RateLimitExceeded):
        return _of_framework(error)
    return _of_site(_as_refusal(error))


def _as_refusal(error: BaseException) -> SpacesError:
    if isinstance(error, SpacesError):
        return error
    if isinstance(error, RateLimitExceeded):
        return RateLimited(retry_after=_seconds_to_reset())
    if isinstance(error, ValidationError):
        return refusal(error)
    if is_away(error):
        return DatabaseAway(retry_after=1)
    logger.error("Unexpected error in the API", exc_info=error)
    return SpacesError()


def _of_site(error: SpacesError) -> Response:
    response = _body(error.status, error.code, error.message, error.details)
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    if error.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _of_framework(error: HTTPException) -> Response:
    """Answer what Flask or Werkzeug refused; redirects and ready-made answers stay as they are."""
    ready = error.get_response()
    if error.response is not None or error.code is None or error.code < 400:
        return Response(ready.response, ready.status_code, ready.headers)
    response = _body(error.code, CODES.get(error.code, "internal"), error.description or error.name, None)
    for header in ("Allow", "Retry-After"):
        if header in ready.headers:
            response.headers[header] = ready.headers[header]
    return response


def _body(status: int, code: str, message: str, details: object) -> Response:
    response = jsonify(error={"code": code, "message": message, "details": details})
    response.status_code = status
    return response


def _seconds_to_reset() -> float:
    limit = limiter.current_limit
    return max(1.0, math.floor(limit.reset_at - time.time())) if limit else 1.0
