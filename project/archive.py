"""The file of a backup: a plain tar in which every byte is checked.

It is written front to back and ends with ``manifest.json`` and ``SHA256SUMS``, so a file that broke off has neither.
Names are of a few known kinds and never become paths. A reader takes no header but the very one that the writer
would have written: links, other owners, long names and everything else that a tar can say is refused.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from tarfile import BLOCKSIZE, GNU_FORMAT, NUL, TarError, TarInfo
from typing import Any, BinaryIO

MANIFEST, SUMS = "manifest.json", "SHA256SUMS"
ROWS, FILES, FOLDER = "rows/{}.jsonl", "files/{}", "folder/{}"
NAME = re.compile(
    r"rows/[a-z_]{1,60}\.jsonl|files/[0-9a-f]{32}|folder/(secret-key|first-admin\.json)|manifest\.json|SHA256SUMS"
)
CHUNK = 1 << 20
END = NUL * (2 * BLOCKSIZE)
#: Bytes of a manifest or of one of the small files beside the database that are read at once.
SMALL = 64_000_000

Watch = Callable[[int], None]


class BadArchive(Exception):
    """The file is no backup, or not the one that was written; the message says how that was seen."""


class NotAsSaid(Exception):
    """A source cannot be read, or has other bytes than its size and hash say; nothing of it is in the archive."""


def header(name: str, size: int, at: int) -> bytes:
    """Return the one header that a member of this name and size (bytes) has; ``at`` is in Unix seconds."""
    info = TarInfo(name)
    info.size, info.mtime, info.mode = size, at, 0o600
    return info.tobuf(GNU_FORMAT)


class ArchiveWriter:
    """Writes members to ``file``; ``at`` (Unix seconds) is the time that they carry. End with :meth:`finish`."""

    def __init__(self, file: BinaryIO, at: int) -> None:
        self._file, self._at = file, at
        self._sums = io.BytesIO()

    def add(self, name: str, source: BinaryIO, size: int, sha256: str | None = None, watch: Watch | None = None) -> str:
        """Add what ``source`` holds and return its SHA-256.

        Raises :class:`NotAsSaid`, with the archive as it was before, when it has not ``size`` bytes or another hash.
        """
        assert NAME.fullmatch(name), name
        start = self._file.tell()
        self._file.write(header(name, size, self._at))
        try:
            written, digest = _pour(source, self._file, size, watch)
            if written != size or _read(source, 1):
                raise NotAsSaid("another size than was written")
            if sha256 not in (None, digest):
                raise NotAsSaid("other bytes than were written")
        except NotAsSaid:
            self._file.seek(start)
            self._file.truncate()
            raise
        self._file.write(NUL * (-size % BLOCKSIZE))
        self._sums.write(f"{digest}  {name}\n".encode("ascii"))
        return digest

    def finish(self, manifest: dict[str, Any]) -> None:
        """Add the manifest and the sums, and end the archive."""
        text = json.dumps(manifest, indent=1, sort_keys=True).encode() + b"\n"
        self.add(MANIFEST, io.BytesIO(text), len(text))
        sums = self._sums.getvalue()
        self._file.write(header(SUMS, len(sums), self._at) + sums + NUL * (-len(sums) % BLOCKSIZE) + END)


@dataclass(frozen=True, slots=True)
class Member:
    """One member: where its bytes begin, how many there are, and their SHA-256."""

    offset: int
    size: int
    sha256: str


class ArchiveReader:
    """Reads an archive that is checked as a whole before anything of it is used; ``watch`` is told of bytes read.

    Raises :class:`BadArchive` when any byte of it is not as it was written.
    """

    def __init__(self, file: BinaryIO, watch: Watch | None = None) -> None:
        self._file = file
        self.members: dict[str, Member] = {}
        try:
            self._read_all(watch)
        except (TarError, NotAsSaid) as error:
            raise BadArchive(f"This is no backup, or a damaged one: {error}.") from error
        if MANIFEST not in self.members or list(self.members)[-1:] != [SUMS]:
            raise BadArchive("The backup is not whole: its end is missing.")
        self._check_sums()
        self.manifest = self._manifest()

    def _read_all(self, watch: Watch | None) -> None:
        while (block := self._file.read(BLOCKSIZE)) != NUL * BLOCKSIZE:
            info = TarInfo.frombuf(block, "utf-8", "surrogateescape")
            if not NAME.fullmatch(info.name) or info.name in self.members:
                raise BadArchive(f"A backup has no such member, or not twice: {info.name[:100]!r}.")
            if info.size < 0 or block != header(info.name, info.size, int(info.mtime)):
                raise BadArchive(f"The member {info.name} is not as this program writes it.")
            offset = self._file.tell()
            read, digest = _pour(self._file, None, info.size, watch)
            padding = -info.size % BLOCKSIZE
            if read != info.size or self._file.read(padding) != NUL * padding:
                raise BadArchive(f"The backup is not whole: it ends in {info.name}, or its padding is damaged.")
            self.members[info.name] = Member(offset, info.size, digest)
        if self._file.read(BLOCKSIZE + 1) != NUL * BLOCKSIZE:
            raise BadArchive("The backup does not end where it says so.")

    def _check_sums(self) -> None:
        said = {name: sha256 for sha256, _, name in (line.partition("  ") for line in self._lines_of(SUMS))}
        found = {name: member.sha256 for name, member in self.members.items() if name != SUMS}
        for name in found.keys() | said.keys():
            if found.get(name) != said.get(name):
                raise BadArchive(f"The backup is damaged: {name[:100]} is not what was written.")

    def _manifest(self) -> dict[str, Any]:
        try:
            manifest = json.loads(self.read(MANIFEST))
        except ValueError as error:
            raise BadArchive("The backup's manifest cannot be read.") from error
        if not isinstance(manifest, dict):
            raise BadArchive("The backup's manifest says nothing.")
        return manifest

    def _lines_of(self, name: str) -> Iterator[str]:
        return (line.decode("utf-8", "replace") for line in self.lines(name))

    def read(self, name: str) -> bytes:
        """Return the bytes of a small member. Raises :class:`BadArchive` when it is none, or not there."""
        member = self.member(name)
        if member.size > SMALL:
            raise BadArchive(f"{name} is too large to be true.")
        return b"".join(self.chunks(name))

    def member(self, name: str) -> Member:
        """Return what is known of a member. Raises :class:`BadArchive` when it is not there."""
        if name not in self.members:
            raise BadArchive(f"The backup lacks {name}.")
        return self.members[name]

    def chunks(self, name: str) -> Iterator[bytes]:
        """Yield the bytes of a member. Raises :class:`BadArchive` when they have changed since they were checked."""
        member, digest = self.member(name), hashlib.sha256()
        for place in range(0, member.size, CHUNK):
            self._file.seek(member.offset + place)
            chunk = self._file.read(min(CHUNK, member.size - place))
            digest.update(chunk)
            yield chunk
        if digest.hexdigest() != member.sha256:
            raise BadArchive(f"{name} has changed while it was read.")

    def lines(self, name: str) -> Iterator[bytes]:
        """Yield the lines of a member, without their ends."""
        rest = b""
        for chunk in self.chunks(name):
            *whole, rest = (rest + chunk).split(b"\n")
            yield from whole
        if rest:
            raise BadArchive(f"{name} ends in the middle of a line.")


def _read(source: BinaryIO, size: int) -> bytes:
    try:
        return source.read(size)
    except OSError as error:
        raise NotAsSaid(f"it cannot be read: {error.strerror}") from error


def _pour(source: BinaryIO, target: BinaryIO | None, size: int, watch: Watch | None = None) -> tuple[int, str]:
    """Copy (or only read) up to ``size`` bytes; return how many there were, and their SHA-256."""
    left, digest = size, hashlib.sha256()
    while left and (chunk := _read(source, min(CHUNK, left))):
        digest.update(chunk)
        left -= len(chunk)
        if target:
            target.write(chunk)
        if watch:
            watch(len(chunk))
    return size - left, digest.hexdigest()
