"""Rows of files and the bytes that belong to them, on every database."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from sqlalchemy import delete, text

from project import file_reception, file_rows
from project.errors import Forbidden, Invalid, NotFound, TooLarge
from project.file_links import FileLinks
from project.file_reception import Allowance
from project.file_rows import NewFile
from project.file_storage import FolderStorage
from project.files import ORPHAN_SECONDS, Files
from project.ports import Ending
from tests.house import NOW, House
from tests.site_process import wait_until
from tests.unit.test_file_types import WEBM

GRACE = 15.0
ANY = Allowance(frozenset({"file"}), 10, 1_000)
PIXEL = b"GIF89a\x01\x00\x01\x00\x00\x00\x00;"
CANCELLED = Ending("cancelled", "cancelled_by_user")


@pytest.fixture
def files(house: House, tmp_path: Path) -> Files:
    storage = FolderStorage(tmp_path / "files", min_free=0)
    links = FileLinks("a key of the site, long enough")
    return Files(storage, house.database, links, grace=GRACE, upload_bytes=100)


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return tmp_path / "files" / "kept"


def ids_in(kept: Path) -> set[str]:
    return {path.name for path in kept.rglob("*") if path.is_file()}


def give(house: House, files: Files, *contents: bytes) -> str:
    """Submit a request with files and return its id."""
    with files.receive(ANY) as reception:
        for content in contents:
            arrival = reception.begin("a.txt", field="file")
            arrival.write(content)
            arrival.finish()
        reception.keep()
        request_id = house.submit(files=reception.files)
        reception.release()
    return request_id


def upload(files: Files, attempt_id: str, content: bytes = PIXEL, now: float = NOW) -> NewFile:
    attempt, reception = files.receive_upload(attempt_id, now)
    with reception:
        arrival = reception.begin("r.gif")
        arrival.write(content)
        file = arrival.finish()
        files.keep_uploads(attempt, reception, now)
    return file


def processing(house: House, files: Files, *contents: bytes) -> tuple[str, str]:
    """Return the id and the attempt of a request that is in the app's hands."""
    request_id = give(house, files, *contents)
    house.bind()
    return request_id, house.claimed()["attempt_id"]


def test_a_request_keeps_what_it_was_given(house: House, files: Files) -> None:
    request_id = give(house, files, b"one", b"two")
    facts = house.row(request_id)["files"]
    assert [(fact["field"], fact["name"], fact["size"]) for fact in facts] == [("file", "a.txt", 3)] * 2
    row = files.find(facts[1]["file_id"])
    assert (row["request_id"], row["user_id"], row["kind"], row["used"]) == (request_id, house.user, "input", True)
    with files.open(row["id"]) as kept:
        assert kept.read() == b"two"
    assert house.row(house.submit())["files"] == []


def test_a_refused_submit_keeps_nothing(house: House, files: Files, kept: Path) -> None:
    with files.receive(ANY) as reception:
        arrival = reception.begin("a", field="file")
        arrival.write(b"x")
        arrival.finish()
        reception.keep()
        with pytest.raises(NotFound):
            house.submit(space=999, files=reception.files)
    assert ids_in(kept) == set()


def test_uploads_belong_to_the_current_attempt_and_a_grace_longer(house: House, files: Files) -> None:
    request_id, attempt_id = processing(house, files)
    assert files.find(upload(files, attempt_id).id)["attempt_id"] == attempt_id
    house.store.end(request_id, CANCELLED, NOW + 1)
    upload(files, attempt_id, now=NOW + 1 + GRACE)
    with pytest.raises(Forbidden, match="over"):
        upload(files, attempt_id, now=NOW + 1.1 + GRACE)
    with pytest.raises(NotFound):
        upload(files, "0" * 32)


