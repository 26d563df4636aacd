"""Fixtures of all in-process tests: a site of its own for each test, with a real SQLite database."""

from __future__ import annotations

import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from project import accounts, create_app
from project.config import Settings
from project.extensions import db, limiter
from project.models import Base, Space, User

ADMIN = "admin"
PASSWORD = "correct horse battery"
CSRF_META = re.compile(r'<meta[^>]*name="csrf-token"[^>]*content="([^"]+)"')
CSRF_FIELD = re.compile(r'name="csrf_token"[^>]*value="([^"]+)"')

MakeUser = Callable[..., User]
MakeSpace = Callable[..., Space]


def pytest_configure() -> None:
    """Let programs that tests start be interrupted: a shell's background programs, and theirs, ignore SIGINT."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the folders that take longest, so that at the end no process waits for the last file of another."""
    folder = Path(__file__).parent
    slow = {folder / "faults": 0, folder / "wire": 1}
    items.sort(key=lambda item: slow.get(item.path.parent, len(slow)))


class Browser(FlaskClient):
    """A browser: keeps its cookies, and can sign in and send the CSRF token as the pages do."""

    def csrf(self, page: str = "/login") -> str:
        """Return the CSRF token of this browser's session, read from a page."""
        text = self.get(page, follow_redirects=True).get_data(as_text=True)
        found = CSRF_META.search(text) or CSRF_FIELD.search(text)
        assert found, f"no CSRF token on {page}: {text[:400]}"
        return found[1]

    def sign_in(self, username: str, password: str = PASSWORD, **options: Any) -> TestResponse:
        """Send the login form and return its answer, whatever it is."""
        form = {"username": username, "password": password, "csrf_token": self.csrf()}
        return self.post("/login", data=form, **options)

    def api(self, method: str, path: str, **options: Any) -> TestResponse:
        """Call the API with the session and its CSRF token."""
        headers = {"X-CSRFToken": self.csrf(), **options.pop("headers", {})}
        return self.open(f"/api/v1/{path}", method=method, headers=headers, **options)

    def who(self) -> str | None:
        """Return the name that the site knows this browser by, or nothing for a visitor."""
        with self:
            self.get("/healthz")
            from flask_login import current_user

            return current_user.username if current_user.is_authenticated else None


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a site with a data folder of its own."""
    return Settings(data_dir=tmp_path / "data", async_mode="threading", admin_username=ADMIN, admin_password=PASSWORD)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with all tables and no rows, made once and copied for each test."""
    from sqlalchemy import create_engine

    path = tmp_path_factory.mktemp("database") / "spaces.db"
    engine = create_engine(f"sqlite:///{path}")
    Base.metadata.create_all(engine)
    engine.dispose()
    return path


@pytest.fixture
def make_app(empty_database: Path) -> Iterator[Callable[[Settings], Flask]]:
    """Make sites with other settings; their database connections are closed afterwards."""
    made: list[Flask] = []

    def make(settings: Settings) -> Flask:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        database = settings.data_dir / "spaces.db"
        if not database.exists():
            shutil.copy(empty_database, database)
        app = create_app(settings)
        app.test_client_class = Browser
        app.testing = True
        made.append(app)
        return app

    yield make
    for app in made:
        with app.app_context():
            db.session.remove()
            db.engine.dispose()
    limiter.reset()


@pytest.fixture
def app(make_app: Callable[[Settings], Flask], settings: Settings) -> Flask:
    """A site with its first admin (:data:`ADMIN`, :data:`PASSWORD`)."""
    app = make_app(settings)
    with app.app_context():
        accounts.ensure_first_admin(settings)
    return app


@pytest.fixture
def client(app: Flask) -> Browser:
    """A visitor's browser."""
    return browser_of(app)


@pytest.fixture
def admin_client(app: Flask) -> Browser:
    """The first admin's browser, signed in."""
    return signed_in(app, ADMIN)


@pytest.fixture
def login(app: Flask) -> Callable[[str], Browser]:
    """Return a new browser in which the named person is signed in."""
    return lambda username: signed_in(app, username)


@pytest.fixture
def make_user(app: Flask) -> MakeUser:
    """Make a person with :data:`PASSWORD`."""

    def make(username: str = "ann", role: str = "user", password: str = PASSWORD) -> User:
        with app.app_context():
            return accounts.create_user(username, password, role)

    return make


@pytest.fixture
def make_space(app: Flask) -> MakeSpace:
    """Make a space; ``owner`` is a person's name."""

    def make(name: str = "cats", owner: str = ADMIN, **columns: Any) -> Space:
        with app.app_context():
            person = accounts.get_by_username(owner)
            assert person, f"no user {owner}"
            now = time.time()
            space = Space(
                name=name, name_key=name.lower(), title=name, owner_id=person.id, created_at=now, updated_at=now
            )
            for column, value in columns.items():
                setattr(space, column, value)
            db.session.add(space)
            db.session.commit()
            db.session.refresh(space)
            db.session.expunge(space)
            return space

    return make


def browser_of(app: Flask) -> Browser:
    """Return a browser without cookies."""
    client = app.test_client()
    assert isinstance(client, Browser)
    return client


def signed_in(app: Flask, username: str) -> Browser:
    """Return a new browser in which ``username`` is signed in."""
    browser = browser_of(app)
    answer = browser.sign_in(username)
    assert answer.status_code == 302, f"sign-in of {username}: {answer.status_code} {answer.text[:400]}"
    return browser
