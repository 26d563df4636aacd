"""The pages: blueprints, one topic a file, and what their templates need."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Flask

from project.extensions import login_manager
from project.pages import account, admin, auth
from project.pages.downloads import download
from project.pages.filters import register_filters
from project.pages.gallery import gallery
from project.pages.patterns import patterns
from project.pages.problems import register_problems
from project.pages.requests import cancel, card, delete, request_page, requests_page, retry
from project.pages.space import send, space_page
from project.services import services


def register_pages(app: Flask) -> None:
    """Add every page, its filters and the error pages to ``app``."""
    login_manager.login_view = "auth.login"
    login_manager.login_message = "Sign in to see this page."
    login_manager.login_message_category = "info"
    register_filters(app)
    register_problems(app)
    app.context_processor(_for_templates)
    for blueprint in (_main_pages(), auth.blueprint, account.blueprint, admin.blueprint):
        app.register_blueprint(blueprint)


def _main_pages() -> Blueprint:
    """Return the blueprint of the gallery, the spaces and the requests."""
    pages = Blueprint("pages", __name__)
    pages.add_url_rule("/", "gallery", gallery)
    pages.add_url_rule("/spaces/<name>", "space", space_page)
    pages.add_url_rule("/spaces/<name>", "send", send, methods=["POST"])
    pages.add_url_rule("/requests", "requests", requests_page)
    pages.add_url_rule("/requests/<request_id>", "request", request_page)
    pages.add_url_rule("/requests/<request_id>/download", "download", download)
    pages.add_url_rule("/requests/<request_id>/card", "card", card)
    pages.add_url_rule("/requests/<request_id>/cancel", "cancel", cancel, methods=["POST"])
    pages.add_url_rule("/requests/<request_id>/retry", "retry", retry, methods=["POST"])
    pages.add_url_rule("/requests/<request_id>/delete", "delete", delete, methods=["POST"])
    pages.add_url_rule("/-/patterns", "patterns", patterns)
    return pages


def _for_templates() -> dict[str, Any]:
    """What every page may ask about the site."""
    return {"registration_open": services().settings.registration == "open"}
