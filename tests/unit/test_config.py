"""The settings: defaults, what stops the start, and the key that nobody else may read."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from project.config import Settings, SettingsError, load_settings, write_private

PUBLIC = "https://spaces.example.org"
GOOD_KEY = "k" * 32


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FLASK_DEBUG", *(f"SPACES_{field.upper()}" for field in Settings.model_fields)):
        monkeypatch.delenv(name, raising=False)


def test_the_defaults_are_the_documented_ones() -> None:
    settings = load_settings()
    expected = {
        "data_dir": Path("instance"),
        "host": "127.0.0.1",
        "port": 5001,
        "env": "development",
        "async_mode": "eventlet",
        "request_timeout": 120,
        "queue_ttl": 600,
        "grace": 15,
        "ack_timeout": 10,
        "max_attempts": 2,
        "ping_interval": 10,
        "ping_timeout": 10,
        "queue_length": 100,
        "max_prompt_chars": 100_000,
        "max_upload_mb": 512,
        "max_event_kb": 1_000,
        "retention_days": 7,
        "registration": "open",
        "admins_see_requests": "off",
        "rate_limits": "on",
    }
    assert {name: getattr(settings, name) for name in expected} == expected


def test_the_environment_is_read_and_a_command_line_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPACES_GRACE", "1.5")
    monkeypatch.setenv("SPACES_PORT", "6000")
    settings = load_settings(port=7000)
    assert (settings.grace, settings.port) == (1.5, 7000)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SPACES_PORT", "70000"),
        ("SPACES_PORT", "http"),
        ("SPACES_PORT", ""),
        ("SPACES_GRACE", "0"),
        ("SPACES_GRACE", "-1"),
        ("SPACES_GRACE", "soon"),
        ("SPACES_GRACE", "inf"),
        ("SPACES_GRACE", "nan"),
        ("SPACES_REQUEST_TIMEOUT", "inf"),
        ("SPACES_QUEUE_TTL", "0"),
        ("SPACES_MAX_ATTEMPTS", "0"),
        ("SPACES_MAX_ATTEMPTS", "1.5"),
        ("SPACES_QUEUE_LENGTH", "0"),
        ("SPACES_MAX_EVENT_KB", "0"),
        ("SPACES_ASYNC_MODE", "asyncio"),
        ("SPACES_ENV", "staging"),
        ("SPACES_REGISTRATION", "maybe"),
        ("SPACES_LOG_LEVEL", "LOUD"),
        ("SPACES_PUBLIC_URL", "spaces.example.org"),
        ("SPACES_PUBLIC_URL", "ftp://spaces.example.org"),
    ],
)
def test_a_bad_value_stops_the_start_and_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert str(caught.value).startswith(f"{name}: ")
    assert "pydantic" not in str(caught.value)


def test_every_bad_value_gets_a_line_and_no_secret_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPACES_PORT", "none")
    monkeypatch.setenv("SPACES_GRACE", "hunter2")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    lines = str(caught.value).splitlines()
    assert {line.partition(":")[0] for line in lines} == {"SPACES_PORT", "SPACES_GRACE"}
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "SPACES_PUBLIC_URL"),
        ({"public_url": PUBLIC, "secret_key": "short"}, "SPACES_SECRET_KEY"),
        ({"public_url": PUBLIC, "secret_key": "k" * 31}, "SPACES_SECRET_KEY"),
        ({"public_url": PUBLIC, "async_mode": "threading"}, "SPACES_ASYNC_MODE"),
    ],
)
def test_production_refuses_an_unsafe_start(values: dict[str, str], words: str) -> None:
    with pytest.raises(SettingsError, match=words) as caught:
        load_settings(env="production", **values)
    assert "short" not in str(caught.value)


@pytest.mark.parametrize("value", ["1", "true", "ON"])
def test_production_refuses_debug(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("FLASK_DEBUG", value)
    with pytest.raises(SettingsError, match="FLASK_DEBUG"):
        load_settings(env="production", public_url=PUBLIC)


def test_a_safe_production_starts_and_development_is_not_asked() -> None:
    assert load_settings(env="production", public_url=PUBLIC, secret_key=GOOD_KEY).secure_cookies
    assert load_settings(env="production", public_url=PUBLIC).secret_key == ""
    assert not load_settings(secret_key="short").secure_cookies


def test_cookies_follow_the_scheme_of_the_public_address() -> None:
    assert load_settings(public_url=f"{PUBLIC}/").public_url == PUBLIC
    assert not load_settings(public_url="http://localhost:5001").secure_cookies


def test_the_database_is_in_the_data_folder_unless_named(tmp_path: Path) -> None:
    assert load_settings(data_dir=tmp_path).sqlalchemy_url == f"sqlite:///{tmp_path / 'spaces.db'}"
    assert load_settings(database_url="postgresql://db/x").sqlalchemy_url == "postgresql://db/x"


def test_the_key_is_made_once_and_only_the_owner_can_read_it(tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path / "data")
    key = settings.key()
    assert len(key) == 64
    assert load_settings(data_dir=tmp_path / "data").key() == key
    assert mode(tmp_path / "data" / "secret-key") == 0o600
    assert mode(tmp_path / "data") == 0o700
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["secret-key"]


def test_a_given_key_leaves_no_file(tmp_path: Path) -> None:
    assert load_settings(data_dir=tmp_path, secret_key=GOOD_KEY).key() == GOOD_KEY
    assert list(tmp_path.iterdir()) == []


def test_a_private_file_replaces_an_open_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, "new")
    assert (path.read_text(), mode(path)) == ("new", 0o600)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)
