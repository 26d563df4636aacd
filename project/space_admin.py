"""Spaces: the rules of their names and settings, who may look at them, and how they come and go.

Whoever calls has checked that the actor may do it: making, changing and deleting is for admins.
"""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, field_validator
from sqlalchemy import bindparam, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import scoped_session

from project import tokens
from project.errors import Conflict, DuplicateName, Invalid, NotFound
from project.extensions import db
from project.models import Space, User
from project.services import services
from project.user_rows import name_key
from project.validation import storable

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
NAME_RULE = "use 1 to 64 of A-Z a-z 0-9 . _ - and begin with a letter or a digit"
MAX_TIMEOUT = 86_400.0
MAX_ATTEMPTS = 100
MAX_QUEUE_LENGTH = 100_000
MAX_UPLOAD_MB = 1_000_000.0
MAX_FILES = 100
MAX_DESCRIPTION = 20_000
_CALLED = select(Space).where(Space.name_key == bindparam("key"))
_ROW_CALLED = select(*Space.__table__.c).where(Space.name_key == bindparam("key"))

Visibility = Literal["public", "private"]


Text = Annotated[str, AfterValidator(storable)]
Title = Annotated[str, StringConstraints(strip_whitespace=True, max_length=200), AfterValidator(storable)]
Description = Annotated[str, StringConstraints(max_length=MAX_DESCRIPTION), AfterValidator(storable)]
Timeout = Annotated[float, Field(gt=0, le=MAX_TIMEOUT, allow_inf_nan=False)]
Attempts = Annotated[int, Field(ge=1, le=MAX_ATTEMPTS)]
UploadMb = Annotated[float, Field(gt=0, le=MAX_UPLOAD_MB, allow_inf_nan=False)]
FileCount = Annotated[int, Field(ge=1, le=MAX_FILES)]
QueueLength = Annotated[int, Field(ge=1, le=MAX_QUEUE_LENGTH)]


class InputSwitches(BaseModel):
    """Which inputs a space takes; those left out keep their value (for a new space: prompt alone)."""

    model_config = ConfigDict(extra="forbid")

    prompt: bool | None = None
    audio: bool | None = None
    video: bool | None = None
    file: bool | None = None


class SpaceUpdate(BaseModel):
    """What can be changed of a space. A field left out stays; a limit that is null follows the site's default."""

    model_config = ConfigDict(extra="forbid")

    title: Title | None = Field(None, description="Free text; empty: the name")
    description: Description | None = Field(None, description="Markdown")
    inputs: InputSwitches | None = Field(None, description="Which inputs the space takes")
    visibility: Visibility | None = Field(None, description="private: only its owner and admins")
    owner: Text | None = Field(None, description="User name of the owner; null: nobody")
    enabled: bool | None = Field(None, description="Whether the space takes requests and apps")
    queue_when_offline: bool | None = Field(None, description="Whether requests may wait while no app is connected")
    allow_app_without_token: bool | None = Field(None, description="Whether anybody may connect an app without a token")
    timeout_seconds: Timeout | None = Field(None, description="Seconds that an app has for one attempt")
    max_attempts: Attempts | None = Field(None, description="Hand-overs of one request in all")
    queue_length: QueueLength | None = Field(None, description="Requests that may wait")
    upload_mb: UploadMb | None = Field(
        None, description="Megabytes of one request's files together; the site's own limit holds all the same"
    )
    files: FileCount | None = Field(None, description="Files with one request; the site's own limit holds all the same")


class SpaceCreate(SpaceUpdate):
    """A new space. Its name is chosen once and never changes; letter case does not make it different."""

    name: str = Field(description=NAME_RULE, json_schema_extra={"pattern": NAME_PATTERN})

    @field_validator("name")
    @classmethod
    def _name_follows_the_rule(cls, name: str) -> str:
        if not is_name(name):
            raise ValueError(NAME_RULE)
        return name


def is_name(text: str) -> bool:
    """Whether ``text`` may be the name of a space."""
    return 1 <= len(text) <= 64 and text.isascii() and text[0].isalnum() and all(_in_name(char) for char in text)


def _in_name(char: str) -> bool:
    return char.isalnum() or char in "._-"


# Looking


def find(name: str) -> Space:
    """Return the space called ``name``, in any letter case. Raises :class:`NotFound`."""
    space: Space | None = db.session.scalar(_CALLED, {"key": name.lower()}) if is_name(name) else None
    if space is None:
        raise NotFound("There is no such space.")
    return space


def find_visible(name: str, user: User | None) -> Space:
    """Return the space called ``name``, to read only. Raises :class:`NotFound`, also for one not to be seen."""
    if is_name(name):
        with services().database.read() as connection:
            row = connection.execute(_ROW_CALLED, {"key": name.lower()}).first()
        space = cast("Space", row)  # a row has the same attributes, and costs a third of an object
        if row is not None and visible_to(space, user):
            return space
    raise NotFound("There is no such space.")


