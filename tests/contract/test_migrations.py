"""The migrations make exactly the tables that the models describe, and can be undone."""

from __future__ import annotations

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from flask_migrate import downgrade, upgrade
from sqlalchemy import create_engine, inspect

from project.extensions import db
from project.models import Base
from tests.contract.conftest import migration_app


def test_the_migrations_equal_the_models(url: str) -> None:
    engine = create_engine(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        differences = compare_metadata(context, Base.metadata)
    engine.dispose()
    assert differences == []


def test_partial_indexes_are_partial(url: str) -> None:
    """Autogenerate does not compare their conditions, and without them two requests of a space could never end."""
    engine = create_engine(url)
    indexes = {index["name"]: index for index in inspect(engine).get_indexes("requests")}
    engine.dispose()
    for name, state, unique in (("uq_requests_processing", "processing", 1), ("ix_requests_queue", "queued", 0)):
        options = indexes[name]["dialect_options"]
        condition = str(options.get("sqlite_where", options.get("postgresql_where", "")))
        assert f"'{state}'" in condition, f"{name}: {condition}"
        assert indexes[name]["unique"] == unique


def test_down_and_up_again(empty_url: str) -> None:
    app = migration_app(empty_url)
    engine = create_engine(empty_url)
    with app.app_context():
        upgrade()
        assert set(inspect(engine).get_table_names()) == {*Base.metadata.tables, "alembic_version"}
        downgrade(revision="base")
        assert inspect(engine).get_table_names() == ["alembic_version"]
        upgrade()
        assert set(inspect(engine).get_table_names()) == {*Base.metadata.tables, "alembic_version"}
        db.engine.dispose()
    engine.dispose()
