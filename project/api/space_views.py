"""What pages see of a space, looked up at most once a second however many pages look.

A view is the space object, the order of its queue and who may look. All held calls of a process share it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask import Flask, current_app

from project.api.cursors import digest
from project.api.presenters import space_object
from project.extensions import db
from project.models import Space, User
from project.request_reads import positions_in
from project.request_store import SpaceLoad
from project.services import services

#: Seconds for which a view may be shown before somebody looks again.
FRESH_SECONDS = 1.0
KEPT = 1_000
EXTENSION = "space_views"


@dataclass(frozen=True, slots=True)
class SpaceView:
    """A space as it was at ``at`` (monotonic seconds); ``positions`` are places in the queue by request id."""

    object: Mapping[str, Any]
    positions: Mapping[str, int]
    public: bool
    owner_id: int | None
    digest: str
    at: float


class SpaceViews:
    """The views of this process."""

    def __init__(self) -> None:
        #: Whoever waits for it finds the view that the one before made: a thousand pages, one look.
        self._lock = threading.Lock()
        self._views: dict[int, SpaceView | None] = {}

    def look(self, space_id: int, *, newer_than: float) -> SpaceView | None:
        """Return a view made after ``newer_than`` (monotonic), or one not a second old; None: the space is gone."""
        with self._lock:
            view = self._views.get(space_id)
            if view and (view.at >= newer_than or time.monotonic() - view.at < FRESH_SECONDS):
                return view
            return self._look_again(space_id)

    def look_now(self, space_id: int) -> SpaceView | None:
        """Return a view made now."""
        with self._lock:
            return self._look_again(space_id)

    def _look_again(self, space_id: int) -> SpaceView | None:
        if len(self._views) >= KEPT:
            self._views.clear()
        view = self._views[space_id] = _look(space_id)
        return view


def register(app: Flask) -> None:
    """Give ``app`` its views."""
    app.extensions[EXTENSION] = SpaceViews()


def space_views() -> SpaceViews:
    """Return the views of the current application."""
    views: SpaceViews = current_app.extensions[EXTENSION]
    return views


def _look(space_id: int) -> SpaceView | None:
    """Read the space anew. The time is taken before, so that a change during the look counts as later."""
    site, at = services(), time.monotonic()
    db.session.rollback()
    found = db.session.execute(
        db.select(Space, User.username).outerjoin(User, User.id == Space.owner_id).where(Space.id == space_id)
    ).first()
    if found is None:
        return None
    space, owner = found
    load = site.store.space_load([space_id]).get(space_id, SpaceLoad())
    seen = space_object(space, load, site.settings, owner)
    return SpaceView(
        object=seen,
        positions=positions_in(site.database, space_id),
        public=space.visibility == "public",
        owner_id=space.owner_id,
        digest=digest(seen),
        at=at,
    )
