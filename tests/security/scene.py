"""What belongs to somebody: the things that others must not reach, and how the site remembers them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

from tests.faults.filer import EVERYTHING, Filer
from tests.http_caller import HttpCaller
from tests.site_process import SiteProcess

#: Tables and columns that change by themselves, and what a read may note: that a token was used.
BEATS = {"processes", "connections"}
NOTES = {"last_used_at"}


class Scene:
    """Of ann: a public and a private space with an app, a completed request with files in the latter, and a token."""

    def __init__(self, site: SiteProcess, admin: HttpCaller, ann: HttpCaller) -> None:
        self.site, self.admin, self.ann = site, admin, ann
        self.public = admin.make_space("open-space", owner="ann", inputs=EVERYTHING)
        self.private = admin.make_space("dens", owner="ann", inputs=EVERYTHING, visibility="private")
        self.app = Filer(site.url, ann.make_token()).serve(self.private).serve(self.public)
        self.request = self.completed(self.private)
        token = ann.json("POST", "tokens", 201, json={"name": "ann's", "scopes": ["api"]})
        self.token_id, self.token = token["id"], token["token"]
        self.user_id = self.select("SELECT id FROM users WHERE username = 'ann'")
        self.attempt_id = self.select(f"SELECT attempt_id FROM requests WHERE id = '{self.request['id']}'")

    def completed(self, space: str) -> dict[str, Any]:
        """Return a completed request of ann with one file each way."""
        sent = self.ann.json("POST", f"spaces/{space}/requests", 202, files={"file": ("a.txt", b"hello")})
        done = self.ann.wait_final(sent["id"])
        assert done["status"] == "completed", done
        return done

    @property
    def ids(self) -> dict[str, Any]:
        """What fills the addresses of routes: ann's own."""
        return {
            "name": self.private,
            "request_id": self.request["id"],
            "file_id": self.request["output"][0]["file_id"],
            "token_id": self.token_id,
            "user_id": self.user_id,
            "attempt_id": self.attempt_id,
            "filename": "css/app.css",
        }

    def select(self, statement: str) -> Any:
        """Return the first value of the first row."""
        with closing(self._database()) as database:
            return database.execute(statement).fetchone()[0]

    def memory(self) -> dict[str, list[Any]]:
        """Return all that the site remembers, table by table, without what changes by itself."""
        with closing(self._database()) as database:
            database.row_factory = sqlite3.Row
            names = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            return {
                name: [
                    {key: row[key] for key in row.keys() if key not in NOTES}  # noqa: SIM118 - a row has no plain "in"
                    for row in database.execute(f"SELECT * FROM {name}")
                ]
                for name in names
                if name not in BEATS
            }

    def close(self) -> None:
        """Leave."""
        self.app.close()

    def _database(self) -> sqlite3.Connection:
        return sqlite3.connect(f"file:{self.site.data_dir / 'spaces.db'}?mode=ro", uri=True)
