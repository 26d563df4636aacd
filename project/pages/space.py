"""The page of one space: its status, the form, and the visitor's requests there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flask import redirect, render_template, request, url_for
from flask_login import current_user, login_required
from werkzeug.wrappers import Response

from project import space_admin
from project.api.callers import SUBMITS, limited
from project.api.intake import Intake
from project.api.presenters import space_limits
from project.errors import SpacesError
from project.extensions import db
from project.file_reception import MEGABYTE
from project.models import Space
from project.pages import snippets
from project.pages.cards import Card, card_of, cards_of
from project.pages.inputs import inputs_of, limit_words, uploads_of
from project.pages.refusals import retry_header
from project.pages.requests import readable_request
from project.services import services
from project.web_security import reads_its_form

CARDS = 20
INPUTS = {"prompt", "audio", "video", "file"}


@dataclass(frozen=True)
class Status:
    """What the head of the page says. Times are Unix seconds."""

    connected: bool
    waiting: int
    processing: int
    lost_at: float | None


def space_page(name: str) -> str:
    """Show the space; ``again`` names an earlier request whose prompt is filled in."""
    space = visible_space(name)
    again = request.args.get("again")
    if not again or not current_user.is_authenticated:
        return _draw(space)
    earlier = card_of(readable_request(again))
    return _draw(space, earlier.prompt, again_files=[file["name"] for file in earlier.files])


@login_required
@limited(SUBMITS, "submits")
@reads_its_form
def send(name: str) -> Response | tuple[str, int, dict[str, str]]:
    """Take the form without script: store the request and show its page, or say what is wrong and keep the text."""
    space = visible_space(name)
    intake = Intake(space)
    try:
        accepted = intake.accept(current_user)
    except SpacesError as error:
        return _draw(space, str(intake.fields.get("prompt", "")), error), error.status, retry_header(error)
    return redirect(url_for("pages.request", request_id=accepted.row["id"]), 303)


def visible_space(name: str) -> Space:
    """Return the space. Raises :class:`NotFound` when there is none, or none that the visitor may see."""
    space = space_admin.find_visible(name, current_user if current_user.is_authenticated else None)
    db.session.remove()  # a page never holds one connection while it asks the store for another
    return space


def _draw(space: Space, prompt: str = "", refused: SpacesError | None = None, again_files: Sequence[str] = ()) -> str:
    settings = services().settings
    status, host = _status(space), settings.public_url or request.host_url.rstrip("/")
    limits = space_limits(space, settings)
    return render_template(
        "space_websockets.html",
        space=space,
        status=status,
        prompt=prompt,
        form_state=form_state(space, status.connected),
        refused=refused,
        errors=_by_field(refused),
        again_files=again_files,
        uploads=uploads_of(space),
        input_names=inputs_of(space),
        limit_words=limit_words(limits, uploads_of(space)),
        max_bytes=int(limits["upload_mb"] * MEGABYTE),
        cards=_my_cards(space),
        can_connect=may_connect(space),
        host=host,
        connect_code=snippets.connect_code(host, space.name, inputs_of(space)),
        api_code=snippets.api_code(host, space.name, inputs_of(space)),
        limits=limits,
        queue_ttl=settings.queue_ttl,
    )


def _by_field(refused: SpacesError | None) -> dict[str, str]:
    """Return what a refusal says about inputs of this page, by their names."""
    details = refused.details if refused and isinstance(refused.details, list) else []
    told = {str(item["field"]): str(item["message"]) for item in details if isinstance(item, dict) and "field" in item}
    return {name: text[:1].upper() + text[1:] + "." for name, text in told.items() if name in INPUTS}


def _status(space: Space) -> Status:
    load = services().store.space_load([space.id]).get(space.id)
    if load is None:
        return Status(connected=False, waiting=0, processing=0, lost_at=None)
    lost_at = load.lost_at or load.last_connected_at
    return Status(load.connected and space.enabled, load.queue_size, load.processing, lost_at)


def form_state(space: Space, connected: bool) -> str:
    """Say what the form can do now: one of the keys of ``form_state`` in the page's template."""
    if not space.enabled:
        return "disabled"
    if not inputs_of(space):
        return "no_inputs"
    if not current_user.is_authenticated:
        return "signed_out"
    if connected:
        return "ready"
    return "waits" if space.queue_when_offline else "offline"


def _my_cards(space: Space) -> list[Card]:
    if not current_user.is_authenticated:
        return []
    return cards_of(services().store.list_for_user(current_user.id, space_id=space.id, limit=CARDS))


def may_connect(space: Space) -> bool:
    """Whether the visitor may connect an app to this space: its owner and admins."""
    return bool(current_user.is_authenticated and (current_user.is_admin or current_user.id == space.owner_id))
