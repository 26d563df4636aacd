"""What the manager speaks about, and the three ports that it is given: a store, a transport, a notifier.

Plain values and protocols of the standard library alone, so that neither side must import the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

#: A row as the store gives it: read by the columns of :class:`project.models.InferenceRequest`.
Row = Mapping[Any, Any]


@dataclass(frozen=True, slots=True)
class AppLink:
    """One connection of an app, as the manager sees it."""

    connection_id: str
    token_id: int | None = None
    address: str | None = None
    name: str | None = None
    version: str | None = None
    instance: str | None = None


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds: the grace, and how long a declared acknowledgement may take."""

    grace: float
    ack_timeout: float


@dataclass(frozen=True, slots=True)
class Registration:
    """The answer to a registration: ``code`` is ``ok`` or the reason of the refusal."""

    code: str
    queue_size: int = 0
    resumed: tuple[dict[str, str], ...] = ()

    @property
    def success(self) -> bool:
        """Whether the app serves the space now."""
        return self.code == "ok"


@dataclass(frozen=True, slots=True)
class Newcomer:
    """A connection that wants to serve a space: what it declared, and how to answer it."""

    link: AppLink
    acks: bool
    claims: Sequence[str]
    answer: Callable[[Registration], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended, as the app said: ``status`` completed or failed, and what it left."""

    status: str
    code: str | None = None
    message: str | None = None
    parts: list[dict[str, Any]] | None = None
    retryable: bool | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """What a running attempt has reported, in ``steps`` reports: the row's ``seq`` plus ``steps`` is the cursor."""

    value: float | None = None
    message: str | None = None
    partial: str = ""
    steps: int = 0


@dataclass(frozen=True, slots=True)
class Notice:
    """Why an app loses its place: a code of ``register_response`` and words for its author."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class ConnectionInfo:
    """One space's connection, for the admin pages. ``connected_at`` is Unix seconds."""

    space_id: int
    space_name: str
    connection_id: str
    state: str
    request_id: str | None
    app_name: str | None
    app_version: str | None
    app_instance: str | None
    address: str | None
    connected_at: float
    token_id: int | None


@dataclass(frozen=True, slots=True)
class Change:
    """A request that changed, and whom that concerns."""

    request_id: str
    user_id: int
    space_id: int | None
    status: str


@dataclass(frozen=True, slots=True)
class Binding:
    """What binding a connection found: the new epoch, an honoured claim, claims that are over (request, attempt)."""

    epoch: int
    resumed: Row | None
    over: list[tuple[str, str]]
    changes: list[Change]


@dataclass(frozen=True, slots=True)
class Ending:
    """How a request ends: its final ``status`` and what it leaves; ``by_result`` when its own attempt said so."""

    status: str
    code: str | None = None
    message: str | None = None
    result: list[dict[str, Any]] | None = None
    retryable: bool | None = None
    by_result: bool = False


@dataclass(frozen=True, slots=True)
class OpenWork:
    """What is open in one space: how many wait, the first end of a wait, and the attempt that is processing.

    ``lost_at`` is when the space's app went away; None while it is there. Times are Unix seconds.
    """

    space_id: int | None
    waiting: int = 0
    expires_at: float | None = None
    request_id: str | None = None
    attempt_id: str | None = None
    deadline_at: float | None = None
    lost_at: float | None = None


class Fenced(Exception):
    """Another epoch owns the space: whoever sees this must not write for it."""


class Store(Protocol):
    """What the manager asks of the store; :class:`project.request_store.RequestStore` is it."""

    def get(self, request_id: str) -> Row | None:
        """Return the row, or None."""

    def bind(
        self, space_id: int, epoch: int | None, app: AppLink, claims: Sequence[str], process_id: str, now: float
    ) -> Binding:
        """Make ``app`` the space's connection and settle what its predecessor left."""

    def mark_lost(self, space_id: int, epoch: int, now: float) -> None:
        """Note that the connection of ``epoch`` is gone."""

    def claim_next(self, space_id: int, epoch: int, app: AppLink, now: float) -> Row | None:
        """Start the next attempt of the oldest queued request, or return None."""

    def finish_and_claim(
        self, space_id: int, epoch: int, app: AppLink, request_id: str, attempt_id: str, ending: Ending, now: float
    ) -> tuple[Change | None, Row | None]:
        """End the attempt's request by its result and start the next one, in one transaction."""

    def end(self, request_id: str, ending: Ending, now: float, attempt_id: str | None = None) -> Change | None:
        """End an open request; None when it was not open any more."""

    def end_space(self, space_id: int, now: float) -> list[Change]:
        """End all open requests of a space."""

    def open_of_user(self, user_id: int) -> Sequence[Row]:
        """Return the user's open requests."""

    def expire_queued(self, now: float) -> list[Change]:
        """End the requests that have waited longer than the queue time."""

    def give_back(self, request_id: str, attempt_id: str, now: float) -> Change | None:
        """Requeue the attempt's request at the head, or fail it."""

    def survey(self) -> dict[int | None, OpenWork]:
        """Return what is open, by space."""

    def queue_size(self, space_id: int) -> int:
        """Return how many requests wait in a space."""

    def refusal(
        self, request_id: str, attempt_id: str | None, token_id: int | None, connection_id: str, now: float
    ) -> str:
        """Say why a result that nobody waits for is refused."""


class Transport(Protocol):
    """What the manager asks of the wire; :class:`project.transport.SocketTransport` is it."""

    def send(
        self, connection_id: str, event: str, body: dict[str, Any], on_ack: Callable[[], None] | None = None
    ) -> None:
        """Put an event into the connection's queue; it never blocks."""

    def send_request(self, connection_id: str, row: Row, queue_size: int, on_ack: Callable[[], None] | None) -> None:
        """Hand a claimed request to the connection."""

    def close(self, connection_id: str) -> None:
        """Close the transport: the app's library reconnects."""

    def dismiss(self, connection_id: str) -> None:
        """Disconnect for good: the app's library stops."""

    def probe(self, connection_id: str, with_event: bool, timeout: float) -> bool:
        """Ask for a sign of life and wait up to ``timeout`` seconds for it."""

    def is_open(self, connection_id: str) -> bool:
        """Whether the connection is still there."""

    def of_token(self, token_id: int | None) -> Sequence[str]:
        """Return the connections that a token opened, also those that serve nothing."""

    def close_idle(self, serves: Callable[[str], bool]) -> None:
        """Close what did not authenticate in time, or then not register: what ``serves`` nothing."""


class Notifier(Protocol):
    """What the manager asks of the notifications; :class:`project.notify.memory.MemoryNotifier` is it."""

    def publish(self, topic: str) -> None:
        """Wake whoever waits for the topic."""
