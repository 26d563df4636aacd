"""Collects a history: what callers and apps were told, and the rows of the sites that a test used."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import requests
from sqlalchemy import NullPool, create_engine, select
from sqlalchemy.engine import Connection as SqlConnection

from project import request_tables as tables
from project.models import User
from tests.faults import apps
from tests.faults.history import FINAL, Ack, Attempt, History, Step, Story
from tests.http_caller import HttpCaller
from tests.site_process import SiteProcess

DAY = 86_400.0
#: The settings' defaults that matter here.
QUEUE_TTL, GRACE, RETENTION_DAYS = 600.0, 15.0, 7.0


@dataclass
class Witness:
    """Remembers what the callers and apps of this process are told from :meth:`listen` to :meth:`stop`.

    ``slack`` is for tests to add the seconds by which they delayed the site on purpose (a database away, say).
    """

    since: float = field(default_factory=time.time)
    slack: float = 0.0
    accepted: dict[str, tuple[str, float]] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    answers: list[dict[str, Any]] = field(default_factory=list)
    acks: list[Ack] = field(default_factory=list)
    handed: list[dict[str, Any]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def listen(self) -> None:
        """Begin to remember."""
        HttpCaller.listeners.append(self.hear_answer)
        apps.FaultApp.listeners.append(self.hear_app)

    def stop(self) -> None:
        """Remember no more."""
        HttpCaller.listeners.remove(self.hear_answer)
        apps.FaultApp.listeners.remove(self.hear_app)

    def hear_answer(self, caller: HttpCaller, answer: requests.Response) -> None:
        """Take note of the answer to a call about one request."""
        method, path = str(answer.request.method), answer.request.path_url.partition("?")[0]
        if "/requests" not in path or not answer.ok:
            return
        if method == "DELETE":
            self.deleted.add(path.rpartition("/")[2])
        elif answer.headers.get("Content-Type", "").startswith("application/json"):
            self._see(caller, answer.json(), is_submit=method == "POST" and path.endswith(("/requests", "/retry")))

    def _see(self, caller: HttpCaller, shown: Any, is_submit: bool) -> None:
        if not isinstance(shown, dict) or "transitions" not in shown:
            return
        with self._lock:
            if is_submit:
                self.accepted.setdefault(shown["id"], (caller.username, time.time()))
            if shown["status"] in FINAL:
                self.answers.append(shown)

    def hear_app(self, event: str, body: Any, answer: Any = None) -> None:
        """Take note of a request that an app got, and of what became of a result."""
        if event == "inference_request" and isinstance(body, dict):
            self.handed.append(body)
        elif event == "inference_result" and isinstance(body, dict) and isinstance(answer, dict):
            self.acks.append(Ack(str(body.get("request_id")), body.get("attempt_id"), str(answer["code"])))

    def history(self, sites: Iterable[SiteProcess]) -> History:
        """Read what the sites have, and return it with what was heard until then."""
        sites = list(sites)
        found = History(
            now=time.time(),
            slack=self.slack + sum(_moved(site) for site in sites),
            queue_time=max((_seconds(site, "SPACES_QUEUE_TTL", QUEUE_TTL) for site in sites), default=QUEUE_TTL),
            accepted=set(self.accepted),
            answers=[*self.answers],
            acks=[*self.acks],
            handed=[*self.handed],
        )
        people: set[str] = set()
        for url in {database_url(site) for site in sites}:
            people |= read(url, self.since, found)
        keep = min((_seconds(site, "SPACES_RETENTION_DAYS", RETENTION_DAYS) * DAY for site in sites), default=DAY)
        found.excused = self.deleted | {
            one
            for one, (username, at) in self.accepted.items()
            if (username and username not in people) or at < time.time() - keep
        }
        return found


def _seconds(site: SiteProcess, setting: str, default: float) -> float:
    return float(site.environment.get(setting, default))


def _moved(site: SiteProcess) -> float:
    """For how long a site was away, and by how much each start may move a deadline (guarantee G12)."""
    return site.away + max(0, site.starts - 1) * _seconds(site, "SPACES_GRACE", GRACE)


def database_url(site: SiteProcess) -> str:
    """Return the address of a site's database, for reading only when it is SQLite."""
    given = site.environment.get("SPACES_DATABASE_URL", "").replace("postgresql://", "postgresql+psycopg://")
    return given or f"sqlite:///file:{(site.data_dir / 'spaces.db').resolve()}?mode=ro&uri=true"


def read(url: str, since: float, history: History) -> set[str]:
    """Add the rows of all spaces in which something changed since then; return the names of all people."""
    engine = create_engine(url, poolclass=NullPool)
    level = {} if url.startswith("sqlite") else {"isolation_level": "REPEATABLE READ"}
    with engine.connect().execution_options(**level) as connection, connection.begin():
        if url.startswith("sqlite"):
            # The driver begins no transaction for what only reads; without one each statement sees another moment.
            connection.exec_driver_sql("BEGIN")
        _read_requests(connection, url, since, history)
        for row in connection.execute(select(tables.connections)).mappings():
            history.epochs[(url, row["space_id"])] = row["epoch"]
        return set(connection.execute(select(User.__table__.c.username)).scalars())


def _read_requests(connection: SqlConnection, url: str, since: float, history: History) -> None:
    touched = select(tables.requests.c.space_name).where(tables.requests.c.updated_at >= since)
    rows = select(tables.requests).where(tables.requests.c.space_name.in_(touched))
    ids = rows.with_only_columns(tables.requests.c.id)
    stories = {
        row["id"]: Story(dict(row), (url, row["space_id"] or f"gone: {row['space_name']}"), [], [])
        for row in connection.execute(rows).mappings()
    }
    steps = select(tables.transitions).where(tables.transitions.c.request_id.in_(ids)).order_by(tables.transitions.c.id)
    for row in connection.execute(steps).mappings():
        said = (row[key] for key in ("id", "at", "from_state", "to_state", "attempt", "code"))
        stories[row["request_id"]].steps.append(Step(*said))
    attempts = select(tables.attempts).where(tables.attempts.c.request_id.in_(ids)).order_by(tables.attempts.c.number)
    for row in connection.execute(attempts).mappings():
        story = stories[row["request_id"]]
        story.space = (url, row["space_id"])
        story.attempts.append(Attempt(*(row[key] for key in Attempt._fields)))
    history.stories |= stories
