"""The gallery: every space that the visitor may see, connected ones first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask import render_template, request
from flask_login import current_user

from project import space_admin
from project.extensions import db
from project.models import Space
from project.services import services

PAGE_SIZE = 24
MAX_SEARCH_CHARS = 200


@dataclass(frozen=True)
class Entry:
    """One space with what happens in it now."""

    space: Space
    connected: bool
    waiting: int


def gallery() -> str:
    """Show one page of the spaces, perhaps searched (``q``)."""
    text = request.args.get("q", "").strip()[:MAX_SEARCH_CHARS]
    page = max(1, request.args.get("page", 1, type=int))
    visible = space_admin.list_visible(current_user if current_user.is_authenticated else None)
    db.session.remove()  # a page never holds one connection while it asks the store for another
    found = [space for space in visible if matches(space, text)]
    entries = in_order(found, services().store.space_load([space.id for space in found]))
    start = (page - 1) * PAGE_SIZE
    return render_template(
        "pages/gallery.html",
        entries=entries[start : start + PAGE_SIZE],
        total=len(entries),
        is_empty=not visible,
        text=text,
        page=page,
        has_next=start + PAGE_SIZE < len(entries),
    )


def matches(space: Space, text: str) -> bool:
    """Whether every word of ``text`` occurs in the space's name, title or description."""
    haystack = f"{space.name} {space.title} {space.description}".casefold()
    return all(word in haystack for word in text.casefold().split())


def in_order(spaces: list[Space], loads: Mapping[int, Any]) -> list[Entry]:
    """Return the entries, those that can answer first, then by title."""
    entries = [_entry(space, loads.get(space.id)) for space in spaces]
    return sorted(entries, key=lambda e: (not e.space.enabled, not e.connected, e.space.title.casefold()))


def _entry(space: Space, load: Any) -> Entry:
    return Entry(space, bool(load and load.connected and space.enabled), load.queue_size if load else 0)
