"""A file that a handler returns."""

from __future__ import annotations

import io
import mimetypes
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, Literal, get_args

from spaces_app.transfer import TransferError

Kind = Literal["image", "audio", "video", "file"]

KINDS: tuple[str, ...] = get_args(Kind)
UNKNOWN_TYPE = "application/octet-stream"
DEFAULT_NAME = "result"


@dataclass(eq=False)
class Media:
    """A result file with what the user should see of it.

    ``content`` is a path, bytes, or a file opened for reading bytes; such a file is read from where it stands and
    closed after it was sent. ``name`` is what the user sees (default: the path's own name). ``type`` is ``image``,
    ``audio``, ``video`` or ``file`` and says how it is shown (default: by its content, as the site finds it).
    ``content_type`` is a hint for the site (default: by the name). Raises :class:`ValueError` for another ``type``,
    and :class:`TypeError` for another ``content``.
    """

    content: Path | bytes | BinaryIO
    name: str = ""
    type: Kind | None = None
    content_type: str = ""

    def __post_init__(self) -> None:
        """Check, and fill in what was not given."""
        if not is_content(self.content):
            raise TypeError(f"a result file is a Path, bytes or a file opened as bytes, not {_name_of(self.content)}")
        if self.type is not None and self.type not in KINDS:
            raise ValueError(f"a result file's type is one of {', '.join(KINDS)}, not {self.type!r}")
        self.name = Path(self.name or self._own_name()).name or DEFAULT_NAME
        self.content_type = self.content_type or mimetypes.guess_type(self.name)[0] or UNKNOWN_TYPE

    @contextmanager
    def opened(self, folder: Path) -> Iterator[BinaryIO]:
        """Give the content as a file that can be read again; ``folder`` takes a copy of one that cannot.

        Raises :class:`TransferError` when it cannot be read.
        """
        try:
            file = self._open()
        except OSError as error:
            raise TransferError(f"the app has no such file: {error.strerror}") from None
        with file:
            if file.seekable():
                yield file
                return
            with TemporaryFile(dir=folder) as copy:
                shutil.copyfileobj(file, copy)
                copy.seek(0)
                yield copy

    def _open(self) -> BinaryIO:
        if isinstance(self.content, Path):
            return self.content.open("rb")
        return io.BytesIO(self.content) if isinstance(self.content, (bytes, bytearray)) else self.content

    def _own_name(self) -> str:
        name = self.content if isinstance(self.content, Path) else getattr(self.content, "name", "")
        return str(name) if isinstance(name, (str, Path)) else ""


def is_content(value: object) -> bool:
    """Return whether a handler's value is a file: a path, bytes, or a file opened for reading bytes."""
    if isinstance(value, (Path, bytes, bytearray)):
        return True
    return hasattr(value, "read") and not isinstance(value, io.TextIOBase)


def _name_of(value: object) -> str:
    return type(value).__name__
