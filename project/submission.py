"""How a request is accepted, whether a page or a program sent it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from sqlalchemy.engine import RowMapping
from sqlalchemy.exc import IntegrityError

from project import space_admin
from project.errors import (
    Invalid,
    NotAuthenticated,
    NotFinal,
    NotFound,
    QueueFull,
    ShuttingDown,
    SpaceDisabled,
    SpaceOffline,
)
from project.extensions import db
from project.file_reception import Allowance, Reception
from project.file_rows import NewFile
from project.models import FINAL_STATES, Space, User
from project.services import services

Row = RowMapping
FILE_FIELDS = ("audio", "video", "file")
#: Seconds after which to come again when no app is there, or when the site stops.
COME_AGAIN = 5.0
NOTHING_NEW = Allowance(frozenset(), 0, 0)


def check_open(space: Space) -> None:
    """Refuse early, before an upload is read, what :func:`submit` would refuse after it.

    Raises :class:`ShuttingDown`, :class:`SpaceDisabled`, :class:`SpaceOffline` or :class:`QueueFull`.
    """
    manager = services().manager
    if not manager.accepting:
        raise ShuttingDown(retry_after=COME_AGAIN)
    if not space.enabled:
        raise SpaceDisabled
    if not space.queue_when_offline and not manager.is_connected(space.id):
        raise SpaceOffline(retry_after=COME_AGAIN)
    if services().store.queue_size(space.id) >= (space.queue_length or services().settings.queue_length):
        raise QueueFull(retry_after=COME_AGAIN)


def check_inputs(space: Space, prompt: str, files: Sequence[NewFile]) -> None:
    """Refuse what the space does not take, and a submit that brings nothing at all. Raises :class:`Invalid`."""
    if prompt and not space.input_prompt:
        raise Invalid.field("prompt", "this space takes no prompt")
    for file in files:
        if file.field and not getattr(space, f"input_{file.field}"):
            raise Invalid.field(file.field, f"this space takes no {file.field}")
    if prompt.strip() or files:
        return
    if space.input_prompt:
        raise Invalid.field("prompt", "must not be empty")
    wanted = [field for field in FILE_FIELDS if getattr(space, f"input_{field}")]
    raise Invalid.field(wanted[0], "is needed") if wanted else Invalid("This space takes no input at the moment.")


def submit(
    space_id: int,
    user: User,
    prompt: str,
    parameters: dict[str, Any],
    reception: Reception | None = None,
    retry_of: str | None = None,
) -> Row:
    """Keep a new request with the files of ``reception``, then hand it over if the app is free; return its row.

    Raises what :meth:`project.request_store.RequestStore.create` raises, :class:`ShuttingDown`, and
    :class:`NotAuthenticated` when the account was deleted meanwhile.
    """
    site, user_id, username = services(), user.id, user.username
    if not site.manager.accepting:
        raise ShuttingDown(retry_after=COME_AGAIN)
    db.session.remove()  # a call never holds one connection while it asks for another
    if reception:
        reception.keep()
    try:
        row = site.store.create(
            space_id,
            user_id,
            username,
            prompt,
            parameters,
            files=reception.files if reception else (),
            connected=site.manager.is_connected(space_id),
            now=time.time(),
            retry_of=retry_of,
        )
    except IntegrityError as error:
        raise NotAuthenticated("This account was deleted while its request was on the way.") from error
    if reception:
        reception.release()
    site.manager.work_arrived(space_id)
    return row


def repeat(old: Row, user: User) -> Row:
    """Submit an ended request once more, with its files, as a new one that names the old; return its row.

    Raises :class:`NotFinal`, :class:`NotFound` (the space or a file is gone), and what :func:`submit` raises.
    """
    if old["status"] not in FINAL_STATES:
        raise NotFinal
    if old["space_id"] is None:
        raise NotFound("The space of this request does not exist any more.")
    space = space_admin.find_visible(old["space_name"], user)
    with services().files.receive(NOTHING_NEW) as reception:
        for facts in old["files"] or ():
            reception.copy(facts)
        check_inputs(space, old["prompt"], reception.files)
        return submit(space.id, user, old["prompt"], old["parameters"], reception, retry_of=old["id"])


def delete(request_id: str) -> None:
    """Delete a request that has ended: its rows first, then the bytes of its files. Raises as the store does."""
    site = services()
    site.files.forget(site.store.delete(request_id))
