"""``/api/v1/tokens``, and what becomes of an app that is connected with a token."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from flask_socketio import SocketIOTestClient

from project import accounts
from project.models import User
from tests.conftest import ADMIN, Browser, MakeSpace, MakeUser

Login = Callable[[str], Browser]


def create(browser: Browser, expect: int = 201, **body: Any) -> Any:
    answer = browser.api("POST", "tokens", json={"name": "mine", "scopes": ["api"], **body})
    assert answer.status_code == expect, answer.text
    return answer.get_json()


def items(browser: Browser) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = browser.get("/api/v1/tokens").get_json()["items"]
    return found


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


# Making, listing, revoking


def test_a_token_is_shown_once(admin_client: Browser, make_space: MakeSpace) -> None:
    make_space("Cats")
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    made = create(admin_client, scopes=["app", "api"], spaces=["cats"], expires_at=end.isoformat())
    assert set(made) == {"id", "token", "prefix", "name", "scopes", "spaces", "expires_at", "last_used_at"}
    assert made["token"].startswith(made["prefix"])
    assert (made["scopes"], made["spaces"], made["last_used_at"]) == (["app", "api"], ["Cats"], None)
    assert datetime.fromisoformat(made["expires_at"]) == end
    answer = admin_client.get("/api/v1/tokens").get_json()
    assert answer == {"items": [{key: value for key, value in made.items() if key != "token"}], "next_cursor": None}


def test_a_token_works_until_it_is_revoked(admin_client: Browser, client: Browser) -> None:
    made = create(admin_client)
    assert client.get("/api/v1/requests", headers=bearer(made["token"])).status_code == 200
    assert items(admin_client)[0]["last_used_at"]
    assert admin_client.api("DELETE", f"tokens/{made['id']}").status_code == 204
    assert client.get("/api/v1/requests", headers=bearer(made["token"])).status_code == 401
    assert items(admin_client) == []
    assert admin_client.api("DELETE", f"tokens/{made['id']}").status_code == 404


@pytest.mark.parametrize(
    ("scope", "reads", "makes_spaces"), [("app", 403, 403), ("api", 200, 403), ("admin", 200, 201)]
)
def test_a_token_does_only_what_its_scope_says(
    admin_client: Browser, client: Browser, scope: str, reads: int, makes_spaces: int
) -> None:
    headers = bearer(create(admin_client, scopes=[scope])["token"])
    assert client.get("/api/v1/requests", headers=headers).status_code == reads
    assert client.post("/api/v1/spaces", json={"name": "cats"}, headers=headers).status_code == makes_spaces


def test_tokens_make_list_and_revoke_no_tokens(admin_client: Browser, client: Browser) -> None:
    made = create(admin_client, scopes=["api", "app", "admin"])
    for method, path in (("POST", "tokens"), ("GET", "tokens"), ("DELETE", f"tokens/{made['id']}")):
        answer = client.open(
            f"/api/v1/{path}", method=method, json={"name": "more", "scopes": ["api"]}, headers=bearer(made["token"])
        )
        assert answer.status_code == 403, (method, answer.text)
    assert len(items(admin_client)) == 1


def test_visitors_have_no_tokens(client: Browser) -> None:
    assert client.get("/api/v1/tokens").status_code == 401
    assert client.api("POST", "tokens", json={"name": "mine", "scopes": ["api"]}).status_code == 401


def test_foreign_tokens_are_not_there(admin_client: Browser, login: Login, make_user: MakeUser) -> None:
    made = create(admin_client)
    make_user("ann")
    ann = login("ann")
    assert items(ann) == []
    for token_id in (made["id"], 4711, 2**70, "x"):
        assert ann.api("DELETE", f"tokens/{token_id}").status_code == 404, token_id
    own = create(ann)
    assert admin_client.api("DELETE", f"tokens/{own['id']}").status_code == 204, "an admin may revoke any"


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"scopes": ["admin"]}, 403, None),
        ({"scopes": ["app"]}, 403, None),
        ({"scopes": ["app"], "spaces": ["public"]}, 403, None),
        ({"scopes": ["app"], "spaces": ["hidden"]}, 404, None),
        ({"scopes": ["app"], "spaces": ["nosuch"]}, 404, None),
        ({"scopes": []}, 422, "scopes"),
        ({"scopes": ["root"]}, 422, "scopes.0"),
        ({"name": ""}, 422, "name"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, 422, "expires_at"),
        ({"expires_at": "2999-01-01T00:00:00"}, 422, "expires_at"),
        ({"surprise": 1}, 422, "surprise"),
    ],
)
def test_what_is_refused(
    login: Login, make_user: MakeUser, make_space: MakeSpace, body: dict[str, Any], status: int, field: str | None
) -> None:
    make_user("ann")
    make_space("public")
    make_space("hidden", visibility="private")
    error = create(login("ann"), expect=status, **body)["error"]
    assert [item["field"] for item in error["details"] or []][: field is not None] == ([field] if field else [])


# Connected apps


class App:
    """An app that is connected with a token."""

    def __init__(self, app: Flask, text: str) -> None:
        self.socket = SocketIOTestClient(app, app.extensions["socketio"], auth={"token": text})

    def register(self, space: str) -> dict[str, Any]:
        self.socket.emit("register", {"space_name": space})
        answers = [event["args"][0] for event in self.socket.get_received() if event["name"] == "register_response"]
        assert len(answers) == 1, answers
        answer: dict[str, Any] = answers[0]
        return answer

    def is_cut(self, within: float = 5.0) -> bool:
        deadline = time.monotonic() + within
        while self.socket.is_connected() and time.monotonic() < deadline:
            threading.Event().wait(0.02)
        return not self.socket.is_connected()


@pytest.fixture
def boss(make_user: MakeUser) -> User:
    return make_user("boss", "admin")


@pytest.fixture
def connected(app: Flask, boss: User, login: Login, make_space: MakeSpace) -> App:
    """An app on the space ``cats``, with a token of ``boss``."""
    make_space("cats", ADMIN)
    remote = App(app, create(login("boss"), scopes=["app"])["token"])
    answer = remote.register("cats")
    assert answer["success"], answer
    return remote


def is_connected(browser: Browser, space: str = "cats") -> bool:
    state: bool = browser.get(f"/api/v1/spaces/{space}").get_json()["connected"]
    return state


@pytest.mark.parametrize("how", ["revoke", "disable", "demote", "delete"])
def test_an_app_goes_with_its_token(
    app: Flask, connected: App, boss: User, admin_client: Browser, login: Login, how: str
) -> None:
    assert is_connected(admin_client)
    if how == "revoke":
        own = items(login("boss"))[0]["id"]
        assert admin_client.api("DELETE", f"tokens/{own}").status_code == 204
    with app.app_context():
        if how == "disable":
            accounts.set_active(boss.id, False)
        elif how == "demote":
            accounts.set_role(boss.id, "user")
        elif how == "delete":
            accounts.delete_user(boss.id)
    assert connected.is_cut(), "the app is still connected after 5 s"
    assert not is_connected(admin_client)


def test_a_demoted_admins_app_stays_on_spaces_of_their_own(
    app: Flask, boss: User, login: Login, make_space: MakeSpace, admin_client: Browser
) -> None:
    make_space("own", "boss")
    remote = App(app, create(login("boss"), scopes=["app"], spaces=["own"])["token"])
    assert remote.register("own")["success"]
    with app.app_context():
        accounts.set_role(boss.id, "user")
    assert is_connected(admin_client, "own")
