"""The shapes of the HTTP API: what it takes, what it answers. They validate, and they document it."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from project.space_admin import SpaceCreate, SpaceUpdate
from project.validation import storable

__all__ = ["SpaceCreate", "SpaceUpdate"]

MAX_HELD_SECONDS = 30.0
MAX_PREFERRED_SECONDS = 55.0
MAX_PAGE = 100

BINARY: dict[str, Any] = {"format": "binary"}

Status = Literal["queued", "processing", "completed", "failed", "cancelled", "timed_out"]


class Shape(BaseModel):
    """Common parent: unknown keys are refused, so that a typing error does not pass unseen."""

    model_config = ConfigDict(extra="forbid")

    @classmethod
    @cache
    def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """Return the JSON schema; kept, because the framework asks for it at every call."""
        return super().model_json_schema(*args, **kwargs)


# Errors


class Error(Shape):
    """What went wrong: a code for programs, a message for people."""

    code: str = Field(description="For programs", examples=["space_offline"])
    message: str = Field(description="For people")
    details: Any = Field(None, description="For field errors a list of `{field, message}`; else null")


class ErrorBody(Shape):
    """The body of every refusal."""

    error: Error


# Paths and queries


class SpacePath(Shape):
    """Which space."""

    name: str = Field(description="The space's name; letter case does not matter")


class RequestPath(Shape):
    """Which request."""

    request_id: str = Field(description="The request's id")


class FilePath(Shape):
    """Which file."""

    file_id: str = Field(description="The file's id")


class FileQuery(Shape):
    """How the file is wanted; the last three are parts of a signed link."""

    download: bool = Field(False, description="As a download, also where a browser could show it")
    attempt: str | None = Field(None, description="For which attempt the link was made")
    expires: int | None = Field(None, description="Unix seconds")
    signature: str | None = Field(None, description="What makes the link valid")


class UploadPath(Shape):
    """Whose file."""

    attempt_id: str = Field(description="The attempt's id")


class UploadQuery(Shape):
    """The signed link, and the file's name."""

    expires: int = Field(description="Unix seconds")
    signature: str = Field(description="What makes the link valid")
    name: str | None = Field(None, description="The file's name; else that of `Content-Disposition`")


class PageQuery(Shape):
    """Which page of a list."""

    cursor: str | None = Field(None, description="`next_cursor` of the page before")
    limit: int = Field(20, ge=1, le=MAX_PAGE, description="Items on a page")


class PreferHeader(Shape):
    """What the caller would like of the answer (RFC 7240)."""

    model_config = ConfigDict(extra="ignore")

    prefer: str | None = Field(
        None, alias="Prefer", description="`wait=n`: 200 with the final object if it comes in n (1 to 55) seconds"
    )


class RetryHeader(Shape):
    """How a submit is known again."""

    model_config = ConfigDict(extra="ignore")

    idempotency_key: Annotated[str, StringConstraints(pattern=r"^[!-~]{1,255}$")] | None = Field(
        None,
        alias="Idempotency-Key",
        description="1 to 255 visible ASCII characters, new for each new request; sent again, nothing is made twice",
    )


class SubmitHeader(PreferHeader, RetryHeader):
    """How a submit is known again, and what the caller would like of the answer."""


class RequestListQuery(PageQuery):
    """Which of the caller's requests."""

    space: str | None = Field(None, description="Only those of this space")
    status: Status | None = Field(None, description="Only those in this state")


class WaitQuery(Shape):
    """How long to wait for a change of a request."""

    after: int | None = Field(None, description="Answer as soon as `seq` is greater; without it, at once")
    until: Literal["final"] | None = Field(None, description="Answer as soon as the request is final")
    wait: float = Field(
        MAX_HELD_SECONDS, ge=0, allow_inf_nan=False, description="Seconds to wait at most; more than 30 count as 30"
    )


class LiveQuery(Shape):
    """How long to wait for a change of a space or of the caller's requests there."""

    after: str | None = Field(None, description="`cursor` of the answer before; without it, answers at once")
    wait: float = Field(
        MAX_HELD_SECONDS, ge=0, allow_inf_nan=False, description="Seconds to wait at most; more than 30 count as 30"
    )


# Spaces


class Inputs(Shape):
    """Which inputs a space takes."""

    prompt: bool
    audio: bool
    video: bool
    file: bool


