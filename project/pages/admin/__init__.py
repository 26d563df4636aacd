"""The pages of those who run the site; for everybody else they do not exist."""

from __future__ import annotations

from flask import Blueprint

from project.pages.admin import connections, guard, overview, spaces, tokens, users

blueprint = Blueprint("admin", __name__, url_prefix="/admin")
blueprint.before_request(guard.only_admins)
for topic in (overview, spaces, users, tokens, connections):
    topic.add_to(blueprint)
