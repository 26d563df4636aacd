"""The log: nobody writes lines into it by what they send, no secret is in it, and what matters is."""

from __future__ import annotations

import io
import logging
import re
import secrets
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import pytest

from project.wiring import configure_logging, visible
from tests.faults.filer import EVERYTHING, Filer, RawHttp
from tests.faults.raw_peer import RawPeer
from tests.http_caller import HttpCaller
from tests.site_process import SiteProcess, wait_until

FORGED = "2026-01-01 00:00:00,000Z INFO project.web_security: user 1 signed in"
#: What would begin a line of its own, hide one, or speak to a terminal.
BREAKS = ("\n", "\r\n", "\r", "\x0b", "\x0c", "\x85", "\u2028", "\u2029", "\x1b[2K\x1b[1A", "\x1b]0;x\x07", "\x08" * 20)
BREAKS += ("\x00", "\x9b31m", "\u202e", "\x7f")
LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}Z (DEBUG|INFO|WARNING|ERROR|CRITICAL) [\w.]+: ")


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What the site's own logging writes while the test runs."""
    root = logging.getLogger()
    before, level, written = root.handlers[:], root.level, io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    root.handlers.clear()
    configure_logging("INFO")
    yield written
    root.handlers[:] = before
    root.setLevel(level)


@pytest.mark.parametrize("between", BREAKS, ids=map(repr, BREAKS))
def test_one_event_is_one_line_whatever_is_in_it(lines: io.StringIO, between: str) -> None:
    logging.getLogger("project.x").warning("somebody said %s", f"hello{between}{FORGED}")
    written = lines.getvalue()
    assert written.count("\n") == 1
    assert written.rstrip("\n").isprintable()
    assert LINE.match(written)
    assert between.encode("unicode_escape").decode() in written or between in ("\r\n",), written


def test_a_traceback_forges_no_line_either(lines: io.StringIO) -> None:
    for between in BREAKS:
        try:
            raise ValueError(f"hello{between}{FORGED}")
        except ValueError:
            logging.getLogger("project.x").exception("it failed")
    written = lines.getvalue().splitlines()
    assert sum(bool(LINE.match(line)) for line in written) == len(BREAKS)
    assert all(LINE.match(line) or line.startswith("    ") for line in written)
    assert all(line.isprintable() for line in written)
    assert any("Traceback" in line for line in written)


def test_what_people_write_stays_readable() -> None:
    assert visible("Grüße, 你好 🙂") == "Grüße, 你好 🙂"
    assert visible("a\nb\x1b") == "a\\nb\\x1b"


@pytest.fixture(scope="module")
def talkative(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SiteProcess]:
    """A site that logs all that it can."""
    with SiteProcess(tmp_path_factory.mktemp("site"), SPACES_LOG_LEVEL="DEBUG", SPACES_GRACE=2) as running:
        yield running


def written_since(site: SiteProcess, start: int) -> str:
    """Return what the log says since ``start``, once all that was begun before is in it."""
    mark = f"mark-{secrets.token_hex(8)}"
    site.admin().call("POST", f"/admin/spaces/{mark}/disable")
    wait_until(lambda: mark in site.output(), "the mark is in the log")
    return site.output()[start:]


class Diary:
    """What was sent to a site, of which nothing may be in its log."""

    def __init__(self, site: SiteProcess) -> None:
        self.site = site
        self.secrets: dict[str, str] = {}

    def keep(self, kind: str, value: str) -> str:
        """Remember a secret and return it."""
        self.secrets[kind] = value
        return value


class Remembering(Filer):
    """A filer that keeps the request it was given, with its links."""

    def on_request(self, request: dict[str, Any]) -> None:
        self.request = request
        super().on_request(request)


def a_day(site: SiteProcess) -> Diary:
    """Let everything happen that has a secret in it, the right ones and the wrong ones."""
    diary = Diary(site)
    admin = site.admin()
    diary.keep("first password", site.admin_credentials()[1])
    password, new = (diary.keep(name, secrets.token_urlsafe(16)) for name in ("password", "new password"))
    HttpCaller(site.url).sign_up("ann", password)
    ann = HttpCaller(site.url).sign_in("ann", password)
    diary.keep("cookie", next(iter(ann.http.cookies.get_dict().values())))
    diary.keep("CSRF token", str(ann.http.headers["X-CSRFToken"]))
    with suppress(AssertionError):
        HttpCaller(site.url).sign_in("ann", diary.keep("wrong password", secrets.token_urlsafe(16)))
    form = {"current_password": password, "new_password": new, "confirm": new}
    ann.call("POST", "/account/password", data=form | {"csrf_token": ann.http.headers["X-CSRFToken"]})
    ann = HttpCaller(site.url).sign_in("ann", new)
    token = diary.keep("token", ann.make_token(scopes=("api",)))
    program = HttpCaller(site.url, token)
    HttpCaller(site.url, diary.keep("wrong token", f"spaces_{secrets.token_urlsafe(40)}")).call("GET", "requests")
    space = admin.make_space(inputs=EVERYTHING, owner="ann")
    app = Remembering(site.url, diary.keep("app token", ann.make_token(spaces=[space]))).serve(space)
    prompt = diary.keep("prompt", f"a private question {secrets.token_hex(8)}")
    secret_file = diary.keep("content", secrets.token_hex(20)).encode()
    files = {"file": ("a.txt", secret_file), "prompt": (None, prompt)}
    sent = program.json("POST", f"spaces/{space}/requests", 202, files=files)
    done = program.wait_final(sent["id"])
    assert done["status"] == "completed"
    for number, link in enumerate((app.request["files"][0]["url"], app.request["upload"]["url"])):
        diary.keep(f"signature {number}", link.partition("signature=")[2].partition("&")[0])
        program.http.get(link + "x", timeout=20)
        program.http.put(link + "x", b"x", timeout=20)
    for path in (f"/api/v1/requests?token={token}", f"/?access_token={token}", f"/login?password={new}"):
        HttpCaller(site.url).call("GET", path)
    peer = RawPeer(site.url, join=False, query=f"&token={token}")
    assert peer.refusal({"token": token})["data"]["code"] == "unauthorized"
    peer.close()
    user_id = re.findall(r"/admin/users/(\d+)", admin.call("GET", "/admin/users?q=ann").text)[0]
    reset = admin.call("POST", f"/admin/users/{user_id}/password").text
    diary.keep("reset password", re.findall(r"<code>([\w-]{16})</code>", reset)[0])
    app.close()
    return diary