class SpaceLimits(Shape):
    """What one request to the space may be."""

    timeout_seconds: float = Field(description="Seconds that an app has for one attempt")
    queue_length: int = Field(description="Requests that may wait")
    prompt_chars: int = Field(description="Characters in one prompt")
    upload_mb: float = Field(description="Megabytes in one upload")
    files: int = Field(description="Files with one request")


class SpaceObject(Shape):
    """A page, a queue and an API in front of one model."""

    name: str
    title: str
    description: str = Field(description="Markdown")
    owner: str | None = Field(description="User name")
    inputs: Inputs
    enabled: bool = Field(description="Whether it takes requests at all")
    connected: bool = Field(description="Whether an app is connected now")
    queue_size: int = Field(description="Requests that wait, without the one processing")
    processing: int = Field(description="0 or 1")
    visibility: Literal["public", "private"]
    limits: SpaceLimits
    last_connected_at: str | None = Field(description="ISO 8601, UTC")


class SpaceList(Shape):
    """Spaces, by name."""

    items: list[SpaceObject]
    next_cursor: str | None


# Requests


class Submission(Shape):
    """A new request. Which inputs are taken depends on the space."""

    model_config = ConfigDict(extra="forbid", strict=True)

    prompt: Annotated[str, AfterValidator(storable)] | None = Field(None, description="The text for the app")
    parameters: dict[str, Any] | None = Field(
        None, description="An object for the app, at most 32 levels deep; in a form: its JSON text"
    )


class SubmissionForm(Shape):
    """A new request as a form, with files. Which inputs are taken, and how many, depends on the space."""

    prompt: str | None = Field(None, description="The text for the app")
    parameters: str | None = Field(None, description="The JSON text of an object for the app")
    audio: bytes | None = Field(None, description="A sound, or a recording", json_schema_extra=BINARY)
    video: bytes | None = Field(None, description="A video, or a recording", json_schema_extra=BINARY)
    file: list[Annotated[bytes, Field(json_schema_extra=BINARY)]] | None = Field(
        None, description="Files of any kind; the field may be repeated"
    )


class FileObject(Shape):
    """A file that was taken."""

    file_id: str
    name: str
    content_type: str = Field(description="By its content")
    size: int = Field(description="Bytes")
    sha256: str = Field(description="Of its bytes, in hexadecimal")


class InputFile(FileObject):
    """A file that came with a request."""

    field: Literal["audio", "video", "file"]
    url: str = Field(description="Path of its bytes on this site")


class RequestInput(Shape):
    """What the app gets."""

    prompt: str
    parameters: dict[str, Any]
    files: list[InputFile]


class ProgressObject(Shape):
    """What the app has said so far."""

    value: float | None = Field(description="0 to 1")
    message: str | None


class RequestError(Shape):
    """Why a request has no result."""

    code: str
    message: str | None
    retryable: bool | None = Field(description="What the app says about trying again; nothing is tried by itself")


class TransitionObject(Shape):
    """One change of the state."""

    model_config = ConfigDict(extra="forbid", validate_by_name=True, validate_by_alias=True, serialize_by_alias=True)

    at: str = Field(description="ISO 8601, UTC")
    from_state: Status | None = Field(alias="from")
    to_state: Status = Field(alias="to")
    attempt: int
    code: str | None


class RequestUrls(Shape):
    """Paths on this site."""

    self: str
    cancel: str
    page: str


class RequestObject(Shape):
    """One inference request of one user to one space."""

    id: str
    space: str
    status: Status
    seq: int = Field(description="Rises with every visible change")
    position: int | None = Field(description="Place in the queue; 1 is next")
    eta_seconds: float | None
    input: RequestInput
    progress: ProgressObject
    partial: str = Field(description="The output so far")
    output: list[dict[str, Any]] = Field(description="The parts of the result")
    error: RequestError | None
    attempt: int = Field(description="Hand-overs so far")
    created_at: str
    started_at: str | None
    finished_at: str | None
    deadline_at: str | None
    transitions: list[TransitionObject]
    retry_of: str | None = Field(description="The request that this one repeats")
    urls: RequestUrls


class RequestList(Shape):
    """The caller's requests, newest first."""

    items: list[RequestObject]
    next_cursor: str | None


class LiveObject(Shape):
    """A space and what the caller has going on there."""

    space: SpaceObject
    requests: list[RequestObject] = Field(description="The caller's open and just-changed requests")
    cursor: str


class HealthObject(Shape):
    """How the site is."""

    status: str = Field(examples=["ok"])
