"""From a handler's return value to the body of a result."""

from __future__ import annotations

import inspect
import json
import logging
from collections.abc import Callable
from typing import Any

from spaces_app.request import NoAnswer, Request

Handler = Callable[..., Any]
Answer = dict[str, Any]

PROMPT_NAMES = frozenset({"prompt", "text"})
MAX_MESSAGE = 2_000
KILOBYTE = 1_000

logger = logging.getLogger(__name__)


def compute(handler: Handler, request: Request) -> Answer | None:
    """Run ``handler`` for ``request`` and return the answer; ``None`` when it wants to send nothing."""
    if request.cancelled.is_set():
        return failed("Cancelled before it began.")
    try:
        return completed(handler(argument_for(handler, request)))
    except NoAnswer:
        return None
    except Exception as error:
        logger.exception("The handler of %s failed", request.space_name)
        return failed(str(error) or type(error).__name__)


def argument_for(handler: Handler, request: Request) -> Request | str:
    """Return what ``handler`` takes: the prompt or the whole request."""
    return request.prompt if takes_prompt(handler) else request


def takes_prompt(handler: Handler) -> bool:
    """Return whether the first parameter of ``handler`` is a ``str`` or called ``prompt``.

    Raises :class:`TypeError` when it has no parameter.
    """
    parameters = list(inspect.signature(handler).parameters.values())
    if not parameters:
        raise TypeError("a handler takes one argument: a Request, or the prompt as a str")
    first = parameters[0]
    if first.annotation is not inspect.Parameter.empty:
        return first.annotation in (str, "str")
    return first.name in PROMPT_NAMES


def completed(value: object) -> Answer:
    """Read what a handler returned: text, an object, or a list of parts.

    Raises :class:`TypeError` or :class:`ValueError` when that cannot be sent as JSON.
    """
    if isinstance(value, str):
        result: dict[str, Any] = {"parts": [_part(value)]}
    elif isinstance(value, dict):
        result = value
    elif isinstance(value, list):
        result = {"parts": [_part(part) for part in value]}
    else:
        raise TypeError(f"The handler returned {type(value).__name__}, not text, an object or a list of parts.")
    json.dumps(result, allow_nan=False)
    return {"status": "completed", "result": result}


def failed(message: str) -> Answer:
    """Return the answer that reports a failure."""
    return {"status": "failed", "error": message[:MAX_MESSAGE]}


def in_size(answer: Answer, limit_kb: float) -> Answer:
    """Return ``answer``, or a failure that says so when it has more than ``limit_kb`` kilobytes."""
    size_kb = size_in_kb(answer)
    return answer if size_kb <= limit_kb else too_large(size_kb)


def size_in_kb(answer: Answer) -> float:
    """Return how many kilobytes (of 1,000 bytes) an answer has on the wire."""
    return len(json.dumps(answer)) / KILOBYTE


def too_large(size_kb: float) -> Answer:
    """Return the failure that stands in for a result that the site does not take."""
    return failed(f"The result is too large for the site: {size_kb:.0f} kilobytes.")


def _part(value: object) -> object:
    return {"type": "text", "text": value} if isinstance(value, str) else value
