"""What ``make demo`` keeps in its data folder, and how it gets in: the first admin's password, tokens of its own."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, TextIO

from scenarios.admin import ALL_INPUTS
from scenarios.browser import Browser, SiteProblem

SPACE = "demo"
TITLE = "Demo: an app that pretends to think"
DESCRIPTION = """\
Send a prompt, or a sound, a video, any files: they go to a **mock app** on this computer,
which takes one to three seconds and answers.

- Record yourself, and hear what comes back: *every file comes back as it was*.
- Send several: they wait in the queue and are answered *one at a time, in order*.
- Stop the demo, start only the site: this page says `✗ Not connected`.
- Put your own model in the app's place: open **Connect an app** on this page.
"""


class DemoFolder:
    """The demo's data folder: the site's own files, and ``demo-access.json`` with the demo's tokens."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.site_log = path / "site.log"
        self.fresh_start = f"For a fresh start, delete the folder {path} and run make demo again."
        self._access_file = path / "demo-access.json"

    def first_login(self) -> tuple[str, str] | None:
        """Return the first admin's name and password, or nothing once the password was changed."""
        try:
            kept = json.loads((self.path / "first-admin.json").read_text(encoding="utf-8"))
            return kept["username"], kept["password"]
        except (OSError, ValueError, KeyError):
            return None

    def ensure_access(self, url: str) -> dict[str, str]:
        """Return the demo's tokens (``admin`` and ``app``), made at the first start. Raises :class:`SiteProblem`."""
        try:
            kept: dict[str, str] = json.loads(self._access_file.read_text(encoding="utf-8"))
            if kept["app"] and Browser(url, kept["admin"]).api("GET", "requests").status == 200:
                return kept
        except (OSError, ValueError, KeyError):
            pass
        return self.make_access(url)

    def make_access(self, url: str) -> dict[str, str]:
        """Make the tokens as the first admin, and keep them. Raises :class:`SiteProblem` when that is impossible."""
        login = self.first_login()
        if login is None:
            raise SiteProblem(f"The password was changed and a token of the demo was revoked. {self.fresh_start}")
        admin = Browser(url).sign_in(*login)
        access = {scope: _new_token(admin, scope) for scope in ("admin", "app")}
        with private_file(self._access_file) as file:
            file.write(json.dumps(access))
        return access


def _new_token(admin: Browser, scope: str) -> str:
    made = admin.api("POST", "tokens", json={"name": f"make demo: {scope}", "scopes": [scope]})
    if made.status != 201:
        raise SiteProblem(f"The site made no token: {made.message}")
    return str(made.body["token"])


def ensure_space(url: str, token: str) -> None:
    """Make the demo's space unless it is there. Raises :class:`SiteProblem` when the site refuses."""
    if space_object(url, token):
        return
    body = {"name": SPACE, "title": TITLE, "description": DESCRIPTION, "inputs": ALL_INPUTS}
    made = Browser(url, token).api("POST", "spaces", json=body)
    if made.status != 201:
        raise SiteProblem(f"The site made no space: {made.message}")


def space_object(url: str, token: str) -> dict[str, Any]:
    """Return the demo's space object, empty when there is none."""
    answer = Browser(url, token).api("GET", f"spaces/{SPACE}")
    return answer.body if answer.status == 200 else {}


def private_file(path: Path) -> TextIO:
    """Open ``path`` anew for writing; at no moment can anybody but the owner read it."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.unlink(missing_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8")
