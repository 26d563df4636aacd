"""What a soak must show. Each verdict has a number, its limit, and why the limit is where it is."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from tests.faults import rules
from tests.soak.figures import Second, Timing, percentile
from tests.soak.people import FINAL
from tests.soak.run import Outcome
from tests.soak.seats import PackageSeat, PlainSeat

STATUS_SECONDS = 1.0
#: The shares of the planned calls that may be missing, and of the submits that may meet a space without its app.
MISSING, REFUSED = 0.1, 0.2
#: Once warm, the memory moves by a megabyte as the allocator keeps what it once had. More than this is a leak: in the
#: minute of the suite one of 3 kB a status call, in ten minutes of full load one of 0.2 kB a call or 3 kB a request.
GROWTH_MEGABYTES = 5.0
#: Twenty connections to the database stay open once used, with two files each.
POOLED_FILES = 40
#: As many apps may be just coming or going, each with a socket (and, where connections are threads, a thread).
MOVING = 20
ACTS = sorted({*PackageSeat.acts, *PlainSeat.acts})


@dataclass(frozen=True)
class Verdict:
    """One thing that had to hold: the ``value`` was to be at most ``limit``."""

    what: str
    value: float
    limit: float
    why: str = ""

    @property
    def holds(self) -> bool:
        """Whether it held."""
        return self.value <= self.limit

    def __str__(self) -> str:
        holds = "holds" if self.holds else "DOES NOT HOLD"
        return f"{holds}: {self.what} {self.value:.4g}, at most {self.limit:.4g}. {self.why}".rstrip()


def judge(outcome: Outcome) -> list[Verdict]:
    """Return all verdicts."""
    verdicts = [*_speed(outcome), *_amount(outcome), *_results(outcome), *_at_rest(outcome)]
    if not outcome.load.kill_seconds:
        verdicts += _flat(outcome)
    return verdicts


def _speed(outcome: Outcome) -> Iterator[Verdict]:
    """Of the calls that the machine let the site answer.

    A server that does nothing is asked meanwhile by the same loop, which shows what everything but the site was late.
    It needs so little that it is let run even when the site, which needs a quarter of a core, is not; that is why the
    kernel is asked too. A second counts as starved only when the site wanted to run all the time and had a core for
    less than half of it: a site that is slow by itself, waits for its disk, or sleeps, is never excused.
    """
    figures = outcome.figures
    bare = percentile(seconds(figures.bare), 0.99)
    fair = seconds(without_starved(figures.status, figures.seconds))
    left_out, raw = len(figures.status) - len(fair), percentile(seconds(figures.status), 0.99)
    yield Verdict(
        "p99 of a status call, in seconds",
        percentile(fair, 0.99),
        STATUS_SECONDS + bare,
        f"On top of one second the {bare:.3f} s that a server needed which does nothing. {left_out} of "
        f"{len(figures.status)} calls are left out, since other programs had all cores; with them it is {raw:.3f} s.",
    )
    busy = starved_seconds(figures.seconds) / (figures.seconds[-1].at - figures.seconds[0].at)
    yield Verdict("share of the time in which the machine was too busy", busy, outcome.load.starved)


def without_starved(timings: Sequence[Timing], looks: Sequence[Second]) -> list[Timing]:
    """Return the calls that were under way in no starved second."""
    starved = {at for last, look in pairwise(looks) if look.is_starved for at in touched(last.at, look.at)}
    return [one for one in timings if starved.isdisjoint(touched(one.at - one.seconds, one.at))]


def starved_seconds(looks: Sequence[Second]) -> float:
    """Return for how long the machine was too busy; looks are rare then, so they are not counted but measured."""
    return sum(look.at - last.at for last, look in pairwise(looks) if look.is_starved)


def touched(begin: float, end: float) -> range:
    """Return the seconds that a time touches."""
    return range(int(begin), int(end) + 1)


def _amount(outcome: Outcome) -> Iterator[Verdict]:
    """The load was really there: a site that lets nobody in is quick too."""
    load, calls = outcome.load, outcome.figures.calls
    plans = (("polls", "poll", load.pollers, load.poll_seconds), ("submits", "submit", load.users, load.submit_seconds))
    for what, kind, people, pause in plans:
        planned = people * (load.seconds - load.submit_seconds - pause) / pause
        missing = max(0.0, 1 - calls[kind] / planned)
        yield Verdict(f"share of the {what} missing", missing, MISSING, f"{planned:.0f} were planned.")
    refused = sum(outcome.figures.refused.values()) / max(1, calls["submit"])
    yield Verdict("share of the submits refused", refused, REFUSED, "The space had no app at that moment.")
    never = [act for act in ACTS if not outcome.figures.churn[act]]
    yield Verdict("kinds of churn that never happened", len(never), 0, ", ".join(never))


def _results(outcome: Outcome) -> Iterator[Verdict]:
    """Nothing lost, nothing twice, nothing invented, nothing mixed up, nothing left open."""
    requests = [one for found in outcome.found.values() for one in found]
    accepted = {request_id for person in outcome.people for request_id in person.accepted}
    known = {(name, one["id"], one["input"]["prompt"]) for name, found in outcome.found.items() for one in found}
    said = {(one.name, request_id, prompt) for one in outcome.people for request_id, prompt in one.accepted.items()}
    prompts = Counter(one["input"]["prompt"] for one in requests)
    yield Verdict("accepted requests lost", len(said - known), 0, f"{len(accepted)} were accepted.")
    yield Verdict("requests that nobody was told of", len(known - said), 0)
    yield Verdict("prompts accepted twice", sum(count > 1 for count in prompts.values()), 0)
    yield Verdict("requests not final", sum(one["status"] not in FINAL for one in requests), 0)
    yield Verdict("results of another request", sum(not _is_right(one) for one in requests), 0)
    broken = len(rules.violations(outcome.history))
    yield Verdict("rules broken in the database", broken, 0, "Those of the fault tests, over every request.")
    yield Verdict("surprises", len(outcome.surprises), 0, "Answers that nothing explains, and tracebacks.")
    if not outcome.load.kill_seconds:
        yield _unasked(outcome)


def _unasked(outcome: Outcome) -> Verdict:
    """No connection ends, and none is refused, but by somebody's act. A starved site may miss a heartbeat."""
    counts = outcome.figures.churn
    lost = sum(count for said, count in counts.items() if said.startswith(("lost", "unreachable")))
    return Verdict("connections ended by nobody's act", lost, starved_seconds(outcome.figures.seconds))


