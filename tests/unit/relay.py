"""A manager on a real store in SQLite, with a wire in memory and clocks that are set by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from project.notify.memory import MemoryNotifier
from project.ports import AppLink, Newcomer, Outcome, Registration, Times
from project.websocket_manager import WebsocketManager
from tests.fakes import Clock, RecordingTransport
from tests.house import House

GRACE, ACK_TIMEOUT = 15.0, 10.0
COMPLETED = Outcome("completed", parts=[{"type": "text", "text": "hello"}])


class RecordingNotifier(MemoryNotifier):
    """The notifier itself, which also remembers what was published."""

    def __init__(self) -> None:
        super().__init__()
        self.published: list[str] = []

    def publish(self, topic: str) -> None:
        self.published.append(topic)
        super().publish(topic)


class App:
    """One connection of an app, as the tests drive it."""

    def __init__(self, relay: Relay, link: AppLink) -> None:
        self._relay = relay
        self.link = link
        self.answers: list[Registration] = []
        relay.wire.open.add(link.connection_id)

    @property
    def id(self) -> str:
        return self.link.connection_id

    def register(self, space: int | None = None, *, acks: bool = False, claims: Sequence[str] = ()) -> Any:
        """Register; return what decides later, if somebody must be probed first."""
        space_id = space or self._relay.house.space
        newcomer = Newcomer(self.link, acks, claims, self.answers.append)
        return self._relay.manager.register(newcomer, space_id, f"space-{space_id}")

    def registered(self, **how: Any) -> App:
        assert self.register(**how) is None, "the space is occupied"
        assert self.answers[-1].success, self.answers
        return self

    def requests(self) -> list[dict[str, Any]]:
        """What it was asked to do, oldest first."""
        return self._relay.wire.events(self.id, "inference_request")

    def cancels(self) -> list[tuple[str, str]]:
        """What it was told to stop: attempt and reason."""
        bodies = self._relay.wire.events(self.id, "inference_cancel")
        return [(body["attempt_id"], body["reason"]) for body in bodies]

    def answer(self, request: dict[str, Any] | None = None, outcome: Outcome = COMPLETED, *, named: bool = True) -> str:
        """Send the result of a request (of the last one) and return the site's code."""
        body = request or self.requests()[-1]
        attempt_id = body["attempt_id"] if named else None
        return self._relay.manager.result(self.link, body["id"], attempt_id, outcome)

    def leave(self) -> None:
        self._relay.wire.open.discard(self.id)
        self._relay.manager.disconnected(self.id)


class Relay:
    """Everything between a user and an app, in one thread."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.clock = Clock()
        self.wire = RecordingTransport()
        self.notifier = RecordingNotifier()
        self.manager = self.new_manager("process-1")
        self._count = 0

    def new_manager(self, process_id: str) -> WebsocketManager:
        manager = WebsocketManager(
            self.house.store,
            self.notifier,
            Times(GRACE, ACK_TIMEOUT),
            process_id,
            wall=lambda: self.clock.wall,
            monotonic=lambda: self.clock.monotonic,
        )
        manager.attach(self.wire)
        return manager

    def app(self, *, token: int | None = 7, instance: str | None = None) -> App:
        self._count += 1
        return App(self, AppLink(f"c{self._count}", token_id=token, instance=instance))

    def submit(self, space: int | None = None, **more: Any) -> str:
        """Accept a request and tell the manager, as the site does."""
        space_id = space or self.house.space
        request_id = self.house.submit(space=space_id, now=self.clock.wall, **more)
        self.manager.work_arrived(space_id)
        return request_id

    def wait(self, seconds: float) -> None:
        """Let time pass, with a beat a second."""
        while seconds > 0:
            step = min(1.0, seconds)
            self.clock.pass_(step)
            self.manager.tick()
            seconds -= step

    def state(self) -> str:
        """The state of the slot as the admin sees it, or offline."""
        states = [info.state for info in self.manager.connections() if info.space_id == self.house.space]
        return states[0] if states else "offline"
