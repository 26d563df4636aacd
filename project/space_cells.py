"""The slots of this process, one cell a space: its lock, its app's link, and what waits for the lock's release."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from project.app_slot import Slot
from project.ports import AppLink, ConnectionInfo

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Cell:
    """A slot with its lock, its link and what must happen once the lock is released."""

    space_id: int | None
    space_name: str = ""
    lock: Any = field(default_factory=threading.Lock)
    slot: Slot = field(default_factory=Slot)
    link: AppLink | None = None
    connected_at: float = 0.0
    #: Whether the app should hear how many wait.
    queue_dirty: bool = False
    #: The epoch whose loss the database does not know yet.
    lost_epoch: int | None = None
    afterwards: list[Callable[[], None]] = field(default_factory=list)

    def has(self, attempt_id: str | None) -> bool:
        """Whether the slot has this attempt in hand."""
        return self.slot.work is not None and self.slot.work.attempt_id == attempt_id

    def info(self) -> ConnectionInfo | None:
        """Return the cell's connection for people to read, or None when there is none."""
        link, work = self.link, self.slot.work
        if link is None or self.space_id is None:
            return None
        return ConnectionInfo(
            space_id=self.space_id,
            space_name=self.space_name,
            connection_id=link.connection_id,
            state=self.slot.state.value,
            request_id=work.request_id if work else None,
            app_name=link.name,
            app_version=link.version,
            app_instance=link.instance,
            address=link.address,
            connected_at=self.connected_at,
            token_id=link.token_id,
        )


class Cells:
    """All cells, and the index of which connection serves what."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cells: dict[int | None, Cell] = {}
        self._spaces_of: dict[str, set[int | None]] = {}

    def find(self, space_id: int) -> Cell | None:
        """Return the space's cell if it ever had one."""
        return self._cells.get(space_id)

    def all(self) -> list[Cell]:
        """Return every cell."""
        with self._lock:
            return list(self._cells.values())

    def of(self, connection_id: str) -> list[Cell]:
        """Return the cells that the connection serves."""
        with self._lock:
            return [self._cells[space_id] for space_id in self._spaces_of.get(connection_id, ())]

    def working_on(self, connection_id: str, request_id: str, attempt_id: str | None) -> Cell | None:
        """Return the cell in which the connection has the request in hand (in this attempt, if one is named)."""
        for cell in self.of(connection_id):
            work = cell.slot.work
            if work and work.request_id == request_id and attempt_id in (None, work.attempt_id):
                return cell
        return None

    @contextmanager
    def hold(self, space_id: int | None) -> Iterator[Cell]:
        """Hold the space's lock; what was put off happens after its release, also after an error."""
        with self._lock:
            cell = self._cells.setdefault(space_id, Cell(space_id))
        put_off: list[Callable[[], None]] = []
        try:
            with cell.lock:
                try:
                    yield cell
                finally:
                    put_off, cell.afterwards = cell.afterwards, []
        finally:
            for action in put_off:
                _run(action)

    def take_on(self, cell: Cell, slot: Slot) -> bool:
        """Replace the cell's slot, whose lock is held; True when its connection changed."""
        old, cell.slot = cell.slot.connection, slot
        if old == slot.connection:
            return False
        with self._lock:
            if old:
                self._forget(old, cell.space_id)
            if slot.connection:
                self._spaces_of.setdefault(slot.connection, set()).add(cell.space_id)
        if not slot.connection:
            cell.link = None
        return True

    def _forget(self, connection_id: str, space_id: int | None) -> None:
        spaces = self._spaces_of.get(connection_id, set())
        spaces.discard(space_id)
        if not spaces:
            self._spaces_of.pop(connection_id, None)


def _run(action: Callable[[], None]) -> None:
    """Run what was put off: one that fails must not keep the others from happening."""
    try:
        action()
    except Exception:
        logger.exception("a notification or a closing failed")
