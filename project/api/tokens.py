"""Tokens: make, list, revoke. Only for somebody who is signed in with a browser: a token makes no tokens."""

from __future__ import annotations

import time
from typing import Any

from flask import Response, jsonify
from flask_openapi3 import Tag, validate_request

from project import tokens
from project.api import describing
from project.api.bodies import json_body
from project.api.callers import CHANGES, limited
from project.api.describing import refusals
from project.api.token_models import NewTokenObject, TokenCreate, TokenList, TokenPath
from project.identity import require_session
from project.messages import iso
from project.models import Token

BROWSER_ONLY: list[dict[str, list[str]]] = [{"cookieAuth": []}]
TOKENS = Tag(name="Tokens", description="Credentials of programs: apps and callers of this API")

blueprint = describing.blueprint("api_tokens", __name__, TOKENS)


@blueprint.post(
    "/tokens",
    responses={201: NewTokenObject, **refusals(400, 401, 403, 404, 409, 413, 415, 422, 429)},
    security=BROWSER_ONLY,
)
@limited(CHANGES, "changes")
@json_body
@validate_request()
def create_token(body: TokenCreate) -> tuple[Response, int]:
    """Make a token. Its text is in this answer and nowhere else."""
    expires_at = body.expires_at.timestamp() if body.expires_at else None
    token, text = tokens.create(require_session(), body.name, body.scopes, body.spaces or (), expires_at, time.time())
    return jsonify(_objects([token])[0] | {"token": text}), 201


@blueprint.get("/tokens", responses={200: TokenList, **refusals(401, 403)}, security=BROWSER_ONLY)
def list_tokens() -> Response:
    """List your tokens that are not revoked, newest first."""
    return jsonify(items=_objects(tokens.list_for(require_session())), next_cursor=None)


@blueprint.delete(
    "/tokens/<int:token_id>", responses={204: None, **refusals(401, 403, 404, 429)}, security=BROWSER_ONLY
)
@limited(CHANGES, "changes")
def revoke_token(path: TokenPath) -> tuple[str, int]:
    """Revoke a token (admins: anybody's). Its connections are cut."""
    tokens.revoke(path.token_id, require_session())
    return "", 204


def _objects(found: list[Token]) -> list[dict[str, Any]]:
    names = tokens.space_names([token.id for token in found if not token.all_spaces])
    return [
        {
            "id": token.id,
            "prefix": token.prefix,
            "name": token.name,
            "scopes": token.scopes,
            "spaces": names.get(token.id, []),
            "expires_at": iso(token.expires_at),
            "last_used_at": iso(token.last_used_at),
        }
        for token in found
    ]