def test_uploads_of_an_attempt_are_bounded_each_and_together(house: House, files: Files) -> None:
    _, attempt_id = processing(house, files)
    with pytest.raises(TooLarge):
        upload(files, attempt_id, b"x" * 101)
    upload(files, attempt_id, b"x" * 100)
    upload(files, attempt_id, b"x" * 60)  # a file whose answer was lost is sent again
    with pytest.raises(TooLarge):
        upload(files, attempt_id, b"x" * 41)
    upload(files, attempt_id, b"x" * 40)


def test_the_files_that_a_result_names_are_bounded_together(house: House, files: Files) -> None:
    request_id, attempt_id = processing(house, files)
    one, other = (upload(files, attempt_id, b"x" * 60) for _ in range(2))
    parts = [{"type": "file", "file_id": one.id}] * 3
    assert len(files.completed(request_id, attempt_id, parts, NOW)) == 3
    with pytest.raises(TooLarge, match="together"):
        files.completed(request_id, attempt_id, [*parts, {"type": "file", "file_id": other.id}], NOW)


def test_an_upload_whose_request_is_deleted_meanwhile_keeps_nothing(house: House, files: Files, kept: Path) -> None:
    request_id, attempt_id = processing(house, files)
    attempt, reception = files.receive_upload(attempt_id, NOW)
    with reception:
        arrival = reception.begin("r.gif")
        arrival.write(PIXEL)
        arrival.finish()
        house.store.end(request_id, CANCELLED, NOW)
        house.store.delete(request_id)
        with pytest.raises(NotFound, match="deleted"):
            files.keep_uploads(attempt, reception, NOW)
    assert ids_in(kept) == set()


def test_a_file_is_fetched_only_while_its_attempt_is_current(house: House, files: Files) -> None:
    request_id, attempt_id = processing(house, files, b"hello")
    row = files.find(house.row(request_id)["files"][0]["file_id"])
    files.check_current(row, attempt_id)
    with pytest.raises(Forbidden):
        files.check_current(row, "0" * 32)
    house.store.give_back(request_id, attempt_id, NOW)
    with pytest.raises(Forbidden):
        files.check_current(row, attempt_id)
    again = house.claimed()["attempt_id"]
    files.check_current(row, again)
    with pytest.raises(Forbidden):
        files.check_current(row, attempt_id)
    house.store.end(request_id, CANCELLED, NOW)
    with pytest.raises(Forbidden):
        files.check_current(row, again)


def test_an_attempt_opens_only_the_files_of_its_own_request(house: House, files: Files) -> None:
    other = house.row(give(house, files, b"secret"))["files"][0]["file_id"]
    house.bind()
    row = house.claimed()
    house.store.end(row["id"], CANCELLED, NOW)
    _, attempt_id = give(house, files, b"mine"), house.claimed()["attempt_id"]
    with pytest.raises(Forbidden):
        files.check_current(files.find(other), attempt_id)


# Results


def test_parts_get_the_facts_of_their_files(house: House, files: Files) -> None:
    request_id, attempt_id = processing(house, files, b"an input")
    mine, given = upload(files, attempt_id), house.row(request_id)["files"][0]["file_id"]
    parts = [
        {"type": "text", "text": "hi"},
        {"type": "image", "file_id": mine.id, "name": "cat.gif"},
        {"type": "video", "file_id": mine.id},
        {"type": "file", "file_id": given},
        {"type": "image", "content": PIXEL, "declared": ""},
    ]
    read = files.completed(request_id, attempt_id, parts, NOW)
    assert read[0] == {"type": "text", "text": "hi"}
    assert read[1] == {"type": "image", **mine.facts(), "name": "cat.gif"}
    assert (read[2]["type"], read[2]["name"]) == ("file", "r.gif")
    assert (read[3]["name"], read[3]["content_type"]) == ("a.txt", "text/plain")
    assert (read[4]["type"], read[4]["name"], read[4]["content_type"]) == ("image", "image.gif", "image/gif")
    with files.open(read[4]["file_id"]) as kept:
        assert kept.read() == PIXEL


