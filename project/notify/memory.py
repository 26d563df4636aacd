"""Notifications inside one process: "look again", by topic. Losing one costs a second, never a request."""

from __future__ import annotations

import threading
from collections import defaultdict
from types import TracebackType


class Subscription:
    """Waits for any of its topics. A context manager: leaving it unsubscribes."""

    def __init__(self, notifier: MemoryNotifier, topics: tuple[str, ...]) -> None:
        self._notifier = notifier
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._woken: set[str] = set()
        self.topics = topics

    def wait(self, timeout: float) -> bool:
        """Wait at most ``timeout`` seconds; True when woken. Can wait again afterwards."""
        woken = not self._notifier.closed and self._event.wait(max(0.0, timeout))
        self._event.clear()
        return woken and not self._notifier.closed

    def wake(self, topic: str) -> None:
        """Wake the waiter, now or at its next wait."""
        with self._lock:
            self._woken.add(topic)
        self._event.set()

    def woken_by(self) -> set[str]:
        """Return the topics that spoke up since the last call."""
        with self._lock:
            woken, self._woken = self._woken, set()
        return woken

    def __enter__(self) -> Subscription:
        """Return itself: it has subscribed already."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Unsubscribe."""
        self._notifier.unsubscribe(self)


class MemoryNotifier:
    """Wakes whoever subscribed to a topic in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.closed = False
        self._topics: dict[str, set[Subscription]] = defaultdict(set)

    def publish(self, topic: str) -> None:
        """Wake every subscriber of ``topic``. Never blocks and never fails."""
        with self._lock:
            waiting = list(self._topics.get(topic, ()))
        for subscription in waiting:
            subscription.wake(topic)

    def subscribe(self, *topics: str) -> Subscription:
        """Return a subscription; subscribe first, then look, then wait, or a change is missed."""
        subscription = Subscription(self, topics)
        with self._lock:
            for topic in topics:
                self._topics[topic].add(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Forget ``subscription``."""
        with self._lock:
            for topic in subscription.topics:
                waiting = self._topics.get(topic)
                if waiting:
                    waiting.discard(subscription)
                    if not waiting:
                        del self._topics[topic]

    def close(self) -> None:
        """Let every wait end unwoken, now and from now on, so that held calls answer before the server stops."""
        with self._lock:
            self.closed = True
            waiting = {subscription for group in self._topics.values() for subscription in group}
        for subscription in waiting:
            for topic in subscription.topics:
                subscription.wake(topic)

    def waiters(self) -> int:
        """How many subscriptions there are (for the metrics)."""
        with self._lock:
            return len({subscription for waiting in self._topics.values() for subscription in waiting})
