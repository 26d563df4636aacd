"""Everybody who calls a site while its database is away: people, programs and apps, each with one call of its own.

:class:`Visitors` prepares them while all is well; :meth:`Visitors.call_all` lets them call at the same moment.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import requests

from tests.faults.filer import EVERYTHING, Waiting, kept
from tests.faults.looking import wait_status
from tests.house import together
from tests.http_caller import CSRF_META, HttpCaller
from tests.site_process import SiteProcess, wait_until

#: What a page says, as an error page or beside the form that was sent.
SAID = "The database does not answer"
PASSWORD = "correct horse battery"
#: Within which the site must be back once the database is (guarantee G15).
BACK_SECONDS = 10.0
#: Calls that ask nothing of the database.
NEEDS_NOTHING = ("healthz", "a static file", "the sign-in page", "the API's description")
#: Calls that only read.
READS = (
    "sign in",
    "the gallery",
    "the page of a space",
    "my requests",
    "a request's page",
    "an admin page",
    "the account",
    "spaces by API",
    "a space by API",
    "a request by API",
    "requests by API",
    "tokens by API",
    "a held call",
    "live",
    "a file of a request",
    "a signed file of an app",
)
#: Calls that write.
WRITES = (
    "submit by program",
    "submit by browser",
    "submit a file",
    "submit by form",
    "sign up",
    "a new token",
    "a new space",
    "a changed space",
    "a deleted space",
    "cancel",
    "retry",
    "delete",
    "an upload of an app",
    "sign out",
    "sign out everywhere",
    "cancel by form",
    "retry by form",
    "delete by form",
    "a token by form",
    "a space switched off by form",
)

#: Who calls, by which method, where, and with what.
Call = tuple[HttpCaller, str, str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Heard:
    """The answer to one call and how long it took; the seconds tell whether it waited."""

    name: str
    answer: requests.Response
    seconds: float

    @property
    def status(self) -> int:
        return self.answer.status_code

    @property
    def code(self) -> str | None:
        """The error code of a JSON answer."""
        if not self.answer.headers.get("Content-Type", "").startswith("application/json"):
            return None
        return (self.answer.json().get("error") or {}).get("code")

    def is_honest(self) -> bool:
        """Whether it says that the site cannot do this now, when to come back, and in the caller's language."""
        if self.status != 503 or not self.answer.headers.get("Retry-After", "").isdigit():
            return False
        return self.code == "database_away" or SAID in self.answer.text

    def __str__(self) -> str:
        where = self.answer.headers.get("Location", "")
        return f"{self.name}: {self.status} {self.code or ''} {where} after {self.seconds:.1f} s"


