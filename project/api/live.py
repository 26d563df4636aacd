"""One held call for an open page: the space and the caller's requests there, as soon as something changes.

The caller's own transitions are answered at once, their progress a few times a second, changes of the
space once a second. While nothing changes a held call reads nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from flask import Response, jsonify

from project import space_admin
from project.api import cursors
from project.api.callers import viewer
from project.api.describing import ANYBODY, SPACES, blueprint, refusals
from project.api.held import held_place
from project.api.models import MAX_HELD_SECONDS, LiveObject, LiveQuery, SpacePath
from project.api.presenters import Row, present_at, visible_seq
from project.api.space_views import FRESH_SECONDS, SpaceView, space_views
from project.errors import NotFound
from project.extensions import db
from project.models import OPEN_STATES, QUEUED
from project.services import services

routes = blueprint("api_live", __name__, SPACES)

#: Seconds between two answers when only the progress, or only the space, changed.
PROGRESS_PAUSE, SPACE_PAUSE = 0.25, 1.0
#: Seconds before a view that is too old is looked up again, at least: so that no clock makes it spin.
MIN_PAUSE = 0.01
#: How far back "just changed" reaches: for the first answer, and for the following ones, in seconds.
FIRST_REACH, REACH = 60.0, 2.0


@dataclass(frozen=True, slots=True)
class Cursor:
    """What the caller has seen: when (``at``), since when rows count as changed (``since``), and three fingerprints."""

    at: float
    since: float
    own: str = ""
    progress: str = ""
    space: str = ""

    def __str__(self) -> str:
        """Return the cursor as text, for the caller to send back."""
        return cursors.encode([self.at, self.since, self.own, self.progress, self.space])

    @classmethod
    def read(cls, text: str) -> Cursor:
        """Return the cursor in ``text``. Raises :class:`project.errors.Invalid`."""
        number = (float, int)
        return cls(*cursors.decode(text, number, number, str, str, str, field="after"))


@dataclass(frozen=True, slots=True)
class Looker:
    """Who looks, as plain values: the session is given back while the call is held."""

    user_id: int | None
    is_admin: bool

    def may_see(self, view: SpaceView) -> bool:
        """Whether this caller may still look at the space."""
        return view.public or self.is_admin or (self.user_id is not None and view.owner_id == self.user_id)


@dataclass(frozen=True, slots=True)
class Sight:
    """What one look found."""

    view: SpaceView
    rows: list[Row]

    def cursor(self, since: float, now: float) -> Cursor:
        """Return the cursor of somebody who has seen this."""
        rows = [row for row in self.rows if row["status"] in OPEN_STATES or row["updated_at"] >= since]
        progress = services().manager.progress
        places = {row["id"]: self.view.positions.get(row["id"]) for row in rows}
        return Cursor(
            at=now,
            since=since,
            own=cursors.digest(sorted((row["id"], row["seq"]) for row in rows)),
            progress=cursors.digest(sorted((row["id"], visible_seq(row, progress(row["id"]))) for row in rows)),
            space=cursors.digest([self.view.digest, places]),
        )

    def due(self, seen: Cursor) -> float | None:
        """Return when (Unix seconds) the caller may be told what it has not seen; None: there is nothing."""
        now = self.cursor(seen.since, seen.at)
        if now.own != seen.own:
            return 0.0
        if now.progress != seen.progress:
            return seen.at + PROGRESS_PAUSE
        return seen.at + SPACE_PAUSE if now.space != seen.space else None


@routes.get("/spaces/<name>/live", responses={200: LiveObject, **refusals(401, 403, 404, 422, 429)}, security=ANYBODY)
def get_live(path: SpacePath, query: LiveQuery) -> Response:
    """Follow a space and your requests there, in one held call. Visitors may follow public spaces."""
    user = viewer()
    space_id = space_admin.find_visible(path.name, user).id
    looker = Looker(user.id, user.is_admin) if user else Looker(None, False)
    now = time.time()
    seen = Cursor.read(query.after) if query.after is not None else None
    since = seen.since if seen else now - FIRST_REACH
    sight = _follow(space_id, looker, seen, since, min(query.wait, MAX_HELD_SECONDS))
    return jsonify(_answer(sight, since))


def _answer(sight: Sight, since: float) -> dict[str, Any]:
    now = time.time()
    return {
        "space": dict(sight.view.object),
        "requests": present_at(services(), sight.rows, sight.view.positions),
        "cursor": str(sight.cursor(max(since, now - REACH), now)),
    }


def _follow(space_id: int, looker: Looker, seen: Cursor | None, since: float, seconds: float) -> Sight:
    """Look until there is something to tell, at most for ``seconds``."""
    ends = time.time() + seconds
    with _subscribed(space_id, looker) as subscription:
        watch = _Watch(space_id, looker, since, afresh=seen is None)
        if seen and watch.pause(seen, ends) > 0:
            with held_place():
                while not services().notifier.closed and (pause := watch.pause(seen, ends)) > 0:
                    db.session.remove()
                    subscription.wait(pause)
                    watch.look_again(subscription.woken_by())
    return watch.complete()


class _Watch:
    """One held call's looks. The space's view is shared, so it may be older than the last change by a second."""

    def __init__(self, space_id: int, looker: Looker, since: float, *, afresh: bool) -> None:
        self._space_id, self._looker, self._since = space_id, looker, since
        self._changed = time.monotonic()
        self._sight = Sight(self._view(afresh=afresh), self._rows())

    def pause(self, seen: Cursor, ends: float) -> float:
        """Return the seconds to wait before the next look; 0 or less: answer now."""
        now, due = time.time(), self._sight.due(seen)
        pauses = [ends - now]
        if due is not None:
            pauses.append(due - now)
        if min(pauses) > 0 and self._sight.view.at < self._changed:
            pauses.append(max(MIN_PAUSE, self._sight.view.at + FRESH_SECONDS - time.monotonic()))
        return min(pauses)

    def look_again(self, woken: set[str]) -> None:
        """Look at what the topics in ``woken`` are about; without any, at the space if its view was too old."""
        if f"space:{self._space_id}" in woken:
            self._changed = time.monotonic()
        rows = self._rows() if f"user:{self._looker.user_id}" in woken else self._sight.rows
        self._sight = Sight(self._view(), rows)

    def complete(self) -> Sight:
        """Return what was seen, with the place of every waiting request: a shared view may not know the newest."""
        known = self._sight.view.positions
        if any(row["status"] == QUEUED and row["id"] not in known for row in self._sight.rows):
            self._sight = Sight(self._view(afresh=True), self._rows())
        return self._sight

    def _view(self, *, afresh: bool = False) -> SpaceView:
        views = space_views()
        view = views.look_now(self._space_id) if afresh else views.look(self._space_id, newer_than=self._changed)
        if view is None or not self._looker.may_see(view):
            raise NotFound("There is no such space.")
        return view

    def _rows(self) -> list[Row]:
        if self._looker.user_id is None:
            return []
        return services().store.changed_for_user(self._looker.user_id, self._space_id, self._since)


@contextmanager
def _subscribed(space_id: int, looker: Looker) -> Iterator[Any]:
    topics = [f"space:{space_id}"] + ([f"user:{looker.user_id}"] if looker.user_id is not None else [])
    with services().notifier.subscribe(*topics) as subscription:
        yield subscription
