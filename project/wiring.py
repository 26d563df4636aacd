"""How the parts of one site are put together, brought up, and put down again."""

from __future__ import annotations

import gc
import logging
import os
import secrets
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

from flask import Flask
from flask_migrate import upgrade
from flask_socketio import SocketIO

from project import concurrency, first_admin, tokens
from project.config import Settings, SettingsError
from project.database import Database, lock_folder
from project.extensions import db
from project.file_links import FileLinks, without_signatures
from project.file_reception import MEGABYTE
from project.file_storage import FolderStorage
from project.files import Files
from project.notify.memory import MemoryNotifier
from project.ports import Times
from project.request_store import Limits, RequestStore
from project.services import KEY, Services
from project.sweeps import Beat, Sweeper
from project.transport import SocketTransport
from project.websocket_handler import WebsocketHandler
from project.websocket_manager import WebsocketManager

MIGRATIONS = Path(__file__).resolve().parent.parent / "migrations"
#: Seconds for the apps to finish what they have when the site is stopped; the exit comes within 30 s.
DRAIN_SECONDS = 25.0
STOP_LOOK_SECONDS = 0.2
#: Megabytes of a body that is not an upload.
MAX_BODY_MB = 4
DAY = 86_400.0

logger = logging.getLogger(__name__)


def flask_config(settings: Settings) -> dict[str, Any]:
    """Return Flask's own configuration for the settings."""
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    return {
        "SECRET_KEY": settings.key(),
        "SQLALCHEMY_DATABASE_URI": concurrency.database_url(settings.sqlalchemy_url),
        "SQLALCHEMY_ENGINE_OPTIONS": {"pool_size": 20, "max_overflow": 40, "pool_timeout": 5},
        "BOOTSTRAP_SERVE_LOCAL": True,
        "MAX_CONTENT_LENGTH": MAX_BODY_MB * 1_000_000,
    }


def wire(app: Flask, settings: Settings) -> None:
    """Make the relay and hand the ports over: manager and handler never import each other."""
    with app.app_context():
        database = Database(db.engine, synchronous=settings.sqlite_synchronous)
    limits = Limits(settings.request_timeout, settings.queue_ttl, settings.max_attempts, settings.queue_length)
    store, notifier = RequestStore(database, limits), MemoryNotifier()
    files = Files(
        FolderStorage(
            settings.data_dir / "files",
            min_free=int(settings.min_free_mb * MEGABYTE),
            durable=not database.is_sqlite or settings.sqlite_synchronous == "FULL",
        ),
        database,
        FileLinks(settings.key()),
        grace=settings.grace,
        upload_bytes=int(settings.max_upload_mb * MEGABYTE),
    )
    manager = WebsocketManager(store, notifier, Times(settings.grace, settings.ack_timeout), secrets.token_hex(16))
    socketio = _socketio(app, settings)
    transport = SocketTransport(socketio, files.links, 4 * settings.max_event_kb * 1000)
    manager.attach(transport)
    WebsocketHandler(socketio, transport, manager, files, settings)
    app.extensions[KEY] = Services(settings, database, store, manager, notifier, files)


def _socketio(app: Flask, settings: Settings) -> SocketIO:
    origins = [settings.public_url] if settings.public_url else None
    return SocketIO(
        app,
        async_mode=concurrency.current_mode(),
        async_handlers=False,
        manage_session=False,
        ping_interval=settings.ping_interval,
        ping_timeout=settings.ping_timeout,
        max_http_buffer_size=4 * settings.max_event_kb * 1000,
        cors_allowed_origins=origins,
        logger=False,
        engineio_logger=False,
    )


