"""People: names, passwords, throttling, roles, the first admin."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask

from project import accounts, passwords
from project.config import Settings, SettingsError
from project.errors import (
    Conflict,
    DuplicateName,
    Forbidden,
    Invalid,
    NotAuthenticated,
    NotFound,
    RateLimited,
    SpacesError,
)
from project.models import User
from tests.conftest import ADMIN, PASSWORD, MakeUser

HERE, ELSEWHERE = "192.0.2.1", "192.0.2.2"
OTHER = "another good password"


@pytest.fixture(autouse=True)
def context(app: Flask) -> Iterator[None]:
    with app.app_context():
        yield


def outcome(call: Callable[..., Any], *args: Any) -> Any:
    """Return what ``call`` returns, or the class of what it raises."""
    try:
        return call(*args)
    except SpacesError as error:
        return type(error)


def admin() -> User:
    found = accounts.get_by_username(ADMIN)
    assert found
    return found


# Names and passwords


def test_a_name_is_unique_whatever_its_case(make_user: MakeUser) -> None:
    make_user("Straße")
    for name in ("Straße", "STRASSE", "  straße "):
        with pytest.raises(DuplicateName):
            accounts.create_user(name, PASSWORD)
    found = accounts.get_by_username("strasse")
    assert found
    assert found.username == "Straße"


@pytest.mark.parametrize("name", ["", "   ", "a" * 65, "ß" * 33, "line\nbreak", "nul\0", "hidden\u200b", "\ud800"])
def test_a_bad_name_is_refused_at_its_field(name: str) -> None:
    with pytest.raises(Invalid) as refused:
        accounts.create_user(name, PASSWORD)
    assert refused.value.details[0]["field"] == "username"


@pytest.mark.parametrize("name", ["a", "a" * 64, "Zoë", "山田 太郎", "x@example.org"])
def test_a_good_name_is_kept_as_typed(name: str) -> None:
    assert accounts.create_user(name, PASSWORD).username == name


@pytest.mark.parametrize(
    "password", ["", "1234567", "x" * 201, "password", "PassWord1", "qwertyuiop", "zzzzzzzzzz", "margaret"]
)
def test_a_weak_password_is_refused_at_its_field(password: str) -> None:
    with pytest.raises(Invalid) as refused:
        accounts.create_user("Margaret", password)
    assert refused.value.details[0]["field"] == "password"
    assert accounts.get_by_username("Margaret") is None


@pytest.mark.parametrize(
    "password", ["tr0ub4do", "all lower case words", "x1" * 100, "пароль-из-слов", "\uff37\uff29\uff24\uff25 letters"]
)
def test_a_good_password_signs_in(password: str) -> None:
    accounts.create_user("ann", password)
    assert accounts.authenticate("ANN", password, HERE).username == "ann"


def test_the_same_characters_typed_differently_are_the_same_password() -> None:
    accounts.create_user("ann", "cafe\u0301 au lait")
    assert accounts.authenticate("ann", "caf\u00e9 au lait", HERE)


def test_passwords_are_kept_as_argon2id_at_least_as_costly_as_owasp_asks(make_user: MakeUser) -> None:
    kind, _, cost = make_user().password_hash.split("$")[1:4]
    bounds = dict(part.split("=") for part in cost.split(","))
    assert kind == "argon2id"
    assert int(bounds["m"]) >= 19 * 1024
    assert int(bounds["t"]) >= 2


def test_an_unknown_name_costs_a_hash_too(monkeypatch: pytest.MonkeyPatch, make_user: MakeUser) -> None:
    make_user("ann")
    checked: list[str] = []
    real = passwords._fits

    def counting(password_hash: str, password: bytes) -> bool:
        checked.append(password_hash)
        return real(password_hash, password)

    monkeypatch.setattr(passwords, "_fits", counting)
    for name in ("ann", "nobody", "nul\0", "n" * 1000):
        with pytest.raises(NotAuthenticated) as refused:
            accounts.authenticate(name, OTHER, HERE)
        assert refused.value.message == accounts.WRONG
    assert len(checked) == 4
    assert len({value.split("$")[3] for value in checked}) == 1, "the decoy has other parameters"


def test_twenty_at_once_make_one_account(app: Flask) -> None:
    def sign_up(number: int) -> Any:
        with app.app_context():
            return outcome(accounts.register, "ANN" if number % 2 else "ann", PASSWORD)

    with ThreadPoolExecutor(20) as pool:
        results = list(pool.map(sign_up, range(20)))
    assert sum(isinstance(result, User) for result in results) == 1
    assert results.count(DuplicateName) == 19
    assert len(accounts.list_users()) == 2


def test_registration_can_be_closed(make_app: Callable[[Settings], Flask], settings: Settings) -> None:
    closed = make_app(settings.model_copy(update={"registration": "closed"}))
    with closed.app_context():
        with pytest.raises(Forbidden):
            accounts.register("ann", PASSWORD)
        assert accounts.create_user("ann", PASSWORD), "an admin can still add people"


# Throttling


def wrong(name: str = "ann", address: str = HERE) -> Any:
    return outcome(accounts.authenticate, name, "not the password", address)


def test_the_tenth_wrong_password_in_a_row_is_refused_and_so_is_the_right_one_then(make_user: MakeUser) -> None:
    make_user("ann")
    assert [wrong() for _ in range(10)] == [NotAuthenticated] * 9 + [RateLimited]
    with pytest.raises(RateLimited) as refused:
        accounts.authenticate("Ann", PASSWORD, HERE)
    assert refused.value.retry_after is not None
    assert 0 < refused.value.retry_after <= 900


def test_throttling_is_for_that_account_and_that_address(make_user: MakeUser) -> None:
    make_user("ann")
    make_user("bob")
    while wrong() is not RateLimited:
        pass
    assert accounts.authenticate("bob", PASSWORD, HERE)
    assert accounts.authenticate("ann", PASSWORD, ELSEWHERE)


def test_the_right_password_ends_the_row(make_user: MakeUser) -> None:
    make_user("ann")
    for _ in range(4):
        assert [wrong() for _ in range(8)] == [NotAuthenticated] * 8
        assert accounts.authenticate("ann", PASSWORD, HERE)


def test_throttling_of_an_unknown_name_tells_nothing() -> None:
    assert [wrong("nobody") for _ in range(10)] == [NotAuthenticated] * 9 + [RateLimited]


def test_throttling_stays_on_without_rate_limits(make_app: Callable[[Settings], Flask], settings: Settings) -> None:
    unlimited = make_app(settings.model_copy(update={"rate_limits": "off"}))
    with unlimited.app_context():
        assert [wrong() for _ in range(10)][-1] is RateLimited


def test_simultaneous_guesses_get_no_more_tries(app: Flask, make_user: MakeUser) -> None:
    make_user("ann")

    def guess(_: int) -> Any:
        with app.app_context():
            return wrong()

    with ThreadPoolExecutor(20) as pool:
        results = list(pool.map(guess, range(40)))
    assert results.count(NotAuthenticated) == 9
    assert results.count(RateLimited) == 31


def test_neighbours_in_one_ipv6_network_count_as_one(make_user: MakeUser) -> None:
    make_user("ann")
    results = [wrong(address=f"2001:db8:0:1::{number:x}") for number in range(1, 11)]
    assert results[-1] is RateLimited
    assert accounts.authenticate("ann", PASSWORD, "2001:db8:0:2::1")


def test_guesses_from_many_addresses_are_bounded(monkeypatch: pytest.MonkeyPatch, make_user: MakeUser) -> None:
    make_user("ann")
    monkeypatch.setattr(passwords, "_fits", lambda *_: False)  # 100 hashes would only take time
    results = [wrong(address=f"198.51.100.{number}") for number in range(101)]
    assert results == [NotAuthenticated] * 100 + [RateLimited]


def test_guesses_at_many_accounts_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "_fits", lambda *_: False)
    results = [wrong(f"name{number}") for number in range(301)]
    assert results == [NotAuthenticated] * 300 + [RateLimited]


def test_asking_for_the_password_again_is_throttled_too(make_user: MakeUser) -> None:
    ann = make_user("ann")
    results = [outcome(accounts.check_password, ann.id, "wrong one", HERE) for _ in range(10)]
    assert results == [Invalid] * 9 + [RateLimited]


# Passwords and sessions


def test_a_changed_password_ends_all_sessions(make_user: MakeUser) -> None:
    before = make_user("ann")
    after = accounts.change_password(before.id, PASSWORD, OTHER, HERE)
    assert accounts.load_user(before.get_id()) is None
    assert accounts.load_user(after.get_id())
    assert wrong("ann") is NotAuthenticated
    assert accounts.authenticate("ann", OTHER, HERE)
    assert outcome(accounts.authenticate, "ann", PASSWORD, HERE) is NotAuthenticated


def test_a_password_change_needs_the_old_one_and_a_good_new_one(make_user: MakeUser) -> None:
    ann = make_user("ann")
    for current, new, field in (("wrong", OTHER, "current_password"), (PASSWORD, "short", "new_password")):
        with pytest.raises(Invalid) as refused:
            accounts.change_password(ann.id, current, new, HERE)
        assert refused.value.details[0]["field"] == field
    assert accounts.load_user(ann.get_id()), "a refused change must end nothing"


def test_a_reset_ends_all_sessions(make_user: MakeUser) -> None:
    ann = make_user("ann")
    accounts.reset_password(ann.id, OTHER)
    assert accounts.load_user(ann.get_id()) is None
    assert accounts.authenticate("ann", OTHER, HERE)


@pytest.mark.parametrize("session_id", ["", "1", "1:", ":key", "x:y", "99:key", "1:forged", "²:key"])
def test_a_forged_session_is_nobody(session_id: str) -> None:
    assert accounts.load_user(session_id) is None


def test_signing_out_everywhere_keeps_the_password(make_user: MakeUser) -> None:
    ann = make_user("ann")
    assert accounts.load_user(accounts.end_sessions(ann.id).get_id())
    assert accounts.load_user(ann.get_id()) is None
    assert accounts.authenticate("ann", PASSWORD, HERE)


def test_disabled_people_are_out_and_their_old_sessions_stay_ended(make_user: MakeUser) -> None:
    ann = make_user("ann")
    accounts.set_active(ann.id, False)
    assert outcome(accounts.authenticate, "ann", PASSWORD, HERE) is NotAuthenticated
    accounts.set_active(ann.id, True)
    assert accounts.load_user(ann.get_id()) is None
    assert accounts.authenticate("ann", PASSWORD, HERE)


# Admins


def test_the_last_active_admin_stays(make_user: MakeUser) -> None:
    second = make_user("second", "admin")
    accounts.set_active(second.id, False)
    calls: tuple[tuple[Callable[..., Any], tuple[Any, ...]], ...] = (
        (accounts.set_active, (admin().id, False)),
        (accounts.set_role, (admin().id, "user")),
        (accounts.delete_user, (admin().id,)),
    )
    for call, args in calls:
        assert outcome(call, *args) is Conflict, call.__name__
    assert admin().active
    assert admin().is_admin


def test_two_admins_cannot_remove_each_other_at_once(app: Flask, make_user: MakeUser) -> None:
    ids = [admin().id, make_user("second", "admin").id]

    def demote(user_id: int) -> Any:
        with app.app_context():
            return outcome(accounts.set_role, user_id, "user")

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(demote, ids))
    assert results.count(Conflict) == 1
    assert [user.is_admin for user in accounts.list_users()].count(True) == 1


def test_deleting_and_changing_nobody_is_not_found() -> None:
    for user_id in (4711, 2**70):
        assert outcome(accounts.find, user_id) is NotFound
    for call, args in ((accounts.delete_user, ()), (accounts.set_active, (True,)), (accounts.set_role, ("admin",))):
        assert outcome(call, 4711, *args) is NotFound


def test_an_unknown_role_is_refused(make_user: MakeUser) -> None:
    assert outcome(accounts.set_role, make_user("ann").id, "owner") is Invalid


# The first admin


@pytest.fixture
def first(
    make_app: Callable[[Settings], Flask], settings: Settings, capsys: pytest.CaptureFixture[str]
) -> Iterator[accounts.FirstAdmin]:
    """A site whose first admin got a random password; what it printed is in ``capsys``."""
    capsys.readouterr()
    fresh = settings.model_copy(
        update={"data_dir": settings.data_dir / "fresh", "admin_username": "", "admin_password": ""}
    )
    with make_app(fresh).app_context():
        made = accounts.ensure_first_admin(fresh)
        assert made
        yield made


def test_the_first_admin_gets_a_random_password_that_is_printed_and_kept(
    first: accounts.FirstAdmin, capsys: pytest.CaptureFixture[str], settings: Settings
) -> None:
    assert first.path
    assert first.password
    assert json.loads(first.path.read_text()) == {"username": "admin", "password": first.password}
    assert stat.S_IMODE(first.path.stat().st_mode) == 0o600
    assert accounts.authenticate("admin", first.password, HERE).is_admin
    assert capsys.readouterr().out.count(first.password) == 1
    assert accounts.ensure_first_admin(settings) is None
    assert capsys.readouterr().out == ""


def test_the_file_goes_when_that_password_changes(first: accounts.FirstAdmin) -> None:
    assert first.path
    assert first.password
    accounts.create_user("ann", PASSWORD)
    for call, args in (
        (accounts.reset_password, (accounts.authenticate("ann", PASSWORD, HERE).id, OTHER)),
        (accounts.end_sessions, (admin().id,)),
    ):
        call(*args)
        assert first.path.exists(), "somebody else's password is no reason"
    accounts.change_password(admin().id, first.password, OTHER, HERE)
    assert not first.path.exists()


@pytest.mark.parametrize("how", ["reset", "delete"])
def test_the_file_goes_on_reset_and_deletion(first: accounts.FirstAdmin, how: str) -> None:
    assert first.path
    accounts.create_user("second", PASSWORD, "admin")
    if how == "reset":
        accounts.reset_password(admin().id, OTHER)
    else:
        accounts.delete_user(admin().id)
    assert not first.path.exists()


def test_the_first_admin_follows_the_settings_and_leaves_no_file(settings: Settings) -> None:
    assert accounts.authenticate(ADMIN, PASSWORD, HERE).is_admin
    assert not (settings.data_dir / "first-admin.json").exists()


@pytest.mark.parametrize("bad", [{"admin_password": "short"}, {"admin_username": "a" * 65}])
def test_bad_settings_of_the_first_admin_stop_the_start(
    make_app: Callable[[Settings], Flask], settings: Settings, bad: dict[str, str]
) -> None:
    fresh = settings.model_copy(update={"data_dir": settings.data_dir / "fresh", **bad})
    with make_app(fresh).app_context(), pytest.raises(SettingsError, match="SPACES_ADMIN"):
        accounts.ensure_first_admin(fresh)
