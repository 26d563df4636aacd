"""A store with a user and a space, and the short words that its tests use."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from sqlalchemy import func, insert, select
from sqlalchemy.engine import RowMapping

from project.database import Database
from project.models import Space, User
from project.ports import AppLink, Binding, Ending
from project.request_store import Limits, RequestStore
from project.request_tables import attempts, requests

T = TypeVar("T")

LIMITS = Limits(timeout=120.0, queue_ttl=600.0, max_attempts=2, queue_length=100, user_queue_length=50)
NOW = 1_000_000.0
APP = AppLink("connection-1", token_id=7, name="app", version="1", instance="i1", address="127.0.0.1")
DONE = Ending("completed", result=[{"type": "text", "text": "hello"}], by_result=True)


class House:
    """One user (1) and one space (1) on a store."""

    def __init__(self, store: RequestStore, database: Database) -> None:
        self.store = store
        self.database = database
        self.user = self.add_user("ann")
        self.space = self.add_space("Cats")

    def add_user(self, name: str) -> int:
        values = {
            "username": name,
            "username_key": name,
            "password_hash": "-",
            "role": "user",
            "active": True,
            "session_key": "-",
            "created_at": NOW,
        }
        return self._add(User.__table__, values)

    def add_space(self, name: str, **columns: Any) -> int:
        values: dict[str, Any] = {
            "name": name,
            "name_key": name.lower(),
            "title": name,
            "description": "",
            "visibility": "public",
            "enabled": True,
            "input_prompt": True,
            "input_audio": False,
            "input_video": False,
            "input_file": False,
            "queue_when_offline": False,
            "allow_app_without_token": False,
            "next_number": 1,
            "created_at": NOW,
            "updated_at": NOW,
        }
        return self._add(Space.__table__, values | columns)

    def _add(self, table: Any, values: dict[str, Any]) -> int:
        with self.database.write() as connection:
            key = connection.execute(insert(table).values(**values)).inserted_primary_key
            assert key
            return int(key[0])

    def submit(self, prompt: str = "hi", *, space: int | None = None, now: float = NOW, **more: Any) -> str:
        """Accept one request and return its id."""
        user, connected = more.pop("user", self.user), more.pop("connected", True)
        row = self.store.create(space or self.space, user, "ann", prompt, {}, connected=connected, now=now, **more)
        return str(row["id"])

    def bind(self, app: AppLink = APP, *, epoch: int | None = None, claims: Sequence[str] = (), **more: Any) -> Binding:
        process, now = more.get("process", "process-1"), more.get("now", NOW)
        return self.store.bind(more.get("space", self.space), epoch, app, claims, process, now)

    def claim(self, epoch: int = 1, app: AppLink = APP, now: float = NOW) -> RowMapping | None:
        return self.store.claim_next(self.space, epoch, app, now)

    def claimed(self, epoch: int = 1, app: AppLink = APP, now: float = NOW) -> RowMapping:
        row = self.claim(epoch, app, now)
        assert row is not None, "nothing could be claimed"
        return row

    def finish(self, row: RowMapping, epoch: int = 1, now: float = NOW, ending: Ending = DONE) -> Any:
        return self.store.finish_and_claim(self.space, epoch, APP, row["id"], row["attempt_id"], ending, now)

    def row(self, request_id: str) -> RowMapping:
        row = self.store.get(request_id)
        assert row is not None, f"request {request_id} is gone"
        return row

    def status(self, request_id: str) -> str:
        return str(self.row(request_id)["status"])

    def story(self, request_id: str) -> list[tuple[str | None, str, int, str | None]]:
        """What happened: from, to, attempt, code."""
        return [
            (row["from_state"], row["to_state"], row["attempt"], row["code"])
            for row in self.store.transitions(request_id)
        ]

    def count_processing(self) -> int:
        with self.database.read() as connection:
            query = select(func.count()).select_from(requests).where(requests.c.status == "processing")
            return int(connection.execute(query).scalar_one())

    def attempts_of(self, request_id: str) -> list[RowMapping]:
        with self.database.read() as connection:
            query = select(attempts).where(attempts.c.request_id == request_id).order_by(attempts.c.number)
            return list(connection.execute(query).mappings())


def together(actions: Sequence[Callable[[], T]], seconds: float = 30.0) -> list[T | Exception]:
    """Run the actions in real threads that start at the same moment; return what each returned or raised."""
    gate = threading.Barrier(len(actions))

    def run(action: Callable[[], T]) -> T | Exception:
        gate.wait(seconds)
        try:
            return action()
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(actions)) as pool:
        return list(pool.map(run, actions, timeout=seconds))
