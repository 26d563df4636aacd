"""Spaces: list, make, change, switch off and on, delete. The rules are those of :mod:`project.space_admin`."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_login import current_user
from sqlalchemy import func, select
from werkzeug.wrappers import Response

from project import accounts, space_admin
from project.errors import SpacesError
from project.extensions import db
from project.models import OPEN_STATES, InferenceRequest, Space, Token, TokenSpace, User
from project.pages.forms import NewSpaceForm, SpaceForm, show_refusal
from project.pages.refusals import form_page
from project.pages.tables import Column, from_statement
from project.request_store import SpaceLoad
from project.services import services
from project.space_admin import SpaceCreate, SpaceUpdate
from project.validation import parse

COLUMNS = (
    Column("name", "Name", Space.name_key),
    Column("app", "App"),
    Column("waiting", "Waiting"),
    Column("visibility", "Visibility", Space.visibility),
    Column("enabled", "State", Space.enabled),
    Column("owner", "Owner", User.username_key),
)
KINDS = ("prompt", "audio", "video", "file")
PLAIN = ("title", "description", "visibility", "queue_when_offline", "allow_app_without_token")
LIMITS = ("timeout_seconds", "max_attempts", "queue_length", "upload_mb", "files")


def add_to(blueprint: Blueprint) -> None:
    """Add the pages to the admin blueprint."""
    both = ["GET", "POST"]
    blueprint.add_url_rule("/spaces", "spaces", listing)
    blueprint.add_url_rule("/spaces/new", "space_new", new, methods=both)
    blueprint.add_url_rule("/spaces/<name>/edit", "space_edit", edit, methods=both)
    blueprint.add_url_rule("/spaces/<name>/disable", "space_disable", disable, methods=["POST"])
    blueprint.add_url_rule("/spaces/<name>/enable", "space_enable", enable, methods=["POST"])
    blueprint.add_url_rule("/spaces/<name>/delete", "space_delete", delete, methods=both)


def listing() -> str:
    """Show all spaces."""
    statement = select(Space, User.username.label("owner")).outerjoin(User, User.id == Space.owner_id)
    search = (Space.name, Space.title, User.username)
    table = from_statement(statement, COLUMNS, search=search, tie=Space.id, default="name")
    loads = services().store.space_load([row.Space.id for row in table.rows])
    return render_template("admin/spaces.html", table=table, loads=loads, no_load=SpaceLoad())


def new() -> Response:
    """Make a space."""
    form = NewSpaceForm(owner=current_user.username)
    if not form.validate_on_submit():
        return _form_page(form)
    try:
        space = space_admin.create(parse(SpaceCreate, {**_settings(form), "name": form.name.data}), current_user)
    except SpacesError as error:
        show_refusal(form, error, otherwise="name")
        return _form_page(form, error)
    flash(f"The space {space.name} is ready. Connect an app to it next.", "success")
    return redirect(url_for("pages.space", name=space.name))


def edit(name: str) -> Response:
    """Change a space; its name stays."""
    space = space_admin.find(name)
    form = SpaceForm(obj=space, owner=_owner_name(space))
    if not form.validate_on_submit():
        return _form_page(form, space=space)
    try:
        space_admin.update(space, parse(SpaceUpdate, _settings(form)))
    except SpacesError as error:
        show_refusal(form, error, otherwise="title")
        return _form_page(form, error, space=space_admin.find(name))
    flash("Saved.", "success")
    return redirect(url_for("admin.space_edit", name=space.name))


def disable(name: str) -> Response:
    """Switch a space off: its open requests fail, its app is sent away."""
    return _switch(name, on=False)


def enable(name: str) -> Response:
    """Switch a space on."""
    return _switch(name, on=True)


def delete(name: str) -> Response | str:
    """Say what will be lost, then delete a space."""
    space = space_admin.find(name)
    if request.method == "GET":
        return render_template("admin/space_delete.html", space=space, losses=_losses(space))
    kept_name = space.name
    space_admin.delete(space)
    flash(f"The space {kept_name} is deleted.", "success")
    return redirect(url_for("admin.spaces"))


def _switch(name: str, *, on: bool) -> Response:
    space = space_admin.update(space_admin.find(name), parse(SpaceUpdate, {"enabled": on}))
    flash(f"{space.name} is switched {'on' if on else 'off'}.", "success")
    return redirect(url_for("admin.spaces"))


def _form_page(form: SpaceForm, error: SpacesError | None = None, space: Space | None = None) -> Response:
    return form_page("admin/space_form.html", form, error, space=space, settings=services().settings)


def _settings(form: SpaceForm) -> dict[str, Any]:
    """Return what was typed, as the body that makes or changes a space."""
    typed: dict[str, Any] = {field: form[field].data for field in (*PLAIN, *LIMITS)}
    typed["owner"] = (form.owner.data or "").strip() or None
    return {**typed, "inputs": {kind: form[f"input_{kind}"].data for kind in KINDS}}


def _owner_name(space: Space) -> str:
    return accounts.find(space.owner_id).username if space.owner_id else ""


def _losses(space: Space) -> dict[str, int]:
    """Count what ends with a space: open requests and tokens that are for it alone."""
    open_ones = select(func.count()).where(
        InferenceRequest.space_id == space.id, InferenceRequest.status.in_(OPEN_STATES)
    )
    named = select(func.count(TokenSpace.token_id)).join(Token, Token.id == TokenSpace.token_id)
    return {
        "open": db.session.scalar(open_ones) or 0,
        "tokens": db.session.scalar(named.where(TokenSpace.space_id == space.id, Token.revoked_at.is_(None))) or 0,
        "connected": int(services().manager.is_connected(space.id)),
    }
