"""Fixtures of the tests that speak HTTP to the API, and Socket.IO as an app."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from project import accounts, tokens
from project.config import Settings

SECONDS = 10.0


class Program:
    """A program at the API, with a bearer token (or without one: a visitor)."""

    def __init__(self, app: Flask, token: str | None = None) -> None:
        self.app = app
        self.token = token

    def call(self, method: str, path: str, **options: Any) -> TestResponse:
        headers = dict(options.pop("headers", {}))
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        where = path if path.startswith("/") else f"/api/v1/{path}"
        return self.app.test_client(use_cookies=False).open(where, method=method, headers=headers, **options)

    def get(self, path: str, **options: Any) -> TestResponse:
        return self.call("GET", path, **options)

    def post(self, path: str, **options: Any) -> TestResponse:
        return self.call("POST", path, **options)

    def patch(self, path: str, **options: Any) -> TestResponse:
        return self.call("PATCH", path, **options)

    def delete(self, path: str, **options: Any) -> TestResponse:
        return self.call("DELETE", path, **options)

    def submit(self, space: str, prompt: str = "hello") -> dict[str, Any]:
        answer = self.post(f"spaces/{space}/requests", json={"prompt": prompt})
        assert answer.status_code == 202, answer.text
        return answer.json

    def request(self, request_id: str) -> dict[str, Any]:
        answer = self.get(f"requests/{request_id}")
        assert answer.status_code == 200, answer.text
        return answer.json


class RemoteApp:
    """An app on the Socket.IO test client."""

    def __init__(self, app: Flask, token: str | None) -> None:
        self.socket = app.extensions["socketio"].test_client(app, auth={"token": token} if token else None)
        self.received: list[dict[str, Any]] = []

    def next(self, name: str) -> dict[str, Any]:
        """Wait for the next event of this name and return its body."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            self.received += self.socket.get_received()
            for event in self.received:
                if event["name"] == name:
                    self.received.remove(event)
                    return event["args"][0]
            threading.Event().wait(0.005)
        raise AssertionError(f"no {name} within {SECONDS:g} s, but {self.received}")

    def wait_for_dismissal(self) -> None:
        """Wait until the site has disconnected this app."""
        deadline = time.monotonic() + SECONDS
        while self.socket.is_connected():
            assert time.monotonic() < deadline, f"still connected after {SECONDS:g} s"
            threading.Event().wait(0.005)

    def register(self, space: str) -> dict[str, Any]:
        self.socket.emit("register", {"space_name": space})
        return self.next("register_response")

    def answer(self, request: dict[str, Any], result: dict[str, Any]) -> None:
        body = {"request_id": request["request_id"], "status": "completed", "result": result}
        self.socket.emit("inference_result", body)

    def report(self, request: dict[str, Any], **progress: Any) -> None:
        self.socket.emit("inference_progress", {"request_id": request["request_id"], **progress})


@pytest.fixture
def on_disk(settings: Settings) -> Callable[[], list[str]]:
    """List the names of everything in the store."""
    return lambda: sorted(path.name for path in (settings.data_dir / "files").rglob("*") if path.is_file())


@pytest.fixture
def program(app: Flask, make_user: Callable[..., Any]) -> Callable[..., Program]:
    """Return a program of the named person, who is made if need be; with other scopes than ``api`` if named."""

    def make(username: str = "ann", *scopes: str) -> Program:
        with app.app_context():
            user = accounts.get_by_username(username)
        if user is None:
            user = make_user(username)
        with app.app_context():
            _, text = tokens.create(user, "test", list(scopes or ("api",)), [], None, time.time())
        return Program(app, text)

    return make


@pytest.fixture
def visitor(app: Flask) -> Program:
    """A program without a token."""
    return Program(app)


@pytest.fixture
def admin(program: Callable[..., Program]) -> Program:
    """A program of the first admin."""
    return program("admin", "api", "admin")


@pytest.fixture
def connect(app: Flask, program: Callable[..., Program]) -> Iterator[Callable[..., RemoteApp]]:
    """Connect an app to a space, with a token of ``owner`` or without one, and return it."""
    connected: list[RemoteApp] = []

    def make(space: str, owner: str | None = "admin") -> RemoteApp:
        remote = RemoteApp(app, program(owner, "app").token if owner else None)
        answer = remote.register(space)
        assert answer["success"], answer
        connected.append(remote)
        return remote

    yield make
    for remote in connected:
        if remote.socket.is_connected():
            remote.socket.disconnect()
