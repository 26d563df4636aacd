"""Apps that come back: a plain one whose place is taken by the next as soon as it is gone, and one of the package."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from socketio.exceptions import SocketIOError

from spaces_app import App, Observer, Request
from spaces_app.outbox import Kept
from tests.faults.apps import FaultApp

PAUSE = 0.1
END_SECONDS = 15.0


class Returning:
    """Keeps a space served: connects an app that ``make`` makes whenever the one before it is gone.

    Each newcomer claims nothing. ``made`` are all that were connected, the present one last; ``more`` goes into
    ``register``.
    """

    def __init__(self, make: Callable[[], FaultApp], space: str, **more: Any) -> None:
        self.made: list[Any] = []
        self._make = make
        self._register = {"space_name": space, **more}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"returning to {space}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopped.wait(PAUSE):
            # A site that is away, or a place that the one before still has: the next try comes soon.
            try:
                if not (self.made and self.made[-1].is_connected()):
                    self._replace()
            except (SocketIOError, OSError):
                continue

    def _replace(self) -> None:
        if self.made:
            self.made[-1].close()
        self.made.append(self._make())
        if not self.made[-1].call("register", self._register)["success"]:
            self.made[-1].drop()

    def close(self) -> None:
        """Leave and do not come back."""
        self._stopped.set()
        self._thread.join(END_SECONDS)
        assert not self._thread.is_alive(), "the app does not end"
        for app in self.made[-1:]:
            app.close()

    def __repr__(self) -> str:
        return f"Returning {self._register} made {len(self.made)}: {self.made[-3:]}"


class _Reporting(Observer):
    """Tells the listeners of :class:`tests.faults.apps.FaultApp` what the package's app hears."""

    def on_request(self, request: Request, queue_size: int, answered: bool) -> None:
        body = {
            "request_id": request.id,
            "attempt_id": request.attempt_id,
            "attempt": request.attempt,
            "redelivered": request.redelivered,
        }
        self._tell("inference_request", body, None)

    def on_result(self, kept: Kept, code: str, message: str) -> None:
        self._tell("inference_result", kept.body, {"code": code, "message": message})

    @staticmethod
    def _tell(event: str, body: Any, answer: Any) -> None:
        for listener in FaultApp.listeners:
            listener(event, body, answer)


class Packaged:
    """An app of the package in a thread of this process; ``handler`` is given each request."""

    def __init__(self, url: str, token: str, space: str, handler: Callable[[Request], Any]) -> None:
        self.app = App(url, token, observer=_Reporting())
        self.app.serve(space, handler)
        self._thread = threading.Thread(target=self.app.run, name=f"packaged {space}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop it and wait for its end."""
        self.app.stop()
        self._thread.join(END_SECONDS)
        assert not self._thread.is_alive(), "the app does not end"
