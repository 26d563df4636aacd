"""What the store can be asked without changing anything: one short read each, whatever the length of the lists."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Double, String, and_, bindparam, cast, func, null, or_, select, union_all
from sqlalchemy.engine import RowMapping

from project.database import Database
from project.models import OPEN_STATES, PROCESSING, QUEUED
from project.ports import OpenWork
from project.request_tables import (
    attempts,
    by_id,
    connections,
    count_queued,
    is_processing,
    is_queued,
    requests,
    transitions,
)


@dataclass(frozen=True, slots=True)
class SpaceLoad:
    """How busy a space is: ``queue_size`` waits, ``processing`` is 0 or 1; times are Unix seconds."""

    queue_size: int = 0
    processing: int = 0
    connected: bool = False
    connected_at: float | None = None
    lost_at: float | None = None

    @property
    def last_connected_at(self) -> float | None:
        """When the space last had an app: now counts as the start of the present connection."""
        return self.connected_at if self.connected else self.lost_at


_queue = select(requests.c.id).where(requests.c.space_id == bindparam("space"), is_queued).order_by(requests.c.number)
_history = (
    select(transitions).where(transitions.c.request_id.in_(bindparam("ids", expanding=True))).order_by(transitions.c.id)
)
_before = count_queued.where(requests.c.number < bindparam("number"))
_newest_first = (requests.c.created_at.desc(), requests.c.id.desc())
_waiting = (
    select(
        requests.c.space_id,
        func.count().label("waiting"),
        func.min(requests.c.expires_at).label("expires_at"),
        cast(null(), String).label("request_id"),
        cast(null(), String).label("attempt_id"),
        cast(null(), Double).label("deadline_at"),
        cast(null(), Double).label("lost_at"),
    )
    .where(is_queued)
    .group_by(requests.c.space_id)
)
_running = (
    select(
        requests.c.space_id,
        bindparam("none", 0, literal_execute=True).label("waiting"),
        cast(null(), Double).label("expires_at"),
        requests.c.id.label("request_id"),
        requests.c.attempt_id,
        requests.c.deadline_at,
        connections.c.lost_at,
    )
    .select_from(requests.outerjoin(connections, connections.c.space_id == requests.c.space_id))
    .where(is_processing)
)
_survey = union_all(_waiting, _running)


def get(database: Database, request_id: str) -> RowMapping | None:
    """Return the row, or None."""
    with database.read() as connection:
        return connection.execute(by_id, {"id": request_id}).mappings().first()


def transitions_of(database: Database, request_ids: Sequence[str]) -> dict[str, list[RowMapping]]:
    """Return what happened to each of the requests, oldest first."""
    found: dict[str, list[RowMapping]] = {request_id: [] for request_id in request_ids}
    if not found:
        return found
    with database.read() as connection:
        for row in connection.execute(_history, {"ids": list(found)}).mappings():
            found[row["request_id"]].append(row)
    return found


def positions_in(database: Database, space_id: int) -> dict[str, int]:
    """Return the place of every request that waits in the space, 1 being next."""
    with database.read() as connection:
        return {id_: place for place, id_ in enumerate(connection.execute(_queue, {"space": space_id}).scalars(), 1)}


def position(database: Database, row: RowMapping) -> int | None:
    """Return the place in the queue, 1 being next; None when it is not queued. A row just accepted knows it."""
    if row["status"] != QUEUED:
        return None
    if "position" in row:
        return int(row["position"])
    with database.read() as connection:
        before = connection.execute(_before, {"space": row["space_id"], "number": row["number"]}).scalar_one()
        return 1 + int(before)


def list_for_user(
    database: Database,
    user_id: int,
    *,
    space_id: int | None = None,
    space_name: str | None = None,
    status: str | None = None,
    before: tuple[float, str] | None = None,
    limit: int = 20,
) -> list[RowMapping]:
    """Return the user's requests, newest first; ``before`` is the (created_at, id) to go on after."""
    query = select(requests).where(requests.c.user_id == user_id)
    if space_id is not None:
        query = query.where(requests.c.space_id == space_id)
    if space_name is not None:
        query = query.where(func.lower(requests.c.space_name) == space_name.lower())
    if status is not None:
        query = query.where(requests.c.status == status)
    if before is not None:
        query = query.where(_older_than(*before))
    with database.read() as connection:
        return list(connection.execute(query.order_by(*_newest_first).limit(limit)).mappings())


def _older_than(at: float, last_id: str) -> Any:
    return or_(requests.c.created_at < at, and_(requests.c.created_at == at, requests.c.id < last_id))


