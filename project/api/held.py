"""Held calls: subscribe, look, give the session back, wait, look again. A held call costs no database."""

from __future__ import annotations

import time
from collections.abc import Callable

from project.api.presenters import Row, visible_seq
from project.errors import NotFound
from project.extensions import db
from project.models import FINAL_STATES
from project.services import Services

Enough = Callable[[Row], bool]


def wait_for(site: Services, look: Callable[[], Row], request_id: str, enough: Enough, seconds: float) -> Row:
    """Return the row when it is ``enough``, or as it is after ``seconds``. ``look`` is the first look."""
    deadline = time.monotonic() + seconds
    with site.notifier.subscribe(f"request:{request_id}") as subscription:
        row = look()
        while not enough(row):
            db.session.remove()
            if not subscription.wait(deadline - time.monotonic()):
                return row
            row = again(site, request_id)
    return row


def again(site: Services, request_id: str) -> Row:
    """Read the row of a request that was there a moment ago. Raises :class:`NotFound` when it was deleted."""
    row = site.store.get(request_id)
    if row is None:
        raise NotFound
    return row


def is_final(row: Row) -> bool:
    """Whether the request has ended."""
    return row["status"] in FINAL_STATES


def newer_than(site: Services, seq: int) -> Enough:
    """Return the test for a final request, or one that has visibly changed since ``seq``."""
    return lambda row: is_final(row) or visible_seq(row, site.manager.progress(row["id"])) > seq
