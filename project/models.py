"""The tables. Times are Unix seconds in UTC (double precision); ids that people see are random.

``requests`` is the queue: its rows, and nothing else, say what is waiting, running and done.
"""

from __future__ import annotations

from typing import Any

from flask_login import UserMixin
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

NAMING = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

#: Each transition raises ``seq`` to the next multiple of this, so it stands above all progress before it.
SEQ_STEP = 1 << 20

QUEUED, PROCESSING = "queued", "processing"
COMPLETED, FAILED, CANCELLED, TIMED_OUT = "completed", "failed", "cancelled", "timed_out"
OPEN_STATES = (QUEUED, PROCESSING)
FINAL_STATES = (COMPLETED, FAILED, CANCELLED, TIMED_OUT)


class Base(DeclarativeBase):
    """Common parent of all tables."""

    metadata = MetaData(naming_convention=NAMING)


class User(UserMixin, Base):
    """A person: signs in with a password. Changing ``session_key`` ends all sessions."""

    __tablename__ = "users"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(primary_key=True)
    username: Mapped[str] = mapped_column(String(64))
    username_key: Mapped[str] = mapped_column(String(64), unique=True)
    password_hash: Mapped[str] = mapped_column(String(255))
    role: Mapped[str] = mapped_column(String(16), default="user")
    active: Mapped[bool] = mapped_column(Boolean, default=True)
    session_key: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[float] = mapped_column(Double)
    last_login_at: Mapped[float | None] = mapped_column(Double)

    @property
    def is_admin(self) -> bool:
        """Whether this person runs the site."""
        return self.role == "admin"

    @property
    def is_active(self) -> bool:
        """Whether this person may sign in (Flask-Login asks)."""
        return self.active

    def get_id(self) -> str:
        """What the session cookie holds: it stops being valid when ``session_key`` changes."""
        return f"{self.id}:{self.session_key}"


class EndedSession(Base):
    """A login session that was signed out of: a copy of its cookie opens nothing. Of no use after ``until``."""

    __tablename__ = "ended_sessions"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    until: Mapped[float] = mapped_column(Double, index=True)


class Space(Base):
    """A page, a queue and an API in front of one model."""

    __tablename__ = "spaces"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    name_key: Mapped[str] = mapped_column(String(64), unique=True)
    title: Mapped[str] = mapped_column(String(200))
    description: Mapped[str] = mapped_column(Text, default="")
    owner_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"), index=True)
    visibility: Mapped[str] = mapped_column(String(16), default="public")
    enabled: Mapped[bool] = mapped_column(Boolean, default=True)
    input_prompt: Mapped[bool] = mapped_column(Boolean, default=True)
    input_audio: Mapped[bool] = mapped_column(Boolean, default=False)
    input_video: Mapped[bool] = mapped_column(Boolean, default=False)
    input_file: Mapped[bool] = mapped_column(Boolean, default=False)
    queue_when_offline: Mapped[bool] = mapped_column(Boolean, default=False)
    allow_app_without_token: Mapped[bool] = mapped_column(Boolean, default=False)
    timeout_seconds: Mapped[float | None] = mapped_column(Double)
    max_attempts: Mapped[int | None] = mapped_column(Integer)
    queue_length: Mapped[int | None] = mapped_column(Integer)
    upload_mb: Mapped[float | None] = mapped_column(Double)
    files: Mapped[int | None] = mapped_column(Integer)
    next_number: Mapped[int] = mapped_column(BigInteger, default=1)
    created_at: Mapped[float] = mapped_column(Double)
    updated_at: Mapped[float] = mapped_column(Double)


