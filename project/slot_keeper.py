"""How the effects of a slot's events are carried out, through the ports that the manager was given.

The store keeps, the transport speaks, the notifier wakes. Per space: lock, decide, keep, send (a queue put, it
never blocks), release; then notify, close and dismiss. Whoever calls holds the space's lock.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from project import app_slot
from project.app_slot import Slot, State, Work
from project.errors import DatabaseAway
from project.live_progress import LiveProgress
from project.ports import AppLink, Change, Ending, Fenced, Notice, Notifier, Outcome, Row, Store, Times, Transport
from project.space_cells import Cell, Cells

logger = logging.getLogger(__name__)


class SlotKeeper:
    """The slots of all spaces, and the hands that act for them; see the module."""

    def __init__(
        self,
        store: Store,
        notifier: Notifier,
        times: Times,
        *,
        wall: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self.store = store
        self.notifier = notifier
        self.times = times
        self.wall = wall
        self.monotonic = monotonic
        self.cells = Cells()
        self.progress = LiveProgress()
        self.accepting = True
        self._transport: Transport | None = None

    def attach(self, transport: Transport) -> None:
        """Give the slots their wire."""
        self._transport = transport

    @property
    def wire(self) -> Transport:
        """What speaks to the apps."""
        assert self._transport, "attach() was not called"
        return self._transport

    def step(
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
        self.take_on(cell, slot)
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
                    change = self.store.end(work.request_id, Ending(status, code), self.wall(), work.attempt_id)
                case app_slot.GiveBack(work):
                    change = self.store.give_back(work.request_id, work.attempt_id, self.wall())
                case _:
                    continue
            self.progress.forget(work.request_id)
            self.tell(cell, change)
            return change is not None, row
        return False, None

    def _record(self, cell: Cell, link: AppLink, work: Work, outcome: Outcome) -> tuple[Change | None, Row | None]:
        ending = Ending(outcome.status, outcome.code, outcome.message, outcome.parts, outcome.retryable, by_result=True)
        if not self.accepting:
            return self.store.end(work.request_id, ending, self.wall(), work.attempt_id), None
        assert cell.space_id is not None
        return self.store.finish_and_claim(
            cell.space_id, cell.slot.epoch, link, work.request_id, work.attempt_id, ending, self.wall()
        )

    def take_on(self, cell: Cell, slot: Slot) -> None:
        """Replace the slot; when an app came or went, whoever looks at the space is told."""
        if self.cells.take_on(cell, slot) and cell.space_id is not None:
            space_id = cell.space_id
            cell.afterwards.append(lambda: self.space_changed(space_id))

    def _act(self, cell: Cell, effect: app_slot.Effect, epoch: int, notice: Notice | None) -> None:
        """Carry out what follows once the database knows and the slot is taken on."""
        match effect:
            case app_slot.Pump():
                self.pump(cell)
            case app_slot.SendCancel(work, reason):
                assert cell.slot.connection
                self.send_cancel(cell.slot.connection, work, reason)
            case app_slot.MarkLost():
                cell.lost_epoch = epoch
                self.mark_lost(cell)
            case app_slot.CloseTransport(connection):
                cell.afterwards.append(lambda: self.wire.close(connection))
            case app_slot.Dismiss(connection):
                self._dismiss(cell, connection, notice or Notice("unauthorized", "This app may not serve the space."))

    def pump(self, cell: Cell) -> None:
        """Hand the oldest queued request to an idle app; a database that is away is left to the next tick."""
        if cell.slot.state is not State.IDLE or not self.accepting or not cell.link or cell.space_id is None:
            return
        try:
            row = self.store.claim_next(cell.space_id, cell.slot.epoch, cell.link, self.wall())
        except DatabaseAway:
            logger.warning("space %s: the database is away, handing over later", cell.space_name)
            return
        except Fenced:
            self.step(cell, app_slot.Fenced())
            return
        if row:
            self._hand_over(cell, row)

    def _hand_over(self, cell: Cell, row: Row) -> None:
        """Take a claimed row on and send it."""
        self.take_on(cell, app_slot.decide(cell.slot, app_slot.Claimed(self.work(row, cell.slot.acks)))[0])
        connection, attempt_id = cell.slot.connection, row["attempt_id"]
        assert connection
        cell.queue_dirty = True
        on_ack = (lambda: self._acknowledged(connection, attempt_id)) if cell.slot.acks else None
        self.wire.send_request(connection, row, self.size(cell), on_ack)
        self.tell(cell, Change(row["id"], row["user_id"], row["space_id"], row["status"]))

    def _acknowledged(self, connection_id: str, attempt_id: str) -> None:
        for cell in self.cells.of(connection_id):
            with self.cells.hold(cell.space_id):
                self.step(cell, app_slot.AckIn(connection_id, attempt_id))

    def work(self, row: Row, acks: bool) -> Work:
        """Turn a row into what the slot knows, its deadline on the monotonic clock."""
        now = self.monotonic()
        deadline = now + (row["deadline_at"] - self.wall())
        return Work(row["id"], row["attempt_id"], deadline, now + self.times.ack_timeout if acks else None)

    def send_cancel(self, connection_id: str, work: Work, reason: str) -> None:
        """Tell an app to stop."""
        body = {"request_id": work.request_id, "attempt_id": work.attempt_id, "reason": reason}
        self.wire.send(connection_id, "inference_cancel", body, on_ack=lambda: self.sign_of_life(connection_id))

    def mark_lost(self, cell: Cell) -> None:
        """Start the grace in the database; what fails now is tried again with the next tick."""
        if cell.lost_epoch is None or cell.space_id is None:
            return
        try:
            self.store.mark_lost(cell.space_id, cell.lost_epoch, self.wall())
            cell.lost_epoch = None
        except DatabaseAway:
            logger.warning("space %s: the database is away, noting the lost app later", cell.space_name)

    def put_out(self, cell: Cell, notice: Notice) -> bool:
        """Take the place of the app away and tell it why."""
        connection = cell.slot.connection
        if connection:
            self.step(cell, app_slot.Revoked(connection), notice=notice)
        return connection is not None

    def _dismiss(self, cell: Cell, connection_id: str, notice: Notice) -> None:
        body = {"success": False, "space_name": cell.space_name, "code": notice.code, "message": notice.message}
        self.wire.send(connection_id, "register_response", body)

        def unless_it_serves_another() -> None:
            if not self.serves(connection_id):
                self.wire.dismiss(connection_id)

        cell.afterwards.append(unless_it_serves_another)

    def size(self, cell: Cell) -> int:
        """How many wait; while the database is away, none that we know of."""
        try:
            return self.store.queue_size(cell.space_id) if cell.space_id is not None else 0
        except DatabaseAway:
            return 0

    def tell(self, cell: Cell, change: Change | None) -> None:
        """Wake whoever looks at a request that changed, once the lock is released."""
        if change is None:
            return
        if change.status != "processing":
            self.progress.forget(change.request_id)
        cell.queue_dirty = True
        cell.afterwards.append(lambda: self._publish(change))

    def _publish(self, change: Change) -> None:
        self.notifier.publish(f"request:{change.request_id}")
        self.notifier.publish(f"user:{change.user_id}")
        if change.space_id is not None:
            self.space_changed(change.space_id)

    def space_changed(self, space_id: int) -> None:
        """Wake the pages that look at the space."""
        self.notifier.publish(f"space:{space_id}")

    def sign_of_life(self, connection_id: str) -> None:
        """Take note that a connection said anything at all."""
        for cell in self.cells.of(connection_id):
            if cell.slot.state is State.DRAINING:
                with self.cells.hold(cell.space_id):
                    self.see(cell, connection_id)

    def see(self, cell: Cell, connection_id: str) -> None:
        """Take note of a sign of life in one space."""
        self.step(cell, app_slot.SignOfLife(connection_id))

    def serves(self, connection_id: str) -> bool:
        """Whether the connection serves any space."""
        return bool(self.cells.of(connection_id))
