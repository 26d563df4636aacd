"""WebSocket Spaces: a page, a queue and an API in front of a model on somebody's own computer.

:func:`create_app` is the only place that knows everyone. Its imports wait until it is called, because
``run.py`` must patch the standard library (:mod:`project.concurrency`) before anything else is imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask_openapi3 import OpenAPI

    from project.config import Settings


def create_app(settings: Settings | None = None) -> OpenAPI:
    """Make the site: its settings, database, relay, pages, API and commands. It does not serve by itself.

    Raises :class:`project.config.SettingsError` for settings that it cannot start with.
    """
    from flask_openapi3 import OpenAPI

    from project import web_security, wiring
    from project.api import register_api
    from project.cli import register_commands
    from project.config import load_settings
    from project.extensions import bootstrap, db, limiter, migrate
    from project.pages import register_pages

    settings = settings or load_settings()
    app = OpenAPI(__name__, doc_ui=False)
    app.config.from_mapping(wiring.flask_config(settings))
    app.json.sort_keys = False  # type: ignore[attr-defined]
    db.init_app(app)
    migrate.init_app(app, db, directory=str(wiring.MIGRATIONS))
    bootstrap.init_app(app)
    limiter.init_app(app)
    web_security.init_app(app, settings)
    wiring.wire(app, settings)
    web_security.protect_sockets(app, settings)
    register_pages(app)
    register_api(app)
    register_commands(app)
    return app
