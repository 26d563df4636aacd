"""Everybody's tokens: who made them, what they may do, when they were last used; revoke."""

from __future__ import annotations

import time

from flask import Blueprint, flash, redirect, render_template, url_for
from flask_login import current_user
from sqlalchemy import func, select
from werkzeug.wrappers import Response

from project import tokens
from project.models import Token, User
from project.pages.tables import Column, from_statement

COLUMNS = (
    Column("name", "Name", func.lower(Token.name)),
    Column("user", "Made by", User.username_key),
    Column("scopes", "May"),
    Column("spaces", "Spaces"),
    Column("expires", "Expires", func.coalesce(Token.expires_at, 1e12)),
    Column("used", "Last used", func.coalesce(Token.last_used_at, 0.0)),
    Column("created", "Made", Token.created_at),
)


def add_to(blueprint: Blueprint) -> None:
    """Add the pages to the admin blueprint."""
    blueprint.add_url_rule("/tokens", "tokens", listing)
    blueprint.add_url_rule("/tokens/<int:token_id>/revoke", "token_revoke", revoke, methods=["POST"])


def listing() -> str:
    """Show all tokens that are not revoked."""
    statement = select(Token, User.username).join(User, User.id == Token.user_id).where(Token.revoked_at.is_(None))
    search = (Token.name, Token.prefix, User.username)
    table = from_statement(statement, COLUMNS, search=search, tie=Token.id, default="created", descending=True)
    spaces = tokens.space_names([row.Token.id for row in table.rows])
    return render_template("admin/tokens.html", table=table, token_spaces=spaces, now=time.time())


def revoke(token_id: int) -> Response:
    """Revoke anybody's token and cut the app that uses it."""
    tokens.revoke(token_id, current_user)
    flash("The token is revoked.", "success")
    return redirect(url_for("admin.tokens"))
