"""Bodies of Engine.IO's long polling, read before python-engineio asks for them.

It would take what came of a body that broke off for the whole of it, and log one that it cannot read as an error of
its own.
"""

from __future__ import annotations

import io
import json
from typing import Any

from engineio.payload import Payload

from project.errors import BadRequest, SpacesError


def read_posts_first(engine: Any, largest: int) -> None:
    """Read each posted body of up to ``largest`` bytes before the Engine.IO server ``engine`` does, or refuse it."""
    handle = engine.handle_request

    def handle_read(environ: dict[str, Any], start_response: Any) -> Any:
        length = int(environ.get("CONTENT_LENGTH") or 0)
        if environ["REQUEST_METHOD"] == "POST" and 0 < length <= largest:
            try:
                environ = {**environ, "wsgi.input": io.BytesIO(_whole(environ["wsgi.input"], length))}
            except SpacesError as error:
                return _refuse(error, start_response)
        return handle(environ, start_response)

    engine.handle_request = handle_read


def _whole(body: Any, length: int) -> bytes:
    """Return a body that is whole and can be read. Raises :class:`BadRequest` and :class:`UploadStalled`."""
    try:
        data: bytes = body.read(length)
        if len(data) == length:
            Payload(encoded_payload=data.decode("utf-8"))
            return data
    except (OSError, ValueError, LookupError, RecursionError) as error:
        raise BadRequest("The packets cannot be read.") from error
    raise BadRequest("The body ended before all of it had come.")


def _refuse(error: SpacesError, start_response: Any) -> list[bytes]:
    said = {"error": {"code": error.code, "message": error.message, "details": None}}
    status = "408 Request Timeout" if error.status == 408 else "400 Bad Request"
    answer = json.dumps(said).encode()
    start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))])
    return [answer]
