"""Files that arrive with one call: bounded, counted, hashed and looked at as they come, and all kept or none."""

from __future__ import annotations

import hashlib
import secrets
import time
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

from project import file_types
from project.errors import DatabaseAway, Invalid, TooLarge
from project.file_rows import MAX_NAME, NewFile
from project.file_storage import Incoming, Storage

MEGABYTE = 1_000_000
NO_NAME = "file"
MAX_ENDING = 20
#: Seconds between two signs that the files of one call are still needed; far below those after which they are swept.
TOUCH_SECONDS = 300.0
#: What could make a name look like another one: controls, line ends, marks that turn the direction of writing.
BIDI = {"\u061c", "\u200e", "\u200f", *map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A))}
UNSEEN = {"Cc", "Cs", "Zl", "Zp"}


@dataclass(frozen=True, slots=True)
class Allowance:
    """What may arrive: files for these ``fields`` (None: files of a result, which have none), so many, so many bytes.

    ``count_before`` and ``bytes_before`` are what came earlier and counts too; ``largest`` bounds each file, when
    that is less than all together.
    """

    fields: frozenset[str] | None
    count: int
    bytes: int
    count_before: int = 0
    bytes_before: int = 0
    largest: int | None = None


class Arrival:
    """One file that is arriving: counted, hashed and looked at as it comes."""

    def __init__(self, reception: Reception, file: NewFile, declared: str, incoming: Incoming) -> None:
        self._reception = reception
        self._file = file
        self._declared = declared
        self._incoming = incoming
        self._hash = hashlib.sha256()
        self._head = b""
        self._size = 0

    def write(self, chunk: bytes) -> None:
        """Take bytes. Raises :class:`TooLarge`, :class:`StorageFull`, or :class:`Invalid` for the wrong content."""
        self._size += len(chunk)
        self._reception.spend(len(chunk), self._file.field, self._size)
        if len(self._head) < file_types.HEAD_BYTES:
            self._head += chunk[: file_types.HEAD_BYTES - len(self._head)]
            if len(self._head) == file_types.HEAD_BYTES:
                self._look()
        self._hash.update(chunk)
        self._incoming.write(chunk)

    def finish(self) -> NewFile:
        """Take note that all has come and return the file. Raises as :meth:`write`."""
        if self._file.field and not self._size:
            raise Invalid.field(self._file.field, f"“{self._file.name}” is empty")
        kind = self._look()
        self._incoming.close()
        file = replace(self._file, content_type=kind, size=self._size, sha256=self._hash.hexdigest())
        self._reception.has_come(file, self._incoming)
        return file

    def _look(self) -> str:
        field = self._file.field or ""
        kind = file_types.content_type(self._head, self._declared, field)
        if field and not file_types.fits(kind, field):
            raise Invalid.field(field, f"“{self._file.name}” is not {field}: by its content it is {kind}")
        return kind


