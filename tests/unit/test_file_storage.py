"""The folder that keeps bytes: all or nothing, private, and no way out of it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from project.errors import NotFound, StorageFull
from project.file_storage import LOOK_EVERY, FolderStorage

KEY, OTHER = "a" * 32, "b" * 32


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "files"


@pytest.fixture
def storage(folder: Path) -> FolderStorage:
    return FolderStorage(folder, min_free=0)


def keep(storage: FolderStorage, key: str = KEY, content: bytes = b"hello") -> None:
    incoming = storage.receive(key)
    incoming.write(content)
    incoming.close()
    incoming.keep()


def test_durable_bytes_are_kept_as_well(folder: Path) -> None:
    durable = FolderStorage(folder, min_free=0, durable=True)
    keep(durable)
    durable.copy(KEY, OTHER)
    assert read(durable, OTHER) == b"hello"


def read(storage: FolderStorage, key: str = KEY) -> bytes:
    with storage.open(key) as file:
        return file.read()


def test_bytes_are_there_once_they_are_kept(storage: FolderStorage) -> None:
    incoming = storage.receive(KEY)
    incoming.write(b"hel")
    with pytest.raises(NotFound):
        storage.open(KEY)
    incoming.write(b"lo")
    incoming.close()
    with pytest.raises(NotFound):
        storage.open(KEY)
    incoming.keep()
    assert read(storage) == b"hello"


def test_a_kept_file_can_still_be_discarded(storage: FolderStorage) -> None:
    incoming = storage.receive(KEY)
    incoming.write(b"x")
    incoming.close()
    incoming.keep()
    incoming.discard()
    with pytest.raises(NotFound):
        storage.open(KEY)


def test_a_download_under_way_ends_whole(storage: FolderStorage) -> None:
    keep(storage)
    with storage.open(KEY) as file:
        assert file.read(2) == b"he"
        storage.delete(KEY)
        assert file.read() == b"llo"
    storage.delete(KEY)  # once more does no harm


@pytest.mark.parametrize(
    "key",
    ["../" + "a" * 29, "/etc/passwd", "a" * 31, "a" * 33, "A" * 32, "", "a" * 31 + "\n", "a" * 31 + "\x00", "٣" * 32],
    ids=repr,
)
def test_no_text_from_outside_becomes_a_path(storage: FolderStorage, key: str) -> None:
    for call in (storage.open, storage.delete, storage.receive, lambda key: storage.copy(key, OTHER)):
        with pytest.raises(NotFound):
            call(key)


def test_only_the_owner_can_read(storage: FolderStorage, folder: Path) -> None:
    keep(storage)
    for path in (folder / "kept", folder / "arriving", folder / "kept" / KEY[:2]):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "kept" / KEY[:2] / KEY).stat().st_mode) == 0o600


def test_a_copy_is_young_and_independent(storage: FolderStorage, folder: Path) -> None:
    keep(storage)
    os.utime(folder / "kept" / KEY[:2] / KEY, (1, 1))
    storage.copy(KEY, OTHER)
    storage.delete(KEY)
    assert read(storage, OTHER) == b"hello"
    assert list(storage.keys(before=1_000_000.0)) == []


def test_a_copy_without_links(storage: FolderStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_paths: object) -> None:
        raise OSError(1, "the disk knows no links")

    monkeypatch.setattr(os, "link", refuse)
    keep(storage)
    storage.copy(KEY, OTHER)
    assert read(storage, OTHER) == b"hello"


def test_what_is_touched_is_not_abandoned(storage: FolderStorage, folder: Path) -> None:
    incoming = storage.receive(KEY)
    os.utime(folder / "arriving" / KEY, (100, 100))
    incoming.touch()
    assert storage.drop_abandoned(before=1_000_000.0) == 0
    incoming.discard()


def test_it_takes_one_name_for_good(storage: FolderStorage, folder: Path) -> None:
    assert storage.belongs_to("first")
    assert FolderStorage(folder, min_free=0).belongs_to("first")
    assert not FolderStorage(folder, min_free=0).belongs_to("second")
    (folder / "name").write_text("")  # a crash while it was written
    assert FolderStorage(folder, min_free=0).belongs_to("second")


def test_old_keys_and_abandoned_arrivals(storage: FolderStorage, folder: Path) -> None:
    keep(storage)
    keep(storage, OTHER)
    os.utime(folder / "kept" / KEY[:2] / KEY, (100, 100))
    (folder / "kept" / "aa" / "README").write_text("not one of ours")
    os.utime(folder / "kept" / "aa" / "README", (100, 100))
    assert list(storage.keys(before=200.0)) == [KEY]
    begun = [storage.receive("c" * 32), storage.receive("d" * 32)]
    os.utime(folder / "arriving" / ("c" * 32), (100, 100))
    assert storage.drop_abandoned(before=200.0) == 1
    assert [path.name for path in (folder / "arriving").iterdir()] == ["d" * 32]
    for incoming in begun:
        incoming.discard()


def test_room_is_watched_before_and_while_bytes_come(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    free = [10_000_000]
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(0, 0, free[0]))  # type: ignore[attr-defined]
    storage = FolderStorage(folder, min_free=1_000_000)
    with pytest.raises(StorageFull):
        storage.receive(KEY, announced=9_500_000)
    incoming = storage.receive(KEY, announced=1_000)
    free[0] = 500_000
    with pytest.raises(StorageFull):
        incoming.write(b"x" * LOOK_EVERY)
    incoming.discard()
    assert list((folder / "arriving").iterdir()) == []
