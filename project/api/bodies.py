"""Reading bodies: the right content type, a bounded size, and nothing that could not be kept or handed on."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from flask import request

from project.api.models import Submission
from project.config import Settings
from project.errors import BadRequest, Invalid, TooLarge, UnsupportedMedia
from project.models import Space
from project.validation import parse

View = TypeVar("View", bound=Callable[..., Any])

MAX_PARAMETERS_BYTES = 100_000
MAX_DEPTH = 32
MAX_PLAIN_BODY = 1_000_000
#: The longest that JSON can spell one character: a pair of ``\uXXXX``.
BYTES_PER_CHARACTER = 12
FILE_FIELDS = ("audio", "video", "file")
NOT_AVAILABLE = "this input is not available on this site yet"


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
        return json.loads(request.get_data(), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BadRequest("The body is not valid JSON.") from error


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def read_submission(settings: Settings) -> Submission:
    """Read a new request from JSON or a form. Raises what :func:`read_json` raises, Invalid and TooLarge."""
    request.max_content_length = (settings.max_prompt_chars + MAX_PARAMETERS_BYTES) * BYTES_PER_CHARACTER
    request.max_form_memory_size = request.max_content_length
    fields = _form_fields() if request.mimetype == "multipart/form-data" else read_json()
    if not isinstance(fields, dict):
        raise Invalid("The body must be a JSON object.")
    for field in FILE_FIELDS:
        if fields.get(field) is not None:
            raise Invalid.field(field, NOT_AVAILABLE)
    submission = parse(Submission, fields)
    _check_prompt(submission.prompt or "", settings.max_prompt_chars)
    _check_parameters(submission.parameters or {})
    return submission


def _form_fields() -> dict[str, Any]:
    """Return the fields of a form; ``parameters`` is JSON text. Files keep only their field's name."""
    fields: dict[str, Any] = {name: value for name, value in request.form.items() if name != "csrf_token"}
    if "parameters" in fields:
        fields["parameters"] = _read_parameters(fields["parameters"])
    return fields | {name: "a file" for name in request.files if name in FILE_FIELDS or name not in fields}


def _read_parameters(text: str) -> Any:
    if not text.strip():
        return None
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Invalid.field("parameters", "must be the JSON text of an object") from error


def _check_prompt(prompt: str, limit: int) -> None:
    if len(prompt) > limit:
        message = f"has {len(prompt)} characters; {limit} are allowed"
        raise TooLarge(f"prompt: {message}", details=[{"field": "prompt", "message": message}])


def _check_parameters(parameters: dict[str, Any]) -> None:
    """Refuse what is too deep, too large, or could not be written as JSON again."""
    if _deeper_than(parameters, MAX_DEPTH):
        raise Invalid.field("parameters", f"must be at most {MAX_DEPTH} levels deep")
    try:
        size = len(json.dumps(parameters, ensure_ascii=False, allow_nan=False).encode())
    except ValueError as error:
        raise Invalid.field("parameters", "must hold finite numbers and valid Unicode only") from error
    if size > MAX_PARAMETERS_BYTES:
        message = f"take {size} bytes as JSON; {MAX_PARAMETERS_BYTES} are allowed"
        raise TooLarge(f"parameters: {message}", details=[{"field": "parameters", "message": message}])


def _deeper_than(value: Any, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_deeper_than(item, levels - 1) for item in inner)


def check_inputs(space: Space, prompt: str | None) -> None:
    """Refuse a prompt where the space takes none, and its absence where it needs one. Raises :class:`Invalid`."""
    if not space.input_prompt:
        if prompt is not None:
            raise Invalid.field("prompt", "this space takes no prompt")
        _check_other_inputs(space)
    elif not (prompt or "").strip():
        raise Invalid.field("prompt", "must not be empty")


def _check_other_inputs(space: Space) -> None:
    """A space that wants only what cannot be sent yet cannot be asked anything."""
    for field in FILE_FIELDS:
        if getattr(space, f"input_{field}"):
            raise Invalid.field(field, NOT_AVAILABLE)