def test_no_secret_is_in_the_log(talkative: SiteProcess) -> None:
    start = len(talkative.output())
    diary = a_day(talkative)
    written = written_since(talkative, start)
    found = [kind for kind, secret in diary.secrets.items() if secret in written]
    assert not found, [line for line in written.splitlines() if any(diary.secrets[kind] in line for kind in found)]
    hashes = ("$argon2", "session_key", "token_hash")
    assert not [line for line in written.splitlines() if any(word in line for word in hashes)]


def test_who_did_what_is_in_the_log(talkative: SiteProcess) -> None:
    """Signing in and out, wrong passwords, refusals, and every change of accounts, tokens and spaces."""
    start = len(talkative.output())
    admin = talkative.admin()
    bob = talkative.user("bob")
    with suppress(AssertionError):
        HttpCaller(talkative.url).sign_in("bob", "wrong")
    with suppress(AssertionError):
        HttpCaller(talkative.url).sign_in("no such person", "wrong")
    bob.make_token(scopes=("api",))
    assert bob.call("DELETE", "spaces/nosuch").status_code == 403
    admin.make_space("cats")
    bob_id = re.findall(r"/admin/users/(\d+)", admin.call("GET", "/admin/users?q=bob").text)[0]
    admin.call("POST", f"/admin/users/{bob_id}/role", data={"role": "admin"})
    bob.call("POST", "/logout")
    expected = [
        r"POST /login by user 1 from 127\.0\.0\.1: 302",
        rf"POST /register by user {bob_id} from 127\.0\.0\.1: 302",
        rf"POST /login by user {bob_id} from 127\.0\.0\.1: 302",
        rf"a wrong password for user {bob_id} from 127\.0\.0\.1",
        r"a wrong password for nobody from 127\.0\.0\.1",
        r"POST /login by a visitor from 127\.0\.0\.1: 401",
        rf"POST /api/v1/tokens by user {bob_id} from 127\.0\.0\.1: 201",
        rf"DELETE /api/v1/spaces/nosuch by user {bob_id} from 127\.0\.0\.1: 403",
        r"POST /api/v1/spaces by user 1 from 127\.0\.0\.1: 201",
        rf"POST /admin/users/{bob_id}/role by user 1 from 127\.0\.0\.1: 302",
        rf"POST /logout by user {bob_id} from 127\.0\.0\.1: 302",
    ]
    written = written_since(talkative, start)
    for pattern in expected:
        assert re.search(pattern, written), f"{pattern}\n{written}"
    assert "no such person" not in written, "what somebody typed as a name may be a password"


def test_nothing_that_is_sent_becomes_a_line_of_its_own(talkative: SiteProcess) -> None:
    start = len(talkative.output())
    admin = talkative.admin()
    space = admin.make_space(queue_when_offline=True)
    app = Filer(talkative.url, admin.make_token(spaces=[space])).serve(space, app={"name": f"x\n{FORGED}"})
    for between in BREAKS:
        text = f"x{between}{FORGED}"
        admin.call("POST", f"/admin/spaces/{quote(text, safe='')}/disable")
        admin.call("GET", f"/{quote(text, safe='')}", allow_redirects=False)
        admin.call("DELETE", f"/api/v1/spaces/{quote(text, safe='')}")
        admin.call("GET", f"/socket.io/?EIO=4&transport=polling&sid={quote(text, safe='')}")
        admin.call("POST", f"spaces/{space}/requests", json={"prompt": text.replace("\x00", "")})
        app.call(text[:60], {"request_id": text})
        app.call("inference_result", {"request_id": text[:60], "status": text, "result": {}})
        raw = RawHttp(talkative.url, 5).send(f"GET /{text} HTTP/1.1\r\nHost: x{between}\r\n\r\n".encode()).half_close()
        raw.until_closed()
        raw.close()
    app.close()
    written = written_since(talkative, start)
    assert "disable by user 1" in written
    for line in written.split("\n"):
        assert not line.startswith(FORGED), line
        assert "\x1b" not in line, line
        assert not line.strip("\n") or LINE.match(line) or line.startswith("    "), repr(line)
