"""The one door to everything that happens between spaces and apps.

The manager turns what pages, the wire and the clock say into events of a space's slot, one after the other for
each space. What follows from an event is decided by :mod:`project.app_slot` and carried out by
:mod:`project.slot_keeper`. It knows neither Flask, nor Socket.IO, nor SQL.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from project import app_slot
from project.app_slot import State, Work
from project.errors import AlreadyFinal, NotFound
from project.ports import (
    AppLink,
    ConnectionInfo,
    Ending,
    Newcomer,
    Notice,
    Notifier,
    OpenWork,
    Outcome,
    Progress,
    Store,
    Times,
    Transport,
)
from project.registrar import Registrar
from project.slot_keeper import SlotKeeper
from project.space_cells import Cell

logger = logging.getLogger(__name__)

FINAL = frozenset({"completed", "failed", "cancelled", "timed_out"})


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
        self.process_id = process_id
        self._slots = SlotKeeper(store, notifier, times, wall=wall, monotonic=monotonic)
        self._registrar = Registrar(self._slots, process_id)

    def attach(self, transport: Transport) -> None:
        """Give the manager its wire; the wire in turn knows the manager."""
        self._slots.attach(transport)

    @property
    def accepting(self) -> bool:
        """Whether new requests are taken and handed over; False while the site stops."""
        return self._slots.accepting

    @accepting.setter
    def accepting(self, value: bool) -> None:
        self._slots.accepting = value

    # What pages and the API ask

    def is_connected(self, space_id: int) -> bool:
        """Whether an app serves the space now; the grace does not count."""
        cell = self._slots.cells.find(space_id)
        return cell is not None and cell.slot.state is not State.OFFLINE

    def connections(self) -> list[ConnectionInfo]:
        """Return every space's connection."""
        return [info for cell in self._slots.cells.all() if (info := cell.info())]

    def live_tokens(self) -> set[int]:
        """Return the ids of the tokens that serve a space now."""
        links = [cell.link for cell in self._slots.cells.all()]
        return {link.token_id for link in links if link and link.token_id is not None}

    def progress(self, request_id: str) -> Progress | None:
        """Return what the running attempt has reported, or None."""
        return self._slots.progress.get(request_id)

    def work_arrived(self, space_id: int) -> None:
        """Hand a just-accepted request over if the app is free; call it after the commit."""
        with self._slots.cells.hold(space_id) as cell:
            cell.queue_dirty = True
            cell.afterwards.append(lambda: self._slots.space_changed(space_id))
            self._slots.pump(cell)

    def cancel(self, request_id: str, code: str = "cancelled_by_user") -> None:
        """End an open request for its user. Raises NotFound, or AlreadyFinal when it has ended."""
        row = self._slots.store.get(request_id)
        if row is None:
            raise NotFound
        if row["status"] in FINAL or row["space_id"] is None:
            raise AlreadyFinal
        with self._slots.cells.hold(row["space_id"]) as cell:
            if not self._cancel(cell, request_id, code):
                raise AlreadyFinal

    def _cancel(self, cell: Cell, request_id: str, code: str) -> bool:
        """Cancel in the slot when the app has it, else in the store alone."""
        if cell.slot.state is State.BUSY and cell.slot.work and cell.slot.work.request_id == request_id:
            return self._slots.step(
                cell, app_slot.CancelIn(request_id, code, self._slots.monotonic(), self._slots.times.grace)
            )
        change = self._slots.store.end(request_id, Ending("cancelled", code), self._slots.wall())
        self._slots.tell(cell, change)
        return change is not None

    def space_removed(self, space_id: int) -> None:
        """End a space that was disabled or is about to be deleted: its requests, then its app's place."""
        with self._slots.cells.hold(space_id) as cell:
            for change in self._slots.store.end_space(space_id, self._slots.wall()):
                self._slots.tell(cell, change)
            self._slots.put_out(cell, Notice("space_disabled", "This space was switched off or deleted."))

    def space_changed(self, space_id: int) -> None:
        """Wake the pages that look at the space."""
        self._slots.space_changed(space_id)

    def user_removed(self, user_id: int) -> None:
        """Cancel the open requests of an account that is about to be deleted."""
        for row in self._slots.store.open_of_user(user_id):
            with self._slots.cells.hold(row["space_id"]) as cell:
                self._cancel(cell, row["id"], "user_removed")

    def token_revoked(self, token_id: int) -> None:
        """Cut every connection that a token opened."""
        for cell in self._slots.cells.all():
            with self._slots.cells.hold(cell.space_id):
                if cell.link and cell.link.token_id == token_id:
                    self._slots.put_out(cell, Notice("unauthorized", "The token is not valid any more."))
        for connection_id in self._slots.wire.of_token(token_id):
            self._slots.wire.dismiss(connection_id)

    def tokens_changed(self, space_id: int) -> None:
        """Drop an app without a token from a space that does not allow that any more."""
        with self._slots.cells.hold(space_id) as cell:
            if cell.link and cell.link.token_id is None:
                self._slots.put_out(cell, Notice("unauthorized", "This space needs a token now."))

    def disconnect(self, space_id: int) -> bool:
        """Stop the app of a space; False when none is connected."""
        with self._slots.cells.hold(space_id) as cell:
            return self._slots.put_out(cell, Notice("unauthorized", "An admin disconnected this app."))

    # What the wire says

    def register(self, newcomer: Newcomer, space_id: int, space_name: str) -> Callable[[], None] | None:
        """Bind a connection to a space; see :meth:`project.registrar.Registrar.register`."""
        return self._registrar.register(newcomer, space_id, space_name)

    def disconnected(self, connection_id: str) -> None:
        """Take note that a connection is gone; the grace of its requests starts."""
        for cell in self._slots.cells.of(connection_id):
            with self._slots.cells.hold(cell.space_id):
                self._slots.step(cell, app_slot.Disconnected(connection_id))

    def sign_of_life(self, connection_id: str) -> None:
        """Take note that a connection said anything at all."""
        self._slots.sign_of_life(connection_id)

    def serves(self, connection_id: str) -> bool:
        """Whether the connection serves any space."""
        return self._slots.serves(connection_id)

    def in_hand(self, link: AppLink, request_id: str, attempt_id: str | None) -> str | None:
        """Return the attempt that a result of this connection would end, or None."""
        cell = self._slots.cells.working_on(link.connection_id, request_id, attempt_id)
        work = cell.slot.work if cell and cell.slot.state is State.BUSY else None
        return work.attempt_id if work else None

    def all_in_hand(self, link: AppLink) -> list[Work]:
        """Return what is in the hands of a connection."""
        slots = [cell.slot for cell in self._slots.cells.of(link.connection_id)]
        return [slot.work for slot in slots if slot.state is State.BUSY and slot.work]

    def result(self, link: AppLink, request_id: str, attempt_id: str | None, outcome: Outcome) -> str:
        """Take an app's result; the code says what became of it (guarantee G11), after the commit."""
        cell = self._slots.cells.working_on(link.connection_id, request_id, attempt_id)
        if cell is None:
            return self._refusal(link, request_id, attempt_id)
        with self._slots.cells.hold(cell.space_id):
            work = cell.slot.work
            event = app_slot.ResultIn(link.connection_id, request_id, attempt_id, self._slots.monotonic())
            kept = self._slots.step(cell, event, outcome=outcome)
        if kept and work and event.now < work.deadline:
            return "accepted"
        meant = work.attempt_id if work and work.request_id == request_id else None
        return self._refusal(link, request_id, attempt_id or meant)

    def end_and_leave(self, link: AppLink, work: Work, outcome: Outcome) -> None:
        """End a request for a connection that is about to be cut for what it sent: it is handed nothing more."""
        cell = self._slots.cells.working_on(link.connection_id, work.request_id, work.attempt_id)
        if cell is None:
            return
        ending = Ending(outcome.status, outcome.code, outcome.message, by_result=True)
        with self._slots.cells.hold(cell.space_id):
            change = self._slots.store.end(work.request_id, ending, self._slots.wall(), work.attempt_id)
            self._slots.tell(cell, change)
            self._slots.step(cell, app_slot.Disconnected(link.connection_id))

    def refuse(self, link: AppLink, request_id: str, attempt_id: str | None) -> str:
        """Say why a result is refused that is for nothing in hand; an app that was told to stop is free again."""
        cell = self._slots.cells.working_on(link.connection_id, request_id, attempt_id)
        if cell:
            with self._slots.cells.hold(cell.space_id):
                if cell.slot.state is State.DRAINING:
                    self._slots.step(
                        cell, app_slot.ResultIn(link.connection_id, request_id, attempt_id, self._slots.monotonic())
                    )
        return self._refusal(link, request_id, attempt_id)

    def _refusal(self, link: AppLink, request_id: str, attempt_id: str | None) -> str:
        return self._slots.store.refusal(request_id, attempt_id, link.token_id, link.connection_id, self._slots.wall())

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
        cell = self._slots.cells.working_on(link.connection_id, request_id, attempt_id)
        if cell is None:
            return self._refusal(link, request_id, attempt_id)
        with self._slots.cells.hold(cell.space_id):
            slot, work = cell.slot, cell.slot.work
            is_here = slot.state is State.BUSY and slot.connection == link.connection_id
            if is_here and work and work.request_id == request_id and attempt_id in (None, work.attempt_id):
                self._slots.progress.advance(request_id, value, message, delta, offset)
                cell.afterwards.append(lambda: self._slots.notifier.publish(f"request:{request_id}"))
                cell.afterwards.append(lambda: self._slots.notifier.publish(f"space:{cell.space_id}"))
                return "accepted"
        return self._refusal(link, request_id, attempt_id)

    # What time says

    def tick(self) -> None:
        """Look at everything that time may have changed; call it about every second."""
        for cell in self._slots.cells.all():
            self._pass_time(cell)
        wall, open_work = self._slots.wall(), self._slots.store.survey()
        if any(work.expires_at is not None and work.expires_at <= wall for work in open_work.values()):
            self._expire(wall)
        for work in open_work.values():
            if work.attempt_id is not None and self._is_suspect(work, wall):
                with self._slots.cells.hold(work.space_id) as cell:
                    self._settle(cell, work, wall)
        for cell in self._slots.cells.all():
            self._catch_up(cell, open_work.get(cell.space_id, OpenWork(cell.space_id)))

    def _pass_time(self, cell: Cell) -> None:
        """Let the slot see the time, and a connection that left without a word."""
        connection = cell.slot.connection
        gone = connection is not None and not self._slots.wire.is_open(connection)
        if cell.slot.state in (State.BUSY, State.DRAINING) or cell.lost_epoch is not None or gone:
            with self._slots.cells.hold(cell.space_id):
                self._slots.mark_lost(cell)
                if gone and connection:
                    self._slots.step(cell, app_slot.Disconnected(connection))
                self._slots.step(cell, app_slot.Tick(self._slots.monotonic(), self._slots.times.grace))

    def _expire(self, wall: float) -> None:
        for change in self._slots.store.expire_queued(wall):
            with self._slots.cells.hold(change.space_id) as cell:
                self._slots.tell(cell, change)

    def _is_suspect(self, work: OpenWork, wall: float) -> bool:
        """Whether a processing request is past its deadline, or its app was away for longer than the grace."""
        assert work.deadline_at is not None
        lost = work.lost_at is not None and work.lost_at <= wall - self._slots.times.grace
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
            self._slots.tell(cell, self._slots.store.end(work.request_id, ending, wall, work.attempt_id))
        else:
            self._slots.tell(cell, self._slots.store.give_back(work.request_id, work.attempt_id, wall))
        self._slots.pump(cell)

    def _catch_up(self, cell: Cell, found: OpenWork) -> None:
        """Start what waits though the app is free, notice what ended elsewhere, tell the app how many wait."""
        idle = cell.slot.state is State.IDLE and (found.waiting or found.attempt_id)
        doubtful = cell.slot.state is State.BUSY and not cell.has(found.attempt_id)
        if not idle and not doubtful and not cell.queue_dirty:
            return
        with self._slots.cells.hold(cell.space_id):
            self._look(cell)
            self._slots.pump(cell)
            self._send_queue_size(cell, found.waiting)

    def _look(self, cell: Cell) -> None:
        """Stop the app when the row says that its attempt was ended by somebody else."""
        work = cell.slot.work
        if cell.slot.state is not State.BUSY or not work:
            return
        row = self._slots.store.get(work.request_id)
        if row is None or row["status"] != "processing" or row["attempt_id"] != work.attempt_id:
            reason = row["error_code"] if row and row["error_code"] else "already_final"
            now = self._slots.monotonic()
            self._slots.step(cell, app_slot.EndedElsewhere(work.attempt_id, reason, now, self._slots.times.grace))

    def _send_queue_size(self, cell: Cell, size: int) -> None:
        cell.queue_dirty = False
        if cell.slot.connection:
            body = {"space_name": cell.space_name, "queue_size": size}
            self._slots.wire.send(cell.slot.connection, "queue_update", body)

    def close_idle(self) -> None:
        """Close the connections that did not authenticate or register in time; call it about every second."""
        self._slots.wire.close_idle(self._slots.serves)

    def close_all(self) -> None:
        """Close every app's transport (they reconnect), for a shutdown."""
        for connection_id in {cell.slot.connection for cell in self._slots.cells.all()}:
            if connection_id:
                self._slots.wire.close(connection_id)

    def processing(self) -> int:
        """How many requests are in apps' hands."""
        return sum(cell.slot.state is State.BUSY for cell in self._slots.cells.all())
