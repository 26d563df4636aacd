"""People: list, add, switch off and on, new password, role, delete. The rules are those of :mod:`project.accounts`."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_login import current_user
from sqlalchemy import func, select
from werkzeug.wrappers import Response

from project import accounts, identity, passwords
from project.errors import Conflict, SpacesError
from project.models import User
from project.pages.account import losses
from project.pages.forms import UserForm, show_refusal
from project.pages.refusals import form_page
from project.pages.tables import Column, from_statement

COLUMNS = (
    Column("username", "User name", User.username_key),
    Column("role", "Role", User.role),
    Column("active", "State", User.active),
    Column("login", "Last signed in", func.coalesce(User.last_login_at, 0.0)),
    Column("created", "Made", User.created_at),
)


def add_to(blueprint: Blueprint) -> None:
    """Add the pages to the admin blueprint."""
    both = ["GET", "POST"]
    blueprint.add_url_rule("/users", "users", listing)
    blueprint.add_url_rule("/users/new", "user_new", new, methods=both)
    blueprint.add_url_rule("/users/<int:user_id>", "user", show)
    blueprint.add_url_rule("/users/<int:user_id>/active", "user_active", set_active, methods=["POST"])
    blueprint.add_url_rule("/users/<int:user_id>/role", "user_role", set_role, methods=["POST"])
    blueprint.add_url_rule("/users/<int:user_id>/password", "user_password", reset_password, methods=["POST"])
    blueprint.add_url_rule("/users/<int:user_id>/delete", "user_delete", delete, methods=both)


def listing() -> str:
    """Show everybody."""
    table = from_statement(select(User), COLUMNS, search=(User.username,), tie=User.id, default="username")
    return render_template("admin/users.html", table=table)


def show(user_id: int) -> str:
    """Show one person and what can be done."""
    return render_template("admin/user.html", user=accounts.find(user_id), losses=losses(user_id))


def new() -> Response | str:
    """Add somebody. Without a password the site makes one and shows it, this once."""
    form = UserForm()
    if not form.validate_on_submit():
        return form_page("admin/user_new.html", form)
    password = form.password.data or passwords.generate()
    try:
        user = accounts.create_user(form.username.data, password, form.role.data)
    except SpacesError as error:
        show_refusal(form, error, otherwise="username")
        return form_page("admin/user_new.html", form, error)
    if not form.password.data:
        return render_template("admin/user_password.html", user=user, password=password)
    flash(f"{user.username} can sign in now.", "success")
    return redirect(url_for("admin.user", user_id=user.id))


def set_active(user_id: int) -> Response:
    """Switch an account on or off."""
    active = request.form.get("active") == "1"
    try:
        user = accounts.set_active(user_id, active)
        flash(f"{user.username} is switched {'on' if active else 'off'}.", "success")
    except Conflict as error:
        flash(error.message, "danger")
    return redirect(url_for("admin.user", user_id=user_id))


def set_role(user_id: int) -> Response:
    """Make somebody an admin, or a user again."""
    try:
        user = accounts.set_role(user_id, request.form.get("role", ""))
        flash(f"{user.username} is {'an admin' if user.is_admin else 'a user'} now.", "success")
    except Conflict as error:
        flash(error.message, "danger")
    if user_id == current_user.id and not accounts.find(user_id).is_admin:
        return redirect(url_for("pages.gallery"))
    return redirect(url_for("admin.user", user_id=user_id))


def reset_password(user_id: int) -> str:
    """Give somebody a random password and show it, this once; all their sessions end."""
    password = passwords.generate()
    user = accounts.reset_password(user_id, password)
    if user_id == current_user.id:
        identity.sign_in(user)
    return render_template("admin/user_password.html", user=user, password=password)


def delete(user_id: int) -> Response | str:
    """Say what will be lost, then delete an account."""
    user = accounts.find(user_id)
    if request.method == "GET":
        return render_template("admin/user_delete.html", user=user, losses=losses(user_id))
    try:
        accounts.delete_user(user_id)
    except Conflict as error:
        flash(error.message, "danger")
        return redirect(url_for("admin.user", user_id=user_id))
    flash(f"The account {user.username} is deleted.", "success")
    return redirect(url_for("admin.users"))
