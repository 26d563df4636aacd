"""Spaces: look, make, change, delete."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify
from flask_openapi3 import validate_request

from project import space_admin
from project.api import cursors
from project.api.bodies import json_body
from project.api.callers import CHANGES, admin_only, limited, viewer
from project.api.describing import ANYBODY, SIGNED_IN, SPACES, blueprint, created_at, refusals
from project.api.models import PageQuery, SpaceCreate, SpaceList, SpaceObject, SpacePath, SpaceUpdate
from project.api.presenters import space_object
from project.identity import require_admin
from project.models import Space
from project.request_store import SpaceLoad
from project.services import services

routes = blueprint("api_spaces", __name__, SPACES)


@routes.get("/spaces", responses={200: SpaceList, **refusals(401, 403, 422)}, security=ANYBODY)
def list_spaces(query: PageQuery) -> Response:
    """List the spaces that you may look at, by name."""
    spaces = space_admin.list_visible(viewer())
    if query.cursor is not None:
        (last,) = cursors.decode(query.cursor, str)
        spaces = [space for space in spaces if space.name_key > last]
    page = spaces[: query.limit]
    more = len(spaces) > len(page)
    return jsonify(items=_objects(page), next_cursor=cursors.encode([page[-1].name_key]) if more else None)


@routes.post(
    "/spaces",
    responses={201: created_at("SpaceObject", "The new space"), **refusals(400, 401, 403, 409, 413, 415, 422, 429)},
    security=SIGNED_IN,
)
@limited(CHANGES, "changes")
@admin_only
@json_body
@validate_request()
def create_space(body: SpaceCreate) -> tuple[Response, int, dict[str, str]]:
    """Make a space (admins)."""
    space = space_admin.create(body, require_admin().user)
    return jsonify(_object(space)), 201, {"Location": f"/api/v1/spaces/{space.name}"}


@routes.get("/spaces/<name>", responses={200: SpaceObject, **refusals(401, 403, 404)}, security=ANYBODY)
def get_space(path: SpacePath) -> Response:
    """Look at one space. A private one is there only for its owner and admins."""
    return jsonify(_object(space_admin.find_visible(path.name, viewer())))


@routes.patch(
    "/spaces/<name>",
    responses={200: SpaceObject, **refusals(400, 401, 403, 404, 413, 415, 422, 429)},
    security=SIGNED_IN,
)
@limited(CHANGES, "changes")
@admin_only
@json_body
@validate_request()
def update_space(path: SpacePath, body: SpaceUpdate) -> Response:
    """Change a space (admins). Switching it off ends its open requests."""
    return jsonify(_object(space_admin.update(space_admin.find(path.name), body)))


@routes.delete("/spaces/<name>", responses={204: None, **refusals(401, 403, 404, 409, 429)}, security=SIGNED_IN)
@limited(CHANGES, "changes")
@admin_only
def delete_space(path: SpacePath) -> tuple[str, int]:
    """Delete a space (admins). Its open requests end; ended ones keep its name."""
    space_admin.delete(space_admin.find(path.name))
    return "", 204


def _object(space: Space) -> dict[str, Any]:
    return _objects([space])[0]


def _objects(spaces: list[Space]) -> list[dict[str, Any]]:
    if not spaces:
        return []
    site = services()
    loads = site.store.space_load([space.id for space in spaces])
    owners = space_admin.owner_names(spaces)
    return [
        space_object(space, loads.get(space.id, SpaceLoad()), site.settings, owners.get(space.owner_id or 0))
        for space in spaces
    ]
