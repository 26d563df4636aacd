"""What happens next in one space: a pure state machine. No clock, no lock, no SQL, no socket.

A slot is the place that a connected app takes in its space. :func:`decide` takes the slot, one event
and answers the next slot and the effects to carry out, in order. This is the whole table:

===================  ==============================================  =========  ========================================
slot                 event                                           next       effects
===================  ==============================================  =========  ========================================
OFFLINE              Bound, nothing resumed                          IDLE       Pump
OFFLINE              Bound, the processing attempt is resumed        BUSY
OFFLINE              Bound, an attempt named in it is over           DRAINING   SendCancel
IDLE                 Claimed                                         BUSY       SendRequest
BUSY                 ResultIn for it, before the deadline            IDLE       Record (with the next claim)
BUSY                 ResultIn for it, after the deadline             IDLE       Finish timed_out, Pump
BUSY                 Tick after the deadline                         DRAINING   Finish timed_out, SendCancel
BUSY                 CancelIn                                        DRAINING   Finish cancelled, SendCancel
BUSY                 EndedElsewhere                                  DRAINING   SendCancel
BUSY                 Tick, acks declared, none in time               OFFLINE    GiveBack, CloseTransport
DRAINING             ResultIn for it                                 IDLE       Pump
DRAINING             Tick after the grace, some sign of life         IDLE       Pump
DRAINING             Tick after the grace, no sign of life           OFFLINE    MarkLost, CloseTransport
any                  Disconnected                                    OFFLINE    MarkLost
any                  Revoked                                         OFFLINE    MarkLost, Dismiss
any                  Fenced (another epoch owns the space)           OFFLINE    CloseTransport
any                  anything else, or by another connection         same
===================  ==============================================  =========  ========================================

DRAINING is the state that is easily forgotten: after a timeout or a cancel the app is still computing,
and a second request now would break "one at a time". ``tests/unit/test_app_slot.py`` checks every row,
and a Hypothesis state machine checks the invariants over all orders of events.

All times are seconds of one monotonic clock, whichever the caller uses.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum


class State(Enum):
    """The four states of a slot."""

    OFFLINE = "offline"
    IDLE = "idle"
    BUSY = "busy"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class Work:
    """One attempt in the app's hands. ``ack_by`` is empty once it was acknowledged, or when acks were not declared."""

    request_id: str
    attempt_id: str
    deadline: float
    ack_by: float | None = None


@dataclass(frozen=True, slots=True)
class Slot:
    """One space's slot. ``epoch`` numbers the connections of the space and only rises."""

    state: State = State.OFFLINE
    connection: str | None = None
    epoch: int = 0
    acks: bool = False
    work: Work | None = None
    drain_until: float = 0.0
    #: Whether the app gave any sign of life since it was told to stop.
    sign_of_life: bool = False


# Events


@dataclass(frozen=True, slots=True)
class Bound:
    """A connection was bound to the space; the store has done its part."""

    connection: str
    epoch: int
    acks: bool
    now: float
    grace: float
    resumed: Work | None = None
    over: Work | None = None


@dataclass(frozen=True, slots=True)
class Claimed:
    """The store handed the oldest queued request to this slot."""

    work: Work


@dataclass(frozen=True, slots=True)
class ResultIn:
    """A result came; ``attempt_id`` is empty from apps that do not know attempts."""

    connection: str
    request_id: str
    attempt_id: str | None
    now: float


@dataclass(frozen=True, slots=True)
class AckIn:
    """The app acknowledged the delivery of an attempt."""

    connection: str
    attempt_id: str


@dataclass(frozen=True, slots=True)
class SignOfLife:
    """Any event of the connection."""

    connection: str


@dataclass(frozen=True, slots=True)
class CancelIn:
    """Somebody with the right to do so ended the processing request; ``code`` says who."""

    request_id: str
    code: str
    now: float
    grace: float


@dataclass(frozen=True, slots=True)
class EndedElsewhere:
    """The row's attempt was ended by somebody else; ``reason`` is told to the app."""

    attempt_id: str
    reason: str
    now: float
    grace: float


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed."""

    now: float
    grace: float


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection is gone."""

    connection: str


@dataclass(frozen=True, slots=True)
class Revoked:
    """The connection may not serve the space any longer."""

    connection: str


@dataclass(frozen=True, slots=True)
class Fenced:
    """The store says that another epoch owns the space."""


Event = (
    Bound | Claimed | ResultIn | AckIn | SignOfLife | CancelIn | EndedElsewhere | Tick | Disconnected | Revoked | Fenced
)


# Effects


@dataclass(frozen=True, slots=True)
class Pump:
    """Claim the oldest queued request, if there is one."""


@dataclass(frozen=True, slots=True)
class SendRequest:
    """Hand the claimed attempt to the connection."""

    work: Work


@dataclass(frozen=True, slots=True)
class SendCancel:
    """Tell the app to stop."""

    work: Work
    reason: str


@dataclass(frozen=True, slots=True)
class Record:
    """Record the app's result for this attempt and claim the next request in the same transaction."""

    work: Work


@dataclass(frozen=True, slots=True)
class Finish:
    """End the request without a result."""

    work: Work
    status: str
    code: str


