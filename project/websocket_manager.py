"""The one door to everything that happens between spaces and apps.

The manager serialises the events of one space, asks :mod:`project.app_slot` what to do, and carries the
effects out through the ports it was given: the store keeps, the transport speaks, the notifier wakes.
Per space: lock, decide, keep, send (a queue put, it never blocks), release; then notify, close and dismiss.
It knows neither Flask, nor Socket.IO, nor SQL.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from project import app_slot
from project.app_slot import Slot, State, Work
from project.errors import AlreadyFinal, DatabaseAway, NotFound, SpaceDisabled
from project.live_progress import LiveProgress
from project.ports import (
    AppLink,
    Binding,
    Change,
    ConnectionInfo,
    Ending,
    Fenced,
    Newcomer,
    Notice,
    Notifier,
    OpenWork,
    Outcome,
    Progress,
    Registration,
    Row,
    Store,
    Times,
    Transport,
)
from project.space_cells import Cell, Cells

logger = logging.getLogger(__name__)

FINAL = frozenset({"completed", "failed", "cancelled", "timed_out"})
PROBE_SECONDS = 5.0


class WebsocketManager:
    """Registers apps per space, hands requests over one at a time, takes results; see the module."""

    def __init__(
        self,
        store: Store,
        notifier: Notifier,
        times: Times,
        process_id: str,
        *,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._notifier = notifier
        self._times = times
        self.process_id = process_id
        self._wall = wall
        self._monotonic = monotonic
        self._transport: Transport | None = None
        self._cells = Cells()
        self._progress = LiveProgress()
        self.accepting = True

    def attach(self, transport: Transport) -> None:
        """Give the manager its wire; the wire in turn knows the manager."""
        self._transport = transport

    # What pages and the API ask

    def is_connected(self, space_id: int) -> bool:
        """Whether an app serves the space now; the grace does not count."""
        cell = self._cells.find(space_id)
        return cell is not None and cell.slot.state is not State.OFFLINE

    def connections(self) -> list[ConnectionInfo]:
        """Return every space's connection."""
        return [info for cell in self._cells.all() if (info := cell.info())]

    def live_tokens(self) -> set[int]:
        """Return the ids of the tokens that serve a space now."""
        links = [cell.link for cell in self._cells.all()]
        return {link.token_id for link in links if link and link.token_id is not None}

    def progress(self, request_id: str) -> Progress | None:
        """Return what the running attempt has reported, or None."""
        return self._progress.get(request_id)

    def work_arrived(self, space_id: int) -> None:
        """Hand a just-accepted request over if the app is free; call it after the commit."""
        with self._cells.hold(space_id) as cell:
            cell.queue_dirty = True
            cell.afterwards.append(lambda: self._space_changed(space_id))
            self._pump(cell)

    def cancel(self, request_id: str, code: str = "cancelled_by_user") -> None:
        """End an open request for its user. Raises NotFound, or AlreadyFinal when it has ended."""
        row = self._store.get(request_id)
        if row is None:
            raise NotFound
        if row["status"] in FINAL or row["space_id"] is None:
            raise AlreadyFinal
        with self._cells.hold(row["space_id"]) as cell:
            if not self._cancel(cell, request_id, code):
                raise AlreadyFinal

    def _cancel(self, cell: Cell, request_id: str, code: str) -> bool:
        """Cancel in the slot when the app has it, else in the store alone."""
        if cell.slot.state is State.BUSY and cell.slot.work and cell.slot.work.request_id == request_id:
            return self._step(cell, app_slot.CancelIn(request_id, code, self._monotonic(), self._times.grace))
        change = self._store.end(request_id, Ending("cancelled", code), self._wall())
        self._tell(cell, change)
        return change is not None

    def space_removed(self, space_id: int) -> None:
        """End a space that was disabled or is about to be deleted: its requests, then its app's place."""
        with self._cells.hold(space_id) as cell:
            for change in self._store.end_space(space_id, self._wall()):
                self._tell(cell, change)
            self._put_out(cell, Notice("space_disabled", "This space was switched off or deleted."))

    def space_changed(self, space_id: int) -> None:
        """Wake the pages that look at the space."""
        self._space_changed(space_id)

    def user_removed(self, user_id: int) -> None:
        """Cancel the open requests of an account that is about to be deleted."""
        for row in self._store.open_of_user(user_id):
            with self._cells.hold(row["space_id"]) as cell:
                self._cancel(cell, row["id"], "user_removed")

    def token_revoked(self, token_id: int) -> None:
        """Cut every connection that a token opened."""
        for cell in self._cells.all():
            with self._cells.hold(cell.space_id):
                if cell.link and cell.link.token_id == token_id:
                    self._put_out(cell, Notice("unauthorized", "The token is not valid any more."))
        for connection_id in self._wire.of_token(token_id):
            self._wire.dismiss(connection_id)

    def tokens_changed(self, space_id: int) -> None:
        """Drop an app without a token from a space that does not allow that any more."""
        with self._cells.hold(space_id) as cell:
            if cell.link and cell.link.token_id is None:
                self._put_out(cell, Notice("unauthorized", "This space needs a token now."))

    def disconnect(self, space_id: int) -> bool:
        """Stop the app of a space; False when none is connected."""
        with self._cells.hold(space_id) as cell:
            return self._put_out(cell, Notice("unauthorized", "An admin disconnected this app."))

    # What the wire says

    def register(self, newcomer: Newcomer, space_id: int, space_name: str) -> Callable[[], None] | None:
        """Bind a connection to a space, and answer it through ``newcomer.answer``.

        The answer goes out before the first request does. When another connection is there, nothing is
        answered yet: what is returned asks that connection for a sign of life and then decides. It waits up
        to 5 s, so call it outside every read loop. Raises DatabaseAway; every refusal is an answer.
        """
        with self._cells.hold(space_id) as cell:
            cell.space_name = space_name
            if cell.slot.connection == newcomer.link.connection_id:
                self._see(cell, newcomer.link.connection_id)
                newcomer.answer(Registration("ok", self._size(cell), _in_hand(cell.slot)))
                return None
            if cell.slot.state is not State.OFFLINE and _is_same_app(cell.link, newcomer.link):
                self._replace(cell)
            if cell.slot.state is State.OFFLINE:
                self._bind(cell, newcomer)
                return None
            occupied = cell.slot
        return lambda: self._register_after_probe(newcomer, space_id, occupied)

    def _register_after_probe(self, newcomer: Newcomer, space_id: int, occupied: Slot) -> None:
        assert occupied.connection
        if self._wire.probe(occupied.connection, occupied.acks, PROBE_SECONDS):
            newcomer.answer(Registration("space_busy"))
            return
        with self._cells.hold(space_id) as cell:
            if cell.slot.epoch != occupied.epoch:
                newcomer.answer(Registration("space_busy"))
                return
            if cell.slot.state is not State.OFFLINE:
                self._replace(cell)
            self._bind(cell, newcomer)

    def _replace(self, cell: Cell) -> None:
        """Put the present connection out, dead or superseded, to make room."""
        self._put_out(cell, Notice("space_busy", "Another connection took the place of this one."))

    def _bind(self, cell: Cell, newcomer: Newcomer) -> None:
        """Make the newcomer the space's connection, unless it left while it was waiting."""
        if not self._wire.is_open(newcomer.link.connection_id):
            return
        binding = self._bound_in_store(cell, newcomer)
        if binding is None:
            return
        cell.link, cell.connected_at = newcomer.link, self._wall()
        for change in binding.changes:
            self._tell(cell, change)
        over = [Work(request_id, attempt_id, 0.0) for request_id, attempt_id in binding.over]
        bound = self._bound(newcomer, binding, over)
        in_hand = _in_hand(app_slot.decide(cell.slot, bound)[0])
        newcomer.answer(Registration("ok", self._size(cell), in_hand))
        self._step(cell, bound)
        self._cancel_over(cell, newcomer.link, over)

    def _bound_in_store(self, cell: Cell, newcomer: Newcomer) -> Binding | None:
        """Bind in the store; None when that was refused, and the newcomer was told or closed."""
        assert cell.space_id is not None
        link, epoch = newcomer.link, cell.slot.epoch or None
        try:
            return self._store.bind(cell.space_id, epoch, link, newcomer.claims, self.process_id, self._wall())
        except (NotFound, SpaceDisabled) as error:
            newcomer.answer(Registration("unknown_space" if isinstance(error, NotFound) else "space_disabled"))
        except Fenced:
            # What this process believed is out of date: forget it, and let the newcomer come again.
            self._take_on(cell, Slot())
            cell.afterwards.append(lambda: self._wire.close(link.connection_id))
        return None

    def _bound(self, newcomer: Newcomer, binding: Binding, over: list[Work]) -> app_slot.Bound:
        resumed = binding.resumed
        return app_slot.Bound(
            newcomer.link.connection_id,
            binding.epoch,
            newcomer.acks,
            self._monotonic(),
            self._times.grace,
            resumed=self._work(resumed, acks=False) if resumed else None,
            over=over[0] if over and not resumed else None,
        )

    def _cancel_over(self, cell: Cell, link: AppLink, over: list[Work]) -> None:
        """Tell the app of every further claim that is over; the slot itself told it of the first."""
        first = cell.slot.work.attempt_id if cell.slot.state is State.DRAINING and cell.slot.work else None
        for work in over:
            if work.attempt_id != first:
                self._send_cancel(link.connection_id, work, "already_final")

    def disconnected(self, connection_id: str) -> None:
        """Take note that a connection is gone; the grace of its requests starts."""
        for cell in self._cells.of(connection_id):
            with self._cells.hold(cell.space_id):
                self._step(cell, app_slot.Disconnected(connection_id))

    def sign_of_life(self, connection_id: str) -> None:
        """Take note that a connection said anything at all."""
        for cell in self._cells.of(connection_id):
            if cell.slot.state is State.DRAINING:
                with self._cells.hold(cell.space_id):
                    self._see(cell, connection_id)

    def _see(self, cell: Cell, connection_id: str) -> None:
        self._step(cell, app_slot.SignOfLife(connection_id))

    def serves(self, connection_id: str) -> bool:
        """Whether the connection serves any space."""
        return bool(self._cells.of(connection_id))

    def in_hand(self, link: AppLink, request_id: str, attempt_id: str | None) -> str | None:
        """Return the attempt that a result of this connection would end, or None."""
        cell = self._cells.working_on(link.connection_id, request_id, attempt_id)
        work = cell.slot.work if cell and cell.slot.state is State.BUSY else None
        return work.attempt_id if work else None

    def all_in_hand(self, link: AppLink) -> list[Work]:
        """Return what is in the hands of a connection."""
        slots = [cell.slot for cell in self._cells.of(link.connection_id)]
        return [slot.work for slot in slots if slot.state is State.BUSY and slot.work]

    def result(self, link: AppLink, request_id: str, attempt_id: str | None, outcome: Outcome) -> str:
        """Take an app's result; the code says what became of it (guarantee G11), after the commit."""
        cell = self._cells.working_on(link.connection_id, request_id, attempt_id)
        if cell is None:
            return self._refusal(link, request_id, attempt_id)
        with self._cells.hold(cell.space_id):
            work = cell.slot.work
            event = app_slot.ResultIn(link.connection_id, request_id, attempt_id, self._monotonic())
            kept = self._step(cell, event, outcome=outcome)
        if kept and work and event.now < work.deadline:
            return "accepted"
        meant = work.attempt_id if work and work.request_id == request_id else None
        return self._refusal(link, request_id, attempt_id or meant)

    def refuse(self, link: AppLink, request_id: str, attempt_id: str | None) -> str:
        """Say why a result is refused that is for nothing in hand; an app that was told to stop is free again."""
        cell = self._cells.working_on(link.connection_id, request_id, attempt_id)
        if cell:
            with self._cells.hold(cell.space_id):
                if cell.slot.state is State.DRAINING:
                    self._step(cell, app_slot.ResultIn(link.connection_id, request_id, attempt_id, self._monotonic()))
        return self._refusal(link, request_id, attempt_id)

    def _refusal(self, link: AppLink, request_id: str, attempt_id: str | None) -> str:
        return self._store.refusal(request_id, attempt_id, link.token_id, link.connection_id, self._wall())

    def report(
        self,
        link: AppLink,
        request_id: str,
        attempt_id: str | None,
        value: float | None,
        message: str | None,
        delta: str | None,
        offset: int | None,
    ) -> str:
        """Take progress of a running attempt; it never moves a state. Raises Invalid when ``offset`` leaves a hole."""
        cell = self._cells.working_on(link.connection_id, request_id, attempt_id)
        if cell is None:
            return self._refusal(link, request_id, attempt_id)
        with self._cells.hold(cell.space_id):
            slot, work = cell.slot, cell.slot.work
            is_here = slot.state is State.BUSY and slot.connection == link.connection_id
            if is_here and work and work.request_id == request_id and attempt_id in (None, work.attempt_id):
                self._progress.advance(request_id, value, message, delta, offset)
                cell.afterwards.append(lambda: self._notifier.publish(f"request:{request_id}"))
                cell.afterwards.append(lambda: self._notifier.publish(f"space:{cell.space_id}"))
                return "accepted"
        return self._refusal(link, request_id, attempt_id)

    # What time says

    def tick(self) -> None:
        """Look at everything that time may have changed; call it about every second."""
        for cell in self._cells.all():
            self._pass_time(cell)
        wall, open_work = self._wall(), self._store.survey()
        if any(work.expires_at is not None and work.expires_at <= wall for work in open_work.values()):
            self._expire(wall)
        for work in open_work.values():
            if work.attempt_id is not None and self._is_suspect(work, wall):
                with self._cells.hold(work.space_id) as cell:
                    self._settle(cell, work, wall)
        for cell in self._cells.all():
            self._catch_up(cell, open_work.get(cell.space_id, OpenWork(cell.space_id)))

    def _pass_time(self, cell: Cell) -> None:
        """Let the slot see the time, and a connection that left without a word."""
        connection = cell.slot.connection
        gone = connection is not None and not self._wire.is_open(connection)
        if cell.slot.state in (State.BUSY, State.DRAINING) or cell.lost_epoch is not None or gone:
            with self._cells.hold(cell.space_id):
                self._mark_lost(cell)
                if gone and connection:
                    self._step(cell, app_slot.Disconnected(connection))
                self._step(cell, app_slot.Tick(self._monotonic(), self._times.grace))

    def _expire(self, wall: float) -> None:
        for change in self._store.expire_queued(wall):
            with self._cells.hold(change.space_id) as cell:
                self._tell(cell, change)

    def _is_suspect(self, work: OpenWork, wall: float) -> bool:
        """Whether a processing request is past its deadline, or its app was away for longer than the grace."""
        assert work.deadline_at is not None
        lost = work.lost_at is not None and work.lost_at <= wall - self._times.grace
        return work.deadline_at <= wall or lost

    def _settle(self, cell: Cell, work: OpenWork, wall: float) -> None:
        """End or give back a processing request whose app is not here."""
        if cell.has(work.attempt_id):
            return
        assert work.request_id
        assert work.attempt_id
        assert work.deadline_at is not None
        if work.deadline_at <= wall:
            ending = Ending("timed_out", "processing_timeout")
            self._tell(cell, self._store.end(work.request_id, ending, wall, work.attempt_id))
        else:
            self._tell(cell, self._store.give_back(work.request_id, work.attempt_id, wall))
        self._pump(cell)

    def _catch_up(self, cell: Cell, found: OpenWork) -> None:
        """Start what waits though the app is free, notice what ended elsewhere, tell the app how many wait."""
        idle = cell.slot.state is State.IDLE and (found.waiting or found.attempt_id)
        doubtful = cell.slot.state is State.BUSY and not cell.has(found.attempt_id)
        if not idle and not doubtful and not cell.queue_dirty:
            return
        with self._cells.hold(cell.space_id):
            self._look(cell)
            self._pump(cell)
            self._send_queue_size(cell, found.waiting)

    def _look(self, cell: Cell) -> None:
        """Stop the app when the row says that its attempt was ended by somebody else."""
        work = cell.slot.work
        if cell.slot.state is not State.BUSY or not work:
            return
        row = self._store.get(work.request_id)
        if row is None or row["status"] != "processing" or row["attempt_id"] != work.attempt_id:
            reason = row["error_code"] if row and row["error_code"] else "already_final"
            now = self._monotonic()
            self._step(cell, app_slot.EndedElsewhere(work.attempt_id, reason, now, self._times.grace))

    def _send_queue_size(self, cell: Cell, size: int) -> None:
        cell.queue_dirty = False
        if cell.slot.connection:
            body = {"space_name": cell.space_name, "queue_size": size}
            self._wire.send(cell.slot.connection, "queue_update", body)

    def close_all(self) -> None:
        """Close every app's transport (they reconnect), for a shutdown."""
        for connection_id in {cell.slot.connection for cell in self._cells.all()}:
            if connection_id:
                self._wire.close(connection_id)

    def processing(self) -> int:
        """How many requests are in apps' hands."""
        return sum(cell.slot.state is State.BUSY for cell in self._cells.all())

    # How effects are carried out

    @property
    def _wire(self) -> Transport:
        assert self._transport, "attach() was not called"
        return self._transport

    def _step(
        self, cell: Cell, event: app_slot.Event, *, outcome: Outcome | None = None, notice: Notice | None = None
    ) -> bool:
        """Decide, keep, take on the new slot, act. True when a request was thereby ended or given back.

        When the store fails, the slot stays as it was, so that the event can come again.
        """
        slot, effects = app_slot.decide(cell.slot, event)
        try:
            kept, claimed = self._keep(cell, effects, outcome)
        except Fenced:
            slot, effects = app_slot.decide(cell.slot, app_slot.Fenced())
            kept, claimed = False, None
        epoch = cell.slot.epoch
        self._take_on(cell, slot)
        for effect in effects:
            self._act(cell, effect, epoch, notice)
        if claimed:
            self._hand_over(cell, claimed)
        return kept

    def _keep(self, cell: Cell, effects: Sequence[app_slot.Effect], outcome: Outcome | None) -> tuple[bool, Row | None]:
        """Carry out what the database must know first; return whether it was news, and a claimed row."""
        for effect in effects:
            row = None
            match effect:
                case app_slot.Record(work):
                    assert outcome
                    assert cell.link
                    change, row = self._record(cell, cell.link, work, outcome)
                case app_slot.Finish(work, status, code):
                    change = self._store.end(work.request_id, Ending(status, code), self._wall(), work.attempt_id)
                case app_slot.GiveBack(work):
                    change = self._store.give_back(work.request_id, work.attempt_id, self._wall())
                case _:
                    continue
            self._progress.forget(work.request_id)
            self._tell(cell, change)
            return change is not None, row
        return False, None

    def _record(self, cell: Cell, link: AppLink, work: Work, outcome: Outcome) -> tuple[Change | None, Row | None]:
        ending = Ending(outcome.status, outcome.code, outcome.message, outcome.parts, outcome.retryable, by_result=True)
        if not self.accepting:
            return self._store.end(work.request_id, ending, self._wall(), work.attempt_id), None
        assert cell.space_id is not None
        return self._store.finish_and_claim(
            cell.space_id, cell.slot.epoch, link, work.request_id, work.attempt_id, ending, self._wall()
        )

    def _take_on(self, cell: Cell, slot: Slot) -> None:
        """Replace the slot; when an app came or went, whoever looks at the space is told."""
        if self._cells.take_on(cell, slot) and cell.space_id is not None:
            space_id = cell.space_id
            cell.afterwards.append(lambda: self._space_changed(space_id))

    def _act(self, cell: Cell, effect: app_slot.Effect, epoch: int, notice: Notice | None) -> None:
        """Carry out what follows once the database knows and the slot is taken on."""
        match effect:
            case app_slot.Pump():
                self._pump(cell)
            case app_slot.SendCancel(work, reason):
                assert cell.slot.connection
                self._send_cancel(cell.slot.connection, work, reason)
            case app_slot.MarkLost():
                cell.lost_epoch = epoch
                self._mark_lost(cell)
            case app_slot.CloseTransport(connection):
                cell.afterwards.append(lambda: self._wire.close(connection))
            case app_slot.Dismiss(connection):
                self._dismiss(cell, connection, notice or Notice("unauthorized", "This app may not serve the space."))

    def _pump(self, cell: Cell) -> None:
        """Hand the oldest queued request to an idle app; a database that is away is left to the next tick."""
        if cell.slot.state is not State.IDLE or not self.accepting or not cell.link or cell.space_id is None:
            return
        try:
            row = self._store.claim_next(cell.space_id, cell.slot.epoch, cell.link, self._wall())
        except DatabaseAway:
            logger.warning("space %s: the database is away, handing over later", cell.space_name)
            return
        except Fenced:
            self._step(cell, app_slot.Fenced())
            return
        if row:
            self._hand_over(cell, row)

    def _hand_over(self, cell: Cell, row: Row) -> None:
        """Take a claimed row on and send it."""
        self._take_on(cell, app_slot.decide(cell.slot, app_slot.Claimed(self._work(row, cell.slot.acks)))[0])
        connection, attempt_id = cell.slot.connection, row["attempt_id"]
        assert connection
        cell.queue_dirty = True
        on_ack = (lambda: self._acknowledged(connection, attempt_id)) if cell.slot.acks else None
        self._wire.send_request(connection, row, self._size(cell), on_ack)
        self._tell(cell, Change(row["id"], row["user_id"], row["space_id"], row["status"]))

    def _acknowledged(self, connection_id: str, attempt_id: str) -> None:
        for cell in self._cells.of(connection_id):
            with self._cells.hold(cell.space_id):
                self._step(cell, app_slot.AckIn(connection_id, attempt_id))

    def _work(self, row: Row, acks: bool) -> Work:
        """Turn a row into what the slot knows, its deadline on the monotonic clock."""
        now = self._monotonic()
        deadline = now + (row["deadline_at"] - self._wall())
        return Work(row["id"], row["attempt_id"], deadline, now + self._times.ack_timeout if acks else None)

    def _send_cancel(self, connection_id: str, work: Work, reason: str) -> None:
        body = {"request_id": work.request_id, "attempt_id": work.attempt_id, "reason": reason}
        self._wire.send(connection_id, "inference_cancel", body, on_ack=lambda: self.sign_of_life(connection_id))

    def _mark_lost(self, cell: Cell) -> None:
        """Start the grace in the database; what fails now is tried again with the next tick."""
        if cell.lost_epoch is None or cell.space_id is None:
            return
        try:
            self._store.mark_lost(cell.space_id, cell.lost_epoch, self._wall())
            cell.lost_epoch = None
        except DatabaseAway:
            logger.warning("space %s: the database is away, noting the lost app later", cell.space_name)

    def _put_out(self, cell: Cell, notice: Notice) -> bool:
        """Take the place of the app away and tell it why."""
        connection = cell.slot.connection
        if connection:
            self._step(cell, app_slot.Revoked(connection), notice=notice)
        return connection is not None

    def _dismiss(self, cell: Cell, connection_id: str, notice: Notice) -> None:
        body = {"success": False, "space_name": cell.space_name, "code": notice.code, "message": notice.message}
        self._wire.send(connection_id, "register_response", body)

        def unless_it_serves_another() -> None:
            if not self.serves(connection_id):
                self._wire.dismiss(connection_id)

        cell.afterwards.append(unless_it_serves_another)

    def _size(self, cell: Cell) -> int:
        """How many wait; while the database is away, none that we know of."""
        try:
            return self._store.queue_size(cell.space_id) if cell.space_id is not None else 0
        except DatabaseAway:
            return 0

    def _tell(self, cell: Cell, change: Change | None) -> None:
        """Wake whoever looks at a request that changed, once the lock is released."""
        if change is None:
            return
        if change.status != "processing":
            self._progress.forget(change.request_id)
        cell.queue_dirty = True
        cell.afterwards.append(lambda: self._publish(change))

    def _publish(self, change: Change) -> None:
        self._notifier.publish(f"request:{change.request_id}")
        self._notifier.publish(f"user:{change.user_id}")
        if change.space_id is not None:
            self._space_changed(change.space_id)

    def _space_changed(self, space_id: int) -> None:
        self._notifier.publish(f"space:{space_id}")


def _in_hand(slot: Slot) -> tuple[dict[str, str], ...]:
    """Return the claim that is honoured: what the slot has in hand."""
    work = slot.work
    if slot.state is not State.BUSY or not work:
        return ()
    return ({"request_id": work.request_id, "attempt_id": work.attempt_id},)


def _is_same_app(old: AppLink | None, new: AppLink) -> bool:
    """Whether a newcomer is the same app come back: the same token and the same instance."""
    return bool(old and new.instance and old.instance == new.instance and old.token_id == new.token_id)
