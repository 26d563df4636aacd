"""From rows to the objects of the API. Their shapes are in :mod:`project.api.models`; a test compares the two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.engine import RowMapping

from project.config import Settings
from project.file_links import DOWNLOAD_PATH
from project.messages import iso
from project.models import PROCESSING, QUEUED, SEQ_STEP, Space
from project.ports import Progress
from project.request_reads import positions_in, transitions_of
from project.request_store import SpaceLoad
from project.services import Services

Row = RowMapping


def space_object(space: Space, load: SpaceLoad, settings: Settings, owner: str | None) -> dict[str, Any]:
    """Return the space object; ``owner`` is a user name."""
    return {
        "name": space.name,
        "title": space.title,
        "description": space.description,
        "owner": owner,
        "inputs": {
            "prompt": space.input_prompt,
            "audio": space.input_audio,
            "video": space.input_video,
            "file": space.input_file,
        },
        "enabled": space.enabled,
        "connected": load.connected,
        "queue_size": load.queue_size,
        "processing": load.processing,
        "visibility": space.visibility,
        "limits": space_limits(space, settings),
        "last_connected_at": iso(load.last_connected_at),
    }


def space_limits(space: Space, settings: Settings) -> dict[str, Any]:
    """Return what one request to ``space`` may be, with the site's defaults filled in."""
    return {
        "timeout_seconds": space.timeout_seconds or settings.request_timeout,
        "queue_length": space.queue_length or settings.queue_length,
        "prompt_chars": settings.max_prompt_chars,
        "upload_mb": min(space.upload_mb or settings.max_upload_mb, settings.max_upload_mb),
        "files": min(space.files or settings.max_files, settings.max_files),
    }


def visible_seq(row: Row, progress: Progress | None) -> int:
    """Return ``seq`` as people see it: the row's, and what was reported since."""
    steps = progress.steps if progress and row["status"] == PROCESSING else 0
    return int(row["seq"]) + steps


def request_object(
    row: Row, position: int | None, progress: Progress | None, transitions: Sequence[Any]
) -> dict[str, Any]:
    """Return the request object. Transitions that came after ``row`` was read are left out, so that all fits."""
    seen = transitions[: row["seq"] // SEQ_STEP]
    reported = (progress if row["status"] == PROCESSING else None) or Progress()
    return {
        "id": row["id"],
        "space": row["space_name"],
        "status": row["status"],
        "seq": visible_seq(row, progress),
        "position": position,
        "eta_seconds": None,
        "input": {"prompt": row["prompt"], "parameters": row["parameters"], "files": input_files(row)},
        "progress": {"value": reported.value, "message": reported.message},
        "partial": reported.partial,
        "output": output_parts(row),
        "error": _error(row),
        "attempt": row["attempt"],
        "created_at": iso(row["created_at"]),
        "started_at": iso(row["started_at"]),
        "finished_at": iso(row["finished_at"]),
        "deadline_at": iso(row["deadline_at"]),
        "transitions": [_transition(transition) for transition in seen],
        "retry_of": row["retry_of"],
        "urls": urls(row["id"]),
    }


def input_files(row: Row) -> list[dict[str, Any]]:
    """Return what its user gave beside the prompt, each with the path of its bytes."""
    return [_with_url(facts) for facts in row["files"] or ()]


def output_parts(row: Row) -> list[dict[str, Any]]:
    """Return the parts of the result, files with the path of their bytes."""
    return [_with_url(part) if "file_id" in part else part for part in row["result"] or ()]


def _with_url(facts: dict[str, Any]) -> dict[str, Any]:
    return {**facts, "url": DOWNLOAD_PATH.format(facts["file_id"])}


def urls(request_id: str) -> dict[str, str]:
    """Return the paths that belong to a request."""
    path = f"/api/v1/requests/{request_id}"
    return {"self": path, "cancel": f"{path}/cancel", "page": f"/requests/{request_id}"}


def present(site: Services, row: Row) -> dict[str, Any]:
    """Return the request object of ``row`` as things stand now."""
    history = site.store.transitions(row["id"]) if row["seq"] > SEQ_STEP else [_first_transition(row)]
    return request_object(row, site.store.position(row), site.manager.progress(row["id"]), history)


def present_all(site: Services, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the request objects of ``rows``, in few statements however many there are."""
    waiting_in = {row["space_id"] for row in rows if row["status"] == QUEUED and row["space_id"] is not None}
    positions: dict[str, int] = {}
    for space_id in waiting_in:
        positions |= positions_in(site.database, space_id)
    return present_at(site, rows, positions)


def present_at(site: Services, rows: Sequence[Row], positions: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return the request objects of ``rows``, whose places in their queues are known."""
    history = transitions_of(site.database, [row["id"] for row in rows])
    return [
        request_object(
            row,
            positions.get(row["id"]) if row["status"] == QUEUED else None,
            site.manager.progress(row["id"]),
            history[row["id"]],
        )
        for row in rows
    ]


def _error(row: Row) -> dict[str, Any] | None:
    if not row["error_code"]:
        return None
    return {"code": row["error_code"], "message": row["error_message"], "retryable": row["retryable"]}


def _first_transition(row: Row) -> dict[str, Any]:
    """Return what is kept of a request that nothing happened to yet, without asking for it."""
    return {"at": row["created_at"], "from_state": None, "to_state": QUEUED, "attempt": 0, "code": None}


def _transition(row: Any) -> dict[str, Any]:
    return {
        "at": iso(row["at"]),
        "from": row["from_state"],
        "to": row["to_state"],
        "attempt": row["attempt"],
        "code": row["code"],
    }