class InferenceRequest(Base):
    """One request of one person to one space; see the states in ``WEBSOCKETS_GUIDE.md``.

    ``expires_at`` is when a queued request has waited too long; while it is processing,
    ``queue_left`` keeps the seconds of waiting that are left, so all waits count together.
    """

    __tablename__ = "requests"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    space_id: Mapped[int | None] = mapped_column(ForeignKey("spaces.id", ondelete="SET NULL"))
    space_name: Mapped[str] = mapped_column(String(64))
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    username: Mapped[str] = mapped_column(String(64))
    number: Mapped[int] = mapped_column(BigInteger)
    status: Mapped[str] = mapped_column(String(16))
    seq: Mapped[int] = mapped_column(BigInteger)
    prompt: Mapped[str] = mapped_column(Text)
    parameters: Mapped[dict[str, Any]] = mapped_column(JSON)
    #: The files that its user gave, as :meth:`project.file_rows.NewFile.facts` writes them; empty for older rows.
    files: Mapped[list[dict[str, Any]] | None] = mapped_column(JSON)
    result: Mapped[list[dict[str, Any]] | None] = mapped_column(JSON)
    error_code: Mapped[str | None] = mapped_column(String(64))
    error_message: Mapped[str | None] = mapped_column(Text)
    retryable: Mapped[bool | None] = mapped_column(Boolean)
    attempt: Mapped[int] = mapped_column(Integer, default=0)
    max_attempts: Mapped[int] = mapped_column(Integer)
    timeout_seconds: Mapped[float] = mapped_column(Double)
    attempt_id: Mapped[str | None] = mapped_column(String(32))
    expires_at: Mapped[float] = mapped_column(Double)
    queue_left: Mapped[float] = mapped_column(Double)
    deadline_at: Mapped[float | None] = mapped_column(Double)
    retry_of: Mapped[str | None] = mapped_column(String(32))
    created_at: Mapped[float] = mapped_column(Double)
    started_at: Mapped[float | None] = mapped_column(Double)
    finished_at: Mapped[float | None] = mapped_column(Double)
    updated_at: Mapped[float] = mapped_column(Double)

    __table_args__ = (
        # The database itself allows one processing request a space (guarantee G4).
        Index(
            "uq_requests_processing",
            "space_id",
            unique=True,
            sqlite_where=text("status = 'processing'"),
            postgresql_where=text("status = 'processing'"),
        ),
        Index(
            "ix_requests_queue",
            "space_id",
            "number",
            sqlite_where=text("status = 'queued'"),
            postgresql_where=text("status = 'queued'"),
        ),
        Index(
            "ix_requests_user_queue",
            "user_id",
            sqlite_where=text("status = 'queued'"),
            postgresql_where=text("status = 'queued'"),
        ),
        Index("ix_requests_user", "user_id", "created_at", "id"),
        Index("ix_requests_finished", "finished_at"),
        Index("ix_requests_user_space", "user_id", "space_id", "updated_at"),
    )


class SubmitKey(Base):
    """The ``Idempotency-Key`` of an accepted submit, and the hash of what came with it (guarantee G10).

    It outlives its request, so that a late repetition does not bring a deleted request back.
    """

    __tablename__ = "submit_keys"

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    body_hash: Mapped[str] = mapped_column(String(64))
    request_id: Mapped[str] = mapped_column(String(32))
    created_at: Mapped[float] = mapped_column(Double, index=True)


class StoredFile(Base):
    """A file of one request: what its user gave (``input``) or what its app uploaded (``result``).

    The bytes are in the storage under ``id``. ``used`` is false while no result has named an uploaded file.
    """

    __tablename__ = "files"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    request_id: Mapped[str] = mapped_column(ForeignKey("requests.id", ondelete="CASCADE"), index=True)
    kind: Mapped[str] = mapped_column(String(8))
    field: Mapped[str | None] = mapped_column(String(8))
    attempt_id: Mapped[str | None] = mapped_column(String(32))
    name: Mapped[str] = mapped_column(String(255))
    content_type: Mapped[str] = mapped_column(String(100))
    size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    used: Mapped[bool] = mapped_column(Boolean)
    created_at: Mapped[float] = mapped_column(Double)

    __table_args__ = (
        Index(
            "ix_files_unused",
            "created_at",
            sqlite_where=text("NOT used"),
            postgresql_where=text("NOT used"),
        ),
    )


