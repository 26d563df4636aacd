"""A file that the user of a request sent."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

Fetch = Callable[["InputFile"], Path]


@dataclasses.dataclass(eq=False)
class InputFile:
    """One file of a request, as the site announced it; it is fetched when :attr:`path` is first read.

    ``field`` is ``audio``, ``video`` or ``file``. ``name`` is the user's own and not to be trusted as a path.
    ``content_type`` was found by the site, ``size`` is in bytes, ``sha256`` is in hexadecimal digits.
    ``url`` lets anybody in who knows it, until the attempt is over: it is never shown.
    """

    field: str
    name: str
    content_type: str
    size: int
    sha256: str
    url: str = dataclasses.field(repr=False)
    _fetch: Fetch = dataclasses.field(repr=False)
    _path: Path | None = dataclasses.field(default=None, repr=False)

    @property
    def path(self) -> Path:
        """The whole file on this computer, checked by size and sha256; deleted when the request is answered.

        The first use fetches it, and goes on after a broken connection. Raises :class:`spaces_app.TransferError`
        when it does not arrive unchanged before the request's deadline or its cancel.
        """
        if self._path is None:
            self._path = self._fetch(self)
        return self._path

    @classmethod
    def from_wire(cls, entry: object, fetch: Fetch) -> InputFile | None:
        """Read one entry of ``files``; ``None`` when it is none."""
        if not isinstance(entry, dict) or not isinstance(entry.get("url"), str):
            return None
        size = entry.get("size")
        return cls(
            field=_text(entry, "field", "file"),
            name=_text(entry, "name", "file"),
            content_type=_text(entry, "content_type", "application/octet-stream"),
            size=size if isinstance(size, int) else 0,
            sha256=_text(entry, "sha256", "").lower(),
            url=entry["url"],
            _fetch=fetch,
        )


def _text(entry: dict[str, Any], key: str, default: str) -> str:
    value = entry.get(key)
    return value if isinstance(value, str) and value else default
