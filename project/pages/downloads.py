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
from project.file_reception import clean_name
from project.files import Files
from project.pages.requests import readable_request
from project.services import services

ENDINGS = {"text": ".txt", "markdown": ".md", "json": ".json"}
#: What Windows takes for a drive, a stream, a pattern or a device (its own list of forbidden names).
NOT_EVERYWHERE = str.maketrans(dict.fromkeys('<>:"|?*', "_"))
DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10))}


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
    """Return a part's own name as any system can unpack it, or one by its number."""
    given = _portable(part["name"]) if part.get("name") else ""
    if "file_id" in part:
        return given or f"file-{number}"
    ending = ENDINGS.get(part["type"], ".txt")
    stem = given or f"part-{number}"
    return stem if stem.endswith(ending) else stem + ending


def _portable(name: str) -> str:
    """Return a name without folders, drives and streams, and not that of a device: archives are unpacked anywhere."""
    plain = clean_name(name).translate(NOT_EVERYWHERE).strip(". ")
    return f"_{plain}" if plain.partition(".")[0].strip().casefold() in DEVICES else plain


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
