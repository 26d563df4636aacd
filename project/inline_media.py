"""Files inside a result's own text: base64 (RFC 4648) and ``data:`` addresses (RFC 2397), as older apps send them."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any
from urllib.parse import unquote_to_bytes

MEDIA_KEYS = ("image", "audio", "video")
#: A shorter text under such a key is a word, not a file.
MIN_CHARS = 24
DATA_ADDRESS = re.compile(r"data:(?P<type>[\w.+-]+/[\w.+-]+)?(?:;[\w.+-]+=[^;,]*)*(?P<base64>;base64)?,", re.IGNORECASE)
FORMAT = re.compile(r"[A-Za-z0-9.+-]{1,40}")
#: Formats whose name is not the second half of their content type.
FORMATS = {"mp3": "mpeg", "jpg": "jpeg", "m4a": "mp4", "ogv": "ogg", "oga": "ogg", "opus": "ogg", "mov": "quicktime"}


def media_of(result: dict[str, Any]) -> tuple[list[dict[str, Any]], set[str]]:
    """Return the media parts in a plain result object, and the keys that they were read from.

    What is no base64 under such a key is left alone; a list is read when each of its items is a file.
    """
    parts: list[dict[str, Any]] = []
    used: set[str] = set()
    for key in MEDIA_KEYS:
        read = _read(key, result)
        if read:
            parts += read
            used |= {key, f"{key}_format"}
    return parts, used


def _read(key: str, result: dict[str, Any]) -> list[dict[str, Any]]:
    value = result.get(key)
    texts = value if isinstance(value, list) else [value]
    declared = type_of(key, result.get(f"{key}_format"))
    read = [decoded(text, declared) for text in texts if isinstance(text, str) and len(text) >= MIN_CHARS]
    found = [{"type": key, "content": one[0], "declared": one[1]} for one in read if one]
    return found if len(found) == len(texts) else []


def type_of(kind: str, file_format: object) -> str:
    """Return the content type of a format such as ``wav`` or ``image/png``; empty when it says nothing."""
    if not isinstance(file_format, str) or not FORMAT.fullmatch(file_format.replace("/", "", 1)):
        return ""
    if "/" in file_format or kind == "file":
        return file_format if "/" in file_format else ""
    return f"{kind}/{FORMATS.get(file_format.lower(), file_format.lower())}"


def decoded(text: str, declared: str) -> tuple[bytes, str] | None:
    """Return the bytes of base64 or of a ``data:`` address with their content type; None when it is neither."""
    address = DATA_ADDRESS.match(text)
    try:
        if address and not address["base64"]:
            return unquote_to_bytes(text[address.end() :]), address["type"] or declared
        start = address.end() if address else 0
        content = base64.b64decode("".join(text[start:].split()), validate=True)
    except (binascii.Error, ValueError):
        return None
    return (content, (address and address["type"]) or declared) if content else None
