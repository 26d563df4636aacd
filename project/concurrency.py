"""The only file that names the concurrency modes: eventlet (the default), gevent and threading.

Everything else uses plain ``threading`` primitives, which :func:`patch` makes green where that is needed.
``run.py`` imports this module and patches before anything else is imported. What each mode needs:

=========  ==============================  =======================  ====================
mode       server                          PostgreSQL driver        password hashing in
=========  ==============================  =======================  ====================
eventlet   ``eventlet.wsgi``               psycopg2 (made green)    ``eventlet.tpool``
gevent     ``gevent.pywsgi``               psycopg 3                the hub's thread pool
threading  Werkzeug's (development only)   psycopg 3                the calling thread
=========  ==============================  =======================  ====================

Both production servers would read what is left of a refused body for ever; here they stop after
:data:`DRAIN_SECONDS` and close the connection.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

MODES = ("eventlet", "gevent", "threading")
BACKLOG = 4096
MAX_GREEN_THREADS = 20_000
#: For password hashes: each real thread keeps the 19 MiB that its last hash needed.
REAL_THREADS = 4
#: For how long what a refused caller still sends is read and dropped, so that it gets to see the answer.
DRAIN_SECONDS = 2.0

logger = logging.getLogger(__name__)
_mode = "threading"


def patch(mode: str) -> None:
    """Make the standard library cooperative for ``mode``; call it before any other import of the site."""
    global _mode
    if mode not in MODES:
        raise ValueError(f"SPACES_ASYNC_MODE must be one of {', '.join(MODES)}, not {mode!r}")
    _mode = mode
    if mode == "eventlet":
        os.environ.setdefault("EVENTLET_THREADPOOL_SIZE", str(REAL_THREADS))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it announces its retirement at every start
            import eventlet

        eventlet.monkey_patch()
        _unmask_quickly()
    elif mode == "gevent":
        import gevent
        from gevent import monkey

        monkey.patch_all()
        gevent.get_hub().threadpool.maxsize = REAL_THREADS


def patch_from_environment() -> str:
    """Patch for the mode in ``SPACES_ASYNC_MODE`` and return it."""
    mode = os.environ.get("SPACES_ASYNC_MODE") or "eventlet"
    patch(mode)
    return mode


def current_mode() -> str:
    """Return the mode that this process was patched for (``threading`` when it was not patched)."""
    return _mode


def in_real_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run ``function`` where it cannot stall the other green threads (a password hash takes 0.1 s)."""
    if _mode == "eventlet":
        from eventlet import tpool

        result: T = tpool.execute(function, *args, **kwargs)
        return result
    if _mode == "gevent":
        import gevent

        pooled: T = gevent.get_hub().threadpool.apply(function, args, kwargs)
        return pooled
    return function(*args, **kwargs)


def give_way() -> None:
    """Let other green threads run: a stream whose next bytes are always there would hold everybody up."""
    time.sleep(0)


def read_within(body: Any, size: int, seconds: float, environ: dict[str, Any]) -> bytes:
    """Return ``body.read(size)``, ``body`` being that of the request ``environ``; fewer bytes only at its end.

    Raises :class:`TimeoutError` when that takes longer than ``seconds``.
    """
    data: bytes
    if _mode == "eventlet":
        import eventlet

        with eventlet.Timeout(seconds, TimeoutError()):
            data = body.read(size)
    elif _mode == "gevent":
        import gevent

        with gevent.Timeout(seconds, TimeoutError()):
            data = body.read(size)
    else:
        data = _read_by_socket_timeout(body, size, seconds, environ.get("werkzeug.socket"))
    return data


def _read_by_socket_timeout(body: Any, size: int, seconds: float, connection: socket.socket | None) -> bytes:
    """Read in steps of what is there, since a socket's timeout starts anew with each."""
    if connection is None:
        return bytes(body.read(size))
    read, before = getattr(body, "read1", body.read), connection.gettimeout()
    deadline, data = time.monotonic() + seconds, b""
    try:
        while len(data) < size:
            connection.settimeout(max(0.001, deadline - time.monotonic()))
            step = read(size - len(data))
            if not step:
                break
            data += step
    except TimeoutError:
        # This sender is done with. Its file refuses everything after a timeout, but the server still wants its end.
        connection.shutdown(socket.SHUT_RD)
        vars(getattr(body, "raw", body)).update(_timeout_occurred=False)
        raise
    finally:
        connection.settimeout(before)
    return data


def _drained(body: Any) -> bool:
    """Read and drop what is left of a body, for a while; say whether that was all of it."""
    deadline = time.monotonic() + DRAIN_SECONDS
    try:
        while (left := deadline - time.monotonic()) > 0:
            if not read_within(body, 65_536, left, {}):
                return True
            give_way()
    except (OSError, ValueError):
        logger.debug("a refused body could not be read to its end")
    return False


