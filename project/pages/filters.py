"""Template filters: how states, moments, places in a queue and values are written for people."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

from flask import Flask
from markupsafe import Markup

from project import markdown

KILO = 1_000
UNITS = ("bytes", "kB", "MB", "GB")
STATE_WORDS = {
    "queued": "Queued",
    "processing": "Processing",
    "completed": "Completed",
    "failed": "Failed",
    "cancelled": "Cancelled",
    "timed_out": "Timed out",
}


def state_word(status: str) -> str:
    """Return the word for a request's state."""
    return STATE_WORDS[status]


def iso(seconds: float) -> str:
    """Return a moment (Unix seconds) for the attribute ``datetime``."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def moment(seconds: float) -> str:
    """Return a moment (Unix seconds) for people, in UTC; the script shows it in local time."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%d %b %Y, %H:%M UTC")


def duration(seconds: float) -> str:
    """Return a length of time in the unit that suits it."""
    if seconds < 0.1:
        return "under 0.1 s"
    if seconds < 10:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def ordinal(number: int) -> str:
    """Return 1st, 2nd, 3rd, 4th, 11th, ..."""
    if number % 100 in (11, 12, 13):
        return f"{number}th"
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th') }"


def place(position: int) -> str:
    """Say where in the queue a request stands; ``position`` 1 is next."""
    return "next in line" if position == 1 else f"{ordinal(position)} in line"


def waiting(count: int) -> str:
    """Say how many requests wait."""
    return f"{count} waiting" if count else "nobody waiting"


def size(count: int) -> str:
    """Return a number of bytes in the unit that suits it."""
    if count < KILO:
        return f"{count} {'byte' if count == 1 else 'bytes'}"
    exponent = min(len(UNITS) - 1, int(math.log(count, KILO)))
    amount = count / KILO**exponent
    return f"{amount:.{1 if amount < 10 else 0}f} {UNITS[exponent]}"


def pretty_json(value: Any) -> str:
    """Return a JSON value as indented text that keeps every letter readable."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def json_shape(value: Any) -> str:
    """Describe a JSON value in a few words, for the line that unfolds it."""
    if isinstance(value, dict):
        return f"object, {len(value)} {'key' if len(value) == 1 else 'keys'}"
    if isinstance(value, list):
        return f"list, {len(value)} {'item' if len(value) == 1 else 'items'}"
    return "value"


def safe_markdown(text: str) -> Markup:
    """Return untrusted Markdown as HTML."""
    # to_html cleans by an allow-list.
    return Markup(markdown.to_html(text))  # noqa: S704  # nosec B704


def register_filters(app: Flask) -> None:
    """Make the filters known to the templates of ``app``."""
    for function in (state_word, iso, moment, duration, ordinal, place, waiting, size, pretty_json, json_shape):
        app.add_template_filter(function)
    app.add_template_filter(safe_markdown, "markdown")
    app.add_template_filter(markdown.to_line, "line")
