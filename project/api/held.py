"""Held calls: subscribe, look, give the session back, wait, look again. A held call costs no database."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from project.api.callers import who
from project.api.presenters import Row, visible_seq
from project.errors import NotFound, TooMany
from project.extensions import db
from project.models import FINAL_STATES
from project.services import Services, services

Enough = Callable[[Row], bool]


def wait_for(site: Services, look: Callable[[], Row], request_id: str, enough: Enough, seconds: float) -> Row:
    """Return the row when it is ``enough``, or as it is after ``seconds``. ``look`` is the first look.

    Raises :class:`TooMany` when it would have to wait and no place is left for that.
    """
    deadline = time.monotonic() + seconds
    with site.notifier.subscribe(f"request:{request_id}") as subscription:
        row = look()
        if enough(row) or seconds <= 0:
            return row
        with held_place():
            while not enough(row):
                db.session.remove()
                if not subscription.wait(deadline - time.monotonic()):
                    return row
                row = again(site, request_id)
    return row


@contextmanager
def held_place() -> Iterator[None]:
    """Hold one of the places for waiting calls. Raises :class:`TooMany` when all of the caller's are taken."""
    with services().held_calls.place(who()) as has_place:
        if not has_place:
            raise TooMany("Too many calls are waiting for an answer already.", retry_after=1)
        yield


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