class FileStore(Base):
    """The name of the storage that belongs to this database; there is one row."""

    __tablename__ = "file_store"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(String(32))


class Attempt(Base):
    """One hand-over of a request to one connection."""

    __tablename__ = "attempts"

    attempt_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    request_id: Mapped[str] = mapped_column(ForeignKey("requests.id", ondelete="CASCADE"), index=True)
    number: Mapped[int] = mapped_column(Integer)
    space_id: Mapped[int] = mapped_column(Integer)
    #: The token that was given the attempt; empty for an app without one. No foreign key: evidence outlives tokens.
    token_id: Mapped[int | None] = mapped_column(Integer)
    connection_id: Mapped[str] = mapped_column(String(32))
    handed_at: Mapped[float] = mapped_column(Double)
    ended_at: Mapped[float | None] = mapped_column(Double)
    #: Whether this attempt's own result ended the request (a re-sent result is then a duplicate).
    by_result: Mapped[bool] = mapped_column(Boolean, default=False)


class Transition(Base):
    """One change of a request's state, kept as evidence (guarantee G17)."""

    __tablename__ = "transitions"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(primary_key=True)
    request_id: Mapped[str] = mapped_column(ForeignKey("requests.id", ondelete="CASCADE"), index=True)
    at: Mapped[float] = mapped_column(Double)
    from_state: Mapped[str | None] = mapped_column(String(16))
    to_state: Mapped[str] = mapped_column(String(16))
    attempt: Mapped[int] = mapped_column(Integer)
    code: Mapped[str | None] = mapped_column(String(64))


class Connection(Base):
    """Who serves a space. The row stays when the app leaves (``lost_at``), so ``epoch`` only rises."""

    __tablename__ = "connections"

    space_id: Mapped[int] = mapped_column(ForeignKey("spaces.id", ondelete="CASCADE"), primary_key=True)
    epoch: Mapped[int] = mapped_column(Integer)
    process_id: Mapped[str] = mapped_column(String(32))
    connection_id: Mapped[str] = mapped_column(String(32))
    token_id: Mapped[int | None] = mapped_column(Integer)
    app_name: Mapped[str | None] = mapped_column(String(100))
    app_version: Mapped[str | None] = mapped_column(String(100))
    app_instance: Mapped[str | None] = mapped_column(String(100))
    address: Mapped[str | None] = mapped_column(String(100))
    connected_at: Mapped[float] = mapped_column(Double)
    lost_at: Mapped[float | None] = mapped_column(Double)
    probe_at: Mapped[float | None] = mapped_column(Double)
    seen_at: Mapped[float | None] = mapped_column(Double)


class Process(Base):
    """A server process; alive while ``heartbeat_at`` is fresh."""

    __tablename__ = "processes"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    host: Mapped[str] = mapped_column(String(255))
    pid: Mapped[int] = mapped_column(Integer)
    started_at: Mapped[float] = mapped_column(Double)
    heartbeat_at: Mapped[float] = mapped_column(Double, index=True)


class Token(Base):
    """A credential of a program. Only its SHA-256 is kept; ``all_spaces`` means all that its maker may connect."""

    __tablename__ = "tokens"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(100))
    prefix: Mapped[str] = mapped_column(String(32))
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    scopes: Mapped[list[str]] = mapped_column(JSON)
    all_spaces: Mapped[bool] = mapped_column(Boolean, default=True)
    created_at: Mapped[float] = mapped_column(Double)
    expires_at: Mapped[float | None] = mapped_column(Double)
    last_used_at: Mapped[float | None] = mapped_column(Double)
    revoked_at: Mapped[float | None] = mapped_column(Double)


class TokenSpace(Base):
    """A space that an app token is limited to."""

    __tablename__ = "token_spaces"

    token_id: Mapped[int] = mapped_column(ForeignKey("tokens.id", ondelete="CASCADE"), primary_key=True)
    space_id: Mapped[int] = mapped_column(ForeignKey("spaces.id", ondelete="CASCADE"), primary_key=True)
