"""A copied cookie: it opens nothing once its session is over, however it ended, and nobody can make one."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable
from typing import Any

import pytest
import requests
from flask import Flask
from flask.sessions import SecureCookieSessionInterface

from tests.http_caller import HttpCaller
from tests.site_process import SiteProcess

COOKIE = "spaces_session"
DAY = 86_400
OTHER = "another long secret"


class Person:
    """Somebody with an account of their own."""

    def __init__(self, site: SiteProcess) -> None:
        self.url = site.url
        self.name, self.password = f"person-{secrets.token_hex(4)}", secrets.token_urlsafe(16)
        HttpCaller(site.url).sign_up(self.name, self.password)

    def browser(self) -> HttpCaller:
        """Return a new browser in which this person is signed in."""
        return HttpCaller(self.url).sign_in(self.name, self.password)


@pytest.fixture
def person(site: SiteProcess) -> Person:
    return Person(site)


def opens(site: SiteProcess, cookie: str) -> bool:
    """Whether a cookie alone opens the account and the API."""
    found = [
        requests.get(site.url + path, cookies={COOKIE: cookie}, allow_redirects=False, timeout=20).status_code
        for path in ("/account", "/api/v1/requests")
    ]
    assert found in ([200, 200], [302, 401]), found
    return found == [200, 200]


def cookie_of(browser: HttpCaller) -> str:
    return str(browser.http.cookies.get_dict()[COOKIE])


def sign_out(browser: HttpCaller, _admin: HttpCaller, _person: Person) -> None:
    assert browser.call("POST", "/logout").status_code == 200


def sign_out_everywhere(_browser: HttpCaller, _admin: HttpCaller, person: Person) -> None:
    assert person.browser().call("POST", "/account/sign-out-everywhere").status_code == 200


def change_password(browser: HttpCaller, _admin: HttpCaller, person: Person) -> None:
    form = {"current_password": person.password, "new_password": OTHER, "confirm": OTHER}
    form["csrf_token"] = str(browser.http.headers["X-CSRFToken"])
    answer = browser.call("POST", "/account/password", data=form)
    assert "Your password is changed" in answer.text


def leave(browser: HttpCaller, _admin: HttpCaller, person: Person) -> None:
    form = {"password": person.password, "csrf_token": str(browser.http.headers["X-CSRFToken"])}
    assert "Your account is deleted" in browser.call("POST", "/account/delete", data=form).text


def by_admin(action: str, **fields: str) -> Callable[[HttpCaller, HttpCaller, Person], None]:
    def act(_browser: HttpCaller, admin: HttpCaller, person: Person) -> None:
        found = re.search(r"/admin/users/(\d+)", admin.call("GET", "/admin/users", params={"q": person.name}).text)
        assert found
        answer = admin.call("POST", f"{found[0]}/{action}", data=fields)
        assert answer.status_code == 200, answer.text[:300]

    return act


ENDINGS: dict[str, Callable[[HttpCaller, HttpCaller, Person], None]] = {
    "signed out": sign_out,
    "signed out everywhere": sign_out_everywhere,
    "password changed": change_password,
    "password reset by an admin": by_admin("password"),
    "switched off": by_admin("active", active="0"),
    "deleted by an admin": by_admin("delete"),
    "left": leave,
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_copied_cookie_is_dead_once_its_session_has_ended(
    site: SiteProcess, admin: HttpCaller, person: Person, ending: str
) -> None:
    browser = person.browser()
    copied = cookie_of(browser)
    assert opens(site, copied)
    ENDINGS[ending](browser, admin, person)
    assert not opens(site, copied)


def test_signing_out_ends_this_session_alone(site: SiteProcess, admin: HttpCaller, person: Person) -> None:
    here, there = person.browser(), person.browser()
    sign_out(here, admin, person)
    assert not opens(site, cookie_of(here))
    assert opens(site, cookie_of(there))


def test_a_dead_cookie_stays_dead_over_a_restart(tmp_path_factory: pytest.TempPathFactory) -> None:
    with SiteProcess(tmp_path_factory.mktemp("site")) as own:
        browser = own.admin()
        copied, other = cookie_of(browser), cookie_of(own.admin())
        assert browser.call("POST", "/logout").status_code == 200
        own.restart(kill=True)
        assert not opens(own, copied)
        assert opens(own, other), "a restart has signed everybody out"


def signer(key: str) -> Any:
    """Return what signs and reads cookies with ``key``."""
    app = Flask("forger")
    app.secret_key = key
    return SecureCookieSessionInterface().get_signing_serializer(app)


def remade(site: SiteProcess, cookie: str, change: Callable[[dict[str, Any]], None], key: str | None = None) -> str:
    """Return the cookie with other contents, signed with the site's own key or another."""
    own_key = (site.data_dir / "secret-key").read_text(encoding="ascii").strip()
    said: dict[str, Any] = signer(own_key).loads(cookie)
    change(said)
    return str(signer(key or own_key).dumps(said))


def test_a_session_ends_after_two_weeks_whatever_is_done_with_it(site: SiteProcess, person: Person) -> None:
    cookie, now = cookie_of(person.browser()), int(time.time())

    def aged(days: float) -> str:
        return remade(site, cookie, lambda said: said.update(signed_in_at=int(now - days * DAY)))

    assert opens(site, aged(13.9))
    assert not opens(site, aged(14.1))


@pytest.mark.parametrize("name", ["session_id", "signed_in_at", "_user_id"])
def test_a_cookie_that_says_less_than_it_should_opens_nothing(site: SiteProcess, person: Person, name: str) -> None:
    cookie = cookie_of(person.browser())
    assert opens(site, remade(site, cookie, lambda said: None))
    assert not opens(site, remade(site, cookie, lambda said: said.pop(name)))


def test_nobody_makes_a_cookie_without_the_key(site: SiteProcess, admin: HttpCaller, person: Person) -> None:
    cookie = cookie_of(person.browser())
    body, stamp, signature = cookie.rsplit(".", 2)
    admins = cookie_of(admin).rsplit(".", 2)
    wrong = [
        remade(site, cookie, lambda said: None, key="a guessed key"),
        remade(site, cookie, lambda said: None, key=" "),
        f"{admins[0]}.{stamp}.{signature}",
        f"{body}.{admins[1]}.{admins[2]}",
        f"{body}.{stamp}.",
        f"{body}.{stamp}",
        body,
        f"{body}.{stamp}.{signature[:-2]}",
        f"{body}.{stamp}.{'A' * len(signature)}",
    ]
    for one in wrong:
        assert not opens(site, one), one


def test_no_other_cookie_signs_anybody_in(site: SiteProcess, person: Person) -> None:
    cookie = cookie_of(person.browser())
    for name in ("remember_token", "session", "__Host-spaces_session"):
        answer = requests.get(f"{site.url}/account", cookies={name: cookie}, allow_redirects=False, timeout=20)
        assert answer.status_code == 302, name
