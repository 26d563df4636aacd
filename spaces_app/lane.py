"""One thread for each space: its requests one after another, spaces side by side."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue

from spaces_app.answers import Answer, compute
from spaces_app.binding import Handler
from spaces_app.request import Request

Done = Callable[[Request, Answer | None], None]


class Lane:
    """Runs the handler of one space. The thread starts with the first request and is a daemon."""

    def __init__(self, space: str, handler: Handler, done: Done) -> None:
        self._handler = handler
        self._done = done
        self._waiting: SimpleQueue[Request | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=f"space {space}", daemon=True)

    def put(self, request: Request) -> None:
        """Line up a request; ``done`` is called with its answer, from the lane's thread."""
        if not self._thread.ident:
            self._thread.start()
        self._waiting.put(request)

    def close(self) -> None:
        """End the thread after what is lined up."""
        self._waiting.put(None)

    def _run(self) -> None:
        for request in iter(self._waiting.get, None):
            try:
                answer = compute(self._handler, request)
            finally:
                request.close()
            self._done(request, answer)
