"""Sign in, sign up, sign out."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, request, url_for
from flask_login import current_user
from werkzeug.wrappers import Response

from project import accounts, identity
from project.api.callers import limited
from project.errors import Forbidden, SpacesError
from project.pages.forms import LoginForm, RegisterForm, show_refusal
from project.pages.refusals import form_page
from project.services import services

#: From one address; a class or an office behind one address must still get in.
SIGN_UPS = "60 per hour"
blueprint = Blueprint("auth", __name__)


@blueprint.route("/login", methods=["GET", "POST"])
def login() -> Response:
    """Sign in with a name and a password."""
    if current_user.is_authenticated:
        return redirect(_next())
    form = LoginForm()
    if not form.validate_on_submit():
        return form_page("auth/login.html", form)
    try:
        user = accounts.authenticate(form.username.data, form.password.data, request.remote_addr or "")
    except SpacesError as error:
        show_refusal(form, error, otherwise="password")
        return form_page("auth/login.html", form, error)
    identity.sign_in(user)
    return redirect(_next())


@blueprint.route("/register", methods=["GET", "POST"])
@limited(SIGN_UPS, "sign-ups", methods=["POST"])
def register() -> Response:
    """Make an account, if the site lets visitors do that, and sign in with it."""
    if current_user.is_authenticated:
        return redirect(_next())
    if services().settings.registration != "open":
        raise Forbidden("New accounts are made by an admin of this site. Ask one of them.")
    form = RegisterForm()
    if not form.validate_on_submit():
        return form_page("auth/register.html", form)
    try:
        user = accounts.register(form.username.data, form.password.data)
    except SpacesError as error:
        show_refusal(form, error, otherwise="username")
        return form_page("auth/register.html", form, error)
    identity.sign_in(user)
    flash(f"Welcome, {user.username}. Your account is ready.", "success")
    return redirect(_next())


@blueprint.post("/logout")
def logout() -> Response:
    """Sign out of this browser."""
    identity.sign_out()
    return redirect(url_for("pages.gallery"))


def _next() -> str:
    """Return the page of this site that ``next`` names, else the gallery; an address elsewhere is never followed."""
    return identity.local_path(request.args.get("next"), url_for("pages.gallery"))
