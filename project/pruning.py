"""What may go, counted: the same questions that the site's own housekeeping asks, without waiting for its hour."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from sqlalchemy import delete, func, or_, select
from sqlalchemy.engine import Connection as SqlConnection

from project import file_rows, submit_key_rows
from project.database import Database
from project.file_storage import FolderStorage
from project.files import ORPHAN_BATCH, ORPHAN_SECONDS, SWEEP_PATIENCE, Files
from project.models import FINAL_STATES, EndedSession, FileStore, InferenceRequest, SubmitKey
from project.request_store import RequestStore

requests: Any = InferenceRequest.__table__
ended_sessions: Any = EndedSession.__table__
files: Any = file_rows.files


@dataclass(frozen=True, slots=True)
class Due:
    """One kind of thing that may go: how many, and how many bytes of the storage (None: it has none there)."""

    what: str
    count: int
    bytes: int | None = None


class Pruner:
    """Counts and deletes what is due at ``now``: requests that ended before ``before``, and what nothing names.

    Both are Unix seconds; ``grace`` is the site's, in seconds. Others may read and write all the time.
    """

    def __init__(self, database: Database, storage: FolderStorage, *, before: float, now: float, grace: float) -> None:
        self._database, self._storage = database, storage
        self._before, self._now = before, now
        self._unused_before = now - grace - ORPHAN_SECONDS
        self._orphan_before = now - ORPHAN_SECONDS

    def due(self) -> list[Due]:
        """Count what may go, and delete nothing."""
        with self._database.read() as connection:
            rows = [
                self._requests(connection),
                self._unused(connection),
                Due("keys of submits", self._count(connection, SubmitKey.created_at <= self._keys_before)),
                Due("login sessions that were ended", self._count(connection, EndedSession.until <= self._now)),
            ]
        arriving = self._storage.abandoned(self._orphan_before)
        return [*rows, self._orphans(), Due("uploads that never arrived whole", len(arriving), sum(arriving))]

    def delete(self, site: Files, store: RequestStore) -> None:
        """Delete it, in short transactions. Raises :class:`DatabaseAway`; whoever calls again goes on from there."""
        site.expire(self._before)
        site.sweep(self._now)
        store.forget_old_keys(self._now)
        with self._database.write(SWEEP_PATIENCE) as connection:
            connection.execute(delete(ended_sessions).where(ended_sessions.c.until <= self._now))

    @property
    def _keys_before(self) -> float:
        return self._now - submit_key_rows.REMEMBERED

    def _requests(self, connection: SqlConnection) -> Due:
        old = requests.c.finished_at < self._before
        count = connection.scalar(select(func.count()).select_from(requests).where(old))
        named = select(files.c.id).join(requests, requests.c.id == files.c.request_id).where(old)
        return Due("requests that ended", count or 0, self._bytes(connection, named))

    def _unused(self, connection: SqlConnection) -> Due:
        ended = requests.c.status.in_(FINAL_STATES)
        stays = or_(requests.c.finished_at.is_(None), requests.c.finished_at >= self._before)
        query = select(files.c.id).join(requests, requests.c.id == files.c.request_id)
        query = query.where(~files.c.used, files.c.created_at < self._unused_before, ended, stays)
        count = connection.scalar(select(func.count()).select_from(query.subquery()))
        return Due("uploads that no result names", count or 0, self._bytes(connection, query))

    def _bytes(self, connection: SqlConnection, ids: Any) -> int:
        return sum(self._storage.size(key) for key in connection.execute(ids).scalars())

    @staticmethod
    def _count(connection: SqlConnection, condition: Any) -> int:
        return connection.scalar(select(func.count()).where(condition)) or 0

    def _orphans(self) -> Due:
        found = list(self._orphan_sizes())
        return Due("files without a request", len(found), sum(found))

    def _orphan_sizes(self) -> Iterator[int]:
        """Yield the sizes of old bytes without a row; none when they belong to another database."""
        with self._database.read() as connection:
            name = connection.scalar(select(FileStore.name))
        keys = self._storage.keys(self._orphan_before) if name and name == self._storage.name() else iter(())
        while batch := list(islice(keys, ORPHAN_BATCH)):
            with self._database.read() as connection:
                known = file_rows.known(connection, batch)
            yield from (self._storage.size(key) for key in batch if key not in known)


def gone(before: list[Due], after: list[Due]) -> list[Due]:
    """Return what went between two counts of the same."""
    pairs = zip(before, after, strict=True)
    return [replace(one, count=one.count - left.count, bytes=_less(one.bytes, left.bytes)) for one, left in pairs]


def _less(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else before - after
