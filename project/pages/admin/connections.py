"""The apps that are connected now: since when, from where, what they process; disconnect."""

from __future__ import annotations

from collections.abc import Iterable

from flask import Blueprint, flash, redirect, render_template, url_for
from werkzeug.wrappers import Response

from project import space_admin
from project.pages.tables import Column, from_rows
from project.ports import ConnectionInfo
from project.services import services

COLUMNS = (
    Column("space", "Space", lambda item: item.space_name.casefold()),
    Column("app", "App", lambda item: _text(item.app_name)),
    Column("address", "From", lambda item: _text(item.address)),
    Column("since", "Since", lambda item: item.connected_at),
    Column("request", "Processing", lambda item: _text(item.request_id)),
)


def add_to(blueprint: Blueprint) -> None:
    """Add the pages to the admin blueprint."""
    blueprint.add_url_rule("/connections", "connections", listing)
    blueprint.add_url_rule("/connections/<name>/disconnect", "disconnect", disconnect, methods=["POST"])


def listing() -> str:
    """Show who serves which space."""
    table = from_rows(services().manager.connections(), COLUMNS, search=_texts, default="since", descending=True)
    return render_template("admin/connections.html", table=table)


def disconnect(name: str) -> Response:
    """Stop the app of a space; it does not come back by itself."""
    space = space_admin.find(name)
    if services().manager.disconnect(space.id):
        flash(f"The app of {space.name} is disconnected.", "success")
    else:
        flash(f"No app was connected to {space.name} any more.", "info")
    return redirect(url_for("admin.connections"))


def _texts(item: ConnectionInfo) -> Iterable[str | None]:
    return item.space_name, item.app_name, item.app_version, item.address, item.request_id


def _text(value: str | None) -> str:
    return (value or "").casefold()
