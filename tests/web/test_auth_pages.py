"""Sign in, sign up and sign out, as a browser does it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from project.config import Settings
from tests.conftest import ADMIN, PASSWORD, Browser, MakeUser, browser_of


def test_signing_in_leads_to_the_page_that_was_asked_for(client: Browser, make_user: MakeUser) -> None:
    make_user("ann")
    asked = client.get("/account")
    assert asked.status_code == 302
    assert asked.location.startswith("/login?next=")
    form = {"username": "ann", "password": PASSWORD, "csrf_token": client.csrf()}
    answer = client.post(asked.location, data=form)
    assert (answer.status_code, answer.location) == (302, "/account")
    assert client.who() == "ann"


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/\t/evil.example",
        "javascript:x",
    ],
)
def test_signing_in_never_leads_elsewhere(client: Browser, make_user: MakeUser, target: str) -> None:
    make_user("ann")
    form = {"username": "ann", "password": PASSWORD, "csrf_token": client.csrf()}
    answer = client.post("/login", query_string={"next": target}, data=form)
    assert (answer.status_code, answer.location) == (302, "/")


def test_a_wrong_password_is_said_at_the_field_and_keeps_the_name(client: Browser, make_user: MakeUser) -> None:
    make_user("ann")
    answer = client.sign_in("ann", "something else")
    assert answer.status_code == 401
    assert "The user name or the password is wrong." in answer.text
    assert 'value="ann"' in answer.text
    assert "something else" not in answer.text
    assert client.who() is None


def test_an_empty_form_is_refused_at_its_fields(client: Browser) -> None:
    answer = client.sign_in("", "")
    assert answer.status_code == 422
    assert answer.text.count("This field is needed.") == 2


def test_too_many_wrong_passwords_answer_429_with_a_reason(client: Browser, make_user: MakeUser) -> None:
    make_user("ann")
    for _ in range(9):
        assert client.sign_in("ann", "something else").status_code == 401
    answer = client.sign_in("ann")
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) > 0
    assert "Too many wrong passwords" in answer.text


def test_a_form_without_the_csrf_token_is_refused(client: Browser, make_user: MakeUser) -> None:
    make_user("ann")
    assert client.post("/login", data={"username": "ann", "password": PASSWORD}).status_code == 400
    assert client.post("/register", data={"username": "bob", "password": PASSWORD}).status_code == 400
    client.sign_in("ann")
    assert client.post("/logout").status_code == 400
    assert client.who() == "ann"


def test_who_is_signed_in_is_not_asked_again(login: Callable[[str], Browser], make_user: MakeUser) -> None:
    make_user("ann")
    browser = login("ann")
    assert browser.get("/login?next=/requests").location == "/requests"
    assert browser.get("/register").location == "/"


def test_signing_out_ends_the_session(login: Callable[[str], Browser], make_user: MakeUser) -> None:
    make_user("ann")
    browser = login("ann")
    answer = browser.post("/logout", data={"csrf_token": browser.csrf("/account")})
    assert (answer.status_code, answer.location) == (302, "/")
    assert browser.who() is None
    assert browser.get("/logout").status_code == 405


def sign_up(browser: Browser, **fields: str) -> Any:
    form = {"username": "bob", "password": PASSWORD, "confirm": PASSWORD, "csrf_token": browser.csrf("/register")}
    return browser.post("/register", data=form | fields)


def test_signing_up_makes_an_account_and_signs_in(client: Browser) -> None:
    answer = sign_up(client)
    assert (answer.status_code, answer.location) == (302, "/")
    assert client.who() == "bob"


@pytest.mark.parametrize(
    ("fields", "status", "message"),
    [
        ({"username": ADMIN.upper()}, 409, "This user name is taken already."),
        ({"password": "short", "confirm": "short"}, 422, "Use 8 to 200 characters."),
        ({"confirm": "another battery"}, 422, "The two passwords differ."),
        ({"username": ""}, 422, "This field is needed."),
    ],
)
def test_signing_up_says_what_is_wrong(client: Browser, fields: dict[str, str], status: int, message: str) -> None:
    answer = sign_up(client, **fields)
    assert answer.status_code == status
    assert message in answer.text
    assert f'value="{fields.get("username", "bob")}"' in answer.text
    assert client.who() is None


def test_a_closed_site_takes_no_sign_ups(make_app: Callable[[Settings], Flask], settings: Settings) -> None:
    closed = browser_of(make_app(settings.model_copy(update={"registration": "closed"})))
    assert closed.get("/register").status_code == 403
    token = closed.csrf("/login")
    answer = closed.post("/register", data={"username": "bob", "password": PASSWORD, "csrf_token": token})
    assert answer.status_code == 403
    assert 'href="/register' not in closed.get("/login").text


def test_sign_ups_from_one_address_are_limited(client: Browser) -> None:
    form = {"username": "ann", "password": "x", "csrf_token": client.csrf()}
    answers = [client.post("/register", data=form).status_code for _ in range(61)]
    assert answers[-1] == 429
    assert 429 not in answers[:60]
