"""The databases that the store must work on, each migrated as the site does it."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask_migrate import upgrade
from sqlalchemy import Engine, create_engine, text

from project.database import Database
from project.extensions import db, migrate
from project.models import Base
from project.request_store import Limits, RequestStore
from tests.house import LIMITS, House
from tests.postgres import PostgresServer, start_or_skip

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"


def migration_app(url: str) -> Flask:
    """Return the least application that the migrations need."""
    app = Flask("migrations")
    app.config["SQLALCHEMY_DATABASE_URI"] = url
    db.init_app(app)
    migrate.init_app(app, db, directory=str(MIGRATIONS))
    return app


def migrate_up(url: str) -> None:
    """Bring an empty database to the newest revision."""
    app = migration_app(url)
    with app.app_context():
        upgrade()
        db.engine.dispose()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    server = start_or_skip()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "spaces.db"
    migrate_up(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgres_url(postgres: PostgresServer) -> str:
    """The address of a migrated database."""
    migrate_up(postgres.url())
    return postgres.url()


@pytest.fixture(params=["sqlite", "postgresql"])
def backend(request: pytest.FixtureRequest) -> str:
    """The database that the test runs on."""
    name: str = request.param
    return name


@pytest.fixture
def empty_url(backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a database without tables."""
    if backend == "sqlite":
        return f"sqlite:///{tmp_path / 'empty.db'}"
    server: PostgresServer = request.getfixturevalue("postgres")
    name = f"t{uuid.uuid4().hex}"
    _execute(server.url(), f"CREATE DATABASE {name}")
    return server.url(name)


@pytest.fixture
def url(backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a migrated database without rows, of this test alone."""
    if backend == "sqlite":
        path = tmp_path / "spaces.db"
        shutil.copy(request.getfixturevalue("sqlite_template"), path)
        return f"sqlite:///{path}"
    address: str = request.getfixturevalue("postgres_url")
    _execute(address, f"TRUNCATE {', '.join(Base.metadata.tables)} RESTART IDENTITY CASCADE")
    return address


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = create_engine(url, pool_size=20, max_overflow=20)
    yield engine
    engine.dispose()


@pytest.fixture
def house(engine: Engine) -> House:
    """A store on the migrated database, with one user and one space."""
    database = Database(engine)
    return House(RequestStore(database, LIMITS), database)


@pytest.fixture
def make_store(house: House) -> Callable[[Limits], RequestStore]:
    """Make further stores on the same database, with other limits."""
    return lambda limits: RequestStore(house.database, limits)


def _execute(url: str, statement: str) -> None:
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()
