"""My requests: the list, one request, its card alone, and what can be done with it without script."""

from __future__ import annotations

from flask import flash, redirect, render_template, request, url_for
from flask_login import current_user, login_required
from sqlalchemy import RowMapping, select
from werkzeug.wrappers import Response

from project import submission
from project.api import cursors
from project.api.callers import SUBMITS, limited
from project.errors import AlreadyFinal, DatabaseAway, NotFound, SpacesError
from project.extensions import db
from project.models import InferenceRequest
from project.pages.cards import card_of, cards_of
from project.pages.filters import STATE_WORDS
from project.services import services

PAGE_SIZE = 20
MAX_SPACE_CHOICES = 500


@login_required
def requests_page() -> str:
    """List the visitor's requests, newest first; ``space``, ``status`` and ``cursor`` narrow and page."""
    spaces = _my_spaces()
    space = request.args.get("space") or None
    status = request.args.get("status") if request.args.get("status") in STATE_WORDS else None
    rows = services().store.list_for_user(
        current_user.id, space_name=space, status=status, before=_read_cursor(), limit=PAGE_SIZE + 1
    )
    shown = rows[:PAGE_SIZE]
    return render_template(
        "pages/requests.html",
        cards=cards_of(shown),
        next_cursor=_cursor_after(shown[-1]) if len(rows) > PAGE_SIZE else None,
        is_first=not request.args.get("cursor"),
        spaces=spaces,
        states=STATE_WORDS,
        space=space,
        status=status,
    )


@login_required
def request_page(request_id: str) -> str:
    """Show one request with everything that happened to it."""
    row = readable_request(request_id)
    transitions = services().store.transitions(request_id)
    return render_template("pages/request.html", card=card_of(row), row=row, transitions=transitions)


@login_required
def card(request_id: str) -> str:
    """Return one card alone, for the script to put in place of an old one. ``view``: space, list or alone."""
    shown = card_of(readable_request(request_id))
    return render_template("pages/card.html", card=shown, view=request.args.get("view", "space"))


@login_required
def cancel(request_id: str) -> Response:
    """Cancel a request from a form without script, and show it."""
    _own(request_id)
    try:
        services().manager.cancel(request_id)
    except AlreadyFinal:
        flash("It had ended already.", "info")
    return redirect(url_for("pages.request", request_id=request_id), 303)


@login_required
@limited(SUBMITS, "submits")
def retry(request_id: str) -> Response:
    """Send an ended request once more, with its files, from a form without script; show the new one or say why not."""
    row = _own(request_id)
    try:
        again = submission.repeat(row, current_user)
    except DatabaseAway:
        raise
    except SpacesError as error:
        flash(error.message, "danger")
        return redirect(url_for("pages.request", request_id=request_id), 303)
    return redirect(url_for("pages.request", request_id=again.row["id"]), 303)


@login_required
def delete(request_id: str) -> Response:
    """Delete an ended request with its result."""
    _own(request_id)
    submission.delete(request_id)
    flash("The request is deleted.", "success")
    return redirect(url_for("pages.requests"), 303)


def _own(request_id: str) -> RowMapping:
    """Return the visitor's own row. Raises :class:`NotFound`: an admin may read other people's, not change them."""
    row = readable_request(request_id)
    if row["user_id"] != current_user.id:
        raise NotFound
    return row


def readable_request(request_id: str) -> RowMapping:
    """Return the stored request. Raises :class:`NotFound` alike when there is none and when it is not yours."""
    user_id, is_admin = current_user.id, current_user.is_admin
    db.session.remove()
    row = services().store.get(request_id)
    if row is None or not _may_read(row, user_id, is_admin):
        raise NotFound
    return row


def _may_read(row: RowMapping, user_id: int, is_admin: bool) -> bool:
    return row["user_id"] == user_id or (is_admin and services().settings.admins_see_requests == "on")


def _my_spaces() -> list[str]:
    """Return the names of the spaces that the visitor has sent requests to."""
    names = select(InferenceRequest.space_name).where(InferenceRequest.user_id == current_user.id).distinct()
    found = sorted(db.session.scalars(names.limit(MAX_SPACE_CHOICES)), key=str.casefold)
    db.session.remove()
    return found


def _cursor_after(row: RowMapping) -> str:
    return cursors.encode([row["created_at"], row["id"]])


def _read_cursor() -> tuple[float, str] | None:
    """Return the (created_at, id) to go on after. Raises :class:`Invalid` for a cursor that is not one."""
    text = request.args.get("cursor")
    if not text:
        return None
    created_at, request_id = cursors.decode(text, (float, int), str)
    return created_at, request_id
