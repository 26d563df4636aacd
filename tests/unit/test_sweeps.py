"""The beat: what is due runs, what fails is tried again, nothing stops the others."""

from __future__ import annotations

import logging
import threading

import pytest

from project.errors import DatabaseAway
from project.sweeps import Beat, Sweeper


def run_beats(beats: list[Beat], times: list[float]) -> None:
    moments = iter(times)
    sweeper = Sweeper(beats, monotonic=lambda: next(moments))
    for _ in times:
        sweeper.beat()


def test_each_beat_runs_when_it_is_due() -> None:
    ran: list[str] = []
    beats = [Beat("one", 1.0, lambda: ran.append("one")), Beat("three", 3.0, lambda: ran.append("three"))]
    run_beats(beats, [100.0, 100.5, 101.0, 102.0, 103.0])
    assert ran.count("one") == 4
    assert ran.count("three") == 2


@pytest.mark.parametrize(
    ("error", "level"), [(DatabaseAway(), logging.WARNING), (RuntimeError("broken"), logging.ERROR)]
)
def test_a_beat_that_fails_is_logged_and_tried_again(
    error: Exception, level: int, caplog: pytest.LogCaptureFixture
) -> None:
    ran: list[str] = []

    def fail() -> None:
        ran.append("failing")
        raise error

    run_beats([Beat("failing", 1.0, fail), Beat("other", 1.0, lambda: ran.append("other"))], [100.0, 101.0])
    assert ran == ["failing", "other"] * 2
    assert [record.levelno for record in caplog.records] == [level] * 2
    assert "failing" in caplog.text


def test_it_beats_until_it_is_stopped() -> None:
    beaten = threading.Event()
    sweeper = Sweeper([Beat("quick", 0.01, beaten.set)])
    thread = threading.Thread(target=sweeper.run)
    thread.start()
    assert beaten.wait(10), "it never beat"
    sweeper.stop()
    thread.join(10)
    assert not thread.is_alive(), "it did not stop"
