"""One's own account: password, tokens, sessions, and leaving."""

from __future__ import annotations

import time
from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_login import current_user, login_required
from sqlalchemy import func, select
from werkzeug.wrappers import Response

from project import accounts, identity, tokens
from project.errors import SpacesError
from project.extensions import db
from project.models import OPEN_STATES, InferenceRequest, Space
from project.pages.forms import ChangePasswordForm, DeleteAccountForm, TokenForm, show_refusal
from project.pages.refusals import form_page

blueprint = Blueprint("account", __name__, url_prefix="/account")


@blueprint.get("")
@login_required
def home() -> Response:
    """Show the account."""
    return form_page("account/home.html", ChangePasswordForm(), **_account())


@blueprint.post("/password")
@login_required
def change_password() -> Response:
    """Change the password. Every other browser is signed out; this one goes on."""
    form = ChangePasswordForm()
    if not form.validate_on_submit():
        return form_page("account/home.html", form, **_account())
    try:
        user = accounts.change_password(current_user.id, form.current_password.data, form.new_password.data, _address())
    except SpacesError as error:
        show_refusal(form, error, otherwise="current_password")
        return form_page("account/home.html", form, error, **_account())
    identity.sign_in(user)
    flash("Your password is changed. Every other browser is signed out.", "success")
    return redirect(url_for("account.home"))


@blueprint.post("/tokens")
@login_required
def make_token() -> Response | str:
    """Make a token and show it, this once."""
    form = _token_form()
    if not form.validate_on_submit():
        return form_page("account/home.html", ChangePasswordForm(formdata=None), **_account(form))
    now = time.time()
    try:
        token, text = tokens.create(
            current_user, form.name.data, form.scopes.data, form.spaces.data, form.expires_at(now), now
        )
    except SpacesError as error:
        show_refusal(form, error, otherwise="scopes")
        return form_page("account/home.html", ChangePasswordForm(formdata=None), error, **_account(form))
    return render_template("account/token.html", token=token, text=text)


@blueprint.post("/tokens/<int:token_id>/revoke")
@login_required
def revoke_token(token_id: int) -> Response:
    """Revoke a token and cut the app that uses it."""
    tokens.revoke(token_id, current_user)
    flash("The token is revoked.", "success")
    return redirect(url_for("account.home"))


@blueprint.post("/sign-out-everywhere")
@login_required
def sign_out_everywhere() -> Response:
    """End all login sessions, this one too."""
    accounts.end_sessions(current_user.id)
    identity.sign_out()
    flash("You are signed out everywhere.", "success")
    return redirect(url_for("auth.login"))


@blueprint.route("/delete", methods=["GET", "POST"])
@login_required
def delete() -> Response:
    """Say what will be lost; with the password, delete the account."""
    form, user_id = DeleteAccountForm(), current_user.id
    if not form.validate_on_submit():
        return form_page("account/delete.html", form, losses=losses(user_id))
    try:
        accounts.check_password(user_id, form.password.data, _address())
        accounts.delete_user(user_id)
    except SpacesError as error:
        show_refusal(form, error, otherwise="password")
        return form_page("account/delete.html", form, error, losses=losses(user_id))
    identity.sign_out()
    flash("Your account is deleted.", "success")
    return redirect(url_for("pages.gallery"))


def losses(user_id: int) -> dict[str, int]:
    """Count what goes with an account: its requests (the open ones too) and tokens; its spaces lose their owner."""
    mine = select(func.count()).where(InferenceRequest.user_id == user_id)
    return {
        "requests": db.session.scalar(mine) or 0,
        "open": db.session.scalar(mine.where(InferenceRequest.status.in_(OPEN_STATES))) or 0,
        "tokens": len(tokens.list_for(accounts.find(user_id))),
        "spaces": db.session.scalar(select(func.count()).where(Space.owner_id == user_id)) or 0,
    }


def _account(token_form: TokenForm | None = None) -> dict[str, Any]:
    """What the account page shows beside the password form."""
    mine = tokens.list_for(current_user)
    return {
        "token_form": token_form or _token_form(formdata=None),
        "tokens": mine,
        "token_spaces": tokens.space_names([token.id for token in mine]),
        "now": time.time(),
    }


def _token_form(**options: Any) -> TokenForm:
    form = TokenForm(**options)
    mine = select(Space.name).order_by(Space.name_key)
    if not current_user.is_admin:
        mine = mine.where(Space.owner_id == current_user.id)
    form.offer(is_admin=current_user.is_admin, spaces=db.session.scalars(mine))
    return form


def _address() -> str:
    return request.remote_addr or ""
