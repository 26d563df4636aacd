"""How a request is accepted, whether a page or a program sent it."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy.engine import RowMapping

from project.errors import ShuttingDown
from project.extensions import db
from project.models import User
from project.services import services


def submit(
    space_id: int, user: User, prompt: str, parameters: dict[str, Any], retry_of: str | None = None
) -> RowMapping:
    """Keep a new request, then hand it over if the app is free; return its row as it was accepted.

    Raises what :meth:`project.request_store.RequestStore.create` raises, and :class:`ShuttingDown`.
    """
    site, user_id, username = services(), user.id, user.username
    if not site.manager.accepting:
        raise ShuttingDown(retry_after=5)
    db.session.remove()  # a call never holds one connection while it asks for another
    row = site.store.create(
        space_id,
        user_id,
        username,
        prompt,
        parameters,
        connected=site.manager.is_connected(space_id),
        now=time.time(),
        retry_of=retry_of,
    )
    site.manager.work_arrived(space_id)
    return row
