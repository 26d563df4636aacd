"""Files: read what belongs to your requests, and the signed links by which an app fetches and brings its own."""

from __future__ import annotations

import time
from typing import Any

from flask import Response, jsonify, request
from werkzeug.http import parse_options_header

from project.api.callers import reader
from project.api.describing import FILES, SIGNED, SIGNED_IN, blueprint, refusals
from project.api.models import FileObject, FilePath, FileQuery, UploadPath, UploadQuery
from project.api.sending import file_response
from project.api.uploads import read_file, read_form, upload_place
from project.errors import BadRequest, Invalid, NotFound
from project.extensions import csrf
from project.file_reception import Reception
from project.file_rows import NewFile
from project.services import services

routes = blueprint("api_files", __name__, FILES)

#: Bytes of the fields beside the file in an app's form; they are read and dropped.
FORM_TEXT = 100_000
BYTES: dict[str, Any] = {
    "description": "The bytes, or a range of them",
    "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    "headers": {"ETag": {"description": "The SHA-256 of the file", "schema": {"type": "string"}}},
}
TAKES_FILE = {
    "requestBody": {
        "required": True,
        "content": {
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            "multipart/form-data": {
                "schema": {"type": "object", "properties": {"file": {"type": "string", "format": "binary"}}}
            },
        },
    }
}


@routes.get(
    "/files/<file_id>",
    responses={200: BYTES, 206: BYTES, **refusals(401, 403, 404, 416, 422)},
    security=[*SIGNED_IN, *SIGNED],
)
def get_file(path: FilePath, query: FileQuery) -> Response:
    """Read a file of one of your requests, or with a signed link. Ranges and `If-None-Match` are understood."""
    site = services()
    if query.signature is not None:
        site.files.links.check_download(
            path.file_id, query.attempt or "", query.expires or 0, query.signature, time.time()
        )
        row = site.files.find(path.file_id)
        site.files.check_current(row, query.attempt or "")
    else:
        caller = reader()
        row = site.files.find(path.file_id)
        if row["user_id"] != caller.user.id and not (caller.is_admin and site.settings.admins_see_requests == "on"):
            raise NotFound("There is no such file.")
    return file_response(site.files, row, download=query.download)


@routes.put(
    "/attempts/<attempt_id>/files",
    responses={201: FileObject, **refusals(400, 403, 404, 408, 411, 413, 422, 429, 507)},
    security=SIGNED,
    openapi_extensions=TAKES_FILE,
)
def put_file(path: UploadPath, query: UploadQuery) -> tuple[Response, int]:
    """Bring a result file as the raw body, by the signed link in `upload.url` of a request (apps)."""
    return _take(path, query)


@routes.post(
    "/attempts/<attempt_id>/files",
    responses={201: FileObject, **refusals(400, 403, 404, 408, 411, 413, 422, 429, 507)},
    security=SIGNED,
    openapi_extensions=TAKES_FILE,
)
def post_file(path: UploadPath, query: UploadQuery) -> tuple[Response, int]:
    """Bring a result file as the one file of a form, by the signed link in `upload.url` of a request (apps)."""
    return _take(path, query)


# The signature vouches for the call; there is no cookie that a forged form could borrow.
csrf.exempt(put_file)
csrf.exempt(post_file)


def _take(path: UploadPath, query: UploadQuery) -> tuple[Response, int]:
    site, now = services(), time.time()
    site.files.links.check_upload(path.attempt_id, query.expires, query.signature, now)
    with upload_place(f"attempt:{path.attempt_id}"):
        attempt, reception = site.files.receive_upload(path.attempt_id, now)
        with reception:
            file = _read(reception, query.name)
            site.files.keep_uploads(attempt, reception, time.time())
    return jsonify(file.facts()), 201


def _read(reception: Reception, name: str | None) -> NewFile:
    stall = services().settings.upload_stall
    if request.mimetype != "multipart/form-data":
        disposition = parse_options_header(request.headers.get("Content-Disposition"))[1]
        return read_file(reception, name or disposition.get("filename", ""), stall=stall)
    read_form(reception, {}, stall=stall, text_bytes=FORM_TEXT, begin=lambda: _only_one(reception))
    if not reception.files:
        raise BadRequest("The form has no file.")
    return reception.files[0]


def _only_one(reception: Reception) -> None:
    if reception.files:
        raise Invalid.field("file", "one file a call is taken")
