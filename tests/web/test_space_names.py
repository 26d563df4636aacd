"""Names of spaces: the rule, letter case, and twenty people who want the same one at the same moment."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from project import accounts, space_admin
from project.errors import DuplicateName, NotFound
from project.extensions import db
from project.models import Space

RACERS = 20


@pytest.mark.parametrize("name", ["a", "7", "Cats", "a.b_c-d", "a..b", "x" * 64])
def test_names_that_may_be(name):
    assert space_admin.is_name(name)


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".a", "-a", "_a", "a/b", "a b", "a\n", "a%", "\u212aats", "ä", "٣", "x" * 65, "a\x00"]
)
def test_names_that_may_not_be(name):
    assert not space_admin.is_name(name)


def test_a_name_is_kept_as_typed_and_found_in_any_case(app, admin):
    admin.post("spaces", json={"name": "MyCats"})
    with app.app_context():
        assert space_admin.find("mycATS").name == "MyCats"
        with pytest.raises(NotFound):
            space_admin.find("mycat")


def test_a_second_space_of_one_name_is_refused_with_a_message_that_says_so(admin):
    assert admin.post("spaces", json={"name": "Cats"}).status_code == 201
    refused = admin.post("spaces", json={"name": "cATS"})
    assert refused.status_code == 409
    error = refused.json["error"]
    assert (error["code"], error["message"]) == ("duplicate_name", 'A space named "cATS" exists already.')


def test_twenty_simultaneous_creations_make_one_space_and_nineteen_refusals(app):
    outcomes: list[str] = []
    together = threading.Barrier(RACERS)

    def create(number: int) -> None:
        name = "Cats" if number % 2 else "cats"
        with app.app_context():
            owner = accounts.get_by_username("admin")
            together.wait(timeout=20)
            try:
                outcomes.append(space_admin.create(space_admin.SpaceCreate(name=name), owner).name)
            except DuplicateName as error:
                outcomes.append(error.code)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(RACERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert sorted(outcomes, key=str.lower).count("duplicate_name") == RACERS - 1
    assert len(outcomes) == RACERS
    with app.app_context():
        assert db.session.scalar(select(func.count()).select_from(Space)) == 1


def test_the_database_itself_refuses_a_second_row(make_space):
    make_space("cats")
    with pytest.raises(IntegrityError, match="name_key"):
        make_space("Cats", name_key="cats")
