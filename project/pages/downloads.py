"""Download all: one archive of everything that a request's result is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from flask import Response
from flask_login import login_required
from zipstream import ZIP_STORED, ZipStream

from project.api.presenters import output_parts
from project.api.sending import Pieces, disposition
from project.files import Files
from project.pages.requests import readable_request
from project.services import services

ENDINGS = {"text": ".txt", "markdown": ".md", "json": ".json"}


@login_required
def download(request_id: str) -> Response:
    """Send the parts of a result as a zip that is made while it is sent. Raises :class:`NotFound`."""
    row = readable_request(request_id)
    files, archive = services().files, ZipStream(compress_type=ZIP_STORED)
    taken: set[str] = set()
    for number, part in enumerate(output_parts(row), 1):
        name = _free(_name(part, number), taken)
        if "file_id" in part:
            archive.add(_bytes_of(files, part["file_id"]), name)
        else:
            archive.add(_text_of(part).encode(), name)
    response = Response(iter(archive), mimetype="application/zip", direct_passthrough=True)
    response.headers["Content-Disposition"] = disposition("attachment", f"{row['space_name']}-{request_id[:8]}.zip")
    return response


def _bytes_of(files: Files, file_id: str) -> Iterator[bytes]:
    """Open the file only when its turn has come: an archive of many files keeps one open."""
    pieces = Pieces(files.open(file_id))
    try:
        yield from pieces
    finally:
        pieces.close()


def _name(part: dict[str, Any], number: int) -> str:
    """Return a part's own name without folders, or one by its number."""
    given = str(part.get("name") or "").replace("\\", "/").rsplit("/", 1)[-1].strip(". ")
    if "file_id" in part:
        return given or f"file-{number}"
    ending = ENDINGS.get(part["type"], ".txt")
    stem = given or f"part-{number}"
    return stem if stem.endswith(ending) else stem + ending


def _free(name: str, taken: set[str]) -> str:
    """Return ``name``, with a number when another part has it already."""
    stem, dot, ending = name.rpartition(".")
    number, free = 2, name
    while free.casefold() in taken:
        free = f"{stem} ({number}).{ending}" if dot else f"{name} ({number})"
        number += 1
    taken.add(free.casefold())
    return free


def _text_of(part: dict[str, Any]) -> str:
    if part["type"] == "json":
        return json.dumps(part["data"], indent=2, ensure_ascii=False)
    return str(part.get("text", ""))
