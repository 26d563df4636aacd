"""Files as they arrive: names, counts, sizes, hashes, and nothing left of what was refused."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from project.errors import DatabaseAway, Invalid, NotFound, StorageFull, TooLarge
from project.file_reception import Allowance, Reception, clean_name
from project.file_storage import FolderStorage
from tests.unit.test_file_types import PNG, WAV

ALL = Allowance(frozenset({"audio", "video", "file"}), 3, 10_000)


@pytest.fixture
def storage(tmp_path: Path) -> FolderStorage:
    return FolderStorage(tmp_path / "files", min_free=0)


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "files").rglob("*") if path.is_file())


def test_a_file_is_counted_hashed_and_looked_at(storage: FolderStorage) -> None:
    with Reception(storage, ALL) as reception:
        arrival = reception.begin("a.wav", "audio/x-wav", "audio")
        arrival.write(WAV[:10])
        arrival.write(WAV[10:])
        file = arrival.finish()
        reception.keep()
        reception.release()
    assert (file.name, file.field, file.content_type, file.size) == ("a.wav", "audio", "audio/wav", len(WAV))
    assert file.sha256 == hashlib.sha256(WAV).hexdigest()
    with storage.open(file.id) as kept:
        assert kept.read() == WAV


def test_nothing_is_left_of_what_was_not_released(storage: FolderStorage, tmp_path: Path) -> None:
    with Reception(storage, ALL) as reception:
        whole = reception.begin("a", field="file")
        whole.write(b"x")
        whole.finish()
        reception.begin("b", field="file").write(b"half")
        assert len(left_in(tmp_path)) == 2
    assert left_in(tmp_path) == []
    with Reception(storage, ALL) as reception:
        kept = reception.begin("c", field="file")
        kept.write(b"x")
        kept.finish()
        reception.keep()
        assert len(left_in(tmp_path)) == 1
    assert left_in(tmp_path) == []


def test_a_commit_that_may_have_gone_through_keeps_its_bytes(storage: FolderStorage, tmp_path: Path) -> None:
    """Its row may be there; the sweep finds out. Deleting the bytes could lose an accepted request."""
    reception = Reception(storage, ALL)
    arrival = reception.begin("a", field="file")
    arrival.write(b"x")
    file = arrival.finish()
    reception.keep()
    away = DatabaseAway()
    away.maybe_kept = True
    reception.__exit__(DatabaseAway, away, None)
    assert left_in(tmp_path) == [file.id]


def test_a_database_that_is_surely_without_the_row_leaves_no_bytes(storage: FolderStorage, tmp_path: Path) -> None:
    reception = Reception(storage, ALL)
    arrival = reception.begin("a", field="file")
    arrival.write(b"x")
    arrival.finish()
    reception.keep()
    reception.__exit__(DatabaseAway, DatabaseAway(), None)
    assert left_in(tmp_path) == []


def test_the_wrong_content_is_refused_before_the_end(storage: FolderStorage) -> None:
    with Reception(storage, ALL) as reception:
        arrival = reception.begin("song.wav", "audio/wav", "audio")
        with pytest.raises(Invalid, match=r"audio: “song\.wav” is not audio: by its content it is image/png"):
            arrival.write(PNG + b"\x00" * 9_000)


def test_an_empty_input_is_refused_but_an_app_may_bring_an_empty_file(storage: FolderStorage) -> None:
    with Reception(storage, ALL) as reception:
        with pytest.raises(Invalid, match="empty"):
            reception.begin("a", field="file").finish()
        assert reception.begin("a").finish().size == 0


def test_fields_and_counts(storage: FolderStorage) -> None:
    with Reception(storage, Allowance(frozenset({"audio", "file"}), 2, 1_000)) as reception:
        with pytest.raises(Invalid, match="video: this space takes no video"):
            reception.begin("v", field="video")
        arrival = reception.begin("a", field="audio")
        arrival.write(WAV)
        arrival.finish()
        with pytest.raises(Invalid, match="audio: only one"):
            reception.begin("b", field="audio")
        reception.begin("c", field="file")
        with pytest.raises(Invalid, match="at most 2 files"):
            reception.begin("d", field="file")


def test_all_files_together_are_bounded(storage: FolderStorage) -> None:
    with Reception(storage, Allowance(frozenset({"file"}), 9, 10)) as reception:
        reception.begin("a", field="file").write(b"x" * 6)
        with pytest.raises(TooLarge) as refused:
            reception.begin("b", field="file").write(b"x" * 5)
        assert refused.value.details[0]["field"] == "file"
    with Reception(storage, Allowance(frozenset({"file"}), 9, 10)) as reception:
        reception.expect(10)
        with pytest.raises(TooLarge):
            reception.expect(11)


def test_a_copy_outlives_its_original_and_one_not_released_is_gone(storage: FolderStorage, tmp_path: Path) -> None:
    with Reception(storage, ALL) as first:
        arrival = first.begin("a.txt", field="file")
        arrival.write(b"hello")
        facts = arrival.finish().facts()
        first.keep()
        first.release()
    with Reception(storage, ALL) as second:
        second.copy(facts)
        second.release()
    (copy,) = second.files
    assert copy.id != facts["file_id"]
    assert copy.facts() == facts | {"file_id": copy.id}
    storage.delete(facts["file_id"])
    with storage.open(copy.id) as kept:
        assert kept.read() == b"hello"
    with Reception(storage, ALL) as third:
        third.copy(copy.facts())
    assert left_in(tmp_path) == [copy.id]
    with Reception(storage, ALL) as fourth, pytest.raises(NotFound):
        fourth.copy(facts)


@pytest.mark.parametrize(
    ("given", "clean"),
    [
        ("a.txt", "a.txt"),
        ("/etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("..", "file"),
        ("", "file"),
        ("...", "file"),
        ("   ", "file"),
        ("a\x00b\r\nc.txt", "a_b__c.txt"),
        ("gpj.\u202etxt", "gpj._txt"),
        ("日本語 ✓ “quoted”.png", "日本語 ✓ “quoted”.png"),
        ("%2e%2e%2fx", "%2e%2e%2fx"),
        ("half\ud800", "half_"),
        ("x" * 300 + ".webm", "x" * 250 + ".webm"),
        ("x" * 300, "x" * 255),
        (".hidden", ".hidden"),
    ],
    ids=lambda text: repr(text)[:20],
)
def test_names_are_kept_as_they_can_be_shown(given: str, clean: str) -> None:
    assert clean_name(given) == clean


def test_a_full_disk_refuses_and_keeps_nothing(tmp_path: Path) -> None:
    full = FolderStorage(tmp_path / "files", min_free=1 << 60)
    with Reception(full, ALL) as reception, pytest.raises(StorageFull):
        reception.begin("a", field="file")
    assert left_in(tmp_path) == []