class Reception:
    """The files that arrive with one call. Whatever is not released when it closes leaves nothing behind."""

    def __init__(self, storage: Storage, allowance: Allowance) -> None:
        self._storage = storage
        self._allowance = allowance
        self._left = allowance.bytes - allowance.bytes_before
        self._largest = allowance.bytes if allowance.largest is None else allowance.largest
        self._begun: list[Callable[[], None]] = []
        self._arriving: list[Incoming] = []
        self._whole: list[Incoming] = []
        self._touched = time.monotonic()
        self.files: list[NewFile] = []

    def begin(self, name: str, declared: str = "", field: str | None = None, announced: int = 0) -> Arrival:
        """Begin with a file: ``declared`` is its content type as the sender says, ``announced`` its bytes if known.

        Raises :class:`Invalid` naming ``field``, :class:`TooLarge`, or :class:`StorageFull`.
        """
        if self._allowance.fields is None:
            field = None
        elif field is not None:
            self._check_field(field, self._allowance.fields)
        if self._allowance.count_before + len(self._begun) >= self._allowance.count:
            raise self._too_many(field or "file")
        key = secrets.token_hex(16)
        file = NewFile(key, clean_name(name), file_types.UNKNOWN, 0, "", field)
        incoming = self._storage.receive(key, announced)
        self._begun.append(incoming.discard)
        self._arriving.append(incoming)
        return Arrival(self, file, declared, incoming)

    def copy(self, facts: Mapping[str, Any]) -> None:
        """Take a file that an earlier request was given once more. Raises :class:`NotFound` when its bytes are gone."""
        key = secrets.token_hex(16)
        self._storage.copy(facts["file_id"], key)
        self._begun.append(lambda: self._storage.delete(key))
        known = {name: facts[name] for name in ("name", "content_type", "size", "sha256", "field")}
        self.files.append(NewFile(id=key, **known))

    def _check_field(self, field: str, allowed: frozenset[str]) -> None:
        if field not in allowed:
            raise Invalid.field(field, f"this space takes no {field}")
        if field != "file" and any(file.field == field for file in self.files):
            raise Invalid.field(field, "only one is taken")

    def expect(self, announced: int) -> None:
        """Raise :class:`TooLarge` when so many bytes more are not allowed."""
        if announced > self.bytes_left:
            raise self._too_large("file")

    def spend(self, size: int, field: str | None, size_of_file: int) -> None:
        """Count bytes of a file that has so many by now. Raises :class:`TooLarge` naming the field."""
        self._touch()
        self._left -= size
        if self._left < 0 or size_of_file > self._largest:
            raise self._too_large(field or "file")

    def has_come(self, file: NewFile, incoming: Incoming) -> None:
        """Take note of a file that is whole."""
        self.files.append(file)
        self._whole.append(incoming)

    def _touch(self) -> None:
        """Keep what has come already from being swept as abandoned: the whole may take hours on a slow line."""
        now = time.monotonic()
        if now - self._touched >= TOUCH_SECONDS:
            self._touched = now
            for incoming in self._arriving:
                incoming.touch()

    def keep(self) -> None:
        """Make the bytes of all files readable; call it just before their rows are committed.

        Raises :class:`StorageFull`.
        """
        for incoming in self._whole:
            incoming.keep()
        self._arriving.clear()

    def _too_large(self, field: str) -> TooLarge:
        limit = f"{self._largest / MEGABYTE:g} MB of files are allowed together"
        return TooLarge(f"{field}: {limit}", details=[{"field": field, "message": limit}])

    def _too_many(self, field: str) -> Invalid:
        return Invalid.field(field, f"at most {self._allowance.count} files are taken")

    @property
    def bytes_left(self) -> int:
        """How many bytes the next file may have."""
        return max(0, min(self._left, self._largest))

    def recount(self, count_before: int, bytes_before: int) -> None:
        """Look again at the whole, now that so much came before. Raises :class:`TooLarge` or :class:`Invalid`."""
        size = bytes_before + sum(file.size for file in self.files)
        if size > self._allowance.bytes:
            raise self._too_large("file")
        if count_before + len(self.files) > self._allowance.count:
            raise self._too_many("file")

    def release(self) -> None:
        """The rows of these files are committed: from now on the bytes belong to them."""
        self._begun.clear()

    def __enter__(self) -> Reception:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Discard what was not released, unless a commit may have gone through unheard: then the sweep decides."""
        if not (isinstance(error, DatabaseAway) and error.maybe_kept):
            for discard in self._begun:
                discard()


def clean_name(name: str) -> str:
    """Return a file's name as it can be shown and kept: no folders, nothing unseen, at most 255 characters."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    seen = "".join("_" if char in BIDI or unicodedata.category(char) in UNSEEN else char for char in last).strip()
    if len(seen) > MAX_NAME:
        stem, dot, ending = seen.rpartition(".")
        ending = dot + ending if stem and len(ending) <= MAX_ENDING else ""
        seen = seen[: MAX_NAME - len(ending)] + ending
    return seen if seen.strip(".") else NO_NAME
