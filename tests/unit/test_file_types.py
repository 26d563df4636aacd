"""What files are, by their content."""

from __future__ import annotations

import struct
import zlib

import pytest

from project.file_types import TEXT, UNKNOWN, content_type, ending, family, fits, sent_as

WAV = b"RIFF\x24\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x40\x1f\x00\x00data\x00\x00\x00\x00"
WEBM = b"\x1aE\xdf\xa3\x9fB\x86\x81\x01B\xf7\x81\x01B\xf2\x81\x04B\xf3\x81\x08B\x82\x84webmB\x87\x81\x04B\x85\x81\x02"
MP4 = b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00isomiso2avc1mp41" + b"\x00" * 20
OGG = b"OggS\x00\x02" + b"\x00" * 22 + b"\x01\x13OpusHead\x01"
PNG = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4s", 13, b"IHDR") + b"\x00" * 13 + struct.pack(">I", zlib.crc32(b"IHDR"))
GIF = b"GIF89a\x01\x00\x01\x00\x00\x00\x00;"
HTML = b"<!DOCTYPE html><html><script>alert(1)</script></html>"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>'
POLYGLOT = b"GIF89a/*\x01\x00\x01\x00\x00\x00\x00*/=1;alert(1)"


@pytest.mark.parametrize(
    ("head", "found"),
    [
        (WAV, "audio/wav"),
        (WEBM, "video/webm"),
        (MP4, "video/mp4"),
        (OGG, "audio/ogg"),
        (PNG, "image/png"),
        (GIF, "image/gif"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF\x00", "image/jpeg"),
        (b"fLaC\x00\x00\x00\x22", "audio/flac"),
        (b"ID3\x04\x00\x00\x00\x00", "audio/mpeg"),
        (b"%PDF-1.7\n", "application/pdf"),
        (HTML, "text/html"),
        (SVG, "image/svg+xml"),
        (b"hello, world", TEXT),
        ("日本語".encode(), TEXT),
        ("é".encode() * 4_096 + b"\xc3", TEXT),
        (b"\x00\x01\x02\x03\x04", UNKNOWN),
        (b"\xfe\xdc\xba", UNKNOWN),
        (b"", UNKNOWN),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_a_type_is_found_by_content(head: bytes, found: str) -> None:
    assert content_type(head, declared="application/x-lie") == found


@pytest.mark.parametrize(
    ("head", "declared", "field", "found"),
    [
        (WEBM, "", "audio", "audio/webm"),
        (WEBM, "video/webm", "audio", "audio/webm"),
        (WEBM, "audio/webm;codecs=opus", "", "audio/webm"),
        (WEBM, "audio/webm", "file", "audio/webm"),
        (MP4, "audio/mp4", "", "audio/mp4"),
        (OGG, "", "video", "video/ogg"),
        (WAV, "video/mp4", "", "audio/wav"),
        (HTML, "audio/wav", "audio", "text/html"),
        (PNG, "video/mp4", "video", "image/png"),
    ],
)
def test_only_one_containers_two_readings_follow_the_sender(head: bytes, declared: str, field: str, found: str) -> None:
    assert content_type(head, declared, field) == found


@pytest.mark.parametrize(
    ("kind", "field", "fit"),
    [
        ("audio/wav", "audio", True),
        ("video/webm", "audio", False),
        ("text/plain", "audio", False),
        ("video/mp4", "video", True),
        ("image/gif", "video", False),
        ("application/x-anything", "file", True),
    ],
)
def test_what_fits_into_an_input(kind: str, field: str, fit: bool) -> None:
    assert fits(kind, field) is fit


def test_what_browsers_can_show_is_shown_and_nothing_else() -> None:
    assert [family(kind) for kind in ("image/png", "audio/ogg", "video/mp4")] == ["image", "audio", "video"]
    for kind in ("image/svg+xml", "text/html", "application/pdf", "image/tiff", "video/x-msvideo", UNKNOWN):
        assert family(kind) == "file"


def test_what_could_run_is_sent_as_bytes() -> None:
    for head in (HTML, SVG):
        assert sent_as(content_type(head)) == UNKNOWN
    for kind in ("application/javascript", "text/css", "application/xhtml+xml", "text/xml", "message/rfc822", "x/y"):
        assert sent_as(kind) == UNKNOWN
    assert sent_as("image/png") == "image/png"
    assert sent_as(TEXT) == TEXT


def test_a_polyglot_is_sent_as_the_picture_that_it_pretends_to_be() -> None:
    assert sent_as(content_type(POLYGLOT, "text/javascript")) == "image/gif"


def test_a_usual_ending() -> None:
    assert (ending("image/png"), ending("audio/wav"), ending("no/such-type")) == (".png", ".wav", "")
