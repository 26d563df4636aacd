"""The face of the package: an app, its spaces and their handlers."""

from __future__ import annotations

import secrets
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from spaces_app.binding import Handler, check
from spaces_app.ended import Ended
from spaces_app.link import Link, site_address
from spaces_app.loop import Identity, Loop
from spaces_app.observer import Observer
from spaces_app.version import __version__

H = TypeVar("H", bound=Handler)


class App:
    """Serves one or more spaces of the site at ``host`` with functions of this program.

    ``token`` is an app token of the site; it travels in the connection's ``auth``, never in an address.
    ``instance`` stays the same over reconnects (default: random for each process), so that a returning app
    takes its own place at once. ``name`` and ``version`` are shown to the site's admins.
    """

    def __init__(
        self,
        host: str,
        token: str | None = None,
        *,
        instance: str | None = None,
        name: str = "spaces_app",
        version: str = __version__,
        observer: Observer | None = None,
    ) -> None:
        """Raises :class:`ValueError` when ``host`` is not the address of a site."""
        self._host = site_address(host)
        self._token = token
        self._who = Identity(name, version, instance or secrets.token_hex(8))
        self._observer = observer or Observer()
        self._handlers: dict[str, Handler] = {}
        self._loop: Loop | None = None
        self._stop_asked = False

    def space(self, name: str) -> Callable[[H], H]:
        """Decorate the handler of the space ``name``.

        The handler's parameters say what it takes: ``prompt`` or ``text`` (a ``str``), ``audio``, ``video``, ``file``
        (a ``pathlib.Path``), ``files`` (a list of them), ``parameters`` (a ``dict``), ``request``; or a single one,
        which gets the prompt when it is a ``str`` and the :class:`spaces_app.Request` otherwise. A file without a
        default is required, unless it may be ``None``.

        It returns text, an object, a file (a ``pathlib.Path``, bytes, an open file or a :class:`spaces_app.Media`),
        or a list of these and of parts. An exception reports a failure, with its message for the user.

        Raises :class:`TypeError` when the handler takes nothing, or something that no request has.
        """

        def add(handler: H) -> H:
            self.serve(name, handler)
            return handler

        return add

    def serve(self, name: str, handler: Handler) -> None:
        """Serve the space ``name`` with ``handler``. See :meth:`space` for what it takes, returns and raises."""
        check(handler)
        self._handlers[name] = handler

    def run(self) -> Ended:
        """Connect and serve until stopped or refused for good, and say how it ended.

        In the main thread Ctrl+C and SIGTERM stop it cleanly; a second one breaks it off.
        Raises :class:`ValueError` when there is no space to serve.
        """
        if not self._handlers:
            raise ValueError("no space to serve: decorate a function with @app.space(...) first")
        self._loop = Loop(self._dial, self._handlers, self._who, self._observer)
        if self._stop_asked:
            self._loop.stop()
        with _stopped_by_signals(self.stop):
            return self._loop.run()

    def stop(self) -> None:
        """Make :meth:`run` return soon. Callable from any thread and from signal handlers."""
        self._stop_asked = True
        if self._loop:
            self._loop.stop()

    def cut(self) -> None:
        """Break the transport without a word, as a failing network would; the app comes back by itself."""
        if self._loop:
            self._loop.cut()

    def send(self, event: str, body: Any, ack: Callable[[dict[str, Any]], None] | None = None) -> None:
        """Send any event as it is, if connected. Meant for testing how a site copes."""
        if self._loop:
            self._loop.send(event, body, ack)

    def _dial(self, loop: Loop) -> Link:
        return Link(self._host, self._token, loop)


@contextmanager
def _stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Let the first SIGINT or SIGTERM call ``stop`` and the second do what it did before."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def on_signal(*_args: object) -> None:
        restore()
        stop()

    for number in before:
        signal.signal(number, on_signal)
    try:
        yield
    finally:
        restore()
