"""The keys of submits on every database: remembered once, per user, for a day, and only when accepted."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from project.errors import InProgress, KeyReused, NotFound, QueueFull
from project.request_store import Limits
from project.submit_key_rows import REMEMBERED, KeyedBody
from tests.house import LIMITS, NOW, House, together

SAID = KeyedBody("key-1", "a" * 64)
OTHER = KeyedBody("key-1", "b" * 64)


def before(house: House, said: KeyedBody = SAID, *, user: int | None = None, now: float = NOW) -> Any:
    return house.store.accepted_before(user or house.user, said, now)


def test_a_key_leads_to_its_request(house: House) -> None:
    assert before(house) is None
    request_id = house.submit(keyed=SAID)
    found = before(house, now=NOW + REMEMBERED - 1)
    assert (found["id"], found["status"]) == (request_id, "queued")
    assert house.store.knows_key(house.user, "key-1", NOW)
    assert not house.store.knows_key(house.user, "key-2", NOW)


def test_another_body_is_refused(house: House) -> None:
    house.submit(keyed=SAID)
    with pytest.raises(KeyReused):
        before(house, OTHER)


def test_a_key_is_one_users_own(house: House) -> None:
    house.submit(keyed=SAID)
    bob = house.add_user("bob")
    assert before(house, OTHER, user=bob) is None
    request_id = house.submit(keyed=OTHER, user=bob)
    assert before(house, OTHER, user=bob)["id"] == request_id


def test_after_a_day_a_key_is_new_again(house: House) -> None:
    first = house.submit(keyed=SAID)
    later = NOW + REMEMBERED
    assert before(house, OTHER, now=later) is None
    second = house.submit(keyed=OTHER, now=later)
    assert second != first
    assert before(house, OTHER, now=later)["id"] == second


def test_only_what_was_accepted_is_remembered(house: House, make_store: Any) -> None:
    full = make_store(Limits(**{name: getattr(LIMITS, name) for name in Limits.__slots__} | {"queue_length": 1}))
    house.submit()
    with pytest.raises(QueueFull):
        full.create(house.space, house.user, "ann", "hi", {}, connected=True, now=NOW, keyed=SAID)
    assert before(house, OTHER) is None


def test_a_deleted_request_does_not_come_back(house: House) -> None:
    request_id = house.submit(keyed=SAID)
    house.store.cancel(request_id, "cancelled_by_user", NOW)
    house.store.delete(request_id)
    with pytest.raises(NotFound):
        before(house)


def test_old_keys_are_forgotten(house: House) -> None:
    house.submit(keyed=SAID)
    house.submit(keyed=KeyedBody("key-2", "c" * 64), now=NOW + 10)
    assert house.store.forget_old_keys(NOW + REMEMBERED) == 1
    assert before(house) is None
    assert house.store.knows_key(house.user, "key-2", NOW + 10)


@pytest.mark.parametrize("round_", range(5))
def test_of_many_at_once_one_is_accepted_also_in_different_spaces(house: House, round_: int) -> None:
    spaces = [house.space, house.add_space("Dogs")]
    answers = together([partial(house.submit, space=spaces[number % 2], keyed=SAID) for number in range(8)])
    accepted = [answer for answer in answers if isinstance(answer, str)]
    assert len(accepted) == 1, answers
    assert all(isinstance(answer, InProgress) for answer in answers if answer not in accepted), answers
    assert before(house)["id"] == accepted[0]
    assert len(house.store.list_for_user(house.user)) == 1


def test_one_user_has_so_many_waiting_over_all_spaces(house: House, make_store: Any) -> None:
    narrow = make_store(Limits(**{name: getattr(LIMITS, name) for name in Limits.__slots__} | {"user_queue_length": 2}))
    submit = partial(narrow.create, username="ann", prompt="hi", parameters={}, connected=True, now=NOW)
    dogs, bob = house.add_space("Dogs"), house.add_user("bob")
    submit(house.space, house.user)
    narrow.check_queues(dogs, None, house.user)
    submit(dogs, house.user)
    for space in (house.space, dogs):
        with pytest.raises(QueueFull, match="You have 2"):
            submit(space, house.user)
        with pytest.raises(QueueFull, match="You have 2"):
            narrow.check_queues(space, None, house.user)
    submit(dogs, bob)
    house.bind()
    house.claimed()
    assert submit(dogs, house.user)["status"] == "queued"
