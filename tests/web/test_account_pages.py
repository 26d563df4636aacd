"""The account page: password, tokens, sessions, leaving."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from project import accounts, tokens
from project.services import services
from tests.conftest import ADMIN, PASSWORD, Browser, MakeSpace, MakeUser, browser_of

NEW = "a new battery staple"
Login = Callable[[str], Browser]


@pytest.fixture
def ann(login: Login, make_user: MakeUser) -> Browser:
    """The browser of ann, signed in."""
    make_user("ann")
    return login("ann")


def send(browser: Browser, path: str, **fields: Any) -> Any:
    return browser.post(path, data={"csrf_token": browser.csrf("/account"), **fields})


def shown_token(text: str) -> str:
    found = re.search(r">(spaces_[\w-]{20,})<", text)
    assert found, "no token is shown"
    return found[1]


def test_the_account_is_for_who_is_signed_in(client: Browser) -> None:
    for path in ("/account", "/account/delete"):
        assert client.get(path).location.startswith("/login?next=")


def test_changing_the_password_signs_out_every_other_browser(ann: Browser, login: Login, app: Flask) -> None:
    other = login("ann")
    answer = send(ann, "/account/password", current_password=PASSWORD, new_password=NEW, confirm=NEW)
    assert (answer.status_code, answer.location) == (302, "/account")
    assert ann.who() == "ann"
    assert other.who() is None
    assert browser_of(app).sign_in("ann", PASSWORD).status_code == 401
    assert browser_of(app).sign_in("ann", NEW).status_code == 302


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"current_password": "something else"}, "This is not your password."),
        ({"new_password": "short", "confirm": "short"}, "Use 8 to 200 characters."),
        ({"confirm": "another staple"}, "The two passwords differ."),
        ({"new_password": "", "confirm": ""}, "This field is needed."),
    ],
)
def test_a_password_that_does_not_do_is_refused(ann: Browser, app: Flask, fields: dict[str, str], message: str) -> None:
    form = {"current_password": PASSWORD, "new_password": NEW, "confirm": NEW} | fields
    answer = send(ann, "/account/password", **form)
    assert answer.status_code == 422
    assert message in answer.text
    assert browser_of(app).sign_in("ann", PASSWORD).status_code == 302


def test_a_token_is_shown_once_and_listed_by_its_beginning(ann: Browser, app: Flask) -> None:
    answer = send(ann, "/account/tokens", name="laptop", scopes="api", expires="30")
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    text = shown_token(answer.text)
    assert "data-copy" in answer.text
    with app.app_context():
        info = tokens.verify(text, time.time())
    assert info is not None
    assert info.scopes == {"api"}
    assert info.expires_at == pytest.approx(time.time() + 30 * 86_400, abs=60)
    page = ann.get("/account").text
    assert text not in page
    assert text[: tokens.PREFIX_LENGTH] in page
    assert "laptop" in page


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": ""}, "This field is needed."),
        ({"scopes": []}, "Choose at least one."),
        ({"scopes": "admin"}, "valid choice"),
        ({"scopes": "app"}, "valid choice"),
        ({"expires": "99999"}, "valid choice"),
    ],
)
def test_a_token_that_may_not_be_is_refused_at_its_field(ann: Browser, fields: dict[str, Any], message: str) -> None:
    form = {"name": "laptop", "scopes": "api", "expires": ""} | fields
    answer = send(ann, "/account/tokens", **form)
    assert answer.status_code == 422
    assert message in answer.text
    assert "You have no tokens yet." in answer.text


def test_an_owner_makes_an_app_token_for_a_space(ann: Browser, make_space: MakeSpace, app: Flask) -> None:
    make_space("cats", owner="ann")
    make_space("dogs", owner="ann")
    make_space("secret", owner=ADMIN)
    page = ann.get("/account").text
    assert 'value="cats"' in page
    assert 'value="secret"' not in page
    answer = send(ann, "/account/tokens", name="app", scopes=["app", "api"], spaces=["cats"], expires="")
    with app.app_context():
        info = tokens.verify(shown_token(answer.text), time.time())
    assert info is not None
    assert not info.all_spaces
    assert len(info.space_ids) == 1
    assert "cats</td>" in ann.get("/account").text


def test_what_the_tokens_refuse_comes_back_to_the_form(ann: Browser, make_space: MakeSpace) -> None:
    make_space("cats", owner="ann")
    answer = send(ann, "/account/tokens", name="mine", scopes="api", spaces="cats", expires="")
    assert answer.status_code == 422
    assert "Only a token with the scope app can be limited to spaces." in answer.text
    assert 'value="mine"' in answer.text


def test_revoking_a_token(ann: Browser, login: Login, make_user: MakeUser, app: Flask) -> None:
    text = shown_token(send(ann, "/account/tokens", name="laptop", scopes="api", expires="").text)
    with app.app_context():
        info = tokens.verify(text, time.time())
    assert info is not None
    path = f"/account/tokens/{info.id}/revoke"
    assert path in ann.get("/account").text
    make_user("eve")
    assert send(login("eve"), path).status_code == 404
    assert send(ann, path).status_code == 302
    with app.app_context():
        assert tokens.verify(text, time.time()) is None
    assert "You have no tokens yet." in ann.get("/account").text


def test_signing_out_everywhere_ends_every_session(ann: Browser, login: Login) -> None:
    other = login("ann")
    answer = send(ann, "/account/sign-out-everywhere")
    assert (answer.status_code, answer.location) == (302, "/login")
    assert "You are signed out everywhere." in ann.get("/login").text
    assert ann.who() is None
    assert other.who() is None


def test_leaving_says_what_is_lost_and_needs_the_password(ann: Browser, make_space: MakeSpace, app: Flask) -> None:
    space = make_space("cats", owner="ann")
    send(ann, "/account/tokens", name="laptop", scopes="api", expires="")
    with app.app_context():
        user = accounts.get_by_username("ann")
        assert user
        row = services().store.create(space.id, user.id, "ann", "hello", {}, connected=True, now=time.time())
    page = ann.get("/account/delete").text
    assert "1 request with its result; 1 of them has not ended" in page
    assert "1 token;" in page
    assert "1 space stays" in page
    wrong = send(ann, "/account/delete", password="something else")
    assert wrong.status_code == 422
    assert "This is not your password." in wrong.text
    answer = send(ann, "/account/delete", password=PASSWORD)
    assert (answer.status_code, answer.location) == (302, "/")
    with app.app_context():
        assert accounts.get_by_username("ann") is None
        assert services().store.get(row["id"]) is None


def test_the_last_admin_cannot_leave(admin_client: Browser) -> None:
    answer = send(admin_client, "/account/delete", password=PASSWORD)
    assert answer.status_code == 409
    assert "admin" in answer.text
    assert admin_client.who() == ADMIN


def test_every_change_needs_the_csrf_token(ann: Browser) -> None:
    for path in ("password", "tokens", "tokens/1/revoke", "sign-out-everywhere", "delete"):
        assert ann.post(f"/account/{path}", data={"password": PASSWORD}).status_code == 400
    assert ann.who() == "ann"
