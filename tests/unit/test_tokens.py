"""Tokens: how they look, who may make which, what they may do, and when they stop."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select

from project import accounts, token_rules, tokens
from project.errors import Conflict, Forbidden, Invalid, NotFound, SpacesError
from project.extensions import db
from project.models import Space, Token, User
from project.services import services
from project.tokens import TokenInfo
from tests.conftest import ADMIN, MakeSpace, MakeUser

NOW = 1_800_000_000.0


@pytest.fixture(autouse=True)
def context(app: Flask) -> Iterator[None]:
    with app.app_context():
        yield


@pytest.fixture
def ann(make_user: MakeUser) -> User:
    return make_user("ann")


@pytest.fixture
def admin() -> User:
    found = accounts.get_by_username(ADMIN)
    assert found
    return found


def make(
    owner: User, scopes: str = "api", spaces: tuple[str, ...] = (), expires_at: float | None = None, name: str = "mine"
) -> tuple[Token, str]:
    return tokens.create(owner, name, scopes.split(), spaces, expires_at, NOW)


def refusal(call: Callable[[], Any]) -> SpacesError:
    with pytest.raises(SpacesError) as refused:
        call()
    return refused.value


def info(plaintext: str, now: float = NOW) -> TokenInfo:
    found = tokens.verify(plaintext, now)
    assert found
    return found


# How they look


def test_a_token_is_random_prefixed_and_kept_as_a_hash(ann: User) -> None:
    token, text = make(ann)
    secret = text.removeprefix("spaces_")
    assert text.startswith("spaces_")
    assert (len(text) - len(token.prefix)) * math.log2(64) >= 256, "bits that stay secret"
    assert token.prefix == text[: len(token.prefix)]
    row = db.session.execute(select(*Token.__table__.c)).one()
    assert row.token_hash == hashlib.sha256(text.encode()).hexdigest()
    assert not any(secret[8:] in str(value) for value in row), "the text itself is kept somewhere"
    assert make(ann)[1] != text


def test_a_valid_token_says_whose_it_is_and_what_it_may(ann: User) -> None:
    token, text = make(ann, expires_at=NOW + 10)
    assert info(text) == TokenInfo(token.id, ann.id, "ann", "user", frozenset({"api"}), True, frozenset(), NOW + 10)


# When they stop


@pytest.mark.parametrize(
    "text", ["", "spaces_", "spaces_unknown", "x" * 60, "spaces_" + "a" * 1_000_000, "spaces_\ud800"]
)
def test_an_unknown_token_is_nobody(text: str) -> None:
    assert tokens.verify(text, NOW) is None


def test_a_token_ends_when_it_expires(ann: User) -> None:
    text = make(ann, expires_at=NOW + 10)[1]
    assert tokens.verify(text, NOW + 9.9)
    assert tokens.verify(text, NOW + 10) is None


def test_a_revoked_token_is_invalid_unlisted_and_kept_as_evidence(ann: User) -> None:
    token, text = make(ann)
    tokens.revoke(token.id, ann)
    assert tokens.verify(text, NOW) is None
    assert tokens.list_for(ann) == []
    assert db.session.get_one(Token, token.id).revoked_at
    assert isinstance(refusal(lambda: tokens.revoke(token.id, ann)), NotFound)


def test_a_disabled_persons_tokens_rest_and_a_deleted_ones_are_gone(ann: User) -> None:
    text = make(ann)[1]
    accounts.set_active(ann.id, False)
    assert tokens.verify(text, NOW) is None
    accounts.set_active(ann.id, True)
    assert tokens.verify(text, NOW)
    accounts.delete_user(ann.id)
    assert tokens.verify(text, NOW) is None


def test_only_its_maker_and_admins_can_revoke_a_token(ann: User, admin: User, make_user: MakeUser) -> None:
    token, text = make(ann)
    assert isinstance(refusal(lambda: tokens.revoke(token.id, make_user("eve"))), NotFound)
    assert isinstance(refusal(lambda: tokens.revoke(2**70, admin)), NotFound)
    assert tokens.verify(text, NOW)
    tokens.revoke(token.id, admin)
    assert tokens.verify(text, NOW) is None


def test_lapsed_names_the_tokens_that_stopped(ann: User, make_user: MakeUser) -> None:
    good, ending, revoked = (make(ann, expires_at=at)[0].id for at in (None, NOW + 5, None))
    bob = make_user("bob")
    disabled = make(bob)[0].id
    tokens.revoke(revoked, ann)
    accounts.set_active(bob.id, False)
    asked = {good, ending, revoked, disabled, 4711}
    assert tokens.lapsed(asked, NOW) == {revoked, disabled, 4711}
    assert tokens.lapsed(asked, NOW + 5) == asked - {good}
    assert tokens.lapsed([], NOW) == set()


# Last use


def test_last_use_is_noted_at_most_once_a_minute(ann: User) -> None:
    token, text = make(ann)

    def noted() -> float | None:
        return next(item.last_used_at for item in tokens.list_for(ann) if item.id == token.id)

    assert noted() is None
    for at, expected in ((0, 0), (59, 0), (60, 60), (70, 60), (200, 200)):
        tokens.verify(text, NOW + at)
        assert noted() == NOW + expected, f"after a use at +{at} s"


def test_a_database_that_cannot_write_refuses_no_valid_token(
    ann: User, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = make(ann)[1]
    monkeypatch.setattr("project.database.BUSY_SECONDS", 0.05)
    with app.app_context(), services().database.engine.connect() as other:
        other.exec_driver_sql("BEGIN IMMEDIATE")
        assert info(text).username == "ann"
        other.exec_driver_sql("ROLLBACK")


# Who may make which


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("name", {"name": "  "}),
        ("name", {"name": "x" * 101}),
        ("name", {"name": "two\nlines"}),
        ("scopes", {"scopes": ""}),
        ("scopes", {"scopes": "api root"}),
        ("spaces", {"scopes": "api", "spaces": ("cats",)}),
        ("expires_at", {"expires_at": NOW}),
    ],
)
def test_a_bad_field_is_named(ann: User, field: str, arguments: dict[str, Any]) -> None:
    refused = refusal(lambda: make(ann, **arguments))
    assert isinstance(refused, Invalid)
    assert refused.details[0]["field"] == field
    assert tokens.list_for(ann) == []


def test_only_admins_make_admin_tokens(ann: User, admin: User) -> None:
    assert isinstance(refusal(lambda: make(ann, "api admin")), Forbidden)
    assert info(make(admin, "admin")[1]).scopes == {"admin"}


def test_an_app_token_is_for_the_owner_of_the_space_or_an_admin(
    ann: User, admin: User, make_user: MakeUser, make_space: MakeSpace
) -> None:
    bob = make_user("bob")
    cats, secret = make_space("Cats", "ann"), make_space("secret", "ann", visibility="private")
    for owner in (ann, admin):
        assert info(make(owner, "app", ("cATS", "secret"))[1]).space_ids == {cats.id, secret.id}
    assert isinstance(refusal(lambda: make(bob, "app", ("cats",))), Forbidden)
    assert isinstance(refusal(lambda: make(bob, "app")), Forbidden), "bob owns no space"
    hidden = refusal(lambda: make(bob, "app", ("secret",)))
    unknown = refusal(lambda: make(bob, "app", ("nosuch",)))
    assert isinstance(hidden, NotFound)
    assert hidden.message.replace("secret", "") == unknown.message.replace("nosuch", "")


def test_a_token_names_its_spaces(admin: User, make_space: MakeSpace) -> None:
    for name in ("Zebras", "cats"):
        make_space(name)
    limited, free = make(admin, "app", ("zebras", "CATS"))[0], make(admin, "app")[0]
    assert tokens.space_names([limited.id, free.id]) == {limited.id: ["cats", "Zebras"]}


def test_one_person_has_a_bounded_number_of_tokens(ann: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_rules, "MAX_PER_USER", 2)
    first = make(ann)[0]
    make(ann)
    assert isinstance(refusal(lambda: make(ann)), Conflict)
    tokens.revoke(first.id, ann)
    assert make(ann)


# What an app may serve


def test_without_a_token_only_spaces_that_allow_it(make_space: MakeSpace) -> None:
    assert not tokens.may_serve(None, make_space("cats"))
    assert tokens.may_serve(None, make_space("dogs", allow_app_without_token=True))


def test_a_free_app_token_serves_what_its_maker_owns_and_an_admins_serves_all(
    ann: User, admin: User, make_space: MakeSpace
) -> None:
    own, other = make_space("own", "ann"), make_space("other", ADMIN)
    mine, all_of_them = info(make(ann, "app")[1]), info(make(admin, "app")[1])
    assert [tokens.may_serve(mine, space) for space in (own, other)] == [True, False]
    assert [tokens.may_serve(all_of_them, space) for space in (own, other)] == [True, True]


def test_a_limited_app_token_serves_only_the_named_spaces(admin: User, make_space: MakeSpace) -> None:
    named, other = make_space("named"), make_space("other")
    limited = info(make(admin, "app", ("named",))[1])
    assert [tokens.may_serve(limited, space) for space in (named, other)] == [True, False]


def test_a_token_whose_spaces_are_gone_serves_nothing(admin: User, make_space: MakeSpace) -> None:
    named, other = make_space("named"), make_space("other")
    text = make(admin, "app", ("named",))[1]
    db.session.delete(db.session.get_one(Space, named.id))
    db.session.commit()
    assert not tokens.may_serve(info(text), other)


@pytest.mark.parametrize("scopes", ["api", "admin", "api admin"])
def test_other_scopes_serve_nothing(admin: User, make_space: MakeSpace, scopes: str) -> None:
    assert not tokens.may_serve(info(make(admin, scopes)[1]), make_space("cats", allow_app_without_token=True))


def test_a_token_loses_what_its_maker_loses(ann: User, make_user: MakeUser, make_space: MakeSpace) -> None:
    boss = make_user("boss", "admin")
    cats = make_space("cats", "ann")
    texts = [make(boss, "app")[1], make(boss, "app", ("cats",))[1]]
    assert [tokens.may_serve(info(text), cats) for text in texts] == [True, True]
    accounts.set_role(boss.id, "user")
    assert [tokens.may_serve(info(text), cats) for text in texts] == [False, False]
