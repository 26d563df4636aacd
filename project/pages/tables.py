"""Tables that the server sorts, filters and pages, steered by the GET parameters ``q``, ``sort``, ``dir`` and ``page``.

Only the columns that a page lists can be sorted by; anything else in the address falls back to the page's own order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from flask import request, url_for
from sqlalchemy import ColumnElement, Select, func, or_

from project.extensions import db

PAGE_SIZE = 25
MAX_FILTER_CHARS = 200


@dataclass(frozen=True)
class Column:
    """One column: ``order`` is what it sorts by (an SQL expression, or a function of a row), or nothing."""

    key: str
    label: str
    order: Any = None


@dataclass(frozen=True)
class View:
    """What the visitor asked to see: filter text, sorting and page (1 is the first)."""

    text: str
    sort: str
    descending: bool
    page: int


@dataclass(frozen=True)
class Table:
    """One page of rows, with what a template needs to draw the head, the filter and the pager."""

    columns: Sequence[Column]
    rows: Sequence[Any]
    total: int
    view: View

    @property
    def pages(self) -> int:
        """How many pages there are; an empty table has one."""
        return _page_count(self.total)

    def sort_link(self, column: Column) -> str:
        """Return the address that sorts by ``column``, the other way round when it is sorted by already."""
        descending = self.view.sort == column.key and not self.view.descending
        return self._link(sort=column.key, descending=descending, page=1)

    def page_link(self, page: int) -> str:
        """Return the address of another page in the same order."""
        return self._link(sort=self.view.sort, descending=self.view.descending, page=page)

    def aria_sort(self, column: Column) -> str:
        """Return the value of ``aria-sort`` for a column's head."""
        if self.view.sort != column.key:
            return "none"
        return "descending" if self.view.descending else "ascending"

    def _link(self, *, sort: str, descending: bool, page: int) -> str:
        wanted: dict[str, Any] = {"sort": sort, "dir": "desc" if descending else "asc", "page": page}
        if self.view.text:
            wanted["q"] = self.view.text
        return url_for(str(request.endpoint), **(request.view_args or {}), **wanted)


def from_statement(
    statement: Select[*tuple[Any, ...]],
    columns: Sequence[Column],
    *,
    search: Iterable[ColumnElement[Any] | Any],
    tie: Any,
    default: str,
    descending: bool = False,
) -> Table:
    """Run ``statement`` for the page asked for. ``search`` are the texts filtered in, ``tie`` makes the order total."""
    view = _view(columns, default, descending)
    if view.text:
        statement = statement.where(or_(*(column.icontains(view.text, autoescape=True) for column in search)))
    count = statement.with_only_columns(func.count(), maintain_column_froms=True).order_by(None)
    total = db.session.scalar(count) or 0
    view = _within(view, total)
    order = _order_of(columns, view)
    ordered = statement.order_by(order.desc() if view.descending else order.asc(), tie)
    rows = db.session.execute(ordered.limit(PAGE_SIZE).offset((view.page - 1) * PAGE_SIZE)).all()
    return Table(columns, rows, total, view)


def from_rows(
    rows: Iterable[Any],
    columns: Sequence[Column],
    *,
    search: Callable[[Any], Iterable[str | None]],
    default: str,
    descending: bool = False,
) -> Table:
    """Sort, filter and page rows that live in memory. ``search`` gives a row's texts to filter in."""
    view = _view(columns, default, descending)
    wanted = view.text.casefold()
    found = [row for row in rows if any(wanted in (text or "").casefold() for text in search(row))]
    found.sort(key=_order_of(columns, view), reverse=view.descending)
    view = _within(view, len(found))
    start = (view.page - 1) * PAGE_SIZE
    return Table(columns, found[start : start + PAGE_SIZE], len(found), view)


def _view(columns: Sequence[Column], default: str, descending: bool) -> View:
    """Read the view from the address; what it does not name or may not name is the page's own."""
    sort = request.args.get("sort", "")
    known = any(column.key == sort and column.order is not None for column in columns)
    return View(
        text=request.args.get("q", "").replace("\0", "").strip()[:MAX_FILTER_CHARS],
        sort=sort if known else default,
        descending=request.args.get("dir") == "desc" if known else descending,
        page=max(1, request.args.get("page", 1, type=int)),
    )


def _within(view: View, total: int) -> View:
    """Move a page behind the end to the last one."""
    return View(view.text, view.sort, view.descending, min(view.page, _page_count(total)))


def _page_count(total: int) -> int:
    return max(1, math.ceil(total / PAGE_SIZE))


def _order_of(columns: Sequence[Column], view: View) -> Any:
    return next(column.order for column in columns if column.key == view.sort)
