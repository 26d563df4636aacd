"""The shapes of what apps and the site say to each other over Socket.IO, and how results are read.

Unknown keys are ignored, so that either side can grow. A body that does not fit raises
:class:`project.errors.Invalid` with the field and the reason.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from project import inline_media
from project.errors import Invalid
from project.file_links import FileLinks
from project.validation import storable

M = TypeVar("M", bound=BaseModel)

MAX_PARTS = 1_000
MAX_MESSAGE = 10_000
MAX_LABEL = 100
TEXT_KEYS = ("text", "text_output", "output")
NO_FAILURE_MESSAGE = "The app reported a failure without a message."

Id = Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(storable)]
FileName = Annotated[str, StringConstraints(min_length=1, max_length=255), AfterValidator(storable)]
Label = Annotated[str, StringConstraints(max_length=MAX_LABEL), AfterValidator(storable)]


class Message(BaseModel):
    """Common parent: strict about types, deaf to unknown keys."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


class Claim(Message):
    """An attempt that an app still has, or has finished without an acknowledgement."""

    request_id: Id
    attempt_id: Id


class AppInfo(Message):
    """What an app says of itself; ``instance`` is the same over its reconnects."""

    name: Label | None = None
    version: Label | None = None
    instance: Label | None = None


class Register(Message):
    """App to site: serve this space."""

    space_name: Id
    acks: bool = False
    resume: list[Claim] = Field(default_factory=list, max_length=100)
    app: AppInfo = AppInfo()
    inputs: dict[str, Any] | None = None


class InferenceProgress(Message):
    """App to site: how far it is. ``offset`` is the characters before ``delta``; 0 replaces."""

    request_id: Id
    attempt_id: Id | None = None
    value: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None
    message: Annotated[str, StringConstraints(max_length=MAX_MESSAGE)] | None = None
    delta: str | None = None
    offset: Annotated[int, Field(ge=0)] | None = None


class TextPart(Message):
    """Plain text or Markdown."""

    type: Literal["text", "markdown"]
    text: str
    name: Label | None = None


class JsonPart(Message):
    """Any JSON value."""

    type: Literal["json"]
    data: Any
    name: Label | None = None


class MediaPart(Message):
    """A file: one that was uploaded (``file_id``), or its bytes as base64 or a ``data:`` address (``data``)."""

    type: Literal["image", "audio", "video", "file"]
    file_id: Id | None = None
    data: str | None = None
    content_type: Label | None = None
    format: Label | None = None
    name: FileName | None = None


class Parts(Message):
    """A result that says its parts itself."""

    parts: list[Annotated[TextPart | JsonPart | MediaPart, Field(discriminator="type")]] = Field(max_length=MAX_PARTS)


class InferenceResult(Message):
    """App to site: the answer. ``error`` as a status is an older spelling of ``failed``."""

    request_id: Id
    attempt_id: Id | None = None
    status: Literal["completed", "failed", "error"]
    result: dict[str, Any] | None = None
    error: str | None = None
    retryable: bool | None = None

    @property
    def completed(self) -> bool:
        """Whether the app succeeded."""
        return self.status == "completed"

    def parts(self) -> list[dict[str, Any]]:
        """Return the parts of a completed result. Raises :class:`Invalid` when there is no readable result."""
        if self.result is None:
            raise Invalid.field("result", "a completed result needs an object")
        return parts_of(self.result)

    def failure(self) -> str:
        """Return the app's own message of a failed result, or one that says there was none."""
        from_result = self.result.get("error") if self.result else None
        message = self.error or (from_result if isinstance(from_result, str) else None)
        return (message or NO_FAILURE_MESSAGE).replace("\x00", "\ufffd")[:MAX_MESSAGE]


def parts_of(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Read a result object as parts: its own ``parts``, or what well-known keys mean, and the rest as one JSON part.

    A media part has ``file_id``, or ``content`` (bytes) with ``declared`` (a content type, perhaps empty): the
    files themselves are :mod:`project.files`' business. Raises :class:`Invalid`.
    """
    if "parts" in result:
        return [_as_dict(part, place) for place, part in enumerate(parse(Parts, result).parts)]
    texts = [{"type": "text", "text": result[key]} for key in TEXT_KEYS if isinstance(result.get(key), str)]
    media, used = inline_media.media_of(result)
    links = [key for key, value in result.items() if key.endswith("_url") and isinstance(value, str)]
    named = [{"type": "text", "text": result[key], "name": key[:MAX_LABEL]} for key in links]
    seen = {*TEXT_KEYS, *used, *links}
    rest = {key: value for key, value in result.items() if key not in seen or _is_unread(key, value)}
    parts: list[dict[str, Any]] = [*texts, *media, *named]
    return [*parts, {"type": "json", "data": rest}] if rest or not parts else parts


def _is_unread(key: str, value: Any) -> bool:
    return key in TEXT_KEYS and not isinstance(value, str)


def _as_dict(part: TextPart | JsonPart | MediaPart, place: int) -> dict[str, Any]:
    """Return a part without what it does not say; JSON's own null stays."""
    if not isinstance(part, MediaPart):
        return part.model_dump(exclude={"name"} if part.name is None else None)
    named = {"name": part.name} if part.name else {}
    if part.file_id is not None:
        return {"type": part.type, "file_id": part.file_id, **named}
    declared = part.content_type or inline_media.type_of(part.type, part.format)
    read = inline_media.decoded(part.data or "", declared)
    if read is None:
        raise Invalid.field(f"parts.{place}", "a file needs a file_id, or data as base64 or a data: address")
    return {"type": part.type, "content": read[0], "declared": read[1], **named}


def parse(model: type[M], body: object) -> M:
    """Validate ``body`` as ``model``. Raises :class:`Invalid` naming the first wrong field."""
    if not isinstance(body, dict):
        raise Invalid("The event needs one object as its body.")
    _check_faithful(body)
    try:
        return model.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "body"
        raise Invalid.field(where, first["msg"]) from error


def _check_faithful(body: dict[str, Any]) -> None:
    """Refuse what Python's JSON reader lets through, but JSON (RFC 8259) and the database do not know."""
    try:
        json.dumps(body, allow_nan=False, ensure_ascii=False).encode("utf-8")
    except ValueError as error:
        raise Invalid("The event holds NaN, Infinity or half a surrogate pair.") from error


def iso(seconds: float | None) -> str | None:
    """Return Unix seconds as ISO 8601 in UTC with milliseconds and ``Z``."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def request_body(row: Mapping[str, Any], queue_size: int, links: FileLinks, base: str) -> dict[str, Any]:
    """Return the body of ``inference_request`` for a request that was just claimed.

    ``base`` is the address of the site as the app knows it; its files are named below it.
    """
    attempt_id, deadline = row["attempt_id"], row["deadline_at"]
    files = [
        {**facts, "url": links.download(base, facts["file_id"], attempt_id, deadline)} for facts in row["files"] or ()
    ]
    first = {file["field"]: file["url"] for file in reversed(files)}
    return {
        "request_id": row["id"],
        "attempt_id": attempt_id,
        "attempt": row["attempt"],
        "redelivered": row["attempt"] > 1,
        "space_name": row["space_name"],
        "username": row["username"],
        "payload": {
            "prompt": row["prompt"],
            "parameters": row["parameters"],
            "timestamp": iso(row["created_at"]),
            **first,
        },
        "files": files,
        "upload": {"url": links.upload(base, attempt_id, deadline)},
        "deadline_at": iso(deadline),
        "timeout_seconds": row["timeout_seconds"],
        "queue_size": queue_size,
    }
