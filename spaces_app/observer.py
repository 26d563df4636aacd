"""What an app can be watched doing."""

from __future__ import annotations

from spaces_app.outbox import Kept
from spaces_app.request import Request


class Observer:
    """Told of everything that happens, always from the thread that called ``run``. Override what you need."""

    def on_registered(self, space: str, queue_size: int, resumed: int) -> None:
        """The site accepted this app for ``space``; ``resumed`` claims were honoured."""

    def on_refused(self, space: str, code: str, message: str) -> None:
        """The site refuses this app for ``space``; it is not tried again."""

    def on_request(self, request: Request, queue_size: int, answered: bool) -> None:
        """A request came; ``answered`` says that its result was kept and is sent again without computing."""

    def on_sent(self, kept: Kept) -> None:
        """A result was sent, or sent again (``kept.tries`` > 1)."""

    def on_result(self, kept: Kept, code: str, message: str) -> None:
        """The site acknowledged a result with ``code``."""

    def on_cancel(self, request: Request, reason: str) -> None:
        """The site wants no answer any more for a request in hand."""

    def on_queue(self, space: str, queue_size: int) -> None:
        """The number of waiting requests changed."""

    def on_lost(self, message: str) -> None:
        """The connection was lost."""

    def on_retry(self, message: str, delay: float) -> None:
        """A try to connect failed because of ``message``; the next comes after ``delay`` seconds."""
