"""Reading the bodies of uploads in streams: a form's parts or one raw file, bounded in size, count and time.

Nothing of a file is ever whole in memory, and nothing is read before the caller is known to be allowed to send it.
The form's parts are found by Werkzeug's decoder (``werkzeug.sansio.multipart``), fed with one chunk at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from flask import request
from werkzeug.exceptions import LengthRequired, RequestEntityTooLarge
from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData

from project.concurrency import give_way, read_within
from project.errors import BadRequest, TooLarge, TooMany, UploadStalled
from project.file_reception import Arrival, Reception
from project.file_rows import NewFile
from project.services import services

CHUNK = 65_536
#: Parts of one form, fields and files together.
MAX_PARTS = 1_000
#: Bytes of a form beside its files and its fields: boundaries and headers.
ENVELOPE = 1_000_000
#: A header, or what the decoder cannot tell from the beginning of a boundary, must fit into this.
MAX_BUFFER = 4 * CHUNK


@contextmanager
def upload_place(holder: str) -> Iterator[None]:
    """Hold one of the places for uploads of ``holder``. Raises :class:`TooMany` when all are taken."""
    with services().uploads.place(holder) as has_place:
        if not has_place:
            raise TooMany("Too many uploads at the same time. Wait until one of them has ended.", retry_after=1)
        yield


def read_form(
    reception: Reception, fields: dict[str, str], *, stall: float, text_bytes: int, begin: Callable[[], None]
) -> None:
    """Read a ``multipart/form-data`` body: files go to ``reception``, the rest into ``fields``, in the form's order.

    ``stall`` is the seconds that the next :data:`CHUNK` may take, ``text_bytes`` bounds the fields together;
    ``begin`` is called before each file and may refuse it. A file input in which nothing was chosen is passed over.
    Raises :class:`BadRequest`, :class:`TooLarge`, :class:`UploadStalled`, and what ``reception`` raises.
    """
    boundary = parse_options_header(request.content_type)[1].get("boundary", "")
    if not boundary:
        raise BadRequest("The form has no boundary.")
    reception.expect((request.content_length or 0) - text_bytes - ENVELOPE)
    form = _Form(reception, fields, text_bytes, begin)
    decoder = MultipartDecoder(boundary.encode("latin-1", "replace"), MAX_BUFFER, max_parts=MAX_PARTS)
    for chunk in chunks(reception.bytes_left + text_bytes + ENVELOPE, stall):
        _take_events(decoder, chunk, form)
    _take_events(decoder, None, form)


def _take_events(decoder: MultipartDecoder, chunk: bytes | None, form: _Form) -> None:
    with _no_form():
        decoder.receive_data(chunk)
    while True:
        with _no_form():
            event = decoder.next_event()
        if isinstance(event, NeedData | Epilogue):
            return
        form.take(event)


@contextmanager
def _no_form() -> Iterator[None]:
    """Turn the decoder's words for what is no form into refusals."""
    try:
        yield
    except RequestEntityTooLarge as error:
        raise TooLarge(f"A form may have {MAX_PARTS} parts, and headers of a reasonable length.") from error
    except (ValueError, AttributeError) as error:
        raise BadRequest("The form is broken, or ends too early.") from error


class _Form:
    """The parts of one form as they come."""

    def __init__(
        self, reception: Reception, fields: dict[str, str], text_bytes: int, begin: Callable[[], None]
    ) -> None:
        self._reception = reception
        self._fields = fields
        self._text_left = text_bytes
        self._begin = begin
        self._name = ""
        self._text = bytearray()
        self._chosen: File | None = None
        self._arrival: Arrival | None = None

    def take(self, event: Any) -> None:
        """Take one event of the decoder."""
        if isinstance(event, Field | File) and not event.name:
            raise BadRequest("A part of the form has no name.")
        if isinstance(event, Field):
            self._name, self._text, self._chosen = event.name, bytearray(), None
        elif isinstance(event, File):
            self._name, self._chosen = event.name, event
            if event.filename:
                self._start(event)
        elif isinstance(event, Data):
            self._take_data(event)

    def _take_data(self, event: Data) -> None:
        if self._chosen is None:
            self._take_text(event)
            return
        if event.data and self._arrival is None:
            self._start(self._chosen)
        if self._arrival:
            self._arrival.write(event.data)
            if not event.more_data:
                self._arrival.finish()
                self._arrival = None

    def _take_text(self, event: Data) -> None:
        self._text_left -= len(event.data)
        if self._text_left < 0:
            raise TooLarge("The fields of the form are longer than the site allows.")
        self._text += event.data
        if not event.more_data:
            with _no_form():
                self._fields[self._name] = self._text.decode("utf-8")

    def _start(self, file: File) -> None:
        self._begin()
        declared = file.headers.get("content-type", "")
        self._arrival = self._reception.begin(file.filename or "", declared, self._name)


def read_file(reception: Reception, name: str, *, stall: float) -> NewFile:
    """Read the whole body as one file; ``stall`` as for :func:`read_form`. Raises :class:`TooLarge` and its like."""
    declared = request.mimetype
    announced = request.content_length or 0
    reception.expect(announced)
    arrival = reception.begin(name, declared, announced=announced)
    for chunk in chunks(reception.bytes_left, stall):
        arrival.write(chunk)
    return arrival.finish()


def chunks(limit: int, stall: float) -> Iterator[bytes]:
    """Yield the body piece by piece, letting others run in between.

    Raises :class:`TooLarge` for more than ``limit`` bytes (at once when they are announced), :class:`BadRequest`
    when it ends before its announced length, :class:`UploadStalled` when a piece takes more than ``stall``
    seconds, and :class:`werkzeug.exceptions.LengthRequired` without a length.
    """
    body, left = request.environ["wsgi.input"], _announced()
    _check_size(left or 0, limit)
    received = 0
    while left != 0:
        chunk = _next(body, CHUNK if left is None else min(CHUNK, left), stall)
        if not chunk and left is None:
            return
        if not chunk:
            raise _cut_off()
        received += len(chunk)
        _check_size(received, limit)
        left = None if left is None else left - len(chunk)
        yield chunk
        give_way()


def _announced() -> int | None:
    """Return the length of the body, or None when it comes in chunks and says itself where it ends (RFC 9112, 6.3)."""
    coding = request.headers.get("Transfer-Encoding", "").strip().lower()
    if coding == "chunked":
        return None
    if coding:
        raise BadRequest("Of transfer codings, only chunked is understood.")
    length = request.environ.get("CONTENT_LENGTH", "")
    if not length:
        raise LengthRequired("Say how long the upload is (Content-Length), or send it in chunks.")
    if not (length.isascii() and length.isdigit()):
        raise BadRequest("Content-Length is not a number.")
    return int(length)


def _next(body: Any, size: int, stall: float) -> bytes:
    # Not request.stream: it takes an early end for the end, and a stall for a sender that has left.
    try:
        return read_within(body, size, stall)
    except TimeoutError as error:
        raise UploadStalled from error
    except (OSError, ValueError) as error:
        raise _cut_off() from error


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise TooLarge(f"The upload is larger than {limit / 1e6:g} MB.")


def _cut_off() -> BadRequest:
    return BadRequest("The upload ended before all of it had come.")
