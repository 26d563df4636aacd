"""The report of a soak: one HTML file that needs nothing else, and the same picture beside it."""

from __future__ import annotations

import base64
import os
import platform
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from html import escape
from pathlib import Path

from tests.soak.figures import Timing, percentile
from tests.soak.judging import Verdict, seconds
from tests.soak.plot import draw
from tests.soak.run import Outcome

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; } td, th { padding: .25rem .75rem; border-bottom: 1px solid #ccc; }
th { text-align: left; } td.number { text-align: right; font-variant-numeric: tabular-nums; } img { max-width: 100%; }
.no { color: #a40000; font-weight: bold; } pre { white-space: pre-wrap; }
"""
SHOWN = 20
NUMBER = re.compile(r"-?[\d.e+-]+")


def write(outcome: Outcome, verdicts: list[Verdict], folder: Path, command: str) -> Path:
    """Write ``report.html`` and ``plot.png`` into ``folder`` and return the path of the former."""
    folder.mkdir(parents=True, exist_ok=True)
    picture, page = folder / "plot.png", folder / "report.html"
    draw(outcome, picture)
    parts = [*_head(outcome, verdicts, command), *_verdicts(verdicts), *_picture(picture), *_numbers(outcome)]
    title = "<title>The soak</title>"
    page.write_text(
        f'<!doctype html><html lang="en"><meta charset="utf-8">{title}<style>{STYLE}</style>{"".join(parts)}</html>',
        encoding="utf-8",
    )
    return page


def _head(outcome: Outcome, verdicts: list[Verdict], command: str) -> Iterator[str]:
    load, broken = outcome.load, sum(not verdict.holds for verdict in verdicts)
    yield f"<h1>The soak: {'all holds' if not broken else f'{broken} of {len(verdicts)} do not hold'}</h1>"
    yield (
        f"<p>{load.spaces} apps, {load.users} users, {load.pollers} pollers that ask every {load.poll_seconds:g} s, "
        f"{load.waiters} that wait in held calls, {load.pages} open pages; {load.seconds:g} s; "
        f"each user submits every {load.submit_seconds:g} s; in each of two programs an app comes, goes, is cut "
        f"or replaced every {load.churn_seconds:g} s"
        f"{f'; kill -9 of the site every {load.kill_seconds:g} s' if load.kill_seconds else ''}.</p>"
    )
    yield (
        f"<p><code>{escape(command)}</code>, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, "
        f"Python {platform.python_version()}, {os.cpu_count()} cores, concurrency mode {outcome.mode}. "
        "Apps, people and site share this machine.</p>"
    )


def _verdicts(verdicts: list[Verdict]) -> Iterator[str]:
    rows = (
        (
            verdict.what,
            f"{verdict.value:.4g}",
            f"{verdict.limit:.4g}",
            "holds" if verdict.holds else "does not hold",
            verdict.why,
        )
        for verdict in verdicts
    )
    yield "<h2>What had to hold</h2>" + _table(("", "found", "at most", "", ""), rows)


def _picture(picture: Path) -> Iterator[str]:
    encoded = base64.b64encode(picture.read_bytes()).decode("ascii")
    words = "Curves over the time of the soak: call times, memory, descriptors, threads, processor, queues"
    yield f'<h2>Over time</h2><img alt="{words}" src="data:image/png;base64,{encoded}">'


def _numbers(outcome: Outcome) -> Iterator[str]:
    figures = outcome.figures
    rows = [
        _times("status call", figures.status),
        _times("from the end of a request to the held call", figures.woken),
        _times("bare server", figures.bare),
    ]
    yield "<h2>Times, in milliseconds</h2>" + _table(("", "count", "p50", "p95", "p99", "slowest"), rows)
    for title, counts in (
        ("Calls", figures.calls),
        ("How requests ended", figures.endings),
        ("Submits refused", figures.refused),
        ("Apps that came and went, and answers to results but accepted", figures.churn),
    ):
        yield f"<h2>{title}</h2>" + _table(("", "count"), _counts(counts))
    for title, text in (("Surprises", "\n".join(outcome.surprises[:SHOWN])), ("Broken rules", outcome.violations())):
        if text:
            yield f"<h2>{title}</h2><pre>{escape(text)}</pre>"


def _times(name: str, timings: list[Timing]) -> tuple[str, ...]:
    values = seconds(timings)
    shares = (f"{percentile(values, share) * 1000:.1f}" for share in (0.5, 0.95, 0.99, 1.0))
    return (name, str(len(values)), *shares)


def _counts(counts: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    return ((name, str(count)) for name, count in sorted(counts.items()))


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = "".join(f"<th>{escape(one)}</th>" for one in heads)
    body = "".join(f"<tr>{''.join(_cell(cell) for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _cell(text: str) -> str:
    kind = ' class="number"' if NUMBER.fullmatch(text) else ' class="no"' if text == "does not hold" else ""
    return f"<td{kind}>{escape(text)}</td>"