def _unmask_quickly() -> None:
    """Undo WebSocket masks (RFC 6455, 5.3) at once: byte by byte, one megabyte stops everybody for 0.2 s."""
    from eventlet.websocket import RFC6455WebSocket

    def apply_mask(data: bytes, mask: tuple[int, ...], length: int | None = None, offset: int = 0) -> bytes:
        data = data[:length]
        turn = offset % 4
        key = (bytes(mask[turn:]) + bytes(mask[:turn])) * (len(data) // 4 + 1)
        masked = int.from_bytes(data, "little") ^ int.from_bytes(key[: len(data)], "little")
        return masked.to_bytes(len(data), "little")

    RFC6455WebSocket._apply_mask = staticmethod(apply_mask)


def database_url(url: str) -> str:
    """Name the driver that fits the mode in a bare ``postgresql://`` address; others are left alone.

    psycopg 3 blocks under eventlet and psycopg2 blocks under gevent.
    """
    for bare in ("postgresql://", "postgres://"):
        if url.startswith(bare):
            driver = "psycopg2" if _mode == "eventlet" else "psycopg"
            return f"postgresql+{driver}://{url.removeprefix(bare)}"
    return url


def open_listener(host: str, port: int) -> socket.socket:
    """Open the listening socket: long backlog, no delay. Raises :class:`OSError` when the port is taken."""
    _raise_open_files_limit()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


class Server:
    """A WSGI server on an open listener, in the current mode."""

    def __init__(self, listener: socket.socket, app: Any) -> None:
        self._listener = listener
        self._app = app
        self._running: Any = None
        self._stopped = threading.Event()

    def serve(self) -> None:
        """Serve until :meth:`stop` is called."""
        {"eventlet": self._serve_eventlet, "gevent": self._serve_gevent, "threading": self._serve_threading}[_mode]()

    def stop(self) -> None:
        """Stop accepting and let :meth:`serve` return; open connections are cut. Callable from any thread."""
        self._stopped.set()
        if _mode == "gevent" and self._running:
            self._running.stop(timeout=1)
        elif _mode == "threading" and self._running:
            self._running.shutdown()

    def _serve_eventlet(self) -> None:
        import eventlet
        from eventlet import wsgi

        class Protocol(wsgi.HttpProtocol):
            def get_environ(self) -> dict[str, Any]:
                environ: dict[str, Any] = super().get_environ()
                body = environ["wsgi.input"]
                body.discard = lambda: self._discard(body)
                return environ

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the parent names it so
                """Its own lines hold whole addresses, signatures included, and go past the site's log."""
                logger.debug(format, *args)

            def _discard(self, body: wsgi.Input) -> None:
                if not _drained(body):
                    self.close_connection = 1

        server = eventlet.spawn(
            wsgi.server,
            self._listener,
            self._app,
            protocol=Protocol,
            max_size=MAX_GREEN_THREADS,
            minimum_chunk_size=1,
            log=logger,
            log_output=False,
            debug=False,
            socket_timeout=None,
        )
        self._stopped.wait()
        server.kill()

    def _serve_gevent(self) -> None:
        from gevent import pywsgi

        class Input(pywsgi.Input):
            __slots__ = ()

            def _discard(self) -> None:
                # Whoever still waits for leave to send has nothing under way.
                if self.is_left() and not self._chunked_input_error and self.socket is None:
                    _drained(self)

            def is_left(self) -> bool:
                return bool(self.chunk_length if self.chunked_input else self.position < (self.content_length or 0))

        class Handler(pywsgi.WSGIHandler):
            def get_environ(self) -> dict[str, Any]:
                environ: dict[str, Any] = super().get_environ()
                self.wsgi_input.__class__ = Input
                return environ

            def handle_one_response(self) -> None:
                super().handle_one_response()
                is_websocket = "websocket" in self.environ.get("HTTP_UPGRADE", "").lower()
                if is_websocket or self.wsgi_input.is_left():
                    self.close_connection = True  # what follows is not another HTTP request

        self._running = pywsgi.WSGIServer(self._listener, self._app, log=None, error_log=logger, handler_class=Handler)
        self._running.serve_forever()
        self._stopped.wait()

    def _serve_threading(self) -> None:
        from werkzeug.serving import WSGIRequestHandler, make_server

        class QuietHandler(WSGIRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
                """Access lines are written by the site itself."""

            def log_error(self, format: str, *args: Any) -> None:  # noqa: A002 - the parent names it so
                """A WebSocket's last bytes look like a bad request to this server."""
                logger.debug(format, *args)

        host, port = self._listener.getsockname()[:2]
        self._running = make_server(
            host, port, self._app, threaded=True, request_handler=QuietHandler, fd=self._listener.fileno()
        )
        self._running.daemon_threads = True
        self._running.serve_forever(poll_interval=0.1)
        self._stopped.wait()


def _raise_open_files_limit() -> None:
    """Use the whole allowance: each held connection is a file."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