class Site:
    """One running site process: brought up by :meth:`start`, put down by :meth:`request_stop`."""

    def __init__(self, app: Flask, listener: socket.socket) -> None:
        self._app = app
        self._services: Services = app.extensions[KEY]
        self._server = concurrency.Server(listener, app)
        self._stop_requested = False
        self._process_id = self._services.manager.process_id
        self._sweeper = Sweeper(self._beats())
        self._housekeeper = Sweeper(self._housekeeping())

    def _beats(self) -> list[Beat]:
        manager, settings = self._services.manager, self._services.settings
        return [
            Beat("tick", min(1.0, settings.grace / 4, settings.request_timeout / 4), manager.tick),
            Beat("heartbeat", 2.0, self._heartbeat),
            Beat("tokens", 3.0, self._drop_lapsed_tokens),
        ]

    def _housekeeping(self) -> list[Beat]:
        """What may take its time, in a thread of its own: nothing of the queue waits for it."""
        return [
            Beat("retention", 60.0, self._drop_old),
            Beat("files", 1_800.0, lambda: self._services.files.sweep(time.time())),
        ]

    def prepare(self) -> None:
        """Migrate the database, make the first admin, and make good for the time in which nothing ran.

        Raises :class:`SettingsError` when the first admin's name or password in the settings breaks a rule.
        """
        settings = self._services.settings
        with self._app.app_context():
            upgrade()
            first_admin.ensure_first_admin(settings)
        self._services.files.claim_storage()
        self._services.store.start_process(
            self._process_id, socket.gethostname(), os.getpid(), settings.grace, time.time()
        )

    def serve(self) -> None:
        """Serve until a stop was requested and carried out."""
        gc.freeze()  # what was imported stays for ever: looking through it again and again costs milliseconds
        threading.Thread(target=self._sweeper.run, daemon=True, name="sweeps").start()
        threading.Thread(target=self._housekeeper.run, daemon=True, name="housekeeping").start()
        threading.Thread(target=self._wait_for_stop, daemon=True, name="stop").start()
        self._server.serve()

    def request_stop(self) -> None:
        """Ask for a stop; safe in a signal handler. A second call ends the process at once."""
        if self._stop_requested:
            os._exit(1)
        self._stop_requested = True

    def _wait_for_stop(self) -> None:
        """Look for the flag: a signal handler may do no more than set it."""
        while not self._stop_requested:
            threading.Event().wait(STOP_LOOK_SECONDS)
        self._stop()

    def _stop(self) -> None:
        """Refuse new work, let the apps finish what they have, then close their transports and the server."""
        manager = self._services.manager
        manager.accepting = False
        deadline = time.monotonic() + DRAIN_SECONDS
        print(f"Stopping: {manager.processing()} request(s) in apps' hands.", flush=True)
        while manager.processing() and time.monotonic() < deadline:
            threading.Event().wait(0.1)
        manager.close_all()
        self._services.notifier.close()
        threading.Event().wait(0.2)
        self._sweeper.stop()
        self._housekeeper.stop()
        self._server.stop()

    def _heartbeat(self) -> None:
        self._services.store.heartbeat(self._process_id, time.time())

    def _drop_old(self) -> None:
        """Delete what ended longer ago than the retention allows."""
        before = time.time() - self._services.settings.retention_days * DAY
        if count := self._services.files.expire(before):
            logger.info("deleted %d requests that ended before the retention time", count)

    def _drop_lapsed_tokens(self) -> None:
        """Cut apps whose token expired, was revoked, or belongs to somebody who was disabled."""
        live = self._services.manager.live_tokens()
        if not live:
            return
        with self._app.app_context():
            lapsed = tokens.lapsed(live, time.time())
        for token_id in lapsed:
            self._services.manager.token_revoked(token_id)


def claim_folder(settings: Settings) -> object | None:
    """On SQLite, prove that no other site process uses the data folder; keep the answer until the exit.

    Raises :class:`SettingsError` when another one does.
    """
    if not settings.sqlalchemy_url.startswith("sqlite"):
        return None
    lock = lock_folder(settings.data_dir)
    if lock is None:
        raise SettingsError(
            f"Another site process uses the data folder {settings.data_dir}. Stop it, or set SPACES_DATA_DIR."
        )
    return lock


def configure_logging(level: str) -> None:
    """Log to standard error, one line an event, with UTC times."""
    lines = logging.StreamHandler(sys.stderr)
    lines.setFormatter(_Lines("%(asctime)sZ %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level, handlers=[lines], force=True)
    for noisy in ("alembic", "engineio", "socketio", "werkzeug"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


class _Lines(logging.Formatter):
    """Log lines with UTC times, without the signature of any link."""

    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        return without_signatures(super().format(record))
