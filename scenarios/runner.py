"""Plays the scenarios one after the other, shows how far it is, and counts."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from scenarios.admin import Login
from scenarios.browser import SiteProblem
from scenarios.catalogue import SCENARIOS, Scenario
from scenarios.mock import Failure
from scenarios.records import Record
from scenarios.stage import Stage


class Screen:
    """What people see of a run: one line a scenario, on a terminal also while it plays; details when verbose."""

    def __init__(self, verbose: bool) -> None:
        self._verbose = verbose
        self._live = sys.stdout.isatty() and not verbose

    def begin(self, place: str, title: str) -> None:
        """Say what plays now."""
        if self._live:
            print(f"{place} {title} ...", end="", flush=True)
        elif self._verbose:
            print(f"{place} {title}", flush=True)

    def detail(self, text: str) -> None:
        """Print a detail when that is wanted."""
        if self._verbose:
            print(f"        {text}", flush=True)

    def end(self, place: str, record: Record) -> None:
        """Say how it went."""
        lead = "\r\033[K" if self._live else ""
        print(
            f"{lead}{place} {'PASS' if record.passed else 'FAIL'}  {record.title} ({record.seconds:.1f} s)", flush=True
        )
        for line in record.problem.splitlines():
            print(f"        {line}", flush=True)


def play_all(host: str, login: Login, screen: Screen, scenarios: Sequence[Scenario] = SCENARIOS) -> list[Record]:
    """Play all scenarios and return their records. Ctrl+C ends the run, after cleaning up."""
    records: list[Record] = []
    for number, scenario in enumerate(scenarios, 1):
        place = f"[{number:2}/{len(scenarios)}]"
        screen.begin(place, scenario.title)
        record = Record(scenario.title, scenario.expected)
        records.append(record)
        _play(host, login, scenario, record, screen)
        screen.end(place, record)
    return records


def _play(host: str, login: Login, scenario: Scenario, record: Record, screen: Screen) -> None:
    began = time.monotonic()
    try:
        stage = Stage(host, login, screen.detail, record)
        try:
            scenario.play(stage)
        finally:
            left = stage.clear()
        record.notes += [f"could not be removed: {path}" for path in left]
    except (Failure, SiteProblem) as problem:
        record.problem = str(problem)
    except Exception as error:  # an answer of another shape than promised is the site's failure, not the program's
        record.problem = f"{type(error).__name__}: {error}"
    record.seconds = time.monotonic() - began


def summary(records: Sequence[Record]) -> str:
    """Return the line that ends a run."""
    passed = sum(record.passed for record in records)
    return f"{passed} passed, {len(records) - passed} failed"


def exit_status(records: Sequence[Record]) -> int:
    """Return 0 only if there were scenarios and all passed, else 1."""
    return 0 if records and all(record.passed for record in records) else 1
