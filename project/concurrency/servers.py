"""The WSGI server of each mode, with the same bounds.

What Werkzeug's development server does not have: it answers one request a connection, so there is no idle time to
bound; and each connection is a thread, so that very many of them cost memory long before a bound on their count.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Mapping
from typing import Any

from project.concurrency.bodies import Body, drained
from project.concurrency.bounds import SERVER_NAME, Bounds
from project.concurrency.door import Door
from project.concurrency.lines import Incoming, Outgoing, OutgoingFile, dismiss
from project.concurrency.modes import current_mode

#: Green threads beside those of the connections.
SPARE_THREADS = 100

logger = logging.getLogger(__name__)


class Server:
    """A WSGI server on an open listener, in the current mode."""

    def __init__(self, listener: socket.socket, app: Any, bounds: Bounds | None = None) -> None:
        self._listener = listener
        self._app = app
        self._bounds = bounds or Bounds()
        self._running: Any = None
        self._stopped = threading.Event()

    def serve(self) -> None:
        """Serve until :meth:`stop` is called."""
        door = Door(self._listener, self._bounds)
        serve = {"eventlet": self._serve_eventlet, "gevent": self._serve_gevent, "threading": self._serve_threading}
        serve[current_mode()](door)

    def stop(self) -> None:
        """Stop accepting and let :meth:`serve` return; open connections are cut. Callable from any thread."""
        self._stopped.set()
        if current_mode() == "threading" and self._running:
            self._running.shutdown()

    def _serve_eventlet(self, door: Door) -> None:
        import eventlet
        from eventlet import wsgi

        bounds = self._bounds

        class Protocol(wsgi.HttpProtocol):
            server_version, sys_version = SERVER_NAME, ""

            def __init__(self, conn_state: Any, server: Any) -> None:
                try:
                    super().__init__(conn_state, server)
                finally:
                    conn_state[1].close()
                    door.left(conn_state[0])

            def setup(self) -> None:
                self.connection = self.request
                self.rfile = Incoming(self.request)
                self.wfile = OutgoingFile(Outgoing(self.request, bounds.send))

            def handle_one_request(self) -> None:
                refusal = self.rfile.take_head(bounds)
                if refusal is None:
                    super().handle_one_request()
                else:
                    _refuse(self.connection, refusal)
                    self.close_connection = True

            def get_environ(self) -> dict[str, Any]:
                environ: dict[str, Any] = super().get_environ()
                body = environ["wsgi.input"]
                body.discard = lambda: self._discard(body)
                if _upgrades(environ):
                    _become_websocket(self.rfile, self.connection, bounds)
                else:
                    environ["wsgi.input"] = Body(body, self.rfile)
                return environ

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the parent names it so
                """Its own lines hold whole addresses, signatures included, and go past the site's log."""
                logger.debug(format, *args)

            def _discard(self, body: wsgi.Input) -> None:
                if not drained(body, self.rfile):
                    self.close_connection = True

        server = eventlet.spawn(
            wsgi.server,
            door,
            self._app,
            protocol=Protocol,
            max_size=bounds.sockets + SPARE_THREADS,
            minimum_chunk_size=1,
            log=logger,
            log_output=False,
            debug=False,
            socket_timeout=None,
        )
        self._stopped.wait()
        server.kill()

    def _serve_gevent(self, door: Door) -> None:
        import gevent
        from gevent import pywsgi

        bounds = self._bounds

        class Input(pywsgi.Input):
            __slots__ = ()

            def _discard(self) -> None:
                # Whoever still waits for leave to send has nothing under way.
                if self.is_left() and not self._chunked_input_error and self.socket is None:
                    drained(self, self.rfile)

            def is_left(self) -> bool:
                return bool(self.chunk_length if self.chunked_input else self.position < (self.content_length or 0))

        class Handler(pywsgi.WSGIHandler):
            def __init__(self, connection: Any, address: Any, server: Any) -> None:
                super().__init__(Outgoing(connection, bounds.send), address, server, rfile=Incoming(connection))

            def handle_one_request(self) -> Any:
                refusal = self.rfile.take_head(bounds)
                if refusal is None:
                    return super().handle_one_request()
                _refuse(self.socket, refusal)
                return None

            def get_environ(self) -> dict[str, Any]:
                environ: dict[str, Any] = super().get_environ()
                self.wsgi_input.__class__ = Input
                if _upgrades(environ):
                    _become_websocket(self.rfile, self.socket, bounds)
                else:
                    environ["wsgi.input"] = Body(self.wsgi_input, self.rfile)
                return environ

            def handle_one_response(self) -> None:
                super().handle_one_response()
                if _upgrades(self.environ) or self.wsgi_input.is_left():
                    self.close_connection = True  # what follows is not another HTTP request

        host, port = self._listener.getsockname()[:2]
        names = {"SERVER_NAME": host, "SERVER_PORT": str(port)}
        server = pywsgi.WSGIServer(
            self._listener, self._app, log=None, error_log=logger, handler_class=Handler, environ=names
        )

        def handle(connection: Any, address: Any) -> None:
            try:
                server.handle(connection, address)
            finally:
                connection.close()
                door.left(address)

        def take_all() -> None:
            while True:
                gevent.spawn(handle, *door.accept())

        self._running = gevent.spawn(take_all)
        self._stopped.wait()
        self._running.kill()
        self._listener.close()

    def _serve_threading(self, door: Door) -> None:
        from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler

        bounds = self._bounds

        class Handler(WSGIRequestHandler):
            protocol_version = "HTTP/1.1"

            def version_string(self) -> str:
                return SERVER_NAME

            def setup(self) -> None:
                self.connection = self.request
                self.rfile = Incoming(self.request)
                self.wfile = OutgoingFile(Outgoing(self.request, bounds.send))  # type: ignore[assignment]

            def handle_one_request(self) -> None:
                refusal = self.rfile.take_head(bounds)  # type: ignore[attr-defined]
                if refusal is None:
                    super().handle_one_request()
                else:
                    _refuse(self.connection, refusal)
                self.close_connection = True

            def make_environ(self) -> dict[str, Any]:
                environ: dict[str, Any] = super().make_environ()
                incoming: Any = self.rfile
                if _upgrades(environ):
                    _become_websocket(incoming, self.connection, bounds)
                else:
                    environ["wsgi.input"] = Body(environ["wsgi.input"], incoming)
                self.rfile = _Rest(incoming)  # type: ignore[assignment]
                return environ

            def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
                """Access lines are written by the site itself."""

            def log_error(self, format: str, *args: Any) -> None:  # noqa: A002 - the parent names it so
                """Refusals of this server are no news to the site."""
                logger.debug(format, *args)

        class Threads(ThreadedWSGIServer):
            daemon_threads = True

            def get_request(self) -> Any:
                found = door.accept_one()
                if found is None:
                    raise BlockingIOError  # and the server looks again
                return found

            def process_request(self, request: Any, client_address: Any) -> None:
                try:
                    super().process_request(request, client_address)
                except BaseException:  # no thread has begun that would say so itself
                    door.left(client_address)
                    raise

            def process_request_thread(self, request: Any, client_address: Any) -> None:
                try:
                    super().process_request_thread(request, client_address)
                finally:
                    request.close()
                    door.left(client_address)

        host, port = self._listener.getsockname()[:2]
        self._running = Threads(host, port, self._app, Handler, fd=self._listener.fileno())
        self._running.serve_forever(poll_interval=0.1)
        self._stopped.wait()


class _Rest:
    """What Werkzeug reads after its answer: it would wait for all that a peer ever sends."""

    def __init__(self, incoming: Incoming) -> None:
        self._incoming = incoming

    def read(self, _size: int) -> bytes:
        """Read and drop for a moment, then say that this was all."""
        drained(self._incoming, self._incoming)
        return b""

    def close(self) -> None:
        """Close the file."""
        self._incoming.close()


def _upgrades(environ: Mapping[str, Any]) -> bool:
    return "websocket" in environ.get("HTTP_UPGRADE", "").lower()


def _become_websocket(incoming: Incoming, connection: Any, bounds: Bounds) -> None:
    """From now on the libraries read and write the socket itself, and take its timeout for a peer that has left."""
    incoming.deadline = None
    connection.settimeout(bounds.silence)


def _refuse(connection: Any, said: bytes) -> None:
    if said:
        with contextlib.suppress(OSError):
            dismiss(connection, said)
