"""Cursors: what a list or a held call goes on from, opaque to whoever carries it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from typing import Any

from project.errors import Invalid

MAX_CURSOR = 1_000
MAX_NUMBER = 1e12


def encode(value: Any) -> str:
    """Return ``value`` as a cursor."""
    text = json.dumps(value, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode(cursor: str, *kinds: type | tuple[type, ...], field: str = "cursor") -> list[Any]:
    """Return the list in a cursor, its items being of ``kinds``. Raises :class:`Invalid` naming ``field``."""
    try:
        padded = cursor[:MAX_CURSOR] + "=" * (-len(cursor[:MAX_CURSOR]) % 4)
        value = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, RecursionError) as error:
        raise Invalid.field(field, "is not a cursor of this list") from error
    if not _fits(value, kinds):
        raise Invalid.field(field, "is not a cursor of this list")
    return list(value)


def _fits(value: Any, kinds: tuple[type | tuple[type, ...], ...]) -> bool:
    return (
        isinstance(value, list)
        and len(value) == len(kinds)
        and all(isinstance(item, kind) and _is_sound(item) for item, kind in zip(value, kinds, strict=True))
    )


def _is_sound(item: Any) -> bool:
    """Whether a database can compare with it: no NUL in a text, no number beyond its columns."""
    return item.isprintable() if isinstance(item, str) else abs(item) < MAX_NUMBER


def digest(value: Any) -> str:
    """Return a short fingerprint of a JSON-able value."""
    return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=9).hexdigest()
