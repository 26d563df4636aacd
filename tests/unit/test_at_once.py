"""Places for what goes on at the same time."""

from __future__ import annotations

import random

import pytest

from project.at_once import AtOnce
from tests.house import together


def test_each_has_so_many_and_all_have_so_many() -> None:
    places = AtOnce(each=2, whole=3)
    assert [places.enter("ann") for _ in range(3)] == [None, None, "each"]
    assert [places.enter("bob") for _ in range(2)] == [None, "whole"]
    assert (places.count("ann"), places.count("bob"), places.count()) == (2, 1, 3)
    places.leave("ann")
    assert places.enter("bob") is None
    assert places.enter("ann") == "whole"


def test_a_place_is_given_back_whatever_happens() -> None:
    places = AtOnce(each=1, whole=10)
    with places.place("ann") as has_place, places.place("ann") as has_second:
        assert (has_place, has_second, places.count()) == (True, False, 1)
    with pytest.raises(RuntimeError), places.place("ann"):
        raise RuntimeError
    assert (places.count(), vars(places)["_held"]) == (0, {})


def test_who_holds_nothing_is_forgotten() -> None:
    places = AtOnce(each=5, whole=1_000)
    holders = [f"10.0.{one // 250}.{one % 250}" for one in range(500)]
    assert {places.enter(holder) for holder in holders} == {None}
    for holder in holders:
        places.leave(holder)
    assert (places.count(), vars(places)["_held"]) == (0, {})


def test_many_threads_never_take_more_than_there_is() -> None:
    places = AtOnce(each=100, whole=10)
    taken = together([lambda: places.enter("ann")] * 40)
    assert taken.count(None) == 10


def test_nothing_is_lost_when_many_come_and_go_at_once() -> None:
    places = AtOnce(each=7, whole=20)

    def come_and_go() -> bool:
        chance = random.Random(1)
        for _ in range(2_000):
            holder = f"192.0.2.{chance.randrange(4)}"
            if places.enter(holder) is None:
                assert places.count() <= 20
                places.leave(holder)
        return True

    assert together([come_and_go] * 8) == [True] * 8
    assert (places.count(), vars(places)["_held"]) == (0, {})
