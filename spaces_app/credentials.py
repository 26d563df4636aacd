"""The owner-only file of app tokens: ``{"<site>": {"<space>": "<token>"}}``.

``test_websockets.py --setup-space`` writes it and ``mock_app.py`` reads it. Names of spaces ignore case, and
``localhost``, ``127.0.0.1`` and ``[::1]`` are the same site.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

FILE_NAME = "app-credentials.json"
LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
OTHERS_MAY = 0o077


class CredentialsError(Exception):
    """The file cannot be used; the message says what to do."""


def default_path() -> Path:
    """Return where the file is: in the data folder (``SPACES_DATA_DIR``, else ``instance``)."""
    return Path(os.environ.get("SPACES_DATA_DIR") or "instance") / FILE_NAME


def save_token(host: str, space: str, token: str, path: Path | None = None) -> Path:
    """Keep ``token`` for ``space`` of the site at ``host`` and return the file's path.

    The file is replaced as a whole, and nobody but its owner can read it at any moment.
    """
    path = path or default_path()
    kept = _read(path) if path.exists() else {}
    spaces = kept.setdefault(site_key(host), {})
    for old in [name for name in spaces if name.casefold() == space.casefold()]:
        del spaces[old]
    spaces[space] = token
    _replace(path, json.dumps(kept, indent=2) + "\n")
    return path


def find_token(host: str, space: str, path: Path | None = None) -> str | None:
    """Return the token kept for ``space`` of the site at ``host``, or ``None``. Raises :class:`CredentialsError`."""
    path = path or default_path()
    if not path.exists():
        return None
    spaces = _read(path).get(site_key(host), {})
    return next((token for name, token in spaces.items() if name.casefold() == space.casefold()), None)


def find_common_token(host: str, spaces: Iterable[str], path: Path | None = None) -> str | None:
    """Return the one token kept for all ``spaces``, or ``None`` when none of them has one.

    Raises :class:`CredentialsError` when they differ: one connection carries one token.
    """
    found = {find_token(host, space, path) for space in spaces}
    if len(found) > 1:
        raise CredentialsError("These spaces do not share one token. Start one program for each, or give --token.")
    return found.pop() if found else None


def site_key(host: str) -> str:
    """Return the name under which a site's tokens are kept: the same for every way to write its address."""
    parts = urlsplit(host if "://" in host else f"http://{host}")
    name = (parts.hostname or "").lower()
    port = parts.port or DEFAULT_PORTS.get(parts.scheme, 80)
    secure = "https" if parts.scheme in {"https", "wss"} else "http"
    return f"{secure}://{'localhost' if name in LOCAL_NAMES else name}:{port}"


def _read(path: Path) -> dict[str, dict[str, str]]:
    if os.name == "posix" and path.stat().st_mode & OTHERS_MAY:
        raise CredentialsError(f"{path} can be read by others. Run: chmod 600 {path}")
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CredentialsError(f"{path} is not readable as JSON. Delete it and set the space up again.") from error
    sites = kept.items() if isinstance(kept, dict) else ()
    return {site: spaces for site, spaces in sites if isinstance(spaces, dict)}


def _replace(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    temporary.replace(path)
