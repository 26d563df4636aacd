"""Files of requests: how they arrive, who may have them, and when they go. The one door to their rows and bytes.

Bytes are kept before their row is committed and deleted after their row is gone, so that a row never lacks its
bytes; a crash between leaves bytes without a row, which :meth:`Files.sweep` finds.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, BinaryIO

from sqlalchemy.engine import RowMapping
from sqlalchemy.exc import IntegrityError

from project import file_rows, file_types
from project.concurrency import give_way, in_real_thread
from project.database import Database
from project.errors import Invalid, NotFound, StorageAway, TooLarge
from project.file_links import FileLinks, link_over
from project.file_reception import MEGABYTE, Allowance, Reception, clean_name
from project.file_rows import NewFile
from project.file_storage import Storage
from project.models import PROCESSING

#: Files that one attempt may upload.
RESULT_FILES = 1_000
#: How often an attempt may bring as much as a result may have: a file whose answer was lost is sent again.
SENT_AGAIN = 2
#: Seconds for which bytes without a row, or without an end, are left alone: somebody may be at work on them.
ORPHAN_SECONDS = 3_600.0
ORPHAN_BATCH = 500
#: Seconds between two batches of a sweep.
PAUSE_SECONDS = 0.1
#: Seconds that a sweep waits for other writers: what time moves in the queue must not wait behind it.
SWEEP_PATIENCE = 0.5

logger = logging.getLogger(__name__)


class Files:
    """Files of requests; see the module. ``grace`` is in seconds, ``upload_bytes`` bounds a result's files together."""

    def __init__(
        self, storage: Storage, database: Database, links: FileLinks, *, grace: float, upload_bytes: int
    ) -> None:
        self._storage = storage
        self._db = database
        self._grace = grace
        self._upload_bytes = upload_bytes
        self._is_ours = True
        self.links = links

    def claim_storage(self) -> None:
        """See whether the storage belongs to this database: what another one knows is no orphan.

        A start with the wrong database must not delete the files of the right one.
        """
        with self._db.write() as connection:
            name = file_rows.store_name(connection)
        self._is_ours = self._storage.belongs_to(name)
        if not self._is_ours:
            logger.error(
                "The stored files belong to another database, so none of them is swept. Is SPACES_DATABASE_URL right? "
                "If that database is gone for good, delete the file 'name' beside them."
            )

    # Arriving

    def receive(self, allowance: Allowance) -> Reception:
        """Return what takes the files of a submit."""
        return Reception(self._storage, allowance)

    def size_of_user(self, user_id: int) -> int:
        """Return the bytes of all files of somebody's requests, with those of the results."""
        with self._db.read() as connection:
            return file_rows.size_of_user(connection, user_id)

    def receive_upload(self, attempt_id: str, now: float) -> tuple[RowMapping, Reception]:
        """Return the attempt and what takes its uploads. Raises :class:`NotFound`, :class:`Forbidden`."""
        with self._db.read() as connection:
            attempt = file_rows.attempt(connection, attempt_id)
            if attempt is None:
                raise NotFound("There is no such attempt.")
            count, size = file_rows.uploaded(connection, attempt["request_id"], attempt_id)
        if attempt["ended_at"] is not None and attempt["ended_at"] + self._grace < now:
            raise link_over()
        room = SENT_AGAIN * self._upload_bytes
        allowance = Allowance(None, RESULT_FILES, room, count, size, largest=self._upload_bytes)
        return attempt, Reception(self._storage, allowance)

    def keep_uploads(self, attempt: RowMapping, reception: Reception, now: float) -> None:
        """Commit the uploads of an attempt.

        Raises :class:`NotFound` when its request is gone meanwhile, and :class:`TooLarge` when others that came at
        the same time have used up what the attempt may bring.
        """
        request_id, attempt_id = attempt["request_id"], attempt["attempt_id"]
        reception.keep()
        try:
            with self._db.write() as connection:
                file_rows.lock_request(connection, request_id)
                reception.recount(*file_rows.uploaded(connection, request_id, attempt_id))
                file_rows.add(connection, request_id, reception.files, now, attempt_id=attempt_id)
        except IntegrityError as error:
            raise NotFound("The request of this attempt was deleted.") from error
        reception.release()

    # Results

    def completed(
        self, request_id: str, attempt_id: str, parts: Sequence[dict[str, Any]], now: float
    ) -> list[dict[str, Any]]:
        """Return an app's parts as they are kept: media with all that is known of their files.

        A media part brings ``file_id`` (an upload of any attempt of this request, or one of its inputs) or
        ``content`` (bytes) with ``declared``. Raises :class:`Invalid` for a file that the request does not have, and
        :class:`TooLarge` when they are too large together.
        """
        if not any(_is_media(part) for part in parts):
            return list(parts)
        attempt, reception = self.receive_upload(attempt_id, now)
        with reception:
            parts = [self._with_file(part, reception) for part in parts]
            if reception.files:
                self.keep_uploads(attempt, reception, now)
        with self._db.read() as connection:
            known = file_rows.of_request(connection, request_id)
        read = [_with_facts(part, known, place) for place, part in enumerate(parts)]
        self._check_size(read)
        return read

    def _check_size(self, parts: Sequence[dict[str, Any]]) -> None:
        sizes = {part["file_id"]: part["size"] for part in parts if "file_id" in part}
        if sum(sizes.values()) > self._upload_bytes:
            raise TooLarge(f"The files of a result may have {self._upload_bytes / MEGABYTE:g} MB together.")

    @staticmethod
    def _with_file(part: dict[str, Any], reception: Reception) -> dict[str, Any]:
        """Keep the bytes that a part brings along."""
        if "content" not in part:
            return part
        content, declared = part["content"], part["declared"] or f"{part['type']}/*"
        kind = file_types.content_type(content[: file_types.HEAD_BYTES], declared)
        arrival = reception.begin(part.get("name") or part["type"] + file_types.ending(kind), declared)
        arrival.write(content)
        give_way()
        return {"type": part["type"], "file_id": arrival.finish().id}

    # Leaving

    def find(self, file_id: str) -> RowMapping:
        """Return the row of a file with its request's ``user_id``. Raises :class:`NotFound`."""
        with self._db.read() as connection:
            row = file_rows.find(connection, file_id)
        if row is None:
            raise NotFound("There is no such file.")
        return row

    def check_current(self, file: RowMapping, attempt_id: str) -> None:
        """Raise :class:`Forbidden` unless the attempt is of the file's request and goes on."""
        with self._db.read() as connection:
            attempt = file_rows.attempt(connection, attempt_id)
        if attempt is None or attempt["request_id"] != file["request_id"]:
            raise link_over()
        if attempt["status"] != PROCESSING or attempt["current_id"] != attempt_id:
            raise link_over()

    def open(self, file_id: str) -> BinaryIO:
        """Return the bytes of a file. Raises :class:`NotFound`."""
        return self._storage.open(file_id)

    # Going

    def forget(self, file_ids: Iterable[str]) -> None:
        """Delete the bytes of files whose rows are gone; what cannot be deleted now is left to a sweep."""
        for file_id in file_ids:
            try:
                self._storage.delete(file_id)
            except StorageAway:
                logger.warning("file %s cannot be deleted now; a sweep will find it", file_id)

    def expire(self, before: float) -> int:
        """Delete the requests that ended before that time (Unix seconds); return how many."""
        total = 0
        while True:
            with self._db.write(SWEEP_PATIENCE) as connection:
                count, file_ids = file_rows.drop_expired_requests(connection, before)
            self.forget(file_ids)
            total += count
            if count < file_rows.BATCH:
                return total
            _pause()

    def sweep(self, now: float) -> None:
        """Delete uploads that no result names, bytes that stopped arriving, and bytes without a row."""
        unused = self._drop_unused(now - self._grace - ORPHAN_SECONDS)
        dropped = self._storage.drop_abandoned(now - ORPHAN_SECONDS)
        orphans = self._drop_orphans(now - ORPHAN_SECONDS) if self._is_ours else 0
        if unused or dropped or orphans:
            found = "swept %d uploads that no result names, %d that never arrived whole, %d without a request"
            logger.info(found, unused, dropped, orphans)

    def _drop_unused(self, before: float) -> int:
        total = 0
        while True:
            with self._db.write(SWEEP_PATIENCE) as connection:
                unused = file_rows.drop_unused(connection, before)
            self.forget(unused)
            total += len(unused)
            if len(unused) < file_rows.BATCH:
                return total
            _pause()

    def _drop_orphans(self, before: float) -> int:
        """Look at what is kept piece by piece, the disk in a real thread: there may be a million files."""
        keys, total = self._storage.keys(before), 0
        while batch := in_real_thread(lambda: list(islice(keys, ORPHAN_BATCH))):
            with self._db.read() as connection:
                orphans = set(batch) - file_rows.known(connection, batch)
            self.forget(orphans)
            total += len(orphans)
            _pause()
        return total


def _pause() -> None:
    """Leave the database and the process to everybody else between two batches."""
    threading.Event().wait(PAUSE_SECONDS)


def _is_media(part: dict[str, Any]) -> bool:
    return "file_id" in part or "content" in part


def _with_facts(part: dict[str, Any], known: dict[str, RowMapping], place: int) -> dict[str, Any]:
    """Return a media part with its file's facts; its type is what the content can be shown as."""
    if "file_id" not in part:
        return part
    row = known.get(part["file_id"])
    if row is None:
        raise Invalid.field(f"parts.{place}.file_id", "the request has no such file")
    kind = file_types.read_as(row["content_type"], part["type"])
    name = clean_name(part["name"]) if "name" in part else row["name"]
    file = NewFile(row["id"], name, kind, row["size"], row["sha256"])
    return {"type": part["type"] if part["type"] == file_types.family(kind) else "file", **file.facts()}
