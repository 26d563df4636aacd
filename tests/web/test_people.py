"""Signing up, in and out; sessions; the account; the commands."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask

from project import accounts
from project.config import Settings
from tests.conftest import ADMIN, PASSWORD, Browser, MakeUser, browser_of, signed_in

OTHER = "another good password"
COOKIE = "spaces_session"
Login = Callable[[str], Browser]


def cookie(browser: Browser, name: str = COOKIE) -> str:
    found = browser.get_cookie(name)
    assert found, f"no cookie {name}"
    return found.value


def sign_up(browser: Browser, name: str, password: str = PASSWORD) -> int:
    form = {"username": name, "password": password, "confirm": password, "csrf_token": browser.csrf("/register")}
    return browser.post("/register", data=form).status_code


def change_password(browser: Browser, current: str, new: str) -> int:
    form = {"current_password": current, "new_password": new, "confirm": new, "csrf_token": browser.csrf("/account")}
    return browser.post("/account/password", data=form).status_code


# Coming and going


def test_a_visitor_makes_an_account_and_is_signed_in(client: Browser) -> None:
    assert sign_up(client, "ann") == 302
    assert client.who() == "ann"


def test_twenty_simultaneous_sign_ups_of_one_name_make_one_account(app: Flask) -> None:
    browsers = [browser_of(app) for _ in range(20)]
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda browser: sign_up(browser, "ann"), browsers))
    assert sorted(answers) == [302] + [409] * 19
    with app.app_context():
        assert [user.username for user in accounts.list_users()] == [ADMIN, "ann"]


def test_closed_registration_takes_nobody(make_app: Callable[[Settings], Flask], settings: Settings) -> None:
    closed = make_app(settings.model_copy(update={"registration": "closed"}))
    browser = browser_of(closed)
    token = browser.csrf("/login")
    answer = browser.post("/register", data={"username": "ann", "password": PASSWORD, "csrf_token": token})
    assert answer.status_code == 403
    with closed.app_context():
        assert accounts.get_by_username("ann") is None


def test_signing_in_with_a_wrong_password_says_so_and_signs_nobody_in(client: Browser) -> None:
    unknown, wrong = client.sign_in("nobody"), client.sign_in(ADMIN, "wrong password")
    assert [unknown.status_code, wrong.status_code] == [401, 401]
    assert accounts.WRONG in wrong.text
    assert client.who() is None


def test_the_tenth_wrong_password_in_a_row_is_answered_429(client: Browser) -> None:
    answers = [client.sign_in(ADMIN, "wrong password") for _ in range(10)]
    assert [answer.status_code for answer in answers] == [401] * 9 + [429]
    assert int(answers[-1].headers["Retry-After"]) > 0
    assert client.sign_in(ADMIN).status_code == 429


def test_signing_in_replaces_the_session(client: Browser) -> None:
    token = client.csrf("/login")
    with client.session_transaction() as session:
        session["planted"] = "by somebody else"
    before = cookie(client)
    client.post("/login", data={"username": ADMIN, "password": PASSWORD, "csrf_token": token})
    assert cookie(client) != before
    with client.session_transaction() as session:
        assert "planted" not in session
        assert session.permanent
    assert client.post("/logout", data={"csrf_token": token}).status_code == 400, "the visitor's CSRF token still works"


def test_signing_out_empties_the_session(admin_client: Browser) -> None:
    assert admin_client.post("/logout", data={"csrf_token": admin_client.csrf("/account")}).status_code == 302
    assert admin_client.who() is None
    with admin_client.session_transaction() as session:
        assert not [key for key in session if key.startswith("_user")]


@pytest.mark.parametrize(
    ("target", "leads_to"),
    [
        ("/requests?status=queued", "/requests?status=queued"),
        ("", "/"),
        ("https://evil.example/", "/"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("/\t/evil.example", "/"),
        ("\\/evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("requests", "/"),
    ],
)
def test_after_signing_in_one_stays_on_this_site(client: Browser, target: str, leads_to: str) -> None:
    form = {"username": ADMIN, "password": PASSWORD, "csrf_token": client.csrf()}
    answer = client.post("/login", query_string={"next": target}, data=form)
    assert answer.status_code == 302
    assert answer.location == leads_to


# Sessions


def test_a_password_change_ends_every_other_session_and_renews_this_one(login: Login, make_user: MakeUser) -> None:
    make_user("ann")
    here, elsewhere = login("ann"), login("ann")
    stolen = cookie(here)
    assert change_password(here, PASSWORD, OTHER) == 302
    assert here.who() == "ann"
    assert elsewhere.who() is None
    elsewhere.set_cookie(COOKIE, stolen)
    assert elsewhere.who() is None, "the cookie from before the change still works"


def test_a_reset_a_disabling_and_a_deletion_end_sessions(app: Flask, login: Login, make_user: MakeUser) -> None:
    for name, act in (
        ("reset", lambda user_id: accounts.reset_password(user_id, OTHER)),
        ("disabled", lambda user_id: accounts.set_active(user_id, False)),
        ("deleted", accounts.delete_user),
    ):
        user = make_user(name)
        browser = login(name)
        assert browser.who() == name
        with app.app_context():
            act(user.id)
        assert browser.who() is None, name


def test_an_old_answer_does_not_bring_a_session_back(admin_client: Browser) -> None:
    assert "Set-Cookie" not in admin_client.get("/api/v1/spaces").headers


def test_there_is_no_remember_cookie(admin_client: Browser) -> None:
    assert admin_client.get_cookie("remember_token") is None


# Commands


def test_create_admin_asks_for_the_password(app: Flask) -> None:
    made = app.test_cli_runner().invoke(args=["create-admin", "root"], input=f"{OTHER}\n{OTHER}\n")
    assert made.exit_code == 0, made.output
    assert OTHER not in made.output
    with app.app_context():
        assert accounts.authenticate("root", OTHER, "").is_admin


def test_create_admin_refuses_a_taken_name_and_a_weak_password(app: Flask) -> None:
    for args, typed, words in (
        (["create-admin", "ADMIN", "--random"], "", "taken"),
        (["create-admin", "root"], "12345678\n12345678\n", "common"),
    ):
        refused = app.test_cli_runner().invoke(args=args, input=typed)
        assert refused.exit_code == 1
        assert words in refused.output


def test_reset_password_prints_a_random_one_and_ends_sessions(app: Flask, admin_client: Browser) -> None:
    done = app.test_cli_runner().invoke(args=["reset-password", "Admin", "--random"])
    assert done.exit_code == 0, done.output
    assert admin_client.who() is None
    password = done.output.rsplit("Password: ", 1)[1].strip()
    assert browser_of(app).sign_in(ADMIN, password).status_code == 302


def test_reset_password_of_nobody_says_so(app: Flask) -> None:
    refused = app.test_cli_runner().invoke(args=["reset-password", "nobody", "--random"])
    assert refused.exit_code == 1
    assert "no user called nobody" in refused.output


def test_a_disabled_person_is_told_only_after_the_right_password(app: Flask, make_user: MakeUser) -> None:
    with app.app_context():
        accounts.set_active(make_user("ann").id, False)
    browser = browser_of(app)
    right, wrong = browser.sign_in("ann"), browser.sign_in("ann", "wrong password")
    assert [right.status_code, wrong.status_code] == [401, 401]
    assert "switched off" in right.text
    assert "switched off" not in wrong.text


def test_a_name_in_any_case_signs_in(app: Flask) -> None:
    assert signed_in(app, ADMIN.upper()).who() == ADMIN
