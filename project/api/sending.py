"""Sending bytes: in pieces that let others run, resumable by ranges, and inert whatever they are."""

from __future__ import annotations

from typing import Any, BinaryIO
from urllib.parse import quote

from flask import Response, request
from werkzeug.wsgi import FileWrapper

from project import file_types
from project.concurrency import give_way
from project.files import Files

CHUNK = 65_536
#: For whatever opens the address itself: nothing in it runs, and it stands outside the site's origin.
INERT = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox"


class Pieces(FileWrapper):
    """A file in pieces; ranges seek in it."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, CHUNK)

    def __next__(self) -> bytes:
        """Return the next piece."""
        give_way()
        return super().__next__()


def file_response(files: Files, row: Any, *, download: bool) -> Response:
    """Return the answer with a file's bytes: whole, a range (RFC 9110, 14), or nothing when the caller has them.

    Only what browsers show and what cannot run is sent inline, and only unless ``download`` asks otherwise.
    Raises :class:`project.errors.NotFound` when the bytes are gone.
    """
    response = Response(Pieces(files.open(row["id"])), direct_passthrough=True)
    kind = file_types.sent_as(row["content_type"])
    inline = kind in file_types.INLINE and not download
    response.headers["Content-Type"] = f"{kind}; charset=utf-8" if kind == file_types.TEXT else kind
    response.headers["Content-Disposition"] = disposition("inline" if inline else "attachment", row["name"])
    response.headers["Content-Security-Policy"] = INERT
    response.headers["Cache-Control"] = "private, no-cache"
    response.content_length = row["size"]
    response.set_etag(row["sha256"])
    try:
        response.make_conditional(_with_one_range(), accept_ranges=True, complete_length=row["size"])
    except BaseException:
        response.close()
        raise
    return response


def _with_one_range() -> dict[str, Any]:
    """Return the environment without a range that is not understood: then the whole is sent (RFC 9110, 14.2)."""
    asked = request.range
    known = asked is not None and asked.units == "bytes" and len(asked.ranges) == 1
    return {name: value for name, value in request.environ.items() if known or name != "HTTP_RANGE"}


def disposition(kind: str, name: str) -> str:
    """Return ``Content-Disposition`` for any name (RFC 6266, RFC 8187)."""
    plain = name.encode("ascii", "replace").decode("ascii").replace("\\", "_").replace('"', "_").replace("?", "_")
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
