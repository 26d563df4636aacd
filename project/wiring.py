"""How the parts of one site are put together, brought up, and put down again."""

from __future__ import annotations

import gc
import logging
import math
import os
import secrets
import socket
import sys
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from flask import Flask
from flask_migrate import upgrade
from flask_socketio import SocketIO

from project import concurrency, first_admin, tokens
from project.at_once import AtOnce
from project.config import Settings, SettingsError
from project.database import Database
from project.extensions import db
from project.file_links import FileLinks, without_signatures
from project.file_reception import MEGABYTE
from project.file_storage import FolderStorage
from project.files import Files
from project.forwarded import behind
from project.notify.memory import MemoryNotifier
from project.ports import Times
from project.request_store import Limits, RequestStore
from project.services import KEY, Services
from project.sqlite_file import lock_folder
from project.sweeps import Beat, Sweeper
from project.transport import SocketTransport, longest_packet
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
        # What a statement was given (prompts, hashes) is nothing for a log.
        "SQLALCHEMY_ENGINE_OPTIONS": {"pool_size": 20, "max_overflow": 40, "pool_timeout": 5, "hide_parameters": True},
        "BOOTSTRAP_SERVE_LOCAL": True,
        "MAX_CONTENT_LENGTH": MAX_BODY_MB * 1_000_000,
    }


def wire(app: Flask, settings: Settings) -> None:
    """Make the relay and hand the ports over: manager and handler never import each other."""
    with app.app_context():
        database = Database(db.engine, synchronous=settings.sqlite_synchronous)
    limits = Limits(
        timeout=settings.request_timeout,
        queue_ttl=settings.queue_ttl,
        max_attempts=settings.max_attempts,
        queue_length=settings.queue_length,
        user_queue_length=settings.user_queue_length,
    )
    store, notifier = RequestStore(database, limits), MemoryNotifier()
    files = Files(
        FolderStorage(
            settings.files_dir,
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
    transport = SocketTransport(socketio, files.links, settings)
    manager.attach(transport)
    WebsocketHandler(socketio, transport, manager, files, settings)
    app.wsgi_app = behind(app.wsgi_app, settings.proxies)  # type: ignore[assignment,method-assign]
    app.extensions[KEY] = Services(
        settings,
        database,
        store,
        manager,
        notifier,
        files,
        submit_keys=AtOnce(each=1, whole=sys.maxsize),
        held_calls=AtOnce(settings.held_calls_per_user, settings.max_held_calls),
        uploads=AtOnce(settings.uploads_per_user, settings.max_uploads),
    )


def _socketio(app: Flask, settings: Settings) -> SocketIO:
    return SocketIO(
        app,
        async_mode=concurrency.current_mode(),
        async_handlers=False,
        manage_session=False,
        # The library tells peers whole seconds: the second number rounds up what it would cut off.
        ping_interval=(settings.ping_interval, math.ceil(settings.ping_interval) - settings.ping_interval),
        ping_timeout=settings.ping_timeout,
        max_http_buffer_size=longest_packet(settings),
        cors_allowed_origins=partial(_is_own_origin, settings.public_url),
        cors_credentials=False,  # apps send a token, never a cookie
        # Left to themselves they write to standard error on their own, past the site's log and its rules.
        logger=logging.getLogger("socketio.server"),
        engineio_logger=logging.getLogger("engineio.server"),
    )


def server_bounds(settings: Settings) -> concurrency.Bounds:
    """Return what the server grants its peers. Behind a proxy all connections come from the proxy's address."""
    return concurrency.Bounds(
        per_address=None if settings.proxies else settings.sockets_per_address,
        sockets=settings.max_sockets,
        head=settings.header_timeout,
        idle=settings.idle_timeout,
        body=settings.upload_stall,
        send=settings.send_stall,
        silence=settings.ping_interval + settings.ping_timeout,
    )


def _is_own_origin(public_url: str, origin: str, environ: dict[str, Any]) -> bool:
    """Whether a handshake comes from the site itself: its public address, or the one that this call was made to.

    Some libraries of apps say the address that they dial, which need not be the public one.
    """
    return origin == public_url or origin == f"{environ['wsgi.url_scheme']}://{environ.get('HTTP_HOST')}"


class Site:
    """One running site process: brought up by :meth:`start`, put down by :meth:`request_stop`."""

    def __init__(self, app: Flask, listener: socket.socket) -> None:
        self._app = app
        self._services: Services = app.extensions[KEY]
        self._server = concurrency.Server(listener, app, server_bounds(self._services.settings))
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
            Beat("joins", min(1.0, settings.join_timeout / 4), manager.close_idle),
        ]

    def _housekeeping(self) -> list[Beat]:
        """What may take its time, in a thread of its own: nothing of the queue waits for it."""
        retention = self._services.settings.retention_days * DAY
        return [
            Beat("retention", min(60.0, retention / 20), self._drop_old),
            Beat("files", 1_800.0, lambda: self._services.files.sweep(time.time())),
            Beat("submit keys", 600.0, self._forget_old_keys),
        ]

    def prepare(self) -> None:
        """Migrate the database, make the first admin, and make good for the time in which nothing ran.

        Raises :class:`SettingsError` when the first admin's name or password in the settings breaks a rule.
        """
        settings = self._services.settings
        with self._app.app_context():
            upgrade()
            first_admin.ensure_first_admin(settings)
        self._services.database.bound_waits()
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
        """Stop serving once that is decent; whatever goes wrong before, it stops."""
        try:
            self._take_leave()
        finally:
            self._sweeper.stop()
            self._housekeeper.stop()
            self._server.stop()

    def _take_leave(self) -> None:
        """Refuse new work, let the apps finish what they have, then close their transports and answer held calls."""
        manager = self._services.manager
        manager.accepting = False
        deadline = time.monotonic() + DRAIN_SECONDS
        say(f"Stopping: {manager.processing()} request(s) in apps' hands.")
        while manager.processing() and time.monotonic() < deadline:
            threading.Event().wait(0.1)
        manager.close_all()
        self._services.notifier.close()
        threading.Event().wait(0.2)

    def _heartbeat(self) -> None:
        self._services.store.heartbeat(self._process_id, time.time())

    def _drop_old(self) -> None:
        """Delete what ended longer ago than the retention allows."""
        before = time.time() - self._services.settings.retention_days * DAY
        if count := self._services.files.expire(before):
            logger.info("deleted %d requests that ended before the retention time", count)

    def _forget_old_keys(self) -> None:
        self._services.store.forget_old_keys(time.time())

    def _drop_lapsed_tokens(self) -> None:
        """Cut apps whose token expired, was revoked, or belongs to somebody who was disabled."""
        live = self._services.manager.live_tokens()
        if not live:
            return
        with self._app.app_context():
            lapsed = tokens.lapsed(live, time.time())
        for token_id in lapsed:
            self._services.manager.token_revoked(token_id)


def say(line: str) -> None:
    """Tell whoever started the site; a full disk under its output must not keep it from anything else."""
    with suppress(OSError):
        print(line, flush=True)


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
    """Log lines with UTC times, without the signature of any link; nobody can write one by what they send.

    Control characters are written as escapes, and the lines of a traceback stand further in.
    """

    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        return without_signatures(super().format(record))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the parent names it so
        record.message = visible(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802 - the parent names it so
        return "\n".join(f"    {visible(line)}" for line in super().formatException(ei).splitlines())


def visible(text: str) -> str:
    """Return ``text`` with everything that cannot be seen, such as line ends and terminal codes, as escapes."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)
