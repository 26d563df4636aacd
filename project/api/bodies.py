"""Reading bodies: the right content type, a bounded size, and nothing that could not be kept or handed on."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from flask import request

from project.errors import BadRequest, Invalid, UnsupportedMedia

View = TypeVar("View", bound=Callable[..., Any])

MAX_PLAIN_BODY = 1_000_000


def json_body(view: View) -> View:
    """Refuse what is not JSON before the body is validated."""

    @wraps(view)
    def reading(*args: Any, **kwargs: Any) -> Any:
        request.max_content_length = MAX_PLAIN_BODY
        if not isinstance(read_json(), dict):
            raise Invalid("The body must be a JSON object.")
        return view(*args, **kwargs)

    return reading  # type: ignore[return-value]


def read_json() -> Any:
    """Return the JSON of the body. Raises UnsupportedMedia, TooLarge (by the framework) or BadRequest."""
    if not request.is_json:
        raise UnsupportedMedia
    try:
        return json.loads(request.get_data(), parse_constant=no_constant)
    except (ValueError, RecursionError) as error:
        raise BadRequest("The body is not valid JSON.") from error


def no_constant(name: str) -> Any:
    """Refuse what Python's JSON reader lets through, but JSON (RFC 8259) does not know. Raises :class:`ValueError`."""
    raise ValueError(f"{name} is not JSON")
