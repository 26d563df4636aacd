"""The inputs beside the prompt: what their fields on a space's page say, and which of them a space takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from project.models import Space


@dataclass(frozen=True)
class Upload:
    """One field of the form; ``kind`` is its name there. ``record`` is the button that records, if one can."""

    kind: str
    label: str
    help: str
    accept: str | None = None
    record: str | None = None

    @property
    def is_many(self) -> bool:
        """Whether it takes more than one file."""
        return self.kind == "file"


UPLOADS = (
    # A browser's own recordings are .webm and .m4a, which its file dialog does not always take for audio.
    Upload("audio", "Audio", "One recording, such as mp3, wav or webm.", "audio/*,.webm,.m4a,.ogg", "Record audio"),
    Upload("video", "Video", "One video, such as mp4 or webm.", "video/*", "Record video"),
    Upload("file", "Files", "Files of any kind; they are passed on and never opened here."),
)


def uploads_of(space: Space) -> list[Upload]:
    """Return the fields that this space's admin switched on."""
    return [upload for upload in UPLOADS if getattr(space, f"input_{upload.kind}")]


def inputs_of(space: Space) -> list[str]:
    """Return the names of all inputs that are switched on, the prompt first."""
    return (["prompt"] if space.input_prompt else []) + [upload.kind for upload in uploads_of(space)]


def limit_words(limits: dict[str, Any], uploads: Sequence[Upload]) -> str:
    """Say how much one request may carry, in words that follow "at most"; a count only where it can be reached."""
    size = f"{limits['upload_mb']:g} MB in all"
    count = limits["files"]
    if not any(upload.is_many for upload in uploads) and count >= len(uploads):
        return size
    return f"{count} {'file' if count == 1 else 'files'}, {size}"