def visible_to(space: Space, user: User | None) -> bool:
    """Whether ``user`` (None: a visitor) may look at ``space``: private ones are for their owners and admins."""
    if space.visibility == "public":
        return True
    return user is not None and (user.is_admin or space.owner_id == user.id)


def list_visible(user: User | None) -> list[Space]:
    """Return the spaces that ``user`` may look at, by name. Switched-off ones are for their owners and admins."""
    query = select(Space).order_by(Space.name_key)
    if user is None or not user.is_admin:
        shown = (Space.visibility == "public") & Space.enabled
        query = query.where(shown if user is None else or_(shown, Space.owner_id == user.id))
    return list(db.session.scalars(query))


def owner_names(spaces: list[Space]) -> dict[int, str]:
    """Return the user names of the owners of ``spaces`` by user id, in one query."""
    ids = {space.owner_id for space in spaces if space.owner_id is not None}
    if not ids:
        return {}
    return {row.id: row.username for row in db.session.execute(select(User.id, User.username).where(User.id.in_(ids)))}


# Changing


def create(data: SpaceCreate, owner: User) -> Space:
    """Make a space; ``owner`` owns it unless ``data`` names somebody else.

    Raises :class:`DuplicateName` (also when somebody else was a moment faster) and :class:`Invalid` (no such owner).
    """
    owner_id, now = owner.id, time.time()
    taken = DuplicateName(f'A space named "{data.name}" exists already.')
    space = Space(name=data.name, name_key=data.name.lower(), title=data.name, created_at=now)
    try:
        with services().database.writing(db.session) as session:
            if session.scalar(_CALLED, {"key": data.name.lower()}) is not None:
                raise taken
            space.owner_id = owner_id
            _apply(session, space, data, now)
            session.add(space)
    except IntegrityError as error:
        raise taken from error
    return space


def update(space: Space, data: SpaceUpdate) -> Space:
    """Change ``space``; its app and pages get to know. Raises :class:`NotFound`, :class:`Invalid` (no such owner)."""
    space_id = space.id
    with services().database.writing(db.session) as session:
        row = _locked(session, space_id)
        before = (row.enabled, row.allow_app_without_token, row.owner_id)
        _apply(session, row, data, time.time())
        after = (row.enabled, row.allow_app_without_token, row.owner_id)
    _tell(space_id, before, after)
    return row


def delete(space: Space) -> None:
    """Delete ``space``: switched off first, so nothing new comes in; then its open requests end; then the row goes.

    Raises :class:`NotFound` when it is gone already and :class:`Conflict` when it was switched on again meanwhile.
    """
    space_id = space.id
    with services().database.writing(db.session) as session:
        _locked(session, space_id).enabled = False
    services().manager.space_removed(space_id)
    with services().database.writing(db.session) as session:
        row = _locked(session, space_id)
        if row.enabled:
            raise Conflict("This space was switched on again while it was being deleted.")
        session.delete(row)
    services().manager.space_changed(space_id)


def _locked(session: scoped_session[Any], space_id: int) -> Space:
    row: Space | None = session.scalar(select(Space).where(Space.id == space_id).with_for_update())
    if row is None:
        raise NotFound("There is no such space.")
    return row


def _apply(session: scoped_session[Any], space: Space, data: SpaceUpdate, now: float) -> None:
    """Write what ``data`` says into the row; null means "as by default" where a default exists."""
    given = data.model_fields_set
    for field in ("timeout_seconds", "max_attempts", "queue_length", "upload_mb", "files"):
        if field in given:
            setattr(space, field, getattr(data, field))
    for field in ("description", "visibility", "enabled", "queue_when_offline", "allow_app_without_token"):
        if getattr(data, field) is not None:
            setattr(space, field, getattr(data, field))
    if "title" in given:
        space.title = data.title or space.name
    if data.inputs is not None:
        _apply_inputs(space, data.inputs)
    if "owner" in given:
        space.owner_id = _owner_id(session, data.owner)
    space.updated_at = now


def _apply_inputs(space: Space, inputs: InputSwitches) -> None:
    for kind, switched_on in inputs.model_dump(exclude_none=True).items():
        setattr(space, f"input_{kind}", switched_on)


def _owner_id(session: scoped_session[Any], username: str | None) -> int | None:
    if username is None:
        return None
    owner_id: int | None = session.scalar(select(User.id).where(User.username_key == name_key(username)))
    if owner_id is None:
        raise Invalid.field("owner", f'there is no user named "{username}"')
    return owner_id


def _tell(space_id: int, before: tuple[Any, ...], after: tuple[Any, ...]) -> None:
    """Act on what a change means for the connected app, then wake the pages."""
    manager = services().manager
    if before[0] and not after[0]:
        manager.space_removed(space_id)
    elif before[1] and not after[1]:
        manager.tokens_changed(space_id)
    if before[2] is not None and before[2] != after[2]:
        tokens.cut_unentitled(before[2])
    manager.space_changed(space_id)
