"""How an app is let in when the site itself is in trouble."""

from collections.abc import Callable
from typing import Any

from flask import Flask
from sqlalchemy import text

from project.services import KEY, services


def test_a_broken_database_refuses_a_connection_for_now(app: Flask, make_user: Callable[..., Any]) -> None:
    """The refusal says that it passes, so that the app comes again."""
    with app.app_context(), services().database.write() as connection:
        connection.execute(text("ALTER TABLE tokens RENAME TO away"))
    refused = app.extensions["socketio"].test_client(app, auth={"token": "spaces_" + "x" * 43})
    assert not refused.is_connected()
    assert app.extensions[KEY].manager.connections() == []
