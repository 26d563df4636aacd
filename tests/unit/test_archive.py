"""The file of a backup: every byte of it counts, and nothing but what was written is taken."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from project.archive import ArchiveReader, ArchiveWriter, BadArchive, NotAsSaid

KEY, OTHER = "0123456789abcdef" * 2, "f" * 32
CONTENTS = {
    "rows/users.jsonl": b'{"id":1}\n',
    f"files/{KEY}": b"x" * 1_000,
    f"files/{OTHER}": b"",
    "folder/secret-key": b"secret",
}


def written(contents: dict[str, bytes] = CONTENTS) -> bytes:
    file = io.BytesIO()
    writer = ArchiveWriter(file, 1_790_000_000)
    for name, content in contents.items():
        writer.add(name, io.BytesIO(content), len(content))
    writer.finish({"format": 1})
    return file.getvalue()


WHOLE = written()


def reader(content: bytes) -> ArchiveReader:
    return ArchiveReader(io.BytesIO(content))


def test_what_was_written_is_read() -> None:
    found = reader(WHOLE)
    assert found.manifest == {"format": 1}
    assert {name: found.read(name) for name in CONTENTS} == CONTENTS
    assert list(found.lines("rows/users.jsonl")) == [b'{"id":1}']
    with pytest.raises(BadArchive, match="lacks"):
        found.read("rows/spaces.jsonl")


def test_other_programs_can_read_it() -> None:
    with tarfile.open(fileobj=io.BytesIO(WHOLE)) as tar:
        content = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
        assert {member.mode for member in tar} == {0o600}
    sums = dict(reversed(line.split("  ")) for line in content.pop("SHA256SUMS").decode().splitlines())
    assert sums == {name: hashlib.sha256(one).hexdigest() for name, one in content.items()}


@settings(max_examples=400, deadline=None)
@given(st.integers(0, len(WHOLE) * 8 - 1))
def test_one_changed_bit_is_refused_wherever_it_is(bit: int) -> None:
    damaged = bytearray(WHOLE)
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(BadArchive):
        reader(bytes(damaged))


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(WHOLE) - 1))
def test_a_piece_is_refused_wherever_it_ends(length: int) -> None:
    with pytest.raises(BadArchive):
        reader(WHOLE[:length])


def test_anything_after_the_end_is_refused() -> None:
    with pytest.raises(BadArchive):
        reader(WHOLE + b"\0")


def test_a_member_that_was_taken_away_with_its_sum_leaves_no_archive() -> None:
    """Its rows still name it; but a whole archive without a manifest is none."""
    with pytest.raises(BadArchive):
        reader(WHOLE[WHOLE.index(b"manifest.json") :])


def foreign(name: str, content: bytes = b"x", **said: object) -> bytes:
    """A tar by another program with one member that says ``said`` of itself, put before what we wrote."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        for key, value in said.items():
            setattr(info, key, value)
        tar.addfile(info, io.BytesIO(content))
    return file.getvalue()[: 512 * (2 + bool(said.get("pax_headers")) * 2)] + WHOLE


@pytest.mark.parametrize(
    "make",
    [
        lambda: b"",
        lambda: b"\x7fELF" + bytes(2_000),
        lambda: bytes(10_240),
        lambda: foreign("../../etc/passwd"),
        lambda: foreign("/etc/passwd"),
        lambda: foreign("files/../../x"),
        lambda: foreign("readme.txt"),
        lambda: foreign("rows/spaces.jsonl", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        lambda: foreign("rows/spaces.jsonl", type=tarfile.LNKTYPE, linkname="files/x"),
        lambda: foreign("rows/spaces.jsonl", type=tarfile.CHRTYPE),
        lambda: foreign("rows/spaces.jsonl", type=tarfile.DIRTYPE),
        lambda: foreign("rows/spaces.jsonl", mode=0o4755),
        lambda: foreign("rows/spaces.jsonl", pax_headers={"path": "/etc/passwd"}),
        lambda: written(CONTENTS | {"rows/users.jsonl": b"1"})[:1024] + WHOLE,
    ],
)
def test_foreign_members_are_refused(make: Callable[[], bytes]) -> None:
    with pytest.raises(BadArchive):
        reader(make())


class Broken(io.BytesIO):
    def read(self, size: int | None = -1) -> bytes:
        raise OSError(5, "Input/output error")


@pytest.mark.parametrize(
    ("source", "size", "sha256"),
    [
        (io.BytesIO(b"four"), 5, None),
        (io.BytesIO(b"four"), 3, None),
        (io.BytesIO(b"four"), 4, "0" * 64),
        (Broken(), 4, None),
    ],
)
def test_a_source_that_is_not_as_said_leaves_nothing(source: io.BytesIO, size: int, sha256: str | None) -> None:
    file = io.BytesIO()
    writer = ArchiveWriter(file, 1_790_000_000)
    for name, content in CONTENTS.items():
        with pytest.raises(NotAsSaid):
            writer.add("rows/spaces.jsonl", source, size, sha256)
        source.seek(0)
        writer.add(name, io.BytesIO(content), len(content))
    writer.finish({"format": 1})
    assert file.getvalue() == WHOLE


def test_what_changes_between_the_check_and_the_use_is_noticed() -> None:
    file = io.BytesIO(WHOLE)
    found = ArchiveReader(file)
    file.getbuffer()[found.member(f"files/{KEY}").offset] ^= 1
    with pytest.raises(BadArchive, match="changed"):
        found.read(f"files/{KEY}")
