"""Writes ``WEBSOCKETS_TEST_RESULTS.md`` from a run: nothing in it is filled in by hand but the sign-off."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median

from scenarios.catalogue import PERFORMANCE
from scenarios.mock import ROOT
from scenarios.records import FIGURES, Figure, Record, middle, shown
from scenarios.runner import summary

PACKAGES = ("Flask", "Flask-SocketIO", "python-socketio", "python-engineio", "eventlet", "gevent", "SQLAlchemy")
BY_HAND = ("Browser compatibility tested", "Load testing completed", "Security review completed", "Sign-off obtained")


@dataclass(frozen=True)
class Run:
    """One run: its site, when it began, how long it took, the checks before it, and all records."""

    host: str
    began: datetime
    seconds: float
    checks: Sequence[str]
    records: Sequence[Record]


def write_report(path: Path, run: Run) -> None:
    """Write the report of ``run`` to ``path``."""
    path.write_text("\n".join(_lines(run)) + "\n", encoding="utf-8")


def _lines(run: Run) -> list[str]:
    return [
        "# WebSocket spaces: test results",
        "",
        f"**{summary(run.records)}** on {run.began:%Y-%m-%d} at {run.began:%H:%M} UTC, in {run.seconds:.0f} s.",
        "",
        "Written by a real run; to renew it, start the site and run"
        f" `python test_websockets.py --host {run.host} --report WEBSOCKETS_TEST_RESULTS.md`.",
        *_section("Test environment", _environment(run)),
        *_section("Pre-test checklist", [f"- [x] {text}" for text in run.checks]),
        *_section("Scenarios", _scenarios(run.records)),
        *_section("Times of each scenario", _times(run.records)),
        *_section("Performance", _performance(run.records)),
        *_section("Issues found", _issues(run.records)),
        *_section("Versions", _versions()),
        *_section("Verification checklist", _verification(run.records)),
        *_section("Sign-off", _sign_off()),
    ]


def _section(title: str, lines: list[str]) -> list[str]:
    return ["", f"## {title}", "", *lines]


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [heads, ["---"] * len(heads), *rows]
    return [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines]


def _environment(run: Run) -> list[str]:
    machine = f"{platform.system()} on {platform.machine()}, {os.cpu_count()} processors"
    rows = [
        ("Site", run.host),
        ("Apps", "`mock_app.py`, a process of its own for each"),
        ("Machine of the run", machine),
    ]
    return _table(("", ""), rows)


def _scenarios(records: Sequence[Record]) -> list[str]:
    rows = [
        (str(number), record.title, record.expected, _verdict(record), shown(record.seconds), _short(record))
        for number, record in enumerate(records, 1)
    ]
    return _table(("#", "Scenario", "Expected", "Result", "Duration", "Seen"), rows)


def _verdict(record: Record) -> str:
    return "✓ passed" if record.passed else "✗ failed"


def _short(record: Record) -> str:
    notes = [] if record.title == PERFORMANCE else record.notes
    return "; ".join([*notes, *([_first_line(record.problem)] if record.problem else [])]) or "see below"


def _first_line(problem: str) -> str:
    """Return what happened, without output of programs and without folders of this machine."""
    return problem.splitlines()[0].replace(str(ROOT), ".").replace(str(Path.home()), "~")


def _times(records: Sequence[Record]) -> list[str]:
    rows = [
        (record.title, *(middle(record.values(figure.name)) for figure in FIGURES))
        for record in records
        if record.connections or record.trips
    ]
    rows.append(("*ordered*", *(figure.ordered for figure in FIGURES)))
    table = _table(("Scenario", *(figure.title for figure in FIGURES)), rows)
    return [
        "Medians. Where several are sent at once only the total can be timed from outside: it includes the queue.",
        "Processing is the mock app's pretended work, which most scenarios shorten.",
        "",
        *table,
    ]


def _performance(records: Sequence[Record]) -> list[str]:
    measured = [record for record in records if record.title == PERFORMANCE and record.trips]
    if not measured:
        return ["Not measured in this run."]
    rows = [_performance_row(figure, measured[0], records) for figure in FIGURES]
    return _table(("Time", "From → to", "Ordered", "Median", "Longest", "Measured"), rows)


def _performance_row(figure: Figure, measured: Record, records: Sequence[Record]) -> tuple[str, ...]:
    values = _values(figure, measured, records)
    count = f"{len(values)} time{'s' if len(values) != 1 else ''}"
    return figure.title, figure.meaning, figure.ordered, middle(values), shown(max(values)), count


def _values(figure: Figure, measured: Record, records: Sequence[Record]) -> list[float]:
    """Connections are few in each scenario, so those of all count; the rest is of the performance scenario."""
    if figure.name == "connection":
        return [value for record in records for value in record.connections]
    return measured.values(figure.name)


def _issues(records: Sequence[Record]) -> list[str]:
    failed = [f"- {record.title}: {_first_line(record.problem)}" for record in records if not record.passed]
    slow = [
        f"- {figure.title} took {middle(values)} (median); ordered were {figure.ordered}."
        for record in records
        if record.title == PERFORMANCE and record.trips
        for figure in FIGURES
        if (values := _values(figure, record, records)) and median(values) > figure.most
    ]
    return [*failed, *slow] or ["None."]


def _versions() -> list[str]:
    rows = [("Python", platform.python_version()), *((name, _version(name)) for name in PACKAGES)]
    return ["Installed where the run was started.", "", *_table(("Package", "Version"), rows)]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _verification(records: Sequence[Record]) -> list[str]:
    done = [f"- [{'x' if record.passed else ' '}] {record.title} test passed" for record in records]
    return [*done, "- [x] Test results documented", *(f"- [ ] {text}" for text in BY_HAND)]


def _sign_off() -> list[str]:
    rows = [(role, "", "", "") for role in ("QA lead", "Development lead")]
    return _table(("Role", "Name", "Date", "Signature"), rows)


def now() -> datetime:
    """Return the time in UTC."""
    return datetime.now(UTC)
