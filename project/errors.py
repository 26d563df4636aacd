"""Everything that can be refused, as one tree of exceptions.

    SpacesError                  500  internal
    ├── BadRequest               400  bad_request        (unreadable body, CSRF)
    ├── NotAuthenticated         401  unauthorized
    ├── Forbidden                403  forbidden
    ├── NotFound                 404  not_found          (also for what is not yours)
    ├── UploadStalled            408  upload_stalled
    ├── Conflict                 409
    │   ├── DuplicateName             duplicate_name
    │   ├── SpaceDisabled             space_disabled
    │   ├── AlreadyFinal              already_final
    │   ├── NotFinal                  not_final
    │   └── InProgress                in_progress
    ├── TooLarge                 413  too_large
    │   └── QuotaFull                 quota_full
    ├── UnsupportedMedia         415  unsupported_media_type
    ├── Invalid                  422  invalid            (readable, but a field is wrong)
    │   └── KeyReused                 key_reused
    ├── TooMany                  429  too_many
    │   ├── QueueFull                 queue_full
    │   └── RateLimited               rate_limited
    ├── Unavailable              503
    │   ├── SpaceOffline              space_offline
    │   ├── ShuttingDown              shutting_down
    │   ├── DatabaseAway              database_away
    │   └── StorageAway               storage_away
    └── StorageFull              507  storage_full

Each class carries the ``code`` that programs read and the HTTP ``status``. One handler
(:mod:`project.api.problems` for JSON, :mod:`project.pages.problems` for HTML) answers them all.
"""

from __future__ import annotations

from typing import Any, ClassVar


class SpacesError(Exception):
    """A refusal with a public ``code``, an HTTP ``status`` and a message for people.

    ``details`` is a JSON-able object (for instance ``[{"field": ..., "message": ...}]``);
    ``retry_after`` is in seconds and becomes the header ``Retry-After`` (RFC 9110, 10.2.3).
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"
    default_message: ClassVar[str] = "Something went wrong on the site. It has been logged."

    def __init__(self, message: str | None = None, *, details: Any = None, retry_after: float | None = None) -> None:
        self.message = message or self.default_message
        self.details = details
        self.retry_after = retry_after
        super().__init__(self.message)


class BadRequest(SpacesError):
    """The request cannot be read at all: broken JSON, a missing CSRF token."""

    status, code = 400, "bad_request"
    default_message = "The request could not be read."


class NotAuthenticated(SpacesError):
    """Nobody is signed in, or the token presented is not valid."""

    status, code = 401, "unauthorized"
    default_message = "Sign in, or send a valid token."


class Forbidden(SpacesError):
    """Signed in, but this action is not allowed."""

    status, code = 403, "forbidden"
    default_message = "You may not do this."


class NotFound(SpacesError):
    """It does not exist, or it is not yours: both answer alike."""

    status, code = 404, "not_found"
    default_message = "There is nothing here."


class UploadStalled(SpacesError):
    """Bytes that were announced did not come in time (RFC 9110, 15.5.9)."""

    status, code = 408, "upload_stalled"
    default_message = "The upload came too slowly or stood still. Nothing was kept; try again."


class Conflict(SpacesError):
    """The action does not fit the present state."""

    status, code = 409, "conflict"
    default_message = "This does not fit the present state."


class DuplicateName(Conflict):
    """A name is taken; letter case does not make it different."""

    code = "duplicate_name"
    default_message = "This name is taken already."


class SpaceDisabled(Conflict):
    """The space exists, but its admin switched it off."""

    code = "space_disabled"
    default_message = "This space is switched off."


class AlreadyFinal(Conflict):
    """The request has its final state and keeps it."""

    code = "already_final"
    default_message = "This request has ended already."


class NotFinal(Conflict):
    """Only a request that has ended can be retried or deleted."""

    code = "not_final"
    default_message = "This request has not ended yet."


class InProgress(Conflict):
    """A submit with the same ``Idempotency-Key`` is still being read; nothing is known of it yet."""

    code = "in_progress"
    default_message = "The first submit with this Idempotency-Key is still being accepted. Ask again in a moment."


class TooLarge(SpacesError):
    """A body, prompt or event is over its limit."""

    status, code = 413, "too_large"
    default_message = "This is larger than the site allows."


class QuotaFull(TooLarge):
    """The files of this user's requests take all the room that one user has."""

    code = "quota_full"


class UnsupportedMedia(SpacesError):
    """The content type is not one that this call reads."""

    status, code = 415, "unsupported_media_type"
    default_message = "Send application/json or multipart/form-data."


class Invalid(SpacesError):
    """Readable, but a field breaks a rule; ``details`` names the field."""

    status, code = 422, "invalid"
    default_message = "Some fields are not valid."

    @classmethod
    def field(cls, name: str, message: str) -> Invalid:
        """Return the error for one field ``name``."""
        return cls(f"{name}: {message}", details=[{"field": name, "message": message}])


class KeyReused(Invalid):
    """An ``Idempotency-Key`` came a second time, with another body than the first."""

    code = "key_reused"
    default_message = "This Idempotency-Key was used for another request. A new request needs a new key."


class TooMany(SpacesError):
    """More at the same time than a limit allows; ``Retry-After`` says when to come back."""

    status, code = 429, "too_many"
    default_message = "Too many at once. Try again later."


class QueueFull(TooMany):
    """The space's queue has reached its length."""

    code = "queue_full"
    default_message = "The queue of this space is full. Try again later."


class RateLimited(TooMany):
    """This caller has sent too many calls in a short time."""

    code = "rate_limited"
    default_message = "Too many calls in a short time. Try again later."


class Unavailable(SpacesError):
    """Cannot be served now, but may be later."""

    status, code = 503, "unavailable"
    default_message = "Not available right now. Try again later."


class SpaceOffline(Unavailable):
    """No app is connected to the space."""

    code = "space_offline"
    default_message = "No app is connected to this space: it is not connected."


class ShuttingDown(Unavailable):
    """The site is being stopped; it takes results, but nothing new."""

    code = "shutting_down"
    default_message = "The site is restarting. Try again in a moment."


class DatabaseAway(Unavailable):
    """The database does not answer; nothing was accepted, unless it is ``maybe_kept``: then nobody knows."""

    code = "database_away"
    maybe_kept = False
    default_message = "The database does not answer. Nothing was accepted; try again in a moment."


class StorageAway(Unavailable):
    """The files can be neither kept nor read; nothing of this one was kept."""

    code = "storage_away"
    default_message = "The site cannot reach its files at the moment. Nothing was accepted; try again in a moment."


class StorageFull(SpacesError):
    """No room for a file; nothing of it was kept (RFC 4918, 11.5)."""

    status, code = 507, "storage_full"
    default_message = "The site has no room for files at the moment. Nothing was accepted; tell an admin of this site."
