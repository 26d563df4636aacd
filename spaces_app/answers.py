"""From a handler's return value to the body of a result."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Callable
from typing import Any

from spaces_app.binding import Handler, MissingInput, call
from spaces_app.media import Media, is_content
from spaces_app.request import NoAnswer, Request
from spaces_app.transfer import TransferError

Answer = dict[str, Any]
Send = Callable[[Media], dict[str, Any]]

MAX_MESSAGE = 2_000
KILOBYTE = 1_000

logger = logging.getLogger(__name__)


def compute(handler: Handler, request: Request) -> Answer | None:
    """Run ``handler`` for ``request``, send its files, and return the answer; ``None`` when it sends nothing."""
    if request.cancelled.is_set():
        return failed("Cancelled before it began.")
    try:
        return completed(call(handler, request), request.send)
    except NoAnswer:
        return None
    except (MissingInput, TransferError) as error:
        logger.warning("A request of %s failed: %r", request.space_name, str(error))
        return failed(request.without_links(str(error)))
    except Exception as error:
        trace = request.without_links(traceback.format_exc())
        logger.error("The handler of %s failed\n%s", request.space_name, trace)
        return failed(request.without_links(str(error)) or type(error).__name__)


def completed(value: object, send: Send) -> Answer:
    """Read what a handler returned: text, an object, a file, or a list of these and of parts.

    Raises :class:`TypeError` or :class:`ValueError` when that cannot be sent as JSON, and
    :class:`TransferError` when a file cannot be sent.
    """
    result = _with_files_sent(value, send) if isinstance(value, dict) else {"parts": _parts(value, send)}
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
    message = f"The result is too large for the site: {size_kb:.0f} kilobytes."
    return failed(f"{message} Large results go as files: the app's function returns a Path or bytes.")


def _with_files_sent(result: dict[str, Any], send: Send) -> dict[str, Any]:
    parts = result.get("parts")
    return {**result, "parts": _parts(parts, send)} if isinstance(parts, list) else result


def _parts(value: object, send: Send) -> list[object]:
    return [_part(one, send) for one in value] if isinstance(value, (list, tuple)) else [_part(value, send)]


def _part(value: object, send: Send) -> object:
    if isinstance(value, str):
        return {"type": "text", "text": value}
    if isinstance(value, dict):
        return value
    if isinstance(value, Media):
        return send(value)
    if is_content(value):
        return send(Media(value))  # type: ignore[arg-type]
    kind = type(value).__name__
    raise TypeError(f"The handler returned {kind}, not text, an object, a file, or a list of these.")
