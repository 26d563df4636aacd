"""A relay of its own for each test: real store, real manager, no sockets."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from project.database import Database
from project.request_store import RequestStore
from tests.house import LIMITS, House
from tests.unit.relay import Relay


@pytest.fixture
def database_file(empty_database: Path, tmp_path: Path) -> Path:
    path = tmp_path / "relay.db"
    shutil.copy(empty_database, path)
    return path


@pytest.fixture
def relay(database_file: Path) -> Iterator[Relay]:
    engine = create_engine(f"sqlite:///{database_file}", pool_size=20, max_overflow=20)
    database = Database(engine)
    yield Relay(House(RequestStore(database, LIMITS), database))
    engine.dispose()
