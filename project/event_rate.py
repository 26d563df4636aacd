"""How often something may come: so many a second in the long run, with a burst of a few seconds' worth."""

from __future__ import annotations

#: Seconds whose events may come all at once.
BURST_SECONDS = 2.0


class EventRate:
    """The generic cell rate algorithm (ITU-T I.371): one number remembers when the next event is due."""

    def __init__(self, per_second: float) -> None:
        self._step = 1.0 / per_second
        self._due = 0.0

    def admits(self, now: float) -> bool:
        """Count one event at ``now`` (seconds) and say True; or say False when it comes too early, uncounted."""
        due = max(self._due, now)
        if due - now > BURST_SECONDS:
            return False
        self._due = due + self._step
        return True


class EventAllowance:
    """What one connection may send. Results count apart: no flood of anything else may cost one."""

    def __init__(self, per_second: float, before_registration: int) -> None:
        self._left_before = before_registration
        self._results, self._others = EventRate(per_second), EventRate(per_second)

    def admits(self, event: str, now: float) -> bool:
        """Count an event, and say whether it comes at an acceptable rate."""
        return (self._results if event == "inference_result" else self._others).admits(now)

    def waits_too_long(self) -> bool:
        """Count an event of a connection that serves nothing, and say whether it has sent too many."""
        self._left_before -= 1
        return self._left_before < 0