@dataclass(frozen=True, slots=True)
class GiveBack:
    """Requeue the request at the head, or fail it when no attempts are left."""

    work: Work


@dataclass(frozen=True, slots=True)
class MarkLost:
    """Note that the space's connection is gone: the grace starts."""


@dataclass(frozen=True, slots=True)
class CloseTransport:
    """Close the transport, so that the app's library reconnects."""

    connection: str


@dataclass(frozen=True, slots=True)
class Dismiss:
    """Refuse the app for this space; its library does not come back by itself."""

    connection: str


Effect = Pump | SendRequest | SendCancel | Record | Finish | GiveBack | MarkLost | CloseTransport | Dismiss
Decision = tuple[Slot, tuple[Effect, ...]]


def decide(slot: Slot, event: Event) -> Decision:
    """Return the slot after ``event`` and the effects to carry out, in order."""
    match event:
        case Bound():
            return _bound(event)
        case Claimed():
            return _claimed(slot, event)
        case ResultIn():
            return _result(slot, event)
        case AckIn():
            return _ack(slot, event)
        case SignOfLife():
            return (replace(slot, sign_of_life=True) if slot.connection == event.connection else slot), ()
        case CancelIn():
            return _cancel(slot, event)
        case EndedElsewhere():
            return _ended_elsewhere(slot, event)
        case Tick():
            return _tick(slot, event)
        case Disconnected() | Revoked():
            return _gone(slot, event)
        case Fenced():
            return _fenced(slot)


def _bound(event: Bound) -> Decision:
    base = Slot(State.IDLE, event.connection, event.epoch, event.acks)
    if event.resumed:
        return replace(base, state=State.BUSY, work=event.resumed), ()
    if event.over:
        return _drain(base, event.over, "already_final", event.now + event.grace)
    return base, (Pump(),)


def _claimed(slot: Slot, event: Claimed) -> Decision:
    if slot.state is not State.IDLE:
        raise ValueError(f"a slot that is {slot.state.value} cannot take a request")
    return replace(slot, state=State.BUSY, work=event.work), (SendRequest(event.work),)


def _result(slot: Slot, event: ResultIn) -> Decision:
    work = slot.work
    if not work or slot.connection != event.connection or not _is_for(work, event):
        return slot, ()
    idle = _idle(slot)
    if slot.state is State.DRAINING:
        return idle, (Pump(),)
    if event.now >= work.deadline:
        return idle, (Finish(work, "timed_out", "processing_timeout"), Pump())
    return idle, (Record(work),)


def _is_for(work: Work, event: ResultIn) -> bool:
    return work.request_id == event.request_id and event.attempt_id in (None, work.attempt_id)


def _ack(slot: Slot, event: AckIn) -> Decision:
    if slot.connection != event.connection or not slot.work or slot.work.attempt_id != event.attempt_id:
        return slot, ()
    return replace(slot, work=replace(slot.work, ack_by=None), sign_of_life=True), ()


def _cancel(slot: Slot, event: CancelIn) -> Decision:
    if slot.state is not State.BUSY or not slot.work or slot.work.request_id != event.request_id:
        return slot, ()
    return _drain(slot, slot.work, event.code, event.now + event.grace, Finish(slot.work, "cancelled", event.code))


def _ended_elsewhere(slot: Slot, event: EndedElsewhere) -> Decision:
    if slot.state is not State.BUSY or not slot.work or slot.work.attempt_id != event.attempt_id:
        return slot, ()
    return _drain(slot, slot.work, event.reason, event.now + event.grace)


def _tick(slot: Slot, event: Tick) -> Decision:
    if slot.state is State.BUSY and slot.work:
        return _tick_busy(slot, slot.work, event)
    if slot.state is State.DRAINING and event.now >= slot.drain_until:
        if slot.sign_of_life:
            return _idle(slot), (Pump(),)
        assert slot.connection
        return _offline(slot), (MarkLost(), CloseTransport(slot.connection))
    return slot, ()


def _tick_busy(slot: Slot, work: Work, event: Tick) -> Decision:
    assert slot.connection
    if event.now >= work.deadline:
        finish = Finish(work, "timed_out", "processing_timeout")
        return _drain(slot, work, "processing_timeout", event.now + event.grace, finish)
    if work.ack_by is not None and event.now >= work.ack_by:
        return _offline(slot), (GiveBack(work), MarkLost(), CloseTransport(slot.connection))
    return slot, ()


def _gone(slot: Slot, event: Disconnected | Revoked) -> Decision:
    if slot.connection != event.connection:
        return slot, ()
    dismiss = (Dismiss(event.connection),) if isinstance(event, Revoked) else ()
    return _offline(slot), (MarkLost(), *dismiss)


def _fenced(slot: Slot) -> Decision:
    return _offline(slot), ((CloseTransport(slot.connection),) if slot.connection else ())


def _drain(slot: Slot, work: Work, reason: str, until: float, *first: Effect) -> Decision:
    draining = replace(slot, state=State.DRAINING, work=work, drain_until=until, sign_of_life=False)
    return draining, (*first, SendCancel(work, reason))


def _idle(slot: Slot) -> Slot:
    return replace(slot, state=State.IDLE, work=None, drain_until=0.0, sign_of_life=False)


def _offline(slot: Slot) -> Slot:
    return Slot(epoch=slot.epoch)
