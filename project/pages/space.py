"""The page of one space: its status, the form, and the visitor's requests there."""

from __future__ import annotations

from dataclasses import dataclass

from flask import redirect, render_template, request, url_for
from flask_login import current_user, login_required
from flask_wtf import FlaskForm
from werkzeug.wrappers import Response
from wtforms import Field, TextAreaField, ValidationError
from wtforms.validators import DataRequired, Length

from project import space_admin
from project.api.bodies import check_inputs
from project.api.presenters import space_limits
from project.errors import SpacesError
from project.extensions import db
from project.models import Space
from project.pages import snippets
from project.pages.cards import Card, cards_of
from project.pages.requests import readable_request
from project.services import services
from project.submission import submit
from project.validation import storable

CARDS = 20
INVALID = 422


@dataclass(frozen=True)
class Status:
    """What the head of the page says. Times are Unix seconds."""

    connected: bool
    waiting: int
    processing: int
    lost_at: float | None


def _unix_lines(text: str | None) -> str | None:
    """Undo what a browser's form does to line ends, so that the app gets what the script would send."""
    return text.replace("\r\n", "\n") if text else text


def _can_be_kept(_form: FlaskForm, field: Field) -> None:
    """Refuse what no database keeps."""
    try:
        storable(field.data or "")
    except ValueError as error:
        raise ValidationError(str(error)) from error


class PromptForm(FlaskForm):
    """The prompt."""

    prompt = TextAreaField("Prompt", [DataRequired("Write a prompt first."), _can_be_kept], filters=[_unix_lines])


def space_page(name: str) -> str:
    """Show the space; ``again`` names an earlier request whose prompt is filled in."""
    space = visible_space(name)
    form = PromptForm()
    again = request.args.get("again")
    if again and current_user.is_authenticated:
        form.prompt.data = readable_request(again)["prompt"]
    return _draw(space, form)


@login_required
def send(name: str) -> Response | tuple[str, int]:
    """Take the form without script: store the request and show its page, or say what is wrong and keep the text."""
    space = visible_space(name)
    form = PromptForm()
    most = services().settings.max_prompt_chars
    form.prompt.validators = [*form.prompt.validators, Length(max=most, message=f"At most {most:,} characters.")]
    if not form.validate_on_submit():
        return _draw(space, form), INVALID
    try:
        return redirect(url_for("pages.request", request_id=_submit(space, form.prompt.data or "")), 303)
    except SpacesError as error:
        return _draw(space, form, error), error.status


def visible_space(name: str) -> Space:
    """Return the space. Raises :class:`NotFound` when there is none, or none that the visitor may see."""
    space = space_admin.find_visible(name, current_user if current_user.is_authenticated else None)
    db.session.remove()  # a page never holds one connection while it asks the store for another
    return space


def _submit(space: Space, prompt: str) -> str:
    """Accept the request and return its id."""
    check_inputs(space, prompt)
    return str(submit(space.id, current_user, prompt, {})["id"])


def _draw(space: Space, form: PromptForm, refused: SpacesError | None = None) -> str:
    settings = services().settings
    status, host = _status(space), settings.public_url or request.host_url.rstrip("/")
    return render_template(
        "space_websockets.html",
        space=space,
        status=status,
        form=form,
        form_state=form_state(space, status.connected),
        refused=refused,
        cards=_my_cards(space),
        can_connect=may_connect(space),
        host=host,
        connect_code=snippets.connect_code(host, space.name),
        api_code=snippets.api_code(host, space.name),
        limits=space_limits(space, settings),
        queue_ttl=settings.queue_ttl,
    )


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
    if not space.input_prompt:
        return "no_prompt"
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