def changed_for_user(
    database: Database, user_id: int, space_id: int, since: float, limit: int = 100
) -> list[RowMapping]:
    """Return the user's requests in a space that are open, or changed at or after ``since``."""
    query = (
        select(requests)
        .where(requests.c.user_id == user_id, requests.c.space_id == space_id)
        .where(or_(requests.c.status.in_(OPEN_STATES), requests.c.updated_at >= since))
        .order_by(*_newest_first)
        .limit(limit)
    )
    with database.read() as connection:
        return list(connection.execute(query).mappings())


def open_of_user(database: Database, user_id: int) -> list[RowMapping]:
    """Return the user's open requests."""
    query = select(requests).where(requests.c.user_id == user_id, requests.c.status.in_(OPEN_STATES))
    with database.read() as connection:
        return list(connection.execute(query).mappings())


def queue_size(database: Database, space_id: int) -> int:
    """Return how many requests wait in a space."""
    with database.read() as connection:
        return int(connection.execute(count_queued, {"space": space_id}).scalar_one())


def space_load(database: Database, space_ids: Sequence[int] | None = None) -> dict[int, SpaceLoad]:
    """Return how busy the spaces are; a space that is missing has nothing to say."""
    counts = [
        select(requests.c.space_id, requests.c.status, func.count().label("count")).where(state)
        for state in (is_queued, is_processing)
    ]
    links = select(connections)
    if space_ids is not None:
        counts = [query.where(requests.c.space_id.in_(space_ids)) for query in counts]
        links = links.where(connections.c.space_id.in_(space_ids))
    grouped = [query.group_by(requests.c.space_id, requests.c.status) for query in counts]
    with database.read() as connection:
        counted = connection.execute(union_all(*grouped)).all()
        linked = {row["space_id"]: row for row in connection.execute(links).mappings()}
    return _loads(counted, linked)


def _loads(counted: Iterable[Any], linked: dict[int, RowMapping]) -> dict[int, SpaceLoad]:
    sizes: dict[int, dict[str, int]] = {}
    for space_id, status, count in counted:
        sizes.setdefault(space_id, {})[status] = count
    return {
        space_id: SpaceLoad(
            queue_size=sizes.get(space_id, {}).get(QUEUED, 0),
            processing=sizes.get(space_id, {}).get(PROCESSING, 0),
            connected=space_id in linked and linked[space_id]["lost_at"] is None,
            connected_at=linked[space_id]["connected_at"] if space_id in linked else None,
            lost_at=linked[space_id]["lost_at"] if space_id in linked else None,
        )
        for space_id in sizes.keys() | linked.keys()
    }


def survey(database: Database) -> dict[int | None, OpenWork]:
    """Return what is open, by space, in one statement over open rows alone."""
    found: dict[int | None, OpenWork] = {}
    with database.read() as connection:
        for row in connection.execute(_survey).mappings():
            other = found.get(row["space_id"])
            found[row["space_id"]] = _merged(row, other) if other else OpenWork(**row)
    return found


def _merged(running: RowMapping, waiting: OpenWork) -> OpenWork:
    return OpenWork(**{**running, "waiting": waiting.waiting, "expires_at": waiting.expires_at})


def refusal(
    database: Database, request_id: str, attempt_id: str | None, token_id: int | None, connection_id: str, now: float
) -> str:
    """Say why a result that nobody waits for is refused, in the order of guarantee G11."""
    query = select(attempts).where(
        attempts.c.request_id == request_id, attempts.c.token_id.is_not_distinct_from(token_id)
    )
    with database.read() as connection:
        row = connection.execute(by_id, {"id": request_id}).mappings().first()
        mine = list(connection.execute(query.order_by(attempts.c.number)).mappings()) if row else []
    named = [attempt for attempt in mine if attempt_id in (None, attempt["attempt_id"])]
    if row is None or not named:
        return "unknown_request"
    return _refusal_of(row, named[-1], connection_id, now)


def _refusal_of(row: RowMapping, attempt: RowMapping, connection_id: str, now: float) -> str:
    running = attempt["ended_at"] is None
    if running and attempt["connection_id"] != connection_id:
        return "not_owner"
    if attempt["number"] != row["attempt"] or row["status"] == QUEUED:
        return "stale_attempt"
    if attempt["by_result"]:
        return "duplicate"
    # An attempt that runs on in the database, though its connection lost its place, can still be claimed.
    return "retry_later" if running and row["deadline_at"] > now else "already_final"
