"""Requests: submit, read, wait, cancel, repeat, delete."""

from __future__ import annotations

from contextlib import suppress

from flask import Response, jsonify
from flask_openapi3.models import Schema

from project import space_admin
from project.api import cursors
from project.api.callers import CHANGES, SUBMITS, limited, preferred_wait, reader
from project.api.describing import REQUESTS, SIGNED_IN, blueprint, created_at, refusals
from project.api.held import again, is_final, newer_than, wait_for
from project.api.intake import Intake
from project.api.models import (
    MAX_HELD_SECONDS,
    RequestList,
    RequestListQuery,
    RequestObject,
    RequestPath,
    RetryHeader,
    SpacePath,
    Submission,
    SubmissionForm,
    SubmitHeader,
    WaitQuery,
)
from project.api.presenters import Row, present, present_all, urls
from project.errors import Forbidden, NotFound, TooMany
from project.identity import Caller
from project.services import services
from project.submission import Accepted, delete, repeat
from project.web_security import reads_its_form

routes = blueprint("api_requests", __name__, REQUESTS)

routes.components_schemas["Submission"] = Schema(**Submission.model_json_schema())
routes.components_schemas["SubmissionForm"] = Schema(**SubmissionForm.model_json_schema())
SUBMIT_EXTENSIONS = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/Submission"}},
            "multipart/form-data": {"schema": {"$ref": "#/components/schemas/SubmissionForm"}},
        },
    }
}
SUBMIT_DESCRIPTION = (
    "The request is kept in the database before this answers. Whoever hangs up cancels nothing. With the header "
    "`Idempotency-Key` the same submit can be sent again safely for 24 hours: it is answered 200 with the request "
    "of the first time; 409 `in_progress` while that is still being read, 422 `key_reused` for another body."
)
ACCEPTED = created_at("RequestObject", "Accepted; not final yet")


@routes.post(
    "/spaces/<name>/requests",
    responses={
        200: RequestObject,
        202: ACCEPTED,
        **refusals(400, 401, 403, 404, 408, 409, 411, 413, 415, 422, 429, 507),
    },
    security=SIGNED_IN,
    openapi_extensions=SUBMIT_EXTENSIONS,
    summary="Submit a request to a space",
    description=SUBMIT_DESCRIPTION,
)
@limited(SUBMITS, "submits")
@reads_its_form
def submit_request(path: SpacePath, header: SubmitHeader) -> tuple[Response, int, dict[str, str]]:
    """Submit a request to a space."""
    caller = reader()
    space = space_admin.find_visible(path.name, caller.user)
    return _accepted(Intake(space, header.idempotency_key).accept(caller.user), preferred_wait(header.prefer))


@routes.get(
    "/requests/<request_id>", responses={200: RequestObject, **refusals(401, 403, 404, 422, 429)}, security=SIGNED_IN
)
def get_request(path: RequestPath, query: WaitQuery) -> Response:
    """Read one of your requests, at once or when it has changed."""
    site, caller = services(), reader()
    held = min(query.wait, MAX_HELD_SECONDS)
    if query.until == "final":
        row = wait_for(site, lambda: _readable(path, caller), path.request_id, is_final, held)
    elif query.after is not None:
        row = wait_for(site, lambda: _readable(path, caller), path.request_id, newer_than(site, query.after), held)
    else:
        row = _readable(path, caller)
    return jsonify(present(site, row))


@routes.get("/requests", responses={200: RequestList, **refusals(401, 403, 422)}, security=SIGNED_IN)
def list_requests(query: RequestListQuery) -> Response:
    """List your requests, newest first."""
    site, user = services(), reader().user
    if query.space is not None and not space_admin.is_name(query.space):
        return jsonify(items=[], next_cursor=None)
    before = cursors.decode(query.cursor, (float, int), str) if query.cursor is not None else None
    rows = site.store.list_for_user(
        user.id,
        space_name=query.space,
        status=query.status,
        before=(before[0], before[1]) if before else None,
        limit=query.limit + 1,
    )
    page = rows[: query.limit]
    last = page[-1] if len(rows) > len(page) else None
    next_cursor = cursors.encode([last["created_at"], last["id"]]) if last else None
    return jsonify(items=present_all(site, page), next_cursor=next_cursor)


@routes.post(
    "/requests/<request_id>/cancel",
    responses={200: RequestObject, **refusals(401, 403, 404, 409, 429)},
    security=SIGNED_IN,
)
@limited(CHANGES, "changes")
def cancel_request(path: RequestPath) -> Response:
    """Cancel one of your requests that has not ended."""
    site = services()
    _own(path, reader())
    site.manager.cancel(path.request_id)
    return jsonify(present(site, again(site, path.request_id)))


@routes.post(
    "/requests/<request_id>/retry",
    responses={200: RequestObject, 202: ACCEPTED, **refusals(401, 403, 404, 409, 422, 429, 507)},
    security=SIGNED_IN,
)
@limited(SUBMITS, "submits")
def retry_request(path: RequestPath, header: RetryHeader) -> tuple[Response, int, dict[str, str]]:
    """Submit an ended request once more, as a new one that names the old."""
    caller = reader()
    return _accepted(repeat(_own(path, caller), caller.user, header.idempotency_key), None)


@routes.delete("/requests/<request_id>", responses={204: None, **refusals(401, 403, 404, 409, 429)}, security=SIGNED_IN)
@limited(CHANGES, "changes")
def delete_request(path: RequestPath) -> tuple[str, int]:
    """Delete one of your ended requests, with its result."""
    _own(path, reader())
    delete(path.request_id)
    return "", 204


def _accepted(accepted: Accepted, wait: float | None) -> tuple[Response, int, dict[str, str]]:
    """Answer 202, or 200 when the request was accepted before, or ended within ``wait`` seconds."""
    site, row, request_id = services(), accepted.row, accepted.row["id"]
    headers = {"Location": urls(request_id)["self"]}
    if wait:
        with suppress(TooMany):  # it is accepted: that there is no place to wait must not look like a refusal
            row = wait_for(site, lambda: again(site, request_id), request_id, is_final, wait)
            headers["Preference-Applied"] = f"wait={wait:g}"
    is_done = not accepted.is_new or (wait is not None and is_final(row))
    return jsonify(present(site, row)), 200 if is_done else 202, headers


def _readable(path: RequestPath, caller: Caller) -> Row:
    """Return the row if the caller may read it. Unknown and foreign ids are refused alike."""
    site, known = services(), path.request_id.isascii() and path.request_id.isalnum()
    row = site.store.get(path.request_id) if known else None
    if row is None or not (_is_own(row, caller) or (caller.is_admin and site.settings.admins_see_requests == "on")):
        raise NotFound("There is no such request.")
    return row


def _own(path: RequestPath, caller: Caller) -> Row:
    """Return the row if the caller may change it: reading somebody's request does not mean changing it."""
    row = _readable(path, caller)
    if not _is_own(row, caller):
        raise Forbidden("Only its user can change a request.")
    return row


def _is_own(row: Row, caller: Caller) -> bool:
    return bool(row["user_id"] == caller.user.id)
