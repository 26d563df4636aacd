"""Every setting of the site: one class, read from the environment with the prefix ``SPACES_``.

``docs/settings.md`` is the reference; a test compares it with this class. A bad value stops the start.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

MIN_SECRET_LENGTH = 32


class SettingsError(Exception):
    """A setting has a value that the site cannot start with; the message names it."""


class Settings(BaseSettings):
    """The site's settings. Durations are seconds and may be fractions."""

    model_config = SettingsConfigDict(
        env_prefix="SPACES_", frozen=True, extra="ignore", hide_input_in_errors=True, allow_inf_nan=False
    )

    data_dir: Path = Field(Path("instance"), description="Folder of the database, the secret key and uploads")
    database_url: str = Field("", description="Database address; empty means SQLite in the data folder")
    redis_url: str = Field("", description="Redis for notifications between processes; empty means none")
    secret_key: str = Field(
        "", description="Key that signs cookies and links; empty means a random one kept in the data folder"
    )
    host: str = Field("127.0.0.1", description="Address to listen on")
    port: int = Field(5001, ge=0, le=65535, description="Port to listen on; 0 picks a free one")
    public_url: str = Field("", description="Address under which people reach the site, with scheme")
    env: Literal["development", "production"] = Field("development", description="production refuses an unsafe start")
    async_mode: Literal["eventlet", "gevent", "threading"] = Field("eventlet", description="Concurrency mode")

    request_timeout: float = Field(120.0, gt=0, description="Seconds that an app has for one attempt")
    queue_ttl: float = Field(600.0, gt=0, description="Seconds that a request may wait in all")
    grace: float = Field(15.0, gt=0, description="Seconds that an app may be gone before its request is requeued")
    ack_timeout: float = Field(10.0, gt=0, description="Seconds in which an app that declared acks must acknowledge")
    max_attempts: int = Field(2, ge=1, le=100, description="Hand-overs of one request in all")
    ping_interval: float = Field(10.0, gt=0, description="Seconds between heartbeats to an app")
    ping_timeout: float = Field(10.0, gt=0, description="Seconds in which a heartbeat must be answered")

    queue_length: int = Field(100, ge=1, description="Waiting requests per space")
    user_queue_length: int = Field(50, ge=1, description="Waiting requests per user, over all spaces")
    max_prompt_chars: int = Field(100_000, ge=1, description="Characters in one prompt")
    max_parameters_kb: float = Field(100.0, gt=0, description="Kilobytes of one request's parameters, as JSON")
    max_json_depth: int = Field(64, ge=1, le=200, description="Levels of objects and lists in parameters and results")
    max_upload_mb: float = Field(
        512.0, gt=0, description="Megabytes of one request's files together, and of its result's"
    )
    max_files: int = Field(10, ge=1, le=100, description="Files with one request")
    uploads_per_user: int = Field(4, ge=1, description="Uploads of one user, or of one attempt's app, at the same time")
    max_uploads: int = Field(100, ge=1, description="Uploads at the same time in all")
    user_storage_mb: float = Field(5_000.0, gt=0, description="Megabytes of one user's files, with those of results")
    upload_stall: float = Field(
        30.0,
        gt=0,
        description="Seconds in which the next 64 kilobytes of an upload, or the whole of another body, must come",
    )
    min_free_mb: float = Field(
        200.0, ge=0, description="Megabytes that stay free on the disk of the uploads; below, uploads are refused"
    )
    max_event_kb: int = Field(1_000, ge=1, description="Kilobytes in one Socket.IO event")
    events_per_second: float = Field(200.0, gt=0, description="Socket.IO events of one connection, in the long run")
    join_timeout: float = Field(
        20.0, gt=0, description="Seconds in which a connection must authenticate, and then register for a space"
    )
    events_before_registration: int = Field(
        20, ge=1, description="Socket.IO events of a connection that has not registered for a space"
    )
    sockets_per_token: int = Field(100, ge=1, description="Open connections of one token")
    max_unauthenticated_sockets: int = Field(
        500, ge=1, description="Open Socket.IO sockets that have not authenticated yet, in all"
    )
    held_calls_per_user: int = Field(
        100, ge=1, description="Waiting calls of one user, or of one visitor's address, at the same time"
    )
    max_held_calls: int = Field(5_000, ge=1, description="Waiting calls at the same time in all")
    sockets_per_address: int = Field(
        1_000, ge=1, description="Open connections of one address (IPv6: one /64), WebSockets included"
    )
    max_sockets: int = Field(10_000, ge=1, description="Open connections in all")
    proxies: int = Field(
        0, ge=0, le=10, description="Trusted reverse proxies in front; their X-Forwarded headers are believed"
    )
    header_timeout: float = Field(20.0, gt=0, description="Seconds in which a request's line and headers must come")
    idle_timeout: float = Field(75.0, gt=0, description="Seconds that a connection may be idle between two requests")
    send_stall: float = Field(60.0, gt=0, description="Seconds in which a reader must take something of its answer")
    retention_days: float = Field(7.0, gt=0, description="Days that ended requests are kept")
    registration: Literal["open", "closed"] = Field("open", description="Whether visitors may make an account")
    admins_see_requests: Literal["off", "on"] = Field(
        "off", description="Whether admins may read other people's requests"
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Least severe log lines shown")
    rate_limits: Literal["on", "off"] = Field("on", description="Rate limits of the API; sign-in throttling stays on")

    sqlite_synchronous: Literal["NORMAL", "FULL"] = Field(
        "NORMAL", description="FULL also survives a power cut, and is slower"
    )
    admin_username: str = Field("", description="Name of the first admin; empty means admin")
    admin_password: str = Field("", description="Password of the first admin; empty means a random one, printed once")

    @field_validator("public_url")
    @classmethod
    def _public_url_is_http(cls, value: str) -> str:
        if value and (urlsplit(value).scheme not in {"http", "https"} or not urlsplit(value).netloc):
            raise ValueError("must be an http or https address, for instance https://spaces.example.org")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _production_is_safe(self) -> Settings:
        if self.env != "production":
            return self
        if not self.public_url:
            raise ValueError("SPACES_PUBLIC_URL is needed in production: cookies and links follow its scheme")
        if self.secret_key and len(self.secret_key) < MIN_SECRET_LENGTH:
            raise ValueError(f"SPACES_SECRET_KEY must have at least {MIN_SECRET_LENGTH} characters in production")
        if self.async_mode == "threading":
            raise ValueError("SPACES_ASYNC_MODE=threading is Werkzeug's development server: use eventlet or gevent")
        if os.environ.get("FLASK_DEBUG", "").lower() in {"1", "true", "yes", "on"}:
            raise ValueError("FLASK_DEBUG must be off in production")
        return self

    @property
    def secure_cookies(self) -> bool:
        """Whether cookies are marked Secure: exactly when people reach the site over https."""
        return self.public_url.startswith("https://")

    @property
    def sqlalchemy_url(self) -> str:
        """The database address, with the default filled in."""
        return self.database_url or f"sqlite:///{(self.data_dir / 'spaces.db').resolve()}"

    @property
    def files_dir(self) -> Path:
        """The folder of uploads and result files."""
        return self.data_dir / "files"

    def key(self) -> str:
        """Return the signing key, making and keeping a random one (owner-only) on first use."""
        if self.secret_key:
            return self.secret_key
        path = self.data_dir / "secret-key"
        if not path.exists():
            write_private(path, secrets.token_hex(32))
        return path.read_text(encoding="ascii").strip()


def load_settings(**overrides: object) -> Settings:
    """Read the settings from the environment, ``overrides`` winning.

    Raises :class:`SettingsError` with one line per bad setting.
    """
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        raise SettingsError("\n".join(_explain(item) for item in error.errors())) from error


def _explain(item: object) -> str:
    """Say which variable is wrong, and how, without repeating its value (it may be a secret)."""
    assert isinstance(item, dict)
    where = "".join(f"SPACES_{str(part).upper()}: " for part in item["loc"])
    return f"{where}{str(item['msg']).removeprefix('Value error, ')}"


def write_private(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` so that at no moment anybody but the owner can read it."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    temporary.replace(path)
