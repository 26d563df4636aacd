"""Names for files on this computer, made from names that a user typed."""

from __future__ import annotations

import re

MAX_STEM = 80
MAX_EXTENSION = 16
UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def local_name(name: str, number: int) -> str:
    """Return a name without folders, leading dots or strange characters, which keeps the extension of ``name``.

    ``number`` comes first, so that two files of one request never collide and no system finds the name reserved.
    """
    base = UNSAFE.sub("_", re.split(r"[/\\]", name)[-1]).strip("._")
    stem, dot, extension = base.rpartition(".")
    if not dot or len(extension) > MAX_EXTENSION:
        stem, dot, extension = base, "", ""
    return f"{number}-{stem[:MAX_STEM] or 'file'}{dot}{extension}"
