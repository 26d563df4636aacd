"""Headers on every answer, cookies, CSRF, and tokens that are refused everywhere."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Flask

from project import accounts, tokens
from project.config import Settings
from project.web_security import content_policy
from tests.conftest import ADMIN, PASSWORD, Browser, browser_of

STATIC = "/static/favicon.svg"


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def token(app: Flask) -> str:
    """The text of an admin's token for everything."""
    with app.app_context():
        admin = accounts.get_by_username(ADMIN)
        assert admin
        return tokens.create(admin, "all", ["api", "admin", "app"], (), None, 0.0)[1]


# Headers


@pytest.mark.parametrize("path", ["/", "/login", "/nosuch", "/api/v1/nosuch", "/api/v1/spaces", "/account", STATIC])
def test_every_answer_is_protected(client: Browser, path: str) -> None:
    headers = client.get(path, buffered=True).headers
    policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'self'"
    for directive in ("object-src", "base-uri", "frame-ancestors"):
        assert policy[directive] == "'none'"
    assert policy["form-action"] == "'self'"
    assert "script-src" not in policy, "scripts follow default-src"
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert "microphone=(self)" in headers["Permissions-Policy"]
    assert "camera=(self)" in headers["Permissions-Policy"]
    assert "Strict-Transport-Security" not in headers


def test_what_is_personal_is_not_kept_by_caches(admin_client: Browser) -> None:
    for path in ("/account", "/api/v1/requests", "/login"):
        assert admin_client.get(path).headers["Cache-Control"] == "no-store", path
    assert "no-store" not in admin_client.get(STATIC, buffered=True).headers["Cache-Control"]


def test_a_view_may_loosen_one_directive() -> None:
    loosened = content_policy(style_src="'self' 'unsafe-inline'").split("; ")
    assert set(loosened) - set(content_policy().split("; ")) == {"style-src 'self' 'unsafe-inline'"}


# Cookies


def test_the_session_cookie_over_http(client: Browser) -> None:
    set_cookie = client.get("/login").headers["Set-Cookie"]
    assert set_cookie.startswith("spaces_session=")
    assert "HttpOnly" in set_cookie
    assert "SameSite=Lax" in set_cookie
    assert "Secure" not in set_cookie


def test_the_session_cookie_and_headers_over_https(make_app: Callable[[Settings], Flask], settings: Settings) -> None:
    app = make_app(settings.model_copy(update={"public_url": "https://spaces.example"}))
    answer = browser_of(app).get("/login", base_url="https://spaces.example")
    assert answer.headers["Set-Cookie"].startswith("__Host-spaces_session=")
    assert "Secure" in answer.headers["Set-Cookie"]
    assert "Path=/" in answer.headers["Set-Cookie"]
    assert "Domain" not in answer.headers["Set-Cookie"]
    assert answer.headers["Strict-Transport-Security"].startswith("max-age=")


# CSRF


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/logout"),
        ("POST", "/account/password"),
        ("POST", "/account/delete"),
        ("POST", "/api/v1/tokens"),
        ("DELETE", "/api/v1/tokens/1"),
        ("POST", "/api/v1/spaces"),
        ("PATCH", "/api/v1/spaces/cats"),
        ("DELETE", "/api/v1/spaces/cats"),
        ("POST", "/api/v1/spaces/cats/requests"),
    ],
)
def test_a_session_without_its_csrf_token_changes_nothing(
    app: Flask, admin_client: Browser, method: str, path: str
) -> None:
    for value in (None, "", "forged", browser_of(app).csrf()):
        headers = {} if value is None else {"X-CSRFToken": value}
        answer = admin_client.open(path, method=method, headers=headers, json={})
        assert answer.status_code == 400, (value, answer.text[:300])
        if path.startswith("/api/"):
            assert answer.get_json()["error"]["code"] == "bad_request"


@pytest.mark.parametrize("path", ["/login", "/register"])
def test_forms_of_visitors_need_the_token_too(client: Browser, path: str) -> None:
    form = {"username": ADMIN, "password": PASSWORD, "confirm": PASSWORD}
    assert client.post(path, data=form).status_code == 400
    assert client.who() is None


def test_a_program_that_forgot_its_token_is_told_so(client: Browser) -> None:
    answer = client.post("/api/v1/spaces", json={"name": "cats"})
    assert answer.status_code == 401
    assert answer.get_json()["error"]["code"] == "unauthorized"
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


# Tokens


def test_a_token_needs_no_csrf_token(client: Browser, token: str) -> None:
    answer = client.post("/api/v1/spaces", json={"name": "cats"}, headers=bearer(token))
    assert answer.status_code == 201, answer.text


@pytest.mark.parametrize("path", ["/", "/login", "/api/v1/spaces", "/healthz", "/nosuch", STATIC])
def test_an_invalid_token_is_refused_everywhere(admin_client: Browser, path: str) -> None:
    for value in ("Bearer spaces_unknown", "Bearer ", "Bearer", "bearer x=y", "BEARER a b"):
        answer = admin_client.get(path, headers={"Authorization": value})
        assert answer.status_code == 401 or answer.location.startswith("/login"), (value, answer.status_code)


def test_an_invalid_token_beside_a_good_session_changes_nothing(admin_client: Browser) -> None:
    answer = admin_client.api("POST", "spaces", json={"name": "cats"}, headers=bearer("spaces_unknown"))
    assert answer.status_code == 401
    assert admin_client.get("/api/v1/spaces").get_json()["items"] == []


def test_a_token_in_the_address_is_no_token(client: Browser, token: str) -> None:
    for name in ("token", "access_token"):
        assert client.get("/api/v1/tokens", query_string={name: token}).status_code == 401


def test_a_token_beside_a_session_is_the_one_that_counts(
    app: Flask, admin_client: Browser, make_user: Callable[[str], object]
) -> None:
    make_user("ann")
    with app.app_context():
        ann = accounts.get_by_username("ann")
        assert ann
        text = tokens.create(ann, "mine", ["api"], (), None, 0.0)[1]
    refused = admin_client.post("/api/v1/spaces", json={"name": "cats"}, headers=bearer(text))
    assert refused.status_code == 403
    assert admin_client.post("/logout", headers=bearer(text)).status_code == 403
    assert admin_client.who() == ADMIN, "a stranger's token acted on the session"
