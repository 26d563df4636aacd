"""The server processes, as rows, and what a start makes good (guarantee G12); inside a begun transaction."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete, exists, func, insert, or_, select, update
from sqlalchemy.engine import Connection as SqlConnection

from project.request_tables import connections, is_processing, is_queued, processes, requests


def start(connection: SqlConnection, process_id: str, host: str, pid: int, grace: float, now: float) -> None:
    """Enter a process and make good for the time in which none ran; ``grace`` is in seconds.

    Waiting does not count while nothing ran; a deadline that passed in that time, or passes within
    one grace, is moved to one grace from now; the grace of every connection starts now.
    """
    last_alive = connection.execute(select(func.max(processes.c.heartbeat_at))).scalar_one_or_none()
    connection.execute(delete(processes))
    connection.execute(insert(processes).values(id=process_id, host=host, pid=pid, started_at=now, heartbeat_at=now))
    connection.execute(
        update(connections).where(or_(connections.c.lost_at.is_(None), _has_processing())).values(lost_at=now)
    )
    away = max(0.0, now - last_alive) if last_alive else 0.0
    connection.execute(update(requests).where(is_queued).values(expires_at=requests.c.expires_at + away))
    connection.execute(
        update(requests).where(is_processing, requests.c.deadline_at < now + grace).values(deadline_at=now + grace)
    )


def heartbeat(connection: SqlConnection, process_id: str, now: float) -> None:
    """Say that a process is alive."""
    connection.execute(update(processes).where(processes.c.id == process_id).values(heartbeat_at=now))


def _has_processing() -> Any:
    return exists().where(requests.c.space_id == connections.c.space_id, is_processing)
