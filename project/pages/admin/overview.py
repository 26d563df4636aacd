"""The first admin page: how much there is now, and what came last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, render_template
from sqlalchemy import func, select

from project.extensions import db
from project.models import Space, User
from project.services import services

LATEST = 5


@dataclass(frozen=True)
class Numbers:
    """How much there is of everything now."""

    spaces: int
    connected: int
    waiting: int
    running: int
    users: int


def add_to(blueprint: Blueprint) -> None:
    """Add the page to the admin blueprint."""
    blueprint.add_url_rule("/", "overview", overview)


def overview() -> str:
    """Show the numbers, the latest spaces and people, and the apps that connected last."""
    apps = sorted(services().manager.connections(), key=lambda item: item.connected_at, reverse=True)
    return render_template(
        "admin/overview.html",
        numbers=_numbers(),
        spaces=_latest(Space),
        users=_latest(User),
        connections=apps[:LATEST],
    )


def _numbers() -> Numbers:
    loads = services().store.space_load().values()
    return Numbers(
        spaces=_count(Space),
        connected=sum(load.connected for load in loads),
        waiting=sum(load.queue_size for load in loads),
        running=sum(load.processing for load in loads),
        users=_count(User),
    )


def _count(model: type[Space] | type[User]) -> int:
    return db.session.scalar(select(func.count()).select_from(model)) or 0


def _latest(model: type[Space] | type[User]) -> Sequence[Any]:
    return db.session.scalars(select(model).order_by(model.id.desc()).limit(LATEST)).all()
