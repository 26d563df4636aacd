"""The queue, as rows. Every transition is one guarded UPDATE (compare-and-set) in one short transaction.

The store promises atomicity and nothing more: it knows no sockets and no notifications. What a caller
needs to tell others comes back as :class:`project.ports.Change`. Statements are SQLAlchemy Core, built once.
The transactions are here; what happens in them is in :mod:`project.request_moves` and
:mod:`project.connection_rows`, and what is only read is in :mod:`project.request_reads`.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Integer, and_, bindparam, insert, select, update
from sqlalchemy.engine import Connection as SqlConnection
from sqlalchemy.engine import RowMapping

from project import connection_rows, file_rows, process_rows, request_moves, request_reads, submit_key_rows
from project.database import Database
from project.errors import AlreadyFinal, NotFinal, NotFound, QueueFull, SpaceDisabled, SpaceOffline
from project.file_rows import NewFile
from project.models import CANCELLED, FAILED, FINAL_STATES, OPEN_STATES, QUEUED, SEQ_STEP, TIMED_OUT
from project.ports import AppLink, Binding, Change, Ending, Fenced, OpenWork
from project.request_reads import SpaceLoad
from project.request_tables import by_id, count_queued, count_queued_of_user, is_queued, note, requests, spaces
from project.submit_key_rows import KeyedBody

__all__ = ["Binding", "Change", "Ending", "Fenced", "Limits", "RequestStore", "SpaceLoad"]


_next_number = (
    update(spaces)
    .where(spaces.c.id == bindparam("b_space"))
    .values(next_number=spaces.c.next_number + 1)
    .returning(spaces)
)
_insert = insert(requests).returning(requests, bindparam("b_position", type_=Integer).label("position"))


@dataclass(frozen=True, slots=True)
class Limits:
    """Site-wide defaults for what a space leaves open. Seconds, and counts."""

    timeout: float
    queue_ttl: float
    max_attempts: int
    queue_length: int
    user_queue_length: int


class RequestStore:
    """Keeps requests, attempts, transitions, connections and processes. Every method may raise DatabaseAway."""

    def __init__(self, database: Database, limits: Limits) -> None:
        self._db = database
        self._limits = limits

    # Submitting

    def create(
        self,
        space_id: int,
        user_id: int,
        username: str,
        prompt: str,
        parameters: dict[str, Any],
        *,
        files: Sequence[NewFile] = (),
        connected: bool,
        now: float,
        keyed: KeyedBody | None = None,
        retry_of: str | None = None,
    ) -> RowMapping:
        """Accept a request: its row, with its ``position``, is committed when this returns.

        Raises NotFound, SpaceDisabled, SpaceOffline (not ``connected`` and the space does not queue
        while offline), QueueFull, or InProgress (``keyed`` was accepted since :meth:`accepted_before` looked);
        then nothing was accepted.
        """
        with self._db.write() as connection:
            space = self._next_in(connection, space_id)
            self._check_open(space, connected)
            waiting = self._check_queues(connection, space_id, space["queue_length"], user_id)
            said = {"user_id": user_id, "username": username, "prompt": prompt, "parameters": parameters}
            said["files"] = [file.facts() for file in files]
            values = {**self._new_row(space, now), **said, "retry_of": retry_of}
            row = connection.execute(_insert, {**values, "b_position": waiting + 1}).mappings().one()
            note(connection, row["id"], now, None, QUEUED, 0, None)
            file_rows.add(connection, row["id"], files, now)
            if keyed:
                submit_key_rows.remember(connection, user_id, keyed, row["id"], now)
            return row

    def accepted_before(self, user_id: int, keyed: KeyedBody, now: float) -> RowMapping | None:
        """Return the request that was accepted with this key and body, or None when the key is new.

        Raises KeyReused when another body came with the key, and NotFound when the request was deleted.
        """
        with self._db.read() as connection:
            request_id = submit_key_rows.find(connection, user_id, keyed, now)
            if request_id is None:
                return None
            row = connection.execute(by_id, {"id": request_id}).mappings().first()
        if row is None:
            raise NotFound("The request of this Idempotency-Key was deleted.")
        return row

    def knows_key(self, user_id: int, key: str, now: float) -> bool:
        """Whether a request of this user was accepted with this key."""
        with self._db.read() as connection:
            return submit_key_rows.is_known(connection, user_id, key, now)

    def forget_old_keys(self, now: float) -> int:
        """Delete the keys of submits that are remembered no longer; return how many."""
        with self._db.write() as connection:
            return submit_key_rows.drop_old(connection, now)

    @staticmethod
    def _next_in(connection: SqlConnection, space_id: int) -> RowMapping:
        """Lock the space's row by taking its next number, and return it as it is then."""
        space = connection.execute(_next_number, {"b_space": space_id}).mappings().first()
        if space is None:
            raise NotFound
        return space

    @staticmethod
    def _check_open(space: RowMapping, connected: bool) -> None:
        if not space["enabled"]:
            raise SpaceDisabled
        if not connected and not space["queue_when_offline"]:
            raise SpaceOffline(retry_after=5)

    def check_queues(self, space_id: int, space_limit: int | None, user_id: int) -> None:
        """Raise QueueFull when as many requests wait as may wait: in the space, or of the user in all spaces."""
        with self._db.read() as connection:
            self._check_queues(connection, space_id, space_limit, user_id)

    def _check_queues(self, connection: SqlConnection, space_id: int, space_limit: int | None, user_id: int) -> int:
        """Return how many wait in the space already. Raises what refuses one more."""
        limit, limit_of_user = space_limit or self._limits.queue_length, self._limits.user_queue_length
        waiting = int(connection.execute(count_queued, {"space": space_id}).scalar_one())
        if waiting >= limit:
            raise QueueFull(f"The queue of this space is full ({limit} waiting). Try again later.", retry_after=5)
        if connection.execute(count_queued_of_user, {"user": user_id}).scalar_one() >= limit_of_user:
            raise QueueFull(f"You have {limit_of_user} requests waiting; wait until one has begun.", retry_after=5)
        return waiting

    def _new_row(self, space: RowMapping, now: float) -> dict[str, Any]:
        return {
            "id": secrets.token_hex(16),
            "space_id": space["id"],
            "space_name": space["name"],
            "number": space["next_number"] - 1,
            "status": QUEUED,
            "seq": SEQ_STEP,
            "attempt": 0,
            "max_attempts": space["max_attempts"] or self._limits.max_attempts,
            "timeout_seconds": space["timeout_seconds"] or self._limits.timeout,
            "expires_at": now + self._limits.queue_ttl,
            "queue_left": self._limits.queue_ttl,
            "created_at": now,
            "updated_at": now,
        }

    # Reading

    def get(self, request_id: str) -> RowMapping | None:
        """Return the row, or None."""
        return request_reads.get(self._db, request_id)

    def transitions(self, request_id: str) -> list[RowMapping]:
        """Return what happened to the request, oldest first."""
        return request_reads.transitions_of(self._db, [request_id])[request_id]

    def position(self, row: RowMapping) -> int | None:
        """Return the place in the queue, 1 being next; None when it is not queued."""
        return request_reads.position(self._db, row)

    def list_for_user(
        self,
        user_id: int,
        *,
        space_id: int | None = None,
        space_name: str | None = None,
        status: str | None = None,
        before: tuple[float, str] | None = None,
        limit: int = 20,
    ) -> list[RowMapping]:
        """Return the user's requests, newest first; ``before`` is the (created_at, id) to go on after."""
        return request_reads.list_for_user(
            self._db, user_id, space_id=space_id, space_name=space_name, status=status, before=before, limit=limit
        )

    def changed_for_user(self, user_id: int, space_id: int, since: float, limit: int = 100) -> list[RowMapping]:
        """Return the user's requests in a space that are open, or changed at or after ``since``."""
        return request_reads.changed_for_user(self._db, user_id, space_id, since, limit)

    def open_of_user(self, user_id: int) -> list[RowMapping]:
        """Return the user's open requests."""
        return request_reads.open_of_user(self._db, user_id)

    def space_load(self, space_ids: Sequence[int] | None = None) -> dict[int, SpaceLoad]:
        """Return how busy the spaces are; a space that is missing has nothing to say."""
        return request_reads.space_load(self._db, space_ids)

    def queue_size(self, space_id: int) -> int:
        """Return how many requests wait in a space."""
        return request_reads.queue_size(self._db, space_id)

    def survey(self) -> dict[int | None, OpenWork]:
        """Return what is open, by space."""
        return request_reads.survey(self._db)

    def refusal(
        self, request_id: str, attempt_id: str | None, token_id: int | None, connection_id: str, now: float
    ) -> str:
        """Say why a result that nobody waits for is refused, in the order of guarantee G11."""
        return request_reads.refusal(self._db, request_id, attempt_id, token_id, connection_id, now)

    # Connections

    def bind(
        self, space_id: int, epoch: int | None, app: AppLink, claims: Sequence[str], process_id: str, now: float
    ) -> Binding:
        """Make ``app`` the space's connection and settle what its predecessor left, in one transaction.

        ``epoch`` is what the caller believes the present epoch to be (None: it knows none); :class:`Fenced` is
        raised when that is no longer so. A claim (an attempt id) of the processing attempt by the same token
        is honoured; otherwise that request is requeued at the head, or failed when no attempts are left.
        Raises NotFound or SpaceDisabled when the space went away meanwhile.
        """
        with self._db.write() as connection:
            connection_rows.check_enabled(connection, space_id)
            new_epoch = connection_rows.take_over(connection, space_id, epoch, app, process_id, now)
            row = request_moves.locked_processing(connection, space_id)
            over = connection_rows.claims_over(connection, space_id, app, claims)
            if row and row["attempt_id"] in claims and connection_rows.hand_on(connection, row, app):
                return Binding(new_epoch, row, over, [])
            change = request_moves.give_back(connection, row, now) if row else None
            return Binding(new_epoch, None, over, [change] if change else [])

    def mark_lost(self, space_id: int, epoch: int, now: float) -> None:
        """Note that the connection of ``epoch`` is gone; a newer one is left alone."""
        with self._db.write() as connection:
            connection_rows.mark_lost(connection, space_id, epoch, now)

    # Transitions

    def claim_next(self, space_id: int, epoch: int, app: AppLink, now: float) -> RowMapping | None:
        """Start the next attempt of the oldest queued request, or return None. Raises :class:`Fenced`."""
        with self._db.write() as connection:
            connection_rows.hold(connection, space_id, epoch)
            return request_moves.claim(connection, space_id, app, now)

    def finish_and_claim(
        self, space_id: int, epoch: int, app: AppLink, request_id: str, attempt_id: str, ending: Ending, now: float
    ) -> tuple[Change | None, RowMapping | None]:
        """End the attempt's request and start the next one, in one transaction.

        The change is None when the request had ended already. Raises :class:`Fenced`.
        """
        with self._db.write() as connection:
            connection_rows.hold(connection, space_id, epoch)
            change = request_moves.end_attempt(connection, request_id, attempt_id, ending, now)
            return change, request_moves.take(connection, space_id, app, now)

    def end(self, request_id: str, ending: Ending, now: float, attempt_id: str | None = None) -> Change | None:
        """End an open request (of the given attempt, if one is named); None when it was not so any more."""
        with self._db.write() as connection:
            if attempt_id:
                return request_moves.end_attempt(connection, request_id, attempt_id, ending, now)
            return request_moves.end(connection, request_id, ending, now)

    def cancel(self, request_id: str, code: str, now: float) -> Change:
        """Cancel an open request. Raises AlreadyFinal."""
        change = self.end(request_id, Ending(CANCELLED, code), now)
        if change is None:
            raise AlreadyFinal
        return change

    def end_space(self, space_id: int, now: float) -> list[Change]:
        """End all open requests of a space that is going away."""
        open_here = and_(requests.c.space_id == space_id, requests.c.status.in_(OPEN_STATES))
        return self._end_all(open_here, Ending(FAILED, "space_removed"), now)

    def expire_queued(self, now: float) -> list[Change]:
        """End the requests that have waited longer than the queue time."""
        return self._end_all(and_(is_queued, requests.c.expires_at <= now), Ending(TIMED_OUT, "queue_timeout"), now)

    def _end_all(self, condition: Any, ending: Ending, now: float) -> list[Change]:
        # Locked in one order, so that two of these cannot wait for each other; what changed meanwhile is left alone.
        query = select(requests.c.id).where(condition).order_by(requests.c.id).with_for_update()
        with self._db.write() as connection:
            ids = list(connection.execute(query).scalars())
            changes = [request_moves.end(connection, request_id, ending, now) for request_id in ids]
        return [change for change in changes if change]

    def give_back(self, request_id: str, attempt_id: str, now: float) -> Change | None:
        """Requeue the attempt's request at the head, or fail it; None when the attempt is over already."""
        with self._db.write() as connection:
            row = request_moves.locked_attempt(connection, request_id, attempt_id)
            return request_moves.give_back(connection, row, now) if row else None

    def delete(self, request_id: str) -> list[str]:
        """Delete a final request with its evidence, and return the ids of its files. Raises NotFound or NotFinal."""
        with self._db.write() as connection:
            row = connection.execute(by_id, {"id": request_id}).mappings().first()
            if row is None:
                raise NotFound
            if row["status"] not in FINAL_STATES:
                raise NotFinal
            return file_rows.drop_requests(connection, [request_id])

    # Processes

    def start_process(self, process_id: str, host: str, pid: int, grace: float, now: float) -> None:
        """Enter this process and make good for the time in which none ran (guarantee G12)."""
        with self._db.write() as connection:
            process_rows.start(connection, process_id, host, pid, grace, now)

    def heartbeat(self, process_id: str, now: float) -> None:
        """Say that this process is alive."""
        with self._db.write() as connection:
            process_rows.heartbeat(connection, process_id, now)
