"""How often something may come: time is a number here."""

from __future__ import annotations

from project.event_rate import BURST_SECONDS, EventAllowance, EventRate


def test_a_burst_and_then_the_long_run() -> None:
    rate = EventRate(10)
    at_once = [rate.admits(100.0) for _ in range(30)]
    assert at_once.count(True) == 10 * BURST_SECONDS + 1
    assert not any(at_once[21:])
    assert [rate.admits(100.1 + 1e-6), rate.admits(100.1 + 1e-6)] == [True, False]


def test_what_is_refused_costs_nothing_later() -> None:
    rate = EventRate(10)
    for _ in range(1_000):
        rate.admits(0.0)
    assert [rate.admits(BURST_SECONDS + 0.01) for _ in range(30)].count(True) == 10 * BURST_SECONDS


def test_silence_does_not_add_up() -> None:
    rate = EventRate(10)
    assert rate.admits(0.0)
    assert [rate.admits(1e6) for _ in range(100)].count(True) == 10 * BURST_SECONDS + 1


def test_results_count_apart() -> None:
    allowance = EventAllowance(10, 5)
    while allowance.admits("inference_progress", 0.0):
        pass
    assert not allowance.admits("anything", 0.0)
    assert allowance.admits("inference_result", 0.0)


def test_before_registration_there_are_so_many() -> None:
    allowance = EventAllowance(10, 3)
    assert [allowance.waits_too_long() for _ in range(4)] == [False, False, False, True]
