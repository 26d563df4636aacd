"""Who serves a space, as a row: taking it over, claims of a returning app, and the fence against the others.

All functions work inside a transaction that the store has begun.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.engine import Connection as SqlConnection
from sqlalchemy.engine import RowMapping

from project.errors import NotFound, SpaceDisabled
from project.models import SEQ_STEP
from project.ports import AppLink, Fenced
from project.request_tables import attempts, connections, requests, spaces

_owner = (
    select(connections.c.epoch, connections.c.lost_at, connections.c.process_id)
    .where(connections.c.space_id == bindparam("space"))
    .with_for_update()
)
_enabled = select(spaces.c.enabled).where(spaces.c.id == bindparam("space")).with_for_update()


def hold(connection: SqlConnection, space_id: int, epoch: int) -> None:
    """Lock the space's row and make sure that ``epoch`` still owns the space. Raises :class:`Fenced`."""
    owner = connection.execute(_owner, {"space": space_id}).first()
    if owner is None or owner.epoch != epoch:
        raise Fenced


def check_enabled(connection: SqlConnection, space_id: int) -> None:
    """Lock the space itself, so that first registrations queue up. Raises NotFound or SpaceDisabled."""
    enabled = connection.execute(_enabled, {"space": space_id}).scalar_one_or_none()
    if enabled is None:
        raise NotFound
    if not enabled:
        raise SpaceDisabled


def take_over(
    connection: SqlConnection, space_id: int, epoch: int | None, app: AppLink, process_id: str, now: float
) -> int:
    """Make ``app`` the connection of the space and return the new epoch.

    ``epoch`` is the present one as the caller knows it. A caller that knows none (None) may take what nobody
    has, what was lost, or what its own process has. Raises :class:`Fenced` otherwise.
    """
    owner = connection.execute(_owner, {"space": space_id}).mappings().first()
    if owner and not _may_take(owner, epoch, process_id):
        raise Fenced
    new_epoch = (owner["epoch"] if owner else 0) + 1
    values = {
        "epoch": new_epoch,
        "process_id": process_id,
        "connection_id": app.connection_id,
        "token_id": app.token_id,
        "app_name": app.name,
        "app_version": app.version,
        "app_instance": app.instance,
        "address": app.address,
        "connected_at": now,
        "lost_at": None,
        "probe_at": None,
        "seen_at": None,
    }
    if owner is None:
        connection.execute(insert(connections).values(space_id=space_id, **values))
    else:
        connection.execute(update(connections).where(connections.c.space_id == space_id).values(**values))
    return int(new_epoch)


def _may_take(owner: RowMapping, epoch: int | None, process_id: str) -> bool:
    if epoch is not None:
        return bool(owner["epoch"] == epoch)
    return owner["lost_at"] is not None or owner["process_id"] == process_id


def claims_over(connection: SqlConnection, space_id: int, app: AppLink, claims: Sequence[str]) -> list[tuple[str, str]]:
    """Return the (request id, attempt id) of claims by this token in this space that have ended."""
    if not claims:
        return []
    query = select(attempts.c.request_id, attempts.c.attempt_id).where(
        attempts.c.attempt_id.in_(claims),
        attempts.c.space_id == space_id,
        attempts.c.token_id.is_not_distinct_from(app.token_id),
        attempts.c.ended_at.is_not(None),
    )
    return [(row.request_id, row.attempt_id) for row in connection.execute(query)]


def hand_on(connection: SqlConnection, row: RowMapping, app: AppLink) -> bool:
    """Give the running attempt to the app's new connection; False when another token had it.

    Progress starts anew there, so ``seq`` rises above what was reported before.
    """
    changed = connection.execute(
        update(attempts)
        .where(attempts.c.attempt_id == row["attempt_id"], attempts.c.token_id.is_not_distinct_from(app.token_id))
        .values(connection_id=app.connection_id)
    )
    if not changed.rowcount:
        return False
    connection.execute(update(requests).where(requests.c.id == row["id"]).values(seq=requests.c.seq + SEQ_STEP))
    return True


def mark_lost(connection: SqlConnection, space_id: int, epoch: int, now: float) -> None:
    """Note that the connection of ``epoch`` is gone; a newer one is left alone."""
    connection.execute(
        update(connections)
        .where(connections.c.space_id == space_id, connections.c.epoch == epoch)
        .where(connections.c.lost_at.is_(None))
        .values(lost_at=now)
    )
