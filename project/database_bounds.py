"""No wait for PostgreSQL without end, also when its server is frozen and says nothing at all.

The server itself ends a statement that takes too long; a connection on which even that does not come is cut from
this side, which wakes whoever waits on it, in every mode of concurrency.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine, event

from project import concurrency

#: Seconds that a new connection may take.
CONNECT_SECONDS = 3
#: Seconds that one statement may take at the server, and that a connection may be used without a new statement.
STATEMENT_SECONDS, SILENT_SECONDS = 5.0, 7.0
LOOK_SECONDS = 0.5
#: What the drivers' common library is told; ``tcp_user_timeout`` is in milliseconds, the others in seconds.
CONNECT_OPTIONS = {
    "connect_timeout": CONNECT_SECONDS,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
SOCKET = "spaces_socket"

logger = logging.getLogger(__name__)


class Bounds:
    """The bounds of one engine. A new connection is bounded from the beginning, statements from :meth:`start` on."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        #: The sockets of the connections in use, and since when (monotonic) each waits or computes.
        self._since: dict[socket.socket, float] = {}
        self._started = False
        listeners: dict[str, Callable[..., Any]] = {
            "do_connect": _connect,
            "connect": self._on_connect,
            "checkout": self._on_checkout,
            "before_cursor_execute": self._on_statement,
            "checkin": self._on_checkin,
            "close": self._on_close,
        }
        for name, listener in listeners.items():
            event.listen(engine, name, listener)

    def start(self) -> None:
        """Bound statements from now on: migrations are over, and only those may take long."""
        self._started = True
        self._engine.dispose()  # connections made before do not know the server's bound
        threading.Thread(target=self._watch, daemon=True, name="database bounds").start()

    def _on_connect(self, connection: Any, record: Any) -> None:
        # A descriptor of its own: the driver may close its one at any moment, and another file may get its number.
        record.info[SOCKET] = socket.socket(fileno=os.dup(connection.fileno()))
        if self._started:
            with connection.cursor() as cursor:
                cursor.execute(f"SET statement_timeout = {int(STATEMENT_SECONDS * 1000)}")
            connection.commit()

    def _on_checkout(self, _connection: Any, record: Any, _proxy: Any) -> None:
        self._note(record.info[SOCKET])

    def _on_statement(self, connection: Any, *_more: Any) -> None:
        self._note(connection.info[SOCKET])

    def _note(self, one: socket.socket) -> None:
        with self._lock:
            self._since[one] = time.monotonic()

    def _on_checkin(self, _connection: Any, record: Any) -> None:
        with self._lock:
            self._since.pop(record.info.get(SOCKET), None)

    def _on_close(self, connection: Any, record: Any) -> None:
        self._on_checkin(connection, record)
        if one := record.info.pop(SOCKET, None):
            one.close()

    def _watch(self) -> None:
        while True:
            threading.Event().wait(LOOK_SECONDS)
            self.cut_overdue(time.monotonic())

    def cut_overdue(self, now: float) -> int:
        """Cut the connections on which nothing has happened for too long; return how many."""
        with self._lock:
            overdue = [one for one, since in self._since.items() if now - since > SILENT_SECONDS]
            for one in overdue:
                del self._since[one]
        for one in overdue:
            logger.warning("the database has said nothing for %g s: a connection is cut", SILENT_SECONDS)
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        return len(overdue)


def _connect(dialect: Any, _record: Any, arguments: Any, parameters: dict[str, Any]) -> Any:
    """Connect within :data:`CONNECT_SECONDS`; what the address itself says about waiting stays."""
    try:
        with concurrency.within(CONNECT_SECONDS + 1):  # where the driver itself does not look at the clock
            return dialect.connect(*arguments, **CONNECT_OPTIONS | parameters)
    except TimeoutError as error:
        raise dialect.dbapi.OperationalError(f"no connection within {CONNECT_SECONDS} s") from error