def _is_right(request: dict[str, Any]) -> bool:
    if request["status"] != "completed":
        return True
    given = request["input"]
    size = sum(file["size"] for file in given["files"])
    return [part.get("text") for part in request["output"]] == [f"{given['prompt']} {size}"]


def _at_rest(outcome: Outcome) -> Iterator[Verdict]:
    """With every app connected and nobody calling, as before the load."""
    start, end = outcome.start, outcome.end
    yield Verdict("sockets at the end", end.sockets, start.sockets, "As many as at the start.")
    yield Verdict("threads at the end", end.threads, start.threads, "As many as at the start.")
    limit = start.files + POOLED_FILES
    yield Verdict("open files at the end", end.files, limit, "At most those of the database's connections came on top.")


def _flat(outcome: Outcome) -> Iterator[Verdict]:
    """Medians of the first and the last third under load, once it is warm."""
    first, last = thirds(outcome)
    before = statistics.median(one.megabytes for one in first)
    grown = statistics.median(one.megabytes for one in last) - before
    yield Verdict("megabytes grown under load", grown, GROWTH_MEGABYTES, f"From {before:.1f} MB, once warm.")
    moving = MOVING if outcome.mode == "threading" else 0
    for what, allowed in (("sockets", MOVING), ("files", POOLED_FILES), ("threads", moving)):
        middles = [statistics.median(getattr(one, what) for one in third) for third in (first, last)]
        yield Verdict(f"{what} grown under load", middles[1] - middles[0], allowed)


def thirds(outcome: Outcome) -> tuple[list[Second], list[Second]]:
    """Return the looks of the first and of the last third of the time between the warm-up and the end of the load."""
    load = outcome.load
    warm, end = load.warm_up_seconds, load.seconds
    third = (end - warm) / 3
    looks = outcome.figures.seconds
    return [one for one in looks if warm <= one.at < warm + third], [
        one for one in looks if end - third <= one.at < end
    ]


def seconds(timings: Sequence[Timing]) -> list[float]:
    """Return the durations."""
    return [timing.seconds for timing in timings]
