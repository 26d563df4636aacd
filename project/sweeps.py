"""The beat: every second, look at what time has changed. Each beat is idempotent; one that fails is logged."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from project.errors import DatabaseAway

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Beat:
    """Something to do every ``seconds``; ``due`` is on the monotonic clock."""

    name: str
    seconds: float
    action: Callable[[], None]
    due: float = field(default=0.0)


class Sweeper:
    """Runs beats in one thread until it is stopped."""

    def __init__(self, beats: list[Beat], *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._beats = beats
        self._monotonic = monotonic
        self._stopped = threading.Event()

    def run(self) -> None:
        """Beat until :meth:`stop`; call it in a thread of its own."""
        pause = min(beat.seconds for beat in self._beats)
        while not self._stopped.wait(pause):
            self.beat()

    def beat(self) -> None:
        """Run what is due now."""
        now = self._monotonic()
        for beat in self._beats:
            if now >= beat.due:
                beat.due = now + beat.seconds * 0.9
                _run(beat)

    def stop(self) -> None:
        """Let :meth:`run` return."""
        self._stopped.set()


def _run(beat: Beat) -> None:
    try:
        beat.action()
    except DatabaseAway:
        logger.warning("%s: the database is away, trying again in %g s", beat.name, beat.seconds)
    except Exception:
        logger.exception("%s failed, trying again in %g s", beat.name, beat.seconds)
