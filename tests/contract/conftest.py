"""The databases that the store must work on, each migrated as the site does it."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask_migrate import upgrade
from sqlalchemy import Engine, create_engine, text

from project.database import Database
from project.extensions import db, migrate
from project.models import Base
from project.request_store import Limits, RequestStore
from tests.house import LIMITS, House
from tests.places import MakePlace, Place
from tests.postgres import PostgresServer, start_or_skip

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"

#: Drops everything in a PostgreSQL database.
EMPTY = """DO $$ DECLARE one text; BEGIN
    FOR one IN SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' LOOP
        EXECUTE format('DROP SCHEMA %I CASCADE', one);
    END LOOP;
    CREATE SCHEMA public;
END $$"""


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


@pytest.fixture(scope="session")
def postgres_databases() -> list[str]:
    """The addresses of databases that the tests empty and use again: making one anew takes long."""
    return []


@pytest.fixture
def make_empty_url(
    request: pytest.FixtureRequest, tmp_path: Path, postgres_databases: list[str]
) -> Callable[[str], str]:
    """Return the address of a database of the named kind without tables, another one at each call."""
    free = list(postgres_databases)

    def make(kind: str) -> str:
        name = f"t{uuid.uuid4().hex}"
        if kind == "sqlite":
            return f"sqlite:///{tmp_path / name}.db"
        server: PostgresServer = request.getfixturevalue("postgres")
        if not free:
            _execute(server.url(), f"CREATE DATABASE {name}")
            postgres_databases.append(server.url(name))
            return postgres_databases[-1]
        _execute(free[0], EMPTY)
        return free.pop(0)

    return make


@pytest.fixture
def empty_url(backend: str, make_empty_url: Callable[[str], str]) -> str:
    """The address of a database without tables."""
    return make_empty_url(backend)


@pytest.fixture
def other_url(backend: str, make_empty_url: Callable[[str], str]) -> str:
    """The address of another database without tables, of the same kind."""
    return make_empty_url(backend)


@pytest.fixture
def make_place(make_empty_url: Callable[[str], str], backend: str, tmp_path: Path) -> MakePlace:
    """Make data folders, each with a database of its own."""
    made: list[Place] = []

    def make(kind: str = backend, **settings: Any) -> Place:
        url = make_empty_url(kind) if kind == "postgresql" else ""
        made.append(Place(tmp_path / f"place{len(made)}", url, **settings))
        return made[-1]

    return make


@pytest.fixture
def place(make_place: MakePlace) -> Place:
    """A place with one user and one space."""
    return make_place().make()


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    return tmp_path / "backup.tar"


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
