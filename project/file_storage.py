"""Where the bytes of files are. :class:`Storage` is the whole of what the site asks; keys are ids, never paths.

:class:`FolderStorage` keeps them in a local folder. An object store would be another class with the same methods:
no path leaves this file.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Protocol

from project.errors import NotFound, SpacesError, StorageAway, StorageFull

KEY = re.compile(r"[0-9a-f]{32}")
#: Bytes between two looks at how full the disk is.
LOOK_EVERY = 16_000_000
FULL_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
#: Seconds after which to come again when the folder is gone, or may not be written.
COME_AGAIN = 5.0


class Incoming(Protocol):
    """Bytes that are arriving. They count for nothing until :meth:`keep`."""

    def write(self, chunk: bytes) -> None:
        """Append bytes. Raises :class:`StorageFull` or :class:`StorageAway`."""

    def close(self) -> None:
        """Take note that all has come. Raises as :meth:`write`."""

    def touch(self) -> None:
        """Say that somebody still needs it, so that it does not count as abandoned."""

    def keep(self) -> None:
        """Make what was closed readable under its key. Raises as :meth:`write`."""

    def discard(self) -> None:
        """Leave nothing behind, also after :meth:`keep`."""


class Storage(Protocol):
    """Keeps bytes under keys of 32 hexadecimal digits."""

    def belongs_to(self, name: str) -> bool:
        """Take ``name`` for good if it has none yet; say whether it is the one that it has."""

    def receive(self, key: str, announced: int = 0) -> Incoming:
        """Begin to take bytes, ``announced`` of them if that is known. Raises as :meth:`Incoming.write`."""

    def open(self, key: str) -> BinaryIO:
        """Return the bytes as a file that can seek; it stays whole when they are deleted.

        Raises :class:`NotFound`, or :class:`StorageAway` when nothing at all can be read.
        """

    def copy(self, key: str, new_key: str) -> None:
        """Keep the same bytes under another key too. Raises as :meth:`open` and :meth:`Incoming.write`."""

    def delete(self, key: str) -> None:
        """Forget the bytes; those that are gone already are passed over. Raises :class:`StorageAway`."""

    def keys(self, before: float) -> Iterator[str]:
        """Yield the keys of all bytes kept before that time (Unix seconds)."""

    def drop_abandoned(self, before: float) -> int:
        """Forget bytes that stopped arriving before that time (Unix seconds); return how many there were."""


class FolderStorage:
    """Keeps each file under its key in ``folder``, which only the owner may enter.

    ``min_free`` bytes of the disk stay free. ``durable`` also survives a power cut.
    """

    def __init__(self, folder: Path, *, min_free: int, durable: bool = False) -> None:
        self._arriving = folder / "arriving"
        self._kept = folder / "kept"
        self._name = folder / "name"
        self._min_free = min_free
        self._durable = durable
        for place in (self._arriving, self._kept):
            place.mkdir(parents=True, exist_ok=True, mode=0o700)

    def belongs_to(self, name: str) -> bool:
        """Take ``name`` for good if it has none yet; see :class:`Storage`."""
        if not self._name.exists() or not self._name.read_text(encoding="ascii"):  # a crash may have left it empty
            self._name.write_text(name, encoding="ascii")
        return self.name() == name

    def name(self) -> str | None:
        """Return the name that it has taken, if any."""
        return (self._name.read_text(encoding="ascii").strip() or None) if self._name.exists() else None

    def receive(self, key: str, announced: int = 0) -> FolderIncoming:
        """Begin to take bytes; see :class:`Storage`."""
        self.check_room(announced)
        return FolderIncoming(self, self._arriving / _checked(key), self._path(key), durable=self._durable)

    def open(self, key: str) -> BinaryIO:
        """Open the bytes; see :class:`Storage`."""
        try:
            return self._path(key).open("rb")
        except OSError as error:
            raise self._unreadable(error) from error

    def copy(self, key: str, new_key: str) -> None:
        """Keep the same bytes under another key, without copying them where the disk can share them."""
        old, new = self._path(key), self._path(new_key)
        try:
            new.parent.mkdir(exist_ok=True, mode=0o700)
            os.utime(old)  # the copy, which shares its times, is to be as young as any other file without a row
            os.link(old, new)
            self.settle(new.parent)
        except FileNotFoundError as error:
            raise self._unreadable(error) from error
        except OSError:
            self._copy_bytes(key, new_key)

    def _copy_bytes(self, key: str, new_key: str) -> None:
        with self.open(key) as source:
            target = self.receive(new_key, os.fstat(source.fileno()).st_size)
            try:
                for chunk in iter(lambda: source.read(LOOK_EVERY), b""):
                    target.write(chunk)
                target.close()
                target.keep()
            except BaseException:
                target.discard()
                raise

    def settle(self, folder: Path) -> None:
        """Where durability is wanted, see that the names in ``folder`` survive a power cut too."""
        if self._durable:
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def delete(self, key: str) -> None:
        """Forget the bytes; whoever reads them reads on."""
        try:
            self._path(key).unlink(missing_ok=True)
        except OSError as error:
            raise StorageAway(retry_after=COME_AGAIN) from error

    def keys(self, before: float) -> Iterator[str]:
        """Yield the keys of all bytes kept before that time; see :class:`Storage`."""
        return (path.name for path in self._paths() if _changed_before(path, before))

    def _paths(self) -> Iterator[Path]:
        return (path for path in self._kept.glob("??/*") if KEY.fullmatch(path.name))

    def is_empty(self) -> bool:
        """Whether nothing is kept at all."""
        return next(self._paths(), None) is None

    def drop_abandoned(self, before: float) -> int:
        """Forget bytes that stopped arriving; see :class:`Storage`."""
        old = [path for path in self._arriving.iterdir() if _changed_before(path, before)]
        for path in old:
            path.unlink(missing_ok=True)
        return len(old)

    def abandoned(self, before: float) -> list[int]:
        """Return the sizes of what :meth:`drop_abandoned` would forget."""
        return [_size(path) for path in self._arriving.iterdir() if _changed_before(path, before)]

    def size(self, key: str) -> int:
        """Return how many bytes are kept under a key; 0 when it is gone."""
        return _size(self._path(key))

    def take_over(self, other: FolderStorage) -> list[str]:
        """Move all that ``other``, on the same disk, keeps to here; return the keys that were not here before."""
        new = []
        for source in list(other._paths()):
            path = self._path(source.name)
            path.parent.mkdir(exist_ok=True, mode=0o700)
            new += [] if path.exists() else [source.name]
            source.replace(path)
        return new

    def copy_to(self, folder: Path) -> None:
        """Keep all that is kept here in ``folder`` too, without copying bytes where the disk can share them."""
        shutil.copytree(self._kept.parent, folder, copy_function=linked_or_copied)

    def check_room(self, wanted: int = 0) -> None:
        """Raise :class:`StorageFull` when the disk would have less than ``min_free`` with so many bytes more."""
        try:
            free = shutil.disk_usage(self._kept).free
        except OSError as error:
            raise _refusal(error) from error
        if free - wanted < self._min_free:
            raise StorageFull

    def _unreadable(self, error: OSError) -> SpacesError:
        """Tell a file that is gone from a folder that is gone."""
        if isinstance(error, FileNotFoundError) and self._kept.is_dir():
            return NotFound("This file does not exist any more.")
        return _refusal(error)

    def _path(self, key: str) -> Path:
        return self._kept / _checked(key)[:2] / key


class FolderIncoming:
    """A file that is being written; it becomes visible under its key as a whole or not at all."""

    def __init__(self, storage: FolderStorage, temporary: Path, final: Path, *, durable: bool) -> None:
        self._storage = storage
        self._temporary = temporary
        self._final = final
        self._durable = durable
        self._unwatched = 0
        try:
            self._file = os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
        except OSError as error:
            raise _refusal(error) from error

    def write(self, chunk: bytes) -> None:
        """Append bytes; see :class:`Incoming`."""
        self._unwatched += len(chunk)
        if self._unwatched >= LOOK_EVERY:
            self._unwatched = 0
            self._storage.check_room()
        try:
            self._file.write(chunk)
        except OSError as error:
            raise _refusal(error) from error

    def close(self) -> None:
        """Take note that all has come; see :class:`Incoming`."""
        try:
            self._file.flush()
            if self._durable:
                os.fsync(self._file.fileno())
            self._file.close()
        except OSError as error:
            raise _refusal(error) from error

    def touch(self) -> None:
        """Say that somebody still needs it."""
        with suppress(OSError):  # whatever is wrong, the next bytes will say so
            os.utime(self._temporary)

    def keep(self) -> None:
        """Make the file visible; see :class:`Incoming`."""
        try:
            self._final.parent.mkdir(exist_ok=True, mode=0o700)
            self._temporary.replace(self._final)
            self._storage.settle(self._final.parent)
        except OSError as error:
            raise _refusal(error) from error

    def discard(self) -> None:
        """Leave nothing behind."""
        with suppress(OSError):  # a full disk may refuse the last bytes of a file that goes anyway
            self._file.close()
        for path in (self._temporary, self._final):
            with suppress(OSError):  # where nothing can be deleted either, a sweep finds it later
                path.unlink(missing_ok=True)


def linked_or_copied(old: Path | str, new: Path | str) -> None:
    """Keep a file under another name too, without copying bytes where the disk can share them."""
    try:
        os.link(old, new)
    except OSError:
        shutil.copy2(old, new)


def _refusal(error: OSError) -> StorageFull | StorageAway:
    """Return what to say when the disk refuses: it is full, or it cannot be reached or written at all."""
    return StorageFull() if error.errno in FULL_ERRORS else StorageAway(retry_after=COME_AGAIN)


def _checked(key: str) -> str:
    """Return ``key`` if it is one. Raises :class:`NotFound`, so that no text from outside ever becomes a path."""
    if not KEY.fullmatch(key):
        raise NotFound("There is no such file.")
    return key


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _changed_before(path: Path, moment: float) -> bool:
    """Whether a file was last written before ``moment``; one that is gone meanwhile was not."""
    try:
        return path.stat().st_mtime < min(moment, time.time())
    except FileNotFoundError:
        return False
