"""Every answer is protected, whoever gives it: pages, API, refusals, failures, files, static files and Socket.IO."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from http.cookies import SimpleCookie
from typing import Any

import pytest
import requests

from tests.faults.filer import RawHttp
from tests.http_caller import CSRF_META, HttpCaller
from tests.security.scene import Scene
from tests.site_process import SiteProcess

BIG = {"data": {"username": "x" * 5_000_000}}
#: Method, path, what goes with it, and the status: every kind of answer that a visitor can get.
ANSWERS: list[tuple[str, str, dict[str, Any], int]] = [
    ("GET", "/", {}, 200),
    ("HEAD", "/", {}, 200),
    ("GET", "/login", {}, 200),
    ("GET", "/api/v1/spaces", {}, 200),
    ("GET", "/api/v1/openapi.json", {}, 200),
    ("GET", "/healthz", {}, 200),
    ("OPTIONS", "/api/v1/spaces", {}, 200),
    ("GET", "/static/css/app.css", {}, 200),
    ("GET", "/static/css/app.css", {"headers": {"If-Modified-Since": "Fri, 01 Jan 2100 00:00:00 GMT"}}, 304),
    ("GET", "/bootstrap/static/css/bootstrap.min.css", {}, 200),
    ("GET", "/account", {}, 302),
    ("GET", "/admin", {}, 308),
    ("POST", "/login", {}, 400),
    ("GET", "/api/v1/requests", {}, 401),
    ("GET", "/nosuch", {}, 404),
    ("GET", "/static/nosuch.css", {}, 404),
    ("GET", "/api/v1/nosuch", {}, 404),
    ("PUT", "/login", {}, 405),
    ("TRACE", "/", {}, 405),
    ("PUT", "/api/v1/spaces", {}, 405),
    ("POST", "/login", BIG, 413),
    ("GET", "/api/v1/spaces?limit=x", {}, 422),
    ("GET", "/socket.io/?EIO=4&transport=polling", {}, 200),
    ("GET", "/socket.io/?EIO=4&transport=polling&sid=nosuch", {}, 400),
    ("GET", "/socket.io/?EIO=4&transport=websocket", {}, 400),
    ("POST", "/socket.io/?EIO=4&transport=polling&sid=nosuch", {"data": "2"}, 400),
    ("GET", "/socket.io/?EIO=3&transport=polling", {}, 400),
]
MALFORMED = (
    b"NONSENSE\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET /x HTTP/1.1\r\nHost x\r\n\r\n",
    b"\x16\x03\x01\x00\r\n\r\n",
)


def is_protected(answer: requests.Response) -> bool:
    """Fail unless the answer carries all that keeps a browser from misusing it."""
    what, headers = f"{answer.request.method} {answer.url}: {answer.status_code}", answer.headers
    policy = dict(f"{part} ".split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
    assert policy.get("script-src", policy["default-src"]).strip() in ("'self'", "'none'"), what
    assert policy["frame-ancestors"].strip() == "'none'", what
    assert "unsafe-eval" not in headers["Content-Security-Policy"], what
    assert headers["X-Content-Type-Options"] == "nosniff", what
    assert headers["X-Frame-Options"] == "DENY", what
    assert headers["Referrer-Policy"] == "same-origin", what
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin", what
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin", what
    is_static = answer.url.partition("?")[0].endswith(".css") and answer.status_code < 400
    assert is_static or headers["Cache-Control"] in ("no-store", "private, no-cache"), what
    assert headers.get("Server", "spaces") == "spaces", f"{what}: {headers['Server']}"
    assert "X-Powered-By" not in headers, what
    return True


def cookies_of(answer: requests.Response) -> Iterator[tuple[str, Any]]:
    raw: Any = answer.raw
    for line in raw.headers.getlist("Set-Cookie"):
        yield from SimpleCookie(line).items()


@pytest.fixture(params=["http", "https"])
def home(request: pytest.FixtureRequest) -> SiteProcess:
    """A site on plain http, and one whose people come over https."""
    found: SiteProcess = request.getfixturevalue("site" if request.param == "http" else "secure_site")
    return found


@pytest.mark.parametrize(("method", "path", "options", "status"), ANSWERS, ids=lambda value: str(value)[:60])
def test_every_answer_and_every_cookie_is_protected(
    home: SiteProcess, method: str, path: str, options: dict[str, Any], status: int
) -> None:
    answer = requests.request(method, home.url + path, allow_redirects=False, timeout=20, **options)
    assert answer.status_code == status, answer.text[:300]
    assert is_protected(answer)
    is_secure = "SPACES_PUBLIC_URL" in home.environment
    assert answer.headers.get("Strict-Transport-Security") == ("max-age=31536000" if is_secure else None)
    for name, cookie in cookies_of(answer):
        assert name == ("__Host-spaces_session" if is_secure else "spaces_session")
        assert cookie["httponly"]
        assert cookie["samesite"] == "Lax"
        assert cookie["path"] == "/"
        assert not cookie["domain"], "a cookie for neighbouring hosts too"
        assert bool(cookie["secure"]) is is_secure


def test_signing_in_sets_one_cookie_and_none_to_be_remembered_by(secure_site: SiteProcess) -> None:
    page = requests.get(f"{secure_site.url}/login", timeout=20)
    name, password = secure_site.admin_credentials()
    visitor = {"Cookie": "; ".join(f"{key}={cookie.value}" for key, cookie in cookies_of(page))}
    found = CSRF_META.search(page.text)
    assert found
    form = {"username": name, "password": password, "csrf_token": found[1]}
    answer = requests.post(f"{secure_site.url}/login", data=form, headers=visitor, allow_redirects=False, timeout=20)
    assert answer.status_code == 302, answer.text[:300]
    ((kind, cookie),) = cookies_of(answer)
    assert kind == "__Host-spaces_session"
    assert (cookie["secure"], cookie["httponly"], cookie["samesite"]) == (True, True, "Lax")
    inside = {"Cookie": f"{kind}={cookie.value}"}
    account = requests.get(f"{secure_site.url}/account", headers=inside, allow_redirects=False, timeout=20)
    assert account.status_code == 200
    assert is_protected(account)


def test_what_belongs_to_somebody_is_protected_too(scene: Scene) -> None:
    file = scene.request["output"][0]["url"]
    request_id = scene.request["id"]
    for path in (
        *("/account", "/requests", f"/requests/{request_id}", f"/requests/{request_id}/download"),
        *(f"/spaces/{scene.private}", f"/api/v1/requests/{request_id}", f"{file}?download=1", file),
    ):
        assert is_protected(scene.ann.call("GET", path)), path
    part = scene.ann.call("GET", file, headers={"Range": "bytes=1-2"})
    beyond = scene.ann.call("GET", file, headers={"Range": "bytes=99-"})
    assert (part.status_code, part.content, beyond.status_code) == (206, b"el", 416)
    assert is_protected(part)
    assert is_protected(beyond)
    assert "sandbox" in part.headers["Content-Security-Policy"]


def test_a_failure_is_protected_too_and_says_nothing_of_its_cause(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """A row that no code of the site could have written makes it fail where nobody foresaw it."""
    with SiteProcess(tmp_path_factory.mktemp("broken")) as broken:
        admin = broken.admin()
        admin.make_space("cats", queue_when_offline=True)
        request_id = admin.submit("cats", "hello")["id"]
        with closing(sqlite3.connect(broken.data_dir / "spaces.db", timeout=10)) as database, database:
            database.execute("UPDATE requests SET result = '5', status = 'completed'")
        for path in (f"/requests/{request_id}", f"/api/v1/requests/{request_id}"):
            answer = admin.call("GET", path)
            assert answer.status_code == 500
            assert is_protected(answer)
            for leak in ("Traceback", "TypeError", "SELECT", "sqlite", ".py", str(broken.data_dir), "werkzeug"):
                assert leak not in answer.text, (path, leak)
        assert "TypeError" in broken.output(), "the log says nothing of the failure"


@pytest.mark.parametrize("line", MALFORMED)
def test_no_server_says_which_one_it_is_to_nonsense(site: SiteProcess, line: bytes) -> None:
    peer = RawHttp(site.url, 5).send(line).half_close()
    said = peer.until_closed().decode("latin-1").lower()
    peer.close()
    for name in ("python", "eventlet", "gevent", "werkzeug", "basehttp", "flask"):
        assert name not in said, said[:400]


def test_the_page_of_the_api_alone_allows_inline_styles_and_no_page_inline_scripts(visitor: HttpCaller) -> None:
    docs, page = (visitor.call("GET", path).headers["Content-Security-Policy"] for path in ("/api/docs", "/login"))
    assert "style-src 'self' 'unsafe-inline'" in docs
    assert "script-src" not in docs
    assert "unsafe" not in page
