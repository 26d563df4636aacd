"""The parts that ``create_app`` wired together, for whoever handles a call."""

from __future__ import annotations

from dataclasses import dataclass

from flask import current_app

from project.at_once import AtOnce
from project.config import Settings
from project.database import Database
from project.files import Files
from project.notify.memory import MemoryNotifier
from project.request_store import RequestStore
from project.websocket_manager import WebsocketManager

KEY = "spaces"


@dataclass(frozen=True, slots=True)
class Services:
    """What one site consists of."""

    settings: Settings
    database: Database
    store: RequestStore
    manager: WebsocketManager
    notifier: MemoryNotifier
    files: Files
    #: Idempotency keys of submits that are being read, held calls, and uploads: what goes on at this moment.
    submit_keys: AtOnce
    held_calls: AtOnce
    uploads: AtOnce


def services() -> Services:
    """Return the parts of the current application."""
    found: Services = current_app.extensions[KEY]
    return found
