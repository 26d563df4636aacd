"""The admin that the site makes on its first start, and the file that keeps a password which the site chose."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.exc import IntegrityError

from project import passwords, user_rows
from project.config import Settings, SettingsError, write_private
from project.errors import Invalid
from project.models import User
from project.services import services

FILE = "first-admin.json"


@dataclass(frozen=True)
class FirstAdmin:
    """The admin just made. ``password`` and ``path`` are set only when the site chose the password."""

    username: str
    password: str | None
    path: Path | None


def ensure_first_admin(settings: Settings) -> FirstAdmin | None:
    """Make the first admin when there is nobody yet, say so on standard output, and return it; else return nothing.

    A password that the site chose is kept, for the owner of the data folder only, until it changes.
    Raises :class:`SettingsError` when the name or the password in the settings breaks a rule.
    """
    if user_rows.anybody():
        return None
    values = _values(settings)
    chosen = None if settings.admin_password else passwords.generate()
    values["password_hash"] = passwords.hashed(chosen or settings.admin_password)
    path = settings.data_dir / FILE if chosen else None
    try:
        with services().database.write() as connection:
            user_rows.add(connection, values)
            if path:  # before the commit: a crash in between must not lose the only password
                write_private(path, json.dumps({"username": values["username"], "password": chosen}) + "\n")
    except IntegrityError:
        return None  # another process was quicker
    made = FirstAdmin(values["username"], chosen, path)
    print(_announcement(made), flush=True)
    return made


def forget_first_password(user: User) -> None:
    """Remove the file once its password is no longer that person's."""
    path = services().settings.data_dir / FILE
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    if user_rows.name_key(str(kept.get("username", ""))) == user.username_key:
        path.unlink(missing_ok=True)


def _announcement(made: FirstAdmin) -> str:
    if made.password is None:
        return f"First admin made: {made.username}, with the password from SPACES_ADMIN_PASSWORD."
    return (
        f"First admin made. User name: {made.username}  Password: {made.password}\n"
        f"The password is shown only now; until it is changed it is also kept in {made.path}."
    )


def _values(settings: Settings) -> dict[str, Any]:
    try:
        values = user_rows.new_user(settings.admin_username or "admin", "admin")
        if settings.admin_password:
            passwords.check(settings.admin_password, values["username"])
    except Invalid as error:
        raise SettingsError(f"SPACES_ADMIN_USERNAME, SPACES_ADMIN_PASSWORD: {error.message}") from error
    return values
