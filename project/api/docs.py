"""The API's description as OpenAPI 3.1, and a page that shows it. All its assets come from this site."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flask_openapi3_swagger
from flask import Blueprint, Response, abort, current_app, jsonify, make_response, render_template, send_from_directory
from flask_openapi3 import OpenAPI

from project.web_security import content_policy

blueprint = Blueprint("docs", __name__)

ASSETS = Path(flask_openapi3_swagger.__file__).parent / "templates" / "swagger"
SERVED = {"css/swagger-ui.css", "js/swagger-ui-bundle.js"}
ASSET_SECONDS = 86_400


@blueprint.get("/api/v1/openapi.json")
def description() -> Response:
    """Return the whole API, from the models that validate it."""
    app = current_app._get_current_object()  # type: ignore[attr-defined]
    assert isinstance(app, OpenAPI)
    return jsonify(_as_declared(app.api_doc))


def _as_declared(spec: dict[str, Any]) -> dict[str, Any]:
    """Drop the list-shaped 422 that the framework adds to routes which declare none: the site never answers so."""
    for path in spec["paths"].values():
        for operation in path.values():
            schema = operation["responses"].get("422", {}).get("content", {}).get("application/json", {}).get("schema")
            if schema and schema.get("type") == "array":
                del operation["responses"]["422"]
    return spec


@blueprint.get("/api/docs")
def page() -> Response:
    """Show the API. Swagger UI sets styles from its script, so this page alone allows inline styles."""
    response = make_response(render_template("api/docs.html"))
    response.headers["Content-Security-Policy"] = content_policy(style_src="'self' 'unsafe-inline'")
    return response


@blueprint.get("/api/docs/assets/<path:name>")
def asset(name: str) -> Response:
    """Return a file of Swagger UI."""
    if name not in SERVED:
        abort(404)
    return send_from_directory(ASSETS, name, max_age=ASSET_SECONDS)
