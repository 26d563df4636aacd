"""Whether the site lives, and whether it can serve: for whoever watches over it."""

from __future__ import annotations

from flask import Response, jsonify

from project.api.describing import SITE, blueprint
from project.api.models import ErrorBody, HealthObject
from project.api.problems import answer
from project.errors import ShuttingDown, SpacesError
from project.services import services

routes = blueprint("health", __name__, SITE, prefix="")


@routes.get("/healthz", responses={200: HealthObject})
def get_health() -> Response:
    """Answer as long as the process lives; asks nothing else."""
    return jsonify(status="ok")


@routes.get("/readyz", responses={200: HealthObject, 503: ErrorBody})
def get_readiness() -> Response:
    """Answer 200 when requests can be served: the database reads and writes, and the site is not being stopped."""
    try:
        if not services().manager.accepting:
            raise ShuttingDown(retry_after=5)
        services().database.check()
    except SpacesError as error:
        return answer(error)
    return jsonify(status="ready")
