"""What the routes say about themselves in the API's description."""

from __future__ import annotations

from typing import Any

from flask_openapi3 import APIBlueprint, Tag

from project.api.models import ErrorBody

SIGNED_IN: list[dict[str, list[str]]] = [{"bearerAuth": []}, {"cookieAuth": []}]
ANYBODY: list[dict[str, list[str]]] = [{}, *SIGNED_IN]

#: The signature in the address is the credential.
SIGNED: list[dict[str, list[str]]] = [{"signedLink": []}]

SPACES = Tag(name="Spaces", description="Pages, queues and APIs in front of models")
REQUESTS = Tag(name="Requests", description="What people ask an app to do, and what became of it")
FILES = Tag(name="Files", description="What requests and results bring beside text")
SITE = Tag(name="Site", description="How the site is")


def refusals(*statuses: int) -> dict[Any, Any]:
    """Return the refusals of a route, all of one shape."""
    return dict.fromkeys((*statuses, 503), ErrorBody)


def created_at(model: str, description: str) -> dict[str, Any]:
    """Return an answer with a ``Location``."""
    return {
        "description": description,
        "headers": {"Location": {"description": "Path of the new object", "schema": {"type": "string"}}},
        "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{model}"}}},
    }


def blueprint(name: str, import_name: str, tag: Tag, prefix: str = "/api/v1") -> APIBlueprint:
    """Return a blueprint whose routes are listed under ``tag``."""
    return APIBlueprint(name, import_name, url_prefix=prefix, abp_tags=[tag], operation_id_callback=_operation_id)


def _operation_id(*, name: str, **_: Any) -> str:
    """Name an operation after its function."""
    return name
