"""How a request is accepted, whether a page or a program sent it; with an ``Idempotency-Key`` once, however often."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import RowMapping
from sqlalchemy.exc import IntegrityError

from project import space_admin
from project.errors import (
    InProgress,
    Invalid,
    NotAuthenticated,
    NotFinal,
    NotFound,
    QuotaFull,
    ShuttingDown,
    SpaceDisabled,
    SpaceOffline,
)
from project.extensions import db
from project.file_reception import MEGABYTE, Allowance, Reception
from project.file_rows import NewFile
from project.models import FINAL_STATES, Space, User
from project.services import services
from project.submit_key_rows import KeyedBody

Row = RowMapping
FILE_FIELDS = ("audio", "video", "file")
#: Seconds after which to come again when no app is there, or when the site stops.
COME_AGAIN = 5.0
NOTHING_NEW = Allowance(frozenset(), 0, 0)


@dataclass(frozen=True, slots=True)
class Accepted:
    """An accepted request; not new when an earlier submit with the same ``Idempotency-Key`` made it."""

    row: Row
    is_new: bool = True


@contextmanager
def accepting(user_id: int, key: str | None) -> Iterator[None]:
    """Hold a user's ``Idempotency-Key`` while its submit is read and kept.

    Raises :class:`InProgress` while another submit holds it.
    """
    if key is None:
        yield
        return
    with services().submit_keys.place(f"{user_id}:{key}") as is_only_one:
        if not is_only_one:
            raise InProgress(retry_after=1)
        yield


def check_open(space: Space, user: User) -> None:
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
    services().store.check_queues(space.id, space.queue_length, user.id)


def check_room(user: User, size: int) -> None:
    """Refuse ``size`` bytes more than one user may have here. Raises :class:`QuotaFull`."""
    limit, used = services().settings.user_storage_mb * MEGABYTE, services().files.size_of_user(user.id)
    if used + size > limit:
        raise QuotaFull(
            f"Your files take {used / MEGABYTE:,.0f} MB of the {limit / MEGABYTE:,.0f} MB that one user may have here. "
            "Delete requests that you do not need any more."
        )


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
    space: Space,
    user: User,
    prompt: str,
    parameters: dict[str, Any],
    reception: Reception | None = None,
    *,
    key: str | None = None,
    retry_of: str | None = None,
) -> Accepted:
    """Keep a new request with the files of ``reception``, then hand it over if the app is free.

    With a ``key`` (see :func:`accepting`) that was accepted before, return the request of that time.
    Raises what :func:`check_inputs` and :meth:`project.request_store.RequestStore.create` raise,
    :class:`ShuttingDown`, :class:`KeyReused`, :class:`NotFound` when the request of the key was deleted, and
    :class:`NotAuthenticated` when the account was deleted meanwhile.
    """
    site, space_id, user_id, username = services(), space.id, user.id, user.username
    files = reception.files if reception else []
    keyed = KeyedBody(key, _hash_of(space_id, prompt, parameters, files, retry_of)) if key else None
    if keyed and (earlier := site.store.accepted_before(user_id, keyed, time.time())):
        return Accepted(earlier, is_new=False)
    check_inputs(space, prompt, files)
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
            files=files,
            connected=site.manager.is_connected(space_id),
            now=time.time(),
            keyed=keyed,
            retry_of=retry_of,
        )
    except IntegrityError as error:
        raise NotAuthenticated("This account was deleted while its request was on the way.") from error
    if reception:
        reception.release()
    site.manager.work_arrived(space_id)
    return Accepted(row)


def _hash_of(
    space_id: int, prompt: str, parameters: dict[str, Any], files: Sequence[NewFile], retry_of: str | None
) -> str:
    """Return what tells two bodies apart: the space, all fields, and the files' hashes."""
    said = [space_id, prompt, parameters, [[file.field, file.sha256] for file in files], retry_of]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def repeat(old: Row, user: User, key: str | None = None) -> Accepted:
    """Submit an ended request once more, with its files, as a new one that names the old; it may have a ``key`` too.

    Raises :class:`NotFinal`, :class:`NotFound` (the space or a file is gone), and what :func:`submit` raises.
    """
    if old["status"] not in FINAL_STATES:
        raise NotFinal
    if old["space_id"] is None:
        raise NotFound("The space of this request does not exist any more.")
    space = space_admin.find_visible(old["space_name"], user)
    with services().files.receive(NOTHING_NEW) as reception:
        check_room(user, sum(facts["size"] for facts in old["files"] or ()))
        for facts in old["files"] or ():
            reception.copy(facts)
        with accepting(user.id, key):
            return submit(space, user, old["prompt"], old["parameters"], reception, key=key, retry_of=old["id"])


def delete(request_id: str) -> None:
    """Delete a request that has ended: its rows first, then the bytes of its files. Raises as the store does."""
    site = services()
    site.files.forget(site.store.delete(request_id))
