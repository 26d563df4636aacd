"""Places for what goes on at the same time."""

from __future__ import annotations

import pytest

from project.at_once import AtOnce
from tests.house import together


def test_each_has_so_many_and_all_have_so_many() -> None:
    places = AtOnce(each=2, whole=3)
    assert [places.enter("ann") for _ in range(3)] == [True, True, False]
    assert [places.enter("bob") for _ in range(2)] == [True, False]
    assert (places.count("ann"), places.count("bob"), places.count()) == (2, 1, 3)
    places.leave("ann")
    assert places.enter("bob")
    assert not places.enter("ann")


def test_a_place_is_given_back_whatever_happens() -> None:
    places = AtOnce(each=1, whole=10)
    with places.place("ann") as has_place, places.place("ann") as has_second:
        assert (has_place, has_second, places.count()) == (True, False, 1)
    with pytest.raises(RuntimeError), places.place("ann"):
        raise RuntimeError
    assert (places.count(), vars(places)["_held"]) == (0, {})


def test_many_threads_never_take_more_than_there_is() -> None:
    places = AtOnce(each=100, whole=10)
    taken = together([lambda: places.enter("ann")] * 40)
    assert taken.count(True) == 10
