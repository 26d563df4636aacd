"""Whose name and password the program signs in with, and the setting-up of a space to try."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

from scenarios.browser import Browser, SiteProblem, is_local
from spaces_app.credentials import save_token

ALL_INPUTS = {"prompt": True, "audio": True, "video": True, "file": True}
HOW_TO_NAME_ONE = (
    "Give --username and --password, or set SPACES_ADMIN_USERNAME and SPACES_ADMIN_PASSWORD"
    " (for a site of make demo: SPACES_DATA_DIR=instance/demo)."
)


@dataclass(frozen=True)
class Login:
    """A name and a password."""

    username: str
    password: str

    def browser(self, host: str) -> Browser:
        """Return a new browser that is signed in. Raises :class:`SiteProblem`."""
        return Browser(host).sign_in(self.username, self.password)


def find_login(host: str, username: str | None, password: str | None) -> Login:
    """Take what was given, else the environment, else the first admin's file when the site is local.

    Raises :class:`SiteProblem` when there is none.
    """
    name = username or os.environ.get("SPACES_ADMIN_USERNAME") or ("admin" if password else "")
    secret = password or os.environ.get("SPACES_ADMIN_PASSWORD")
    if secret:
        return Login(name or "admin", secret)
    kept = _first_admin() if is_local(host) else None
    if kept is None:
        raise SiteProblem(f"No password of an admin is known. {HOW_TO_NAME_ONE}")
    if name and name.casefold() != kept.username.casefold():
        raise SiteProblem(f"No password of {name!r} is known. {HOW_TO_NAME_ONE}")
    return kept


def _first_admin() -> Login | None:
    path = Path(os.environ.get("SPACES_DATA_DIR") or "instance") / "first-admin.json"
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return Login(str(kept["username"]), str(kept["password"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def set_up_space(admin: Browser) -> str:
    """Create a space to try and a token for its app, print the next command, and return the space's name.

    Raises :class:`SiteProblem` when the site refuses.
    """
    name = _new_test_space(admin)
    made = admin.api("POST", "tokens", json={"name": f"App of {name}", "scopes": ["app"], "spaces": [name]})
    if made.status != 201:
        raise SiteProblem(f"The site made no token for {name}: {made.message}")
    path = save_token(admin.host, name, made.body["token"])
    print(f"Space created: {name}")
    print(f"Its page:      {admin.host}/spaces/{name}")
    print(f"App token:     kept in {path}, readable by you only")
    print(f'\nNext:\n  python mock_app.py --host {admin.host} --spaces "{name}" --verbose', flush=True)
    return name


def _new_test_space(admin: Browser) -> str:
    """Names carry the second; of two made in one second the later takes the next."""
    now = int(time.time())
    for second in range(now, now + 5):
        name = f"TestSpace_{second}"
        made = admin.api("POST", "spaces", json={"name": name, "inputs": ALL_INPUTS})
        if made.status == 201:
            return name
        if made.code != "duplicate_name":
            raise SiteProblem(f"The site made no space: {made.message}")
    raise SiteProblem("The site has spaces of these names already. Try again in a few seconds.")
