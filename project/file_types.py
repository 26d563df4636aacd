"""What a file is, by its content: names and declared types are only asked where the content leaves it open."""

from __future__ import annotations

import puremagic

#: Bytes from the beginning that are looked at.
HEAD_BYTES = 8_192
UNKNOWN = "application/octet-stream"
TEXT = "text/plain"
MAX_TYPE = 100

#: What a content type that the library knows is called here.
SAME = {
    "audio/wave": "audio/wav",
    "audio/x-wav": "audio/wav",
    "audio/vnd.wave": "audio/wav",
    "audio/x-aiff": "audio/aiff",
    "audio/x-flac": "audio/flac",
    "audio/x-m4a": "audio/mp4",
    "application/ogg": "audio/ogg",
    "application/x-matroska": "video/x-matroska",
    "image/x-ms-bmp": "image/bmp",
    "video/avi": "video/x-msvideo",
    "video/dvd": "video/mpeg",
}
#: Containers that hold sound alone or pictures too: the field, then the declared type, says which.
EITHER = {
    "audio/mp4": "video/mp4",
    "audio/webm": "video/webm",
    "audio/ogg": "video/ogg",
    "audio/x-matroska": "video/x-matroska",
}
_BY_FAMILY = {
    "audio": {kind: sound for sound, picture in EITHER.items() for kind in (sound, picture)},
    "video": {kind: picture for sound, picture in EITHER.items() for kind in (sound, picture)},
}
#: What browsers show or play and what cannot run anything: only these are ever sent inline.
INLINE = frozenset(
    {
        *("image/png", "image/jpeg", "image/gif", "image/webp", "image/bmp", "image/avif"),
        *("audio/wav", "audio/mpeg", "audio/ogg", "audio/webm", "audio/mp4", "audio/flac", "audio/aac"),
        *("video/mp4", "video/webm", "video/ogg", "video/quicktime", "video/x-matroska"),
    }
)
#: The machine's own list of endings differs from machine to machine.
ENDINGS = {
    **{kind: f".{kind.split('/')[1]}" for kind in INLINE},
    **{"image/jpeg": ".jpg", "audio/mpeg": ".mp3", "audio/mp4": ".m4a"},
    **{"video/ogg": ".ogv", "video/quicktime": ".mov", "video/x-matroska": ".mkv"},
}
#: What is sent under its own type, though only as a download.
HARMLESS = INLINE | {TEXT, "application/pdf", "application/zip", "application/json", "image/tiff", "audio/aiff"}


def content_type(head: bytes, declared: str = "", field: str = "") -> str:
    """Return the content type of a file by its first :data:`HEAD_BYTES` bytes.

    ``declared`` and ``field`` (``audio`` or ``video``) decide only between the two readings of one container.
    """
    found = _of_content(head)
    for wish in (field, declared.split("/")[0]):
        if wish in _BY_FAMILY:
            return _BY_FAMILY[wish].get(found, found)
    return found


def _of_content(head: bytes) -> str:
    if not head:
        return UNKNOWN
    try:
        guesses = puremagic.magic_string(head)
    except (puremagic.PureError, ValueError):
        guesses = []
    for guess in guesses:
        kind: str = SAME.get(guess.mime_type, guess.mime_type)
        if kind and len(kind) <= MAX_TYPE and kind.isascii() and kind.isprintable():
            return kind
    return TEXT if _is_text(head) else UNKNOWN


def _is_text(head: bytes) -> bool:
    """Whether these bytes read as text; a character cut off at the end does not count."""
    if b"\x00" in head:
        return False
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start >= len(head) - 3 and error.reason == "unexpected end of data"
    return True


def family(kind: str) -> str:
    """Return what a file is shown as: ``image``, ``audio``, ``video``, or ``file`` when a browser cannot show it."""
    return kind.split("/")[0] if kind in INLINE else "file"


def read_as(kind: str, shown: str) -> str:
    """Return the content type when whoever made the file says that it is ``audio`` or ``video``."""
    return _BY_FAMILY.get(shown, {}).get(kind, kind)


def fits(kind: str, field: str) -> bool:
    """Whether a file of this content type may be given in the input ``field``; the input ``file`` takes any."""
    return field == "file" or kind.split("/")[0] == field


def ending(kind: str) -> str:
    """Return the usual ending of a file's name, with its dot; empty when there is none."""
    return ENDINGS.get(kind, "")


def sent_as(kind: str) -> str:
    """Return the content type under which a file is sent: what could run anywhere is sent as plain bytes."""
    return kind if kind in HARMLESS else UNKNOWN