def test_a_sound_in_a_container_for_videos_is_a_sound_when_its_app_says_so(house: House, files: Files) -> None:
    request_id, attempt_id = processing(house, files)
    webm = upload(files, attempt_id, WEBM)
    parts = [{"type": kind, "file_id": webm.id} for kind in ("audio", "video", "image", "file")]
    read = files.completed(request_id, attempt_id, parts, NOW)
    assert [(part["type"], part["content_type"]) for part in read] == [
        ("audio", "audio/webm"),
        ("video", "video/webm"),
        ("file", "video/webm"),
        ("file", "video/webm"),
    ]


def test_another_requests_file_cannot_be_named(house: House, files: Files) -> None:
    other = house.row(give(house, files, b"secret"))["files"][0]["file_id"]
    house.bind()
    house.store.end(house.claimed()["id"], CANCELLED, NOW)
    request_id = give(house, files)
    attempt_id = house.claimed()["attempt_id"]
    for file_id in (other, "0" * 32, "x"):
        with pytest.raises(Invalid, match=r"parts\.0\.file_id"):
            files.completed(request_id, attempt_id, [{"type": "file", "file_id": file_id}], NOW)


def test_a_later_attempt_may_name_what_an_earlier_one_uploaded(house: House, files: Files) -> None:
    """A kept result is sent again for the next attempt; its files need not travel twice."""
    request_id, attempt_id = processing(house, files)
    early = upload(files, attempt_id)
    house.store.give_back(request_id, attempt_id, NOW)
    again = house.claimed()["attempt_id"]
    (part,) = files.completed(request_id, again, [{"type": "image", "file_id": early.id}], NOW)
    assert part["sha256"] == early.sha256


def test_named_files_stay_and_the_others_go_once_the_request_ended(house: House, files: Files, kept: Path) -> None:
    request_id, attempt_id = processing(house, files, b"input")
    given = house.row(request_id)["files"][0]["file_id"]
    named, forgotten = upload(files, attempt_id), upload(files, attempt_id)
    late = NOW + GRACE + ORPHAN_SECONDS + 1
    files.sweep(late)
    assert ids_in(kept) == {given, named.id, forgotten.id}  # the request goes on: it may still name them
    parts = files.completed(request_id, attempt_id, [{"type": "image", "file_id": named.id}], NOW)
    house.finish(house.row(request_id), ending=Ending("completed", result=parts, by_result=True))
    files.sweep(late - 2)
    assert forgotten.id in ids_in(kept)
    files.sweep(late)
    assert ids_in(kept) == {given, named.id}
    with pytest.raises(NotFound):
        files.find(forgotten.id)


# Going


def test_deleting_a_request_takes_its_rows_then_its_bytes(house: House, files: Files, kept: Path) -> None:
    request_id, attempt_id = processing(house, files, b"input")
    result = upload(files, attempt_id)
    house.store.end(request_id, CANCELLED, NOW)
    gone = house.store.delete(request_id)
    assert set(gone) == ids_in(kept)
    with pytest.raises(NotFound):
        files.find(result.id)
    files.forget(gone)
    assert ids_in(kept) == set()


def test_only_what_ended_before_the_retention_expires(house: House, files: Files, kept: Path) -> None:
    old, young, waiting = (give(house, files, content) for content in (b"old", b"young", b"waiting"))
    house.store.end(old, CANCELLED, NOW)
    house.store.end(young, CANCELLED, NOW + 10)
    assert files.expire(NOW + 5) == 1
    assert house.store.get(old) is None
    assert {house.status(young), house.status(waiting)} == {"cancelled", "queued"}
    assert len(ids_in(kept)) == 2
    assert files.expire(NOW + 1e9) == 1
    assert house.status(waiting) == "queued"


def test_many_expire_in_batches(house: House, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_rows, "BATCH", 2)
    for _ in range(5):
        house.store.end(give(house, files, b"x"), CANCELLED, NOW)
    assert files.expire(NOW + 1) == 5


