"""One page with every part of the interface in every state, for development and admins."""

from __future__ import annotations

import time
from typing import Any

from flask import render_template, url_for
from flask_login import current_user

from project.errors import NotFound
from project.pages.cards import ENDINGS, Card
from project.pages.forms import SpaceForm
from project.pages.inputs import UPLOADS, limit_words
from project.pages.space import Status
from project.services import services

REPORT = """A short **report** with a [link](https://example.org), `code` and a list:

- first
- second

| language | words |
|---|---|
| English | 120 |
| Deutsch | 98 |
"""


def patterns() -> str:
    """Show the parts. Raises :class:`NotFound` for visitors of a production site."""
    is_admin = current_user.is_authenticated and current_user.is_admin
    if services().settings.env == "production" and not is_admin:
        raise NotFound
    now = time.time()
    form = SpaceForm(formdata=None)
    form.title.errors = ["At most 200 characters."]
    return render_template(
        "pages/patterns.html",
        cards=_cards(now) + _media_cards(now),
        statuses=_statuses(now),
        form=form,
        uploads=UPLOADS,
        limit_words=limit_words({"files": 10, "upload_mb": 512}, UPLOADS),
    )


def _statuses(now: float) -> list[Status]:
    return [
        Status(connected=True, waiting=0, processing=0, lost_at=None),
        Status(connected=True, waiting=3, processing=1, lost_at=None),
        Status(connected=False, waiting=0, processing=0, lost_at=now - 400),
        Status(connected=False, waiting=0, processing=0, lost_at=None),
    ]


def _card(name: str, status: str, now: float, **more: Any) -> Card:
    base: dict[str, Any] = {"prompt": "Write a haiku about queues.", "attempt": 1, "created_at": now - 90}
    return Card(**{"id": f"pattern-{name}", "space_name": "haiku", "status": status, "seq": 1, **base, **more})


def _file(kind: str, name: str, content_type: str, url: str = "", **more: Any) -> dict[str, Any]:
    """A file as the site presents it; without a ``url`` a player stands empty."""
    about = {"name": name, "content_type": content_type, "size": 48_213, "sha256": "3f2ac40e" * 8}
    return {"type": kind, "file_id": name, "url": url, **about, **more}


def _media_cards(now: float) -> list[Card]:
    """Everything that is a file: sent, and as results of each kind."""
    ended = {"started_at": now - 80, "finished_at": now - 61}
    sent = [
        _file("file", "interview.wav", "audio/wav", field="audio"),
        _file("file", "a long name_without_any_place_to_break_it_anywhere.mp4", "video/mp4", field="video"),
        _file("file", "notes.pdf", "application/pdf", field="file"),
    ]
    picture = url_for("static", filename="favicon.svg")
    grid = [_file("image", f"sketch {number}.png", "image/png", picture) for number in range(1, 6)]
    players = [_file("audio", "speech.wav", "audio/wav"), _file("video", "clip.mp4", "video/mp4")]
    files = [
        _file("file", "table.csv", "text/plain", size=1, sha256="0" * 64),
        _file("file", "page.html", "application/octet-stream", size=2_400_000_000),
    ]
    return [
        _card("sent", "processing", now, files=sent, started_at=now),
        _card("sent-failed", "failed", now, files=sent[:1], error_code="app_disconnected", **ended),
        _card("sent-alone", "completed", now, files=sent[2:], prompt="", parts=files[:1], **ended),
        _card("images", "completed", now, parts=[{"type": "text", "text": "Five sketches."}, *grid], **ended),
        _card("players", "completed", now, parts=players, **ended),
        _card("files", "completed", now, parts=files, **ended),
    ]


def _cards(now: float) -> list[Card]:
    ended = {"started_at": now - 80, "finished_at": now - 76.6}
    parts: list[dict[str, Any]] = [
        {"type": "text", "text": "One waits for the next,\nthe next one waits for the first.\nTea is getting cold."},
        {"type": "markdown", "text": REPORT, "name": "report"},
        {"type": "json", "data": {"scores": {"calm": 0.93, "haste": 0.07}, "labels": ["tea", "queue"]}},
    ]
    failures = [
        _card(code, "timed_out" if "timeout" in code else "failed", now, error_code=code, **ended)
        for code in ENDINGS
        if code not in {"app_error", "cancelled_by_user", "user_removed"}
    ]
    return [
        _card("queued", "queued", now, position=3, attempt=0),
        _card("next", "queued", now, position=1),
        _card("processing", "processing", now, started_at=now - 2),
        _card(
            "progress",
            "processing",
            now,
            value=0.4,
            message="Counting syllables",
            partial="One waits for",
            started_at=now,
        ),
        _card("completed", "completed", now, parts=parts, **ended),
        _card(
            "long", "completed", now, prompt="A long prompt. " * 40, parts=[{"type": "text", "text": "Short."}], **ended
        ),
        _card("empty", "completed", now, parts=[], **ended),
        _card("error", "failed", now, error_code="app_error", app_message="CUDA out of memory", **ended),
        *failures,
        _card("cancelled", "cancelled", now, error_code="cancelled_by_user", finished_at=now),
    ]
