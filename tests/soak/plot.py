"""The picture of a soak: six curves over its time, one above the other."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tests.soak.figures import Timing, percentile
from tests.soak.judging import STATUS_SECONDS, thirds
from tests.soak.run import Outcome

#: A point in a curve of call times stands for so many seconds, or for a hundredth of the soak if that is more.
POINT_SECONDS = 5.0
DOTS_PER_INCH = 110


def draw(outcome: Outcome, file: Path) -> None:
    """Write the picture to ``file`` (PNG)."""
    panels = (_latency, _memory, _descriptors, _threads, _processor, _queue)
    figure = Figure(figsize=(11, 2.6 * len(panels)), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, panel in zip(figure.subplots(len(panels), sharex=True), panels, strict=True):
        panel(axes, outcome)
        axes.grid(alpha=0.3)
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize="small")
        for kill in outcome.figures.kills:
            axes.axvline(kill, color="black", linestyle=":")
    axes.set_xlabel("seconds since the start; dotted: kill -9 of the site" if outcome.figures.kills else "seconds")
    figure.savefig(file, dpi=DOTS_PER_INCH)


def _latency(axes: Any, outcome: Outcome) -> None:
    """Status calls, the calls of the bare server, and how late a waiting call learns of an end; grey: left out."""
    figures, step = outcome.figures, max(POINT_SECONDS, outcome.load.seconds / 100)
    lines = (("status, p50", figures.status, 0.5), ("status, p95", figures.status, 0.95))
    for label, timings, share in (
        *lines,
        ("status, p99", figures.status, 0.99),
        ("end to held call, p99", figures.woken, 0.99),
        ("bare server, p99", figures.bare, 0.99),
    ):
        points = list(_points(timings, share, step))
        axes.plot([at for at, _ in points], [value for _, value in points], label=label)
    for last, look in pairwise(figures.seconds):
        if look.is_starved:
            axes.axvspan(last.at, look.at, color="grey", alpha=0.2, linewidth=0)
    axes.axhline(STATUS_SECONDS, color="red", linestyle="--", label="limit of the p99")
    axes.set_yscale("log")
    axes.set_ylabel("seconds (log)")


def _points(timings: Sequence[Timing], share: float, step: float) -> Iterator[tuple[float, float]]:
    """Yield the middle of each step of time and the percentile in it."""
    steps: dict[int, list[float]] = {}
    for one in timings:
        steps.setdefault(int(one.at / step), []).append(one.seconds)
    for number, values in sorted(steps.items()):
        yield (number + 0.5) * step, percentile(values, share)


def _memory(axes: Any, outcome: Outcome) -> None:
    """With the two thirds whose medians are compared, where one process lived through both."""
    _curve(axes, outcome, "resident", lambda one: one.megabytes)
    for looks in () if outcome.load.kill_seconds else thirds(outcome):
        middle = statistics.median(one.megabytes for one in looks)
        axes.axvspan(looks[0].at, looks[-1].at, alpha=0.1)
        axes.plot([looks[0].at, looks[-1].at], [middle, middle], "--", label=f"median {middle:.1f}")
    axes.set_ylim(bottom=0, top=1.2 * max(one.megabytes for one in outcome.figures.seconds))
    axes.set_ylabel("MB")


def _descriptors(axes: Any, outcome: Outcome) -> None:
    _curve(axes, outcome, "sockets", lambda one: one.sockets)
    _curve(axes, outcome, "files", lambda one: one.files)
    axes.axhline(outcome.start.sockets, color="grey", linestyle="--", label=f"sockets at rest: {outcome.start.sockets}")
    axes.set_ylabel("descriptors")


def _threads(axes: Any, outcome: Outcome) -> None:
    _curve(axes, outcome, "threads", lambda one: one.threads)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("threads")


def _processor(axes: Any, outcome: Outcome) -> None:
    _curve(axes, outcome, "the site ran", lambda one: 100 * one.cpu)
    _curve(axes, outcome, "it waited for a core", lambda one: 100 * one.waited)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("% of one core")


def _queue(axes: Any, outcome: Outcome) -> None:
    _curve(axes, outcome, "connected apps", lambda one: one.connected)
    _curve(axes, outcome, "queued", lambda one: one.queued)
    _curve(axes, outcome, "processing", lambda one: one.processing)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("count")


def _curve(axes: Any, outcome: Outcome, label: str, value: Callable[[Any], float]) -> None:
    looks = outcome.figures.seconds
    axes.plot([one.at for one in looks], [value(one) for one in looks], label=label)