def test_bytes_without_a_row_are_swept_unless_they_are_fresh(house: House, files: Files, kept: Path) -> None:
    request_id = give(house, files, b"known")
    known = house.row(request_id)["files"][0]["file_id"]
    with files.receive(ANY) as reception:
        for _ in range(2):
            arrival = reception.begin("a", field="file")
            arrival.write(b"lost by a crash")
            arrival.finish()
        reception.keep()
        orphan, fresh = (file.id for file in reception.files)
        reception.release()
    for name in (known, orphan):
        os.utime(kept / name[:2] / name, (NOW - ORPHAN_SECONDS - 1,) * 2)
    files.sweep(NOW)
    assert ids_in(kept) == {known, fresh}


def test_a_start_with_another_database_sweeps_nothing_of_the_right_one(
    house: House, files: Files, kept: Path, tmp_path: Path
) -> None:
    files.claim_storage()
    known = house.row(give(house, files, b"known"))["files"][0]["file_id"]
    os.utime(kept / known[:2] / known, (NOW - ORPHAN_SECONDS - 1,) * 2)
    (tmp_path / "files" / "name").write_text("0" * 32)  # as another database would have named it
    with house.database.write() as connection:
        connection.execute(delete(file_rows.files))
    files.claim_storage()
    files.sweep(NOW)
    assert ids_in(kept) == {known}
    (tmp_path / "files" / "name").unlink()
    files.claim_storage()
    files.sweep(NOW)
    assert ids_in(kept) == set()


def test_uploads_of_a_slow_line_are_not_swept_while_they_come(
    house: House, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first file of a form is whole long before the last one, and only then its row is there."""
    monkeypatch.setattr(file_reception, "TOUCH_SECONDS", 0.0)
    arriving = tmp_path / "files" / "arriving"
    with files.receive(ANY) as reception:
        for content in (b"early", b"late"):
            arrival = reception.begin("a.txt", field="file")
            arrival.write(content)
            arrival.finish()
            for path in arriving.iterdir():
                os.utime(path, (NOW - ORPHAN_SECONDS - 1,) * 2)
        last = reception.begin("b.txt", field="file")
        last.write(b"last")
        files.sweep(NOW)
        assert len(list(arriving.iterdir())) == 3
        last.finish()
        reception.keep()
        request_id = house.submit(files=reception.files)
        reception.release()
    for facts in house.row(request_id)["files"]:
        with files.open(facts["file_id"]) as kept:
            assert kept.read() in (b"early", b"late", b"last")


def test_an_account_names_all_its_files(house: House, files: Files, kept: Path) -> None:
    give(house, files, b"one")
    give(house, files, b"two")
    other = house.add_user("bob")
    house.submit(user=other)
    with house.database.read() as connection:
        assert set(file_rows.ids_of_user(connection, house.user)) == ids_in(kept)
        assert file_rows.ids_of_user(connection, other) == []


@pytest.mark.parametrize("backend", ["postgresql"])
def test_an_upload_and_a_deletion_do_not_wait_for_each_other(house: House, files: Files) -> None:
    """Each locks the request first. On SQLite there is one writer, so only PostgreSQL can get this wrong."""
    request_id, attempt_id = processing(house, files)
    house.store.end(request_id, CANCELLED, NOW)
    deleted: list[object] = []
    deleting = threading.Thread(target=lambda: deleted.append(house.store.delete(request_id)), daemon=True)
    with house.database.write() as connection:
        file_rows.lock_request(connection, request_id)
        deleting.start()
        wait_until(lambda: _somebody_waits(house), "the deletion waits for the upload")
        new = NewFile("f" * 32, "a", "text/plain", 1, "-")
        file_rows.add(connection, request_id, [new], NOW, attempt_id=attempt_id)
    deleting.join(10)
    assert deleted == [["f" * 32]]


def _somebody_waits(house: House) -> bool:
    with house.database.read() as connection:
        return bool(connection.execute(text("SELECT count(*) FROM pg_locks WHERE NOT granted")).scalar_one())
