"""Who serves a space: the first, the same app come back, or a newcomer once the one before gave no sign of life."""

from __future__ import annotations

from collections.abc import Callable

from project import app_slot
from project.app_slot import Slot, State, Work
from project.errors import NotFound, SpaceDisabled
from project.ports import AppLink, Binding, Fenced, Newcomer, Notice, Registration
from project.slot_keeper import SlotKeeper
from project.space_cells import Cell

PROBE_SECONDS = 5.0


class Registrar:
    """Binds connections to spaces, at most one to each (guarantee G6)."""

    def __init__(self, slots: SlotKeeper, process_id: str) -> None:
        self._slots = slots
        self._process_id = process_id

    def register(self, newcomer: Newcomer, space_id: int, space_name: str) -> Callable[[], None] | None:
        """Bind a connection to a space, and answer it through ``newcomer.answer``.

        The answer goes out before the first request does. When another connection is there, nothing is
        answered yet: what is returned asks that connection for a sign of life and then decides. It waits up
        to 5 s, so call it outside every read loop. Raises DatabaseAway; every refusal is an answer.
        """
        with self._slots.cells.hold(space_id) as cell:
            cell.space_name = space_name
            if cell.slot.connection == newcomer.link.connection_id:
                self._slots.see(cell, newcomer.link.connection_id)
                newcomer.answer(Registration("ok", self._slots.size(cell), _in_hand(cell.slot)))
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
        if self._slots.wire.probe(occupied.connection, occupied.acks, PROBE_SECONDS):
            newcomer.answer(Registration("space_busy"))
            return
        with self._slots.cells.hold(space_id) as cell:
            if cell.slot.epoch != occupied.epoch:
                newcomer.answer(Registration("space_busy"))
                return
            if cell.slot.state is not State.OFFLINE:
                self._replace(cell)
            self._bind(cell, newcomer)

    def _replace(self, cell: Cell) -> None:
        """Put the present connection out, dead or superseded, to make room."""
        self._slots.put_out(cell, Notice("space_busy", "Another connection took the place of this one."))

    def _bind(self, cell: Cell, newcomer: Newcomer) -> None:
        """Make the newcomer the space's connection, unless it left while it was waiting."""
        if not self._slots.wire.is_open(newcomer.link.connection_id):
            return
        binding = self._bound_in_store(cell, newcomer)
        if binding is None:
            return
        cell.link, cell.connected_at = newcomer.link, self._slots.wall()
        for change in binding.changes:
            self._slots.tell(cell, change)
        over = [Work(request_id, attempt_id, 0.0) for request_id, attempt_id in binding.over]
        bound = self._bound(newcomer, binding, over)
        in_hand = _in_hand(app_slot.decide(cell.slot, bound)[0])
        newcomer.answer(Registration("ok", self._slots.size(cell), in_hand))
        self._slots.step(cell, bound)
        self._cancel_over(cell, newcomer.link, over)

    def _bound_in_store(self, cell: Cell, newcomer: Newcomer) -> Binding | None:
        """Bind in the store; None when that was refused, and the newcomer was told or closed."""
        assert cell.space_id is not None
        link, epoch = newcomer.link, cell.slot.epoch or None
        try:
            return self._slots.store.bind(
                cell.space_id, epoch, link, newcomer.claims, self._process_id, self._slots.wall()
            )
        except (NotFound, SpaceDisabled) as error:
            newcomer.answer(Registration("unknown_space" if isinstance(error, NotFound) else "space_disabled"))
        except Fenced:
            # What this process believed is out of date: forget it, and let the newcomer come again.
            self._slots.take_on(cell, Slot())
            cell.afterwards.append(lambda: self._slots.wire.close(link.connection_id))
        return None

    def _bound(self, newcomer: Newcomer, binding: Binding, over: list[Work]) -> app_slot.Bound:
        resumed = binding.resumed
        return app_slot.Bound(
            newcomer.link.connection_id,
            binding.epoch,
            newcomer.acks,
            self._slots.monotonic(),
            self._slots.times.grace,
            resumed=self._slots.work(resumed, acks=False) if resumed else None,
            over=over[0] if over and not resumed else None,
        )

    def _cancel_over(self, cell: Cell, link: AppLink, over: list[Work]) -> None:
        """Tell the app of every further claim that is over; the slot itself told it of the first."""
        first = cell.slot.work.attempt_id if cell.slot.state is State.DRAINING and cell.slot.work else None
        for work in over:
            if work.attempt_id != first:
                self._slots.send_cancel(link.connection_id, work, "already_final")


def _in_hand(slot: Slot) -> tuple[dict[str, str], ...]:
    """Return the claim that is honoured: what the slot has in hand."""
    work = slot.work
    if slot.state is not State.BUSY or not work:
        return ()
    return ({"request_id": work.request_id, "attempt_id": work.attempt_id},)


def _is_same_app(old: AppLink | None, new: AppLink) -> bool:
    """Whether a newcomer is the same app come back: the same token and the same instance."""
    return bool(old and new.instance and old.instance == new.instance and old.token_id == new.token_id)
