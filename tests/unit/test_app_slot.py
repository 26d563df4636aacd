"""Every row of the slot's table, and what must never happen whatever the order of events."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import settings, strategies
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from project import app_slot
from project.app_slot import (
    AckIn,
    Bound,
    CancelIn,
    Claimed,
    CloseTransport,
    Disconnected,
    Dismiss,
    Effect,
    EndedElsewhere,
    Event,
    Fenced,
    Finish,
    GiveBack,
    MarkLost,
    Pump,
    Record,
    ResultIn,
    Revoked,
    SendCancel,
    SendRequest,
    SignOfLife,
    Slot,
    State,
    Tick,
    Work,
    decide,
)

GRACE = 15.0
WORK = Work("r1", "a1", deadline=100.0)
ACK_WORK = replace(WORK, ack_by=10.0)
OFFLINE = Slot(epoch=3)
IDLE = Slot(State.IDLE, "c1", 3)
BUSY = Slot(State.BUSY, "c1", 3, work=WORK)
BUSY_ACKS = Slot(State.BUSY, "c1", 3, acks=True, work=ACK_WORK)
DRAINING = Slot(State.DRAINING, "c1", 3, work=WORK, drain_until=115.0)
ALIVE = replace(DRAINING, sign_of_life=True)
ALL = [OFFLINE, IDLE, BUSY, BUSY_ACKS, DRAINING, ALIVE]


def bound(**more: object) -> Bound:
    return replace(Bound("c2", 4, False, 0.0, GRACE), **more)  # type: ignore[arg-type]


NEW = Slot(State.IDLE, "c2", 4)
DRAINED = replace(DRAINING, drain_until=65.0)

ROWS: list[tuple[str, Slot, Event, Slot, tuple[Effect, ...]]] = [
    ("offline, bound", OFFLINE, bound(), NEW, (Pump(),)),
    ("offline, bound with acks", OFFLINE, bound(acks=True), replace(NEW, acks=True), (Pump(),)),
    ("offline, resumed", OFFLINE, bound(resumed=WORK), replace(NEW, state=State.BUSY, work=WORK), ()),
    (
        "offline, claim that is over",
        OFFLINE,
        bound(over=WORK, now=7.0),
        replace(NEW, state=State.DRAINING, work=WORK, drain_until=22.0),
        (SendCancel(WORK, "already_final"),),
    ),
    ("idle, claimed", IDLE, Claimed(WORK), BUSY, (SendRequest(WORK),)),
    ("busy, result", BUSY, ResultIn("c1", "r1", "a1", 99.9), IDLE, (Record(WORK),)),
    ("busy, result without attempt", BUSY, ResultIn("c1", "r1", None, 99.9), IDLE, (Record(WORK),)),
    (
        "busy, result at the deadline",
        BUSY,
        ResultIn("c1", "r1", "a1", 100.0),
        IDLE,
        (Finish(WORK, "timed_out", "processing_timeout"), Pump()),
    ),
    (
        "busy, deadline",
        BUSY,
        Tick(100.0, GRACE),
        DRAINING,
        (Finish(WORK, "timed_out", "processing_timeout"), SendCancel(WORK, "processing_timeout")),
    ),
    (
        "busy, a sign of life before the deadline does not count after it",
        replace(BUSY, sign_of_life=True),
        Tick(100.0, GRACE),
        DRAINING,
        (Finish(WORK, "timed_out", "processing_timeout"), SendCancel(WORK, "processing_timeout")),
    ),
    (
        "busy, cancel",
        BUSY,
        CancelIn("r1", "cancelled_by_user", 50.0, GRACE),
        DRAINED,
        (Finish(WORK, "cancelled", "cancelled_by_user"), SendCancel(WORK, "cancelled_by_user")),
    ),
    ("busy, ended elsewhere", BUSY, EndedElsewhere("a1", "gone", 50.0, GRACE), DRAINED, (SendCancel(WORK, "gone"),)),
    ("busy, ack", BUSY_ACKS, AckIn("c1", "a1"), replace(BUSY_ACKS, work=WORK, sign_of_life=True), ()),
    (
        "busy, no ack in time",
        BUSY_ACKS,
        Tick(10.0, GRACE),
        OFFLINE,
        (GiveBack(ACK_WORK), MarkLost(), CloseTransport("c1")),
    ),
    ("busy, ack still possible", BUSY_ACKS, Tick(9.9, GRACE), BUSY_ACKS, ()),
    (
        "busy, deadline before the ack was due",
        replace(BUSY_ACKS, work=replace(ACK_WORK, deadline=5.0)),
        Tick(10.0, GRACE),
        replace(DRAINING, acks=True, work=replace(ACK_WORK, deadline=5.0), drain_until=25.0),
        (
            Finish(replace(ACK_WORK, deadline=5.0), "timed_out", "processing_timeout"),
            SendCancel(replace(ACK_WORK, deadline=5.0), "processing_timeout"),
        ),
    ),
    ("busy, acks not declared", BUSY, Tick(99.9, GRACE), BUSY, ()),
    ("draining, result", DRAINING, ResultIn("c1", "r1", "a1", 101.0), IDLE, (Pump(),)),
    ("draining, grace runs", ALIVE, Tick(114.9, GRACE), ALIVE, ()),
    ("draining, grace over, alive", ALIVE, Tick(115.0, GRACE), IDLE, (Pump(),)),
    ("draining, grace over, silent", DRAINING, Tick(115.0, GRACE), OFFLINE, (MarkLost(), CloseTransport("c1"))),
    ("draining, sign of life", DRAINING, SignOfLife("c1"), ALIVE, ()),
    ("draining, ack is a sign of life", DRAINING, AckIn("c1", "a1"), ALIVE, ()),
    ("draining, another cancel", DRAINING, CancelIn("r1", "user_removed", 105.0, GRACE), DRAINING, ()),
    ("offline, disconnected", OFFLINE, Disconnected("c1"), OFFLINE, ()),
    ("offline, fenced", OFFLINE, Fenced(), OFFLINE, ()),
]
for slot in (IDLE, BUSY, BUSY_ACKS, DRAINING):
    name = slot.state.value
    ROWS += [
        (f"{name}, disconnected", slot, Disconnected("c1"), OFFLINE, (MarkLost(),)),
        (f"{name}, revoked", slot, Revoked("c1"), OFFLINE, (MarkLost(), Dismiss("c1"))),
        (f"{name}, fenced", slot, Fenced(), OFFLINE, (CloseTransport("c1"),)),
    ]


@pytest.mark.parametrize(("slot", "event", "expected", "effects"), [row[1:] for row in ROWS], ids=[r[0] for r in ROWS])
def test_row(slot: Slot, event: Event, expected: Slot, effects: tuple[Effect, ...]) -> None:
    assert decide(slot, event) == (expected, effects)


STRAY: list[Event] = [
    ResultIn("c9", "r1", "a1", 1.0),
    ResultIn("c1", "r9", None, 1.0),
    ResultIn("c1", "r1", "a9", 1.0),
    AckIn("c9", "a1"),
    AckIn("c1", "a9"),
    SignOfLife("c9"),
    CancelIn("r9", "cancelled_by_user", 1.0, GRACE),
    EndedElsewhere("a9", "gone", 1.0, GRACE),
    Disconnected("c9"),
    Revoked("c9"),
    Tick(1.0, GRACE),
]


@pytest.mark.parametrize("event", STRAY, ids=repr)
@pytest.mark.parametrize("slot", ALL, ids=lambda slot: slot.state.value)
def test_what_does_not_concern_the_slot_changes_nothing(slot: Slot, event: Event) -> None:
    assert decide(slot, event) == (slot, ())


@pytest.mark.parametrize("slot", [OFFLINE, BUSY, DRAINING], ids=lambda slot: slot.state.value)
def test_only_an_idle_slot_takes_a_request(slot: Slot) -> None:
    with pytest.raises(ValueError, match=slot.state.value):
        decide(slot, Claimed(WORK))


class Queue:
    """The store as the slot sees it, in memory: one space, states as in the contract."""

    def __init__(self) -> None:
        self.status: dict[str, str] = {}
        self.attempts: dict[str, int] = {}
        self.attempt_of: dict[str, str] = {}
        self.lost_at: float | None = None
        self.epoch = 0
        self.final: dict[str, str] = {}

    def submit(self) -> None:
        name = f"r{len(self.status):04}"
        self.status[name], self.attempts[name] = "queued", 0

    def waiting(self) -> list[str]:
        return sorted(name for name, status in self.status.items() if status == "queued")

    def processing(self) -> list[str]:
        return [name for name, status in self.status.items() if status == "processing"]

    def end(self, name: str, attempt: str | None, status: str) -> bool:
        if self.status[name] not in ("queued", "processing") or attempt not in (None, self.attempt_of.get(name)):
            return False
        self.status[name] = status
        return True

    def give_back(self, name: str, attempt: str) -> None:
        if self.status[name] == "processing" and self.attempt_of[name] == attempt:
            self.status[name] = "queued" if self.attempts[name] < MAX_ATTEMPTS else "failed"

    def claim(self) -> str | None:
        if self.processing() or not self.waiting():
            return None
        name = self.waiting()[0]
        self.attempts[name] += 1
        self.status[name], self.attempt_of[name] = "processing", f"{name}.{self.attempts[name]}"
        return name


MAX_ATTEMPTS = 2
TIMEOUT, ACK_TIMEOUT, MODEL_GRACE = 20.0, 4.0, 6.0


class SlotMachine(RuleBasedStateMachine):
    """Apps that come, go, answer, stay silent and lie; users who submit and cancel; time that passes."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.slot = Slot()
        self.queue = Queue()
        self.apps = 0
        self.in_hands: tuple[str, str] | None = None
        self.last_work: Work | None = None
        self.closed: set[str] = set()

    # What the manager does with the effects

    def feed(self, event: Event) -> None:
        before = self.slot
        self.slot, effects = decide(self.slot, event)
        assert self.slot.epoch >= before.epoch, "an epoch never falls"
        for effect in effects:
            self.carry_out(effect)

    def carry_out(self, effect: Effect) -> None:
        match effect:
            case Pump():
                self.pump()
            case SendRequest(work):
                assert self.slot.connection not in self.closed, "a request was sent to a closed connection"
                self.in_hands = (work.request_id, work.attempt_id)
                self.last_work = work
            case Record(work):
                self.queue.end(work.request_id, work.attempt_id, "completed")
                self.pump()
            case Finish(work, status, _):
                self.queue.end(work.request_id, work.attempt_id, status)
            case GiveBack(work):
                self.queue.give_back(work.request_id, work.attempt_id)
            case MarkLost():
                self.queue.lost_at = self.now
            case CloseTransport(connection) | Dismiss(connection):
                self.closed.add(connection)
                self.in_hands = None
            case SendCancel():
                pass

    def pump(self) -> None:
        if self.slot.state is State.IDLE and (name := self.queue.claim()):
            ack_by = self.now + ACK_TIMEOUT if self.slot.acks else None
            self.feed(Claimed(Work(name, self.queue.attempt_of[name], self.now + TIMEOUT, ack_by)))

    def sweep(self) -> None:
        """What time does: the slot's own tick, then requests whose app is gone."""
        self.feed(Tick(self.now, MODEL_GRACE))
        for name in self.queue.processing():
            attempt = self.queue.attempt_of[name]
            in_slot = self.slot.work is not None and self.slot.work.attempt_id == attempt
            if not in_slot and self.last_work and self.now >= self.last_work.deadline:
                self.queue.end(name, attempt, "timed_out")
            elif not in_slot and self.queue.lost_at is not None and self.now >= self.queue.lost_at + MODEL_GRACE:
                self.queue.give_back(name, attempt)
        self.pump()

    # What happens

    @initialize()
    def first_request(self) -> None:
        self.queue.submit()

    @rule()
    def submit(self) -> None:
        self.queue.submit()
        self.pump()

    @rule(acks=strategies.booleans(), claims=strategies.booleans())
    def app_comes(self, acks: bool, claims: bool) -> None:
        """A new connection takes the place, of nobody or of a dead one; it may claim what was last handed out."""
        if self.slot.connection:
            self.feed(Disconnected(self.slot.connection))
        self.apps += 1
        self.queue.epoch += 1
        self.queue.lost_at = None
        resumed = over = None
        for name in self.queue.processing():
            if claims and self.last_work and self.queue.attempt_of[name] == self.last_work.attempt_id:
                resumed = replace(self.last_work, ack_by=None)
            else:
                self.queue.give_back(name, self.queue.attempt_of[name])
        if claims and not resumed:
            over = self.last_work
        self.in_hands = (self.last_work.request_id, self.last_work.attempt_id) if claims and self.last_work else None
        self.feed(Bound(f"c{self.apps}", self.queue.epoch, acks, self.now, MODEL_GRACE, resumed, over))

    @precondition(lambda self: self.slot.connection)
    @rule(how=strategies.sampled_from(["goes", "goes", "revoked", "fenced"]))
    def app_is_lost(self, how: str) -> None:
        """It goes, or may not stay, or another process took the space over, whose bind settled what was processing."""
        connection = self.slot.connection or ""
        self.in_hands = None
        if how == "fenced":
            for name in self.queue.processing():
                self.queue.give_back(name, self.queue.attempt_of[name])
            self.feed(Fenced())
        else:
            self.feed(Disconnected(connection) if how == "goes" else Revoked(connection))
        assert self.slot.state is State.OFFLINE

    @precondition(lambda self: self.in_hands and self.slot.connection)
    @rule(named=strategies.booleans(), keeps=strategies.booleans())
    def app_answers(self, named: bool, keeps: bool) -> None:
        """The app sends its result, with or without the attempt, and may send it again later."""
        assert self.in_hands
        request_id, attempt_id = self.in_hands
        self.in_hands = self.in_hands if keeps else None
        self.feed(ResultIn(self.slot.connection or "", request_id, attempt_id if named else None, self.now))

    @precondition(lambda self: self.slot.work)
    @rule(stranger=strategies.booleans())
    def somebody_lies(self, stranger: bool) -> None:
        """A result of a stranger for what runs, or of the app itself for an attempt that it has not in hand."""
        work, before = self.slot.work, dict(self.queue.status)
        assert work
        connection = "stranger" if stranger else (self.slot.connection or "")
        attempt_id = work.attempt_id if stranger else f"{work.request_id}.0"
        self.feed(ResultIn(connection, work.request_id, attempt_id, self.now))
        assert (self.slot.work, self.queue.status) == (work, before), "a foreign result changed something"

    @precondition(lambda self: self.slot.work)
    @rule(acknowledges=strategies.booleans())
    def app_speaks(self, acknowledges: bool) -> None:
        assert self.slot.work
        connection = self.slot.connection or ""
        self.feed(AckIn(connection, self.slot.work.attempt_id) if acknowledges else SignOfLife(connection))

    @rule(which=strategies.integers(0, 3), elsewhere=strategies.booleans())
    def user_cancels(self, which: int, elsewhere: bool) -> None:
        """The running one or a waiting one; in another process only the store knows of it, and the slot looks later."""
        names = [*self.queue.processing(), *self.queue.waiting()] or sorted(self.queue.status)
        name, work = names[which % len(names)], self.slot.work
        in_slot = self.slot.state is State.BUSY and work and work.request_id == name
        if in_slot and not elsewhere:
            self.feed(CancelIn(name, "cancelled_by_user", self.now, MODEL_GRACE))
            return
        self.queue.end(name, None, "cancelled")
        if in_slot and work:
            self.feed(EndedElsewhere(work.attempt_id, "cancelled_by_user", self.now, MODEL_GRACE))

    @rule(seconds=strategies.sampled_from([0.5, 1.0, 4.0, 6.0, 20.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.sweep()

    # What must always hold

    @invariant()
    def at_most_one_is_processing(self) -> None:
        assert len(self.queue.processing()) <= 1

    @invariant()
    def the_slot_and_the_queue_agree(self) -> None:
        if self.slot.state is State.BUSY:
            assert self.slot.work
            assert self.queue.processing() == [self.slot.work.request_id]
            assert self.queue.attempt_of[self.slot.work.request_id] == self.slot.work.attempt_id
        elif self.slot.state is State.OFFLINE:
            assert not self.queue.processing() or self.queue.lost_at is not None, "the grace does not run"
        else:
            assert not self.queue.processing(), "nothing is processing while the app drains or is free"

    @invariant()
    def what_runs_is_the_oldest_live_one(self) -> None:
        for name in self.queue.processing():
            assert all(name < other for other in self.queue.waiting())

    @invariant()
    def a_free_app_leaves_nothing_waiting(self) -> None:
        assert not (self.slot.state is State.IDLE and self.queue.waiting())

    @invariant()
    def a_final_state_never_changes(self) -> None:
        for name, status in self.queue.final.items():
            assert self.queue.status[name] == status
        final = {n: s for n, s in self.queue.status.items() if s not in ("queued", "processing")}
        self.queue.final.update(final)

    @invariant()
    def no_request_runs_more_than_its_attempts(self) -> None:
        assert all(count <= MAX_ATTEMPTS for count in self.queue.attempts.values())

    @invariant()
    def offline_means_no_connection(self) -> None:
        assert (self.slot.state is State.OFFLINE) == (self.slot.connection is None)
        assert (self.slot.work is not None) == (self.slot.state in (State.BUSY, State.DRAINING))

    def teardown(self) -> None:
        """Nothing is kept for ever: with time and one honest app, every request ends."""
        for _ in range(3 * len(self.queue.status) + 3):
            if self.slot.state is State.OFFLINE:
                self.app_comes(acks=False, claims=False)
            if self.slot.state is State.BUSY and self.slot.work and self.slot.connection:
                work = self.slot.work
                self.feed(ResultIn(self.slot.connection, work.request_id, work.attempt_id, self.now))
            self.now += MODEL_GRACE
            self.sweep()
        still_open = [name for name, status in self.queue.status.items() if status in ("queued", "processing")]
        assert not still_open, f"kept for ever: {still_open}, slot {self.slot}"


TestSlotMachine = SlotMachine.TestCase
TestSlotMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_slot_machine_in_full() -> None:
    run_state_machine_as_test(SlotMachine, settings=settings(max_examples=2000, stateful_step_count=100, deadline=None))


def test_the_docstring_is_the_table() -> None:
    """Each state and each event of the machine appears in the table that people read."""
    table = app_slot.__doc__ or ""
    for state in State:
        assert state.name in table
    for event in (Bound, Claimed, ResultIn, Tick, CancelIn, EndedElsewhere, Disconnected, Revoked, Fenced):
        assert event.__name__ in table