class Visitors:
    """A site with a space that takes everything, its app with one request in hand, and callers of every kind."""

    def __init__(self, site: SiteProcess) -> None:
        self.site = site
        self.admin = site.admin()
        self.space = self.admin.make_space(timeout_seconds=100, inputs=EVERYTHING)
        self.doomed = self.admin.make_space()
        self.app = Waiting(site.url, self.admin.make_token(spaces=[self.space])).serve(self.space)
        #: A token that was never used, so that nobody remembers it.
        self.unused_token = self.admin.make_token(spaces=[self.space])
        self.api = HttpCaller(site.url, self.admin.make_token(scopes=("api",)))
        self.name = f"user-{secrets.token_hex(4)}"
        HttpCaller(site.url).sign_up(self.name, PASSWORD)
        self.user = HttpCaller(site.url).sign_in(self.name, PASSWORD)
        self.done = self._completed()
        self.repeatable = self._completed()
        self.in_hand = self._submit_file()
        self.request = self.app.next("inference_request", request_id=self.in_hand)
        self.waiting = self.user.submit(self.space, "waits")["id"]
        self.kept = set(kept(site.data_dir))
        self.files = self.user.request(self.in_hand)["input"]["files"]
        self.stranger = HttpCaller(site.url)
        self.calls = {**self._reads(), **self._writes(), **self._needs_nothing()}

    def _submit_file(self) -> str:
        made = self.user.json(
            "POST",
            f"spaces/{self.space}/requests",
            202,
            data={"prompt": "with a file"},
            files={"file": ("a.txt", b"kept bytes", "text/plain")},
        )
        return str(made["id"])

    def _completed(self) -> str:
        request_id = str(self.user.submit(self.space, "done")["id"])
        assert self.app.answer(self.app.next("inference_request", request_id=request_id)) == "accepted"
        wait_status(self.user, request_id, "completed")
        return request_id

    def _leaver(self) -> HttpCaller:
        """Somebody who leaves: not the one whose session the other calls need."""
        name = f"leaver-{secrets.token_hex(4)}"
        HttpCaller(self.site.url).sign_up(name, PASSWORD)
        return HttpCaller(self.site.url).sign_in(name, PASSWORD)

    def _csrf(self, caller: HttpCaller) -> str:
        found = CSRF_META.search(caller.call("GET", "/register").text)
        assert found
        return found[1]

    def _needs_nothing(self) -> dict[str, Call]:
        visitor = HttpCaller(self.site.url)
        paths = ("/healthz", "/static/css/app.css", "/login", "/api/v1/openapi.json")
        return {name: (visitor, "GET", path, {}) for name, path in zip(NEEDS_NOTHING, paths, strict=True)}

    def _reads(self) -> dict[str, Call]:
        file_id, signed = self.files[0]["file_id"], self.request["files"][0]["url"].removeprefix(self.site.url)
        where = (
            (self.stranger, "/login"),
            (self.user, "/"),
            (self.user, f"/spaces/{self.space}"),
            (self.user, "/requests"),
            (self.user, f"/requests/{self.done}"),
            (self.admin, "/admin/users"),
            (self.user, "/account"),
            (HttpCaller(self.site.url), "spaces"),
            (self.api, f"spaces/{self.space}"),
            (self.user, f"requests/{self.done}"),
            (self.user, "requests"),
            (self.user, "tokens"),
            (self.user, f"requests/{self.in_hand}?until=final&wait=1"),
            (self.user, f"spaces/{self.space}/live"),
            (self.user, f"files/{file_id}"),
            (HttpCaller(self.site.url), signed),
        )
        calls: dict[str, Call] = {
            name: (caller, "GET", path, {}) for name, (caller, path) in zip(READS, where, strict=True)
        }
        person = {"username": self.name, "password": PASSWORD, "csrf_token": self._csrf(self.stranger)}
        return calls | {"sign in": (self.stranger, "POST", "/login", {"data": person})}

    def _writes(self) -> dict[str, Call]:
        submits, a_file = f"spaces/{self.space}/requests", {"file": ("b.txt", b"half accepted?", "text/plain")}
        upload = self.request["upload"]["url"].removeprefix(self.site.url) + "&name=c.bin"
        stranger = HttpCaller(self.site.url)
        person = {"username": f"new-{secrets.token_hex(4)}", "password": PASSWORD, "confirm": PASSWORD}
        person["csrf_token"] = self._csrf(stranger)
        said: tuple[Call, ...] = (
            (self.api, "POST", submits, {"json": {"prompt": "too early"}}),
            (self.user, "POST", submits, {"json": {"prompt": "too early"}}),
            (self.user, "POST", submits, {"data": {"prompt": "too early"}, "files": a_file}),
            (self.user, "POST", f"/spaces/{self.space}", {"data": {"prompt": "too early"}, "files": a_file}),
            (stranger, "POST", "/register", {"data": person}),
            (self.user, "POST", "tokens", {"json": {"name": "new", "scopes": ["api"]}}),
            (self.admin, "POST", "spaces", {"json": {"name": f"new-{secrets.token_hex(4)}"}}),
            (self.admin, "PATCH", f"spaces/{self.doomed}", {"json": {"title": "changed"}}),
            (self.admin, "DELETE", f"spaces/{self.doomed}", {}),
            (self.user, "POST", f"requests/{self.waiting}/cancel", {}),
            (self.user, "POST", f"requests/{self.repeatable}/retry", {}),
            (self.user, "DELETE", f"requests/{self.done}", {}),
            (HttpCaller(self.site.url), "PUT", upload, {"data": b"of a result"}),
            (self._leaver(), "POST", "/logout", {}),
            (self._leaver(), "POST", "/account/sign-out-everywhere", {}),
            (self.user, "POST", f"/requests/{self.waiting}/cancel", {}),
            (self.user, "POST", f"/requests/{self.repeatable}/retry", {}),
            (self.user, "POST", f"/requests/{self.done}/delete", {}),
            (self.user, "POST", "/account/tokens", {"data": {"name": "new", "scopes": "api"}}),
            (self.admin, "POST", f"/admin/spaces/{self.doomed}/disable", {}),
        )
        return dict(zip(WRITES, said, strict=True))

    def call_all(self, *names: str) -> list[Heard]:
        """Let these callers call at the same moment, and return what each heard."""
        return [self._must(one) for one in together([lambda name=name: self._call(name) for name in names], 120)]

    def _call(self, name: str) -> Heard:
        caller, method, path, options = self.calls[name]
        begun = time.monotonic()
        return Heard(name, caller.call(method, path, allow_redirects=False, **options), time.monotonic() - begun)

    @staticmethod
    def _must(one: Heard | Exception) -> Heard:
        if isinstance(one, Exception):
            raise one
        return one

    def check_untouched(self) -> None:
        """Check that nothing of what was refused has happened, and that nobody was signed out."""
        ids = [one["id"] for one in self.user.json("GET", "requests")["items"]]
        assert sorted(ids) == sorted([self.done, self.repeatable, self.in_hand, self.waiting])
        assert self.user.request(self.waiting)["status"] == "queued"
        assert self.admin.space(self.doomed)["title"] == self.doomed
        assert self.user.json("GET", "tokens")["items"] == []
        assert set(kept(self.site.data_dir)) == self.kept, "something of a refused file is left"
        assert self.user.call("GET", "/account", allow_redirects=False).status_code == 200

    def check_works(self) -> None:
        """Check that submits and results are taken again, in order, by the app that was there before."""
        again = self.user.submit(self.space, "again")["id"]
        assert self.app.answer(self.request) == "accepted"
        for one in (self.waiting, again):
            assert self.app.answer(self.app.next("inference_request", request_id=one)) == "accepted"
            assert self.user.wait_final(one)["attempt"] == 1

    def close(self) -> None:
        """Close what would outlive the test."""
        self.app.close()


@contextmanager
def visitors(site: SiteProcess) -> Iterator[Visitors]:
    """Prepare everybody, and close what is open at the end."""
    everybody = Visitors(site)
    yield everybody
    everybody.close()


def wait_unready(site: SiteProcess) -> None:
    """Wait until readyz says that the site cannot serve, while healthz says that it lives."""
    caller = HttpCaller(site.url)
    wait_until(lambda: caller.call("GET", "/readyz").status_code == 503, "readyz says that the site cannot serve")
    answer = caller.call("GET", "/readyz")
    assert answer.json()["error"]["code"] == "database_away"
    assert answer.headers["Retry-After"]
    assert caller.call("GET", "/healthz").status_code == 200


def wait_back(site: SiteProcess) -> None:
    """Wait until the site can serve again."""
    wait_until(HttpCaller(site.url).is_ready, "the site is ready again, without a restart", BACK_SECONDS)


def dishonest(heard: list[Heard]) -> list[str]:
    """Return the answers that hide what is wrong."""
    return [str(one) for one in heard if not one.is_honest()]


def failed(heard: list[Heard]) -> list[str]:
    """Return the answers that are not as on any other day."""
    return [str(one) for one in heard if one.status not in (200, 302)]
