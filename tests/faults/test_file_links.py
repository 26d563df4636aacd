"""Signed links: good for one file, one attempt and its time; anything else is refused, and no log has a signature."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
import requests

from tests.faults.apps import FaultApp
from tests.faults.filer import EVERYTHING, Filer, RawHttp, Waiting, kept, result_of
from tests.faults.looking import GRACE, SOME_MODES, TIMEOUT, wait_status
from tests.http_caller import HttpCaller
from tests.site_process import SiteProcess, wait_until

Connect = Callable[..., Any]
OwnSite = Callable[..., SiteProcess]
Started = Callable[[FaultApp], Any]

REFUSED = {403: "forbidden", 404: "not_found"}
SIGNATURE = re.compile(r"signature=(?!\.\.\.)")


@pytest.fixture
def space(admin: HttpCaller) -> str:
    return admin.make_space(timeout_seconds=30, inputs=EVERYTHING)


@pytest.fixture
def http() -> Iterator[requests.Session]:
    """Somebody who knows links and nothing else."""
    with requests.Session() as session:
        session.trust_env = False
        yield session


def submit(caller: HttpCaller, space: str, *contents: bytes) -> str:
    sent = caller.json("POST", f"spaces/{space}/requests", 202, files=[("file", ("a", one)) for one in contents])
    return str(sent["id"])


def changed(url: str, **query: str | None) -> str:
    """Return the link with other parameters; None leaves one out."""
    parts = urlsplit(url)
    said = {**dict(parse_qsl(parts.query)), **query}
    return parts._replace(query=urlencode({key: one for key, one in said.items() if one is not None})).geturl()


def moved(url: str, path: str) -> str:
    """Return the link with another path, as it is written."""
    return url.replace(urlsplit(url).path, path)


def is_refused(answer: requests.Response, *statuses: int) -> bool:
    assert answer.status_code in (statuses or REFUSED), f"{answer.url[:200]}: {answer.status_code} {answer.text[:200]}"
    assert answer.json()["error"]["code"] == REFUSED[answer.status_code]
    return True


def test_a_link_is_good_for_its_file_and_its_attempt_alone(
    site: SiteProcess, admin: HttpCaller, space: str, connect: Connect, http: requests.Session
) -> None:
    """Each file is tried with everything that another link says."""
    other = admin.make_space(inputs=EVERYTHING, timeout_seconds=30)
    with_other = Waiting(site.url, admin.make_token(spaces=[other])).serve(other)
    app = connect(Waiting)
    submit(admin, space, b"mine", b"mine too")
    submit(admin, other, b"theirs")
    mine, theirs = app.next("inference_request"), with_other.next("inference_request")
    with_other.close()
    url, too = (file["url"] for file in mine["files"])
    their_url = theirs["files"][0]["url"]
    assert app.fetch(url) == b"mine"
    assert mine["payload"]["file"] == url
    query = dict(parse_qsl(urlsplit(url).query))
    up = mine["upload"]["url"]
    their_path = urlsplit(their_url).path
    for wrong in (
        changed(url, signature=query["signature"][:-1] + ("A" if query["signature"][-1] != "A" else "B")),
        changed(url, signature=""),
        changed(url, signature="ü\x00"),
        changed(url, signature="x" * 6_000),
        changed(url, expires=str(int(query["expires"]) + 1)),
        changed(url, expires="9" * 400),
        changed(url, expires=None),
        changed(url, expires="-1"),
        changed(url, attempt=theirs["attempt_id"]),
        changed(url, attempt=None),
        changed(url, attempt="\x00"),
        changed(url, signature=dict(parse_qsl(urlsplit(too).query))["signature"]),
        moved(url, urlsplit(too).path),
        moved(url, their_path),
        moved(their_url, urlsplit(url).path),
        moved(up, urlsplit(url).path),
    ):
        assert is_refused(http.get(wrong), 404)
    assert http.get(changed(url, expires="soon")).status_code == 422
    for wrong in (
        changed(up, signature="x"),
        changed(up, expires="9999999999"),
        moved(up, urlsplit(theirs["upload"]["url"]).path),
        moved(up, f"/api/v1/attempts/{'0' * 32}/files"),
        changed(moved(url, urlsplit(up).path), attempt=None),
    ):
        for call in (http.put, http.post):
            assert is_refused(call(wrong, data=b"x"), 404)
    assert app.codes == []


ENDINGS: dict[str, Callable[[HttpCaller, Filer, dict[str, Any]], Any]] = {
    "completed": lambda admin, app, request: app.hand_in(request),
    "cancelled": lambda admin, app, request: admin.json("POST", f"requests/{request['request_id']}/cancel"),
    "timed_out": lambda admin, app, request: wait_status(admin, request["request_id"], "timed_out"),
    "requeued": lambda admin, app, request: app.drop(),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_attempt_that_is_over_opens_nothing_and_takes_files_for_a_grace(
    site: SiteProcess, admin: HttpCaller, started: Started, http: requests.Session, ending: str
) -> None:
    space = admin.make_space(inputs=EVERYTHING, timeout_seconds=TIMEOUT if ending == "timed_out" else 30)
    token = admin.make_token(spaces=[space])
    app = started(Waiting(site.url, token)).serve(space)
    request_id = submit(admin, space, b"hello")
    request = app.next("inference_request")
    url, up = request["files"][0]["url"], request["upload"]["url"]
    assert app.fetch(url) == b"hello"
    ENDINGS[ending](admin, app, request)
    if ending == "requeued":
        wait_status(admin, request_id, "queued")
        app = started(Waiting(site.url, token)).serve(space)
        again = app.next("inference_request")
        assert (again["attempt"], app.fetch(again["files"][0]["url"])) == (2, b"hello")
        assert again["files"][0]["url"] != url
    assert is_refused(http.get(url), 403)
    assert http.put(up, b"in time").status_code == 201
    wait_until(lambda: http.put(up, b"x").status_code == 403, "uploads are refused", GRACE + 2)
    assert is_refused(http.put(up, b"too late"), 403)
    assert is_refused(http.post(up, files={"file": b"too late"}), 403)
    stored = sorted(path.read_bytes() for path in kept(site.data_dir))
    assert b"in time" in stored
    assert b"too late" not in stored


def test_links_of_a_deleted_request_lead_nowhere(
    site: SiteProcess, admin: HttpCaller, space: str, connect: Connect, http: requests.Session
) -> None:
    app = connect(Waiting)
    before = set(kept(site.data_dir))
    request_id = submit(admin, space, b"hello")
    request = app.next("inference_request")
    app.upload(request, b"a result")
    assert app.hand_in(request) == "accepted"
    assert admin.call("DELETE", f"requests/{request_id}").status_code == 204
    assert is_refused(http.get(request["files"][0]["url"]), 404)
    assert is_refused(http.put(request["upload"]["url"], b"x"), 404)
    assert set(kept(site.data_dir)) == before


def test_a_link_is_no_session_and_a_session_no_link(
    site: SiteProcess, admin: HttpCaller, space: str, connect: Connect, http: requests.Session
) -> None:
    app = connect(Filer)
    done = admin.wait_final(submit(admin, space, b"hello"))
    stranger = site.user()
    for file in (done["input"]["files"][0], done["output"][0]):
        assert admin.call("GET", file["url"]).content == b"hello"
        for call in (stranger.call("GET", file["url"]), http.get(site.url + file["url"])):
            assert call.status_code in (401, 404)
    wait_until(lambda: app.codes == ["accepted"], "the result is acknowledged")


def test_links_are_on_the_address_that_the_app_knows(own_site: OwnSite, started: Started) -> None:
    site = own_site()
    admin = site.admin()
    space = admin.make_space(timeout_seconds=30, inputs=EVERYTHING)
    token, address = admin.make_token(spaces=[space]), f"http://localhost:{site.port}"
    started(Waiting(site.url, token)).serve(space).close()
    app = started(Waiting(address, token)).serve(space)
    submit(admin, space, b"hello")
    request = app.next("inference_request")
    assert {url.partition("/api/")[0] for url in (request["files"][0]["url"], request["upload"]["url"])} == {address}
    assert app.fetch(request["files"][0]["url"]) == b"hello"
    assert admin.request(request["request_id"])["input"]["files"][0]["url"].startswith("/api/")


def test_results_still_come_in_while_the_site_stops(own_site: OwnSite, started: Started) -> None:
    site = own_site()
    admin = site.admin()
    space = admin.make_space(timeout_seconds=30, inputs=EVERYTHING)
    app = started(Waiting(site.url, admin.make_token(spaces=[space]))).serve(space)
    request_id = submit(admin, space, b"hello")
    request = app.next("inference_request")
    assert site.process
    site.process.send_signal(signal.SIGTERM)
    wait_until(lambda: "Stopping" in site.output(), "the site begins to stop")
    refused = admin.call("POST", f"spaces/{space}/requests", files={"file": b"too late"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "shutting_down")
    assert app.fetch(request["files"][0]["url"]) == b"hello"
    assert app.hand_in(request, app.upload(request, b"in time")) == "accepted"
    assert site.process.wait(30) == 0
    site.start()
    result = admin.request(request_id)["output"][0]
    assert admin.call("GET", result["url"]).content == b"in time"
    assert len(kept(site.data_dir)) == 2


TRICKS = (
    *("../../secret-key", "..%2f..%2f..%2fsecret-key", "%2e%2e%2f%2e%2e%2fsecret-key", "....//secret-key"),
    *("/etc/passwd", "%2fetc%2fpasswd", "..%5c..%5csecret-key", "%00", "a%00b", "%ff%fe", "x" * 4_000),
    *("%D9%A0" * 32, "%F0%9D%9F%98" * 32, "F" * 32, "0" * 31, "0" * 33, "0" * 32 + "%0a", "0" * 32 + "/", "."),
)


@pytest.mark.parametrize("site", SOME_MODES, indirect=True)
def test_no_path_leads_out_of_the_store(site: SiteProcess, admin: HttpCaller, space: str, connect: Connect) -> None:
    """The address is sent as it is, which an HTTP library would put in order."""
    app = connect(Waiting)
    submit(admin, space, b"hello")
    request = app.next("inference_request")
    secret = (site.data_dir / "secret-key").read_bytes()
    query = urlsplit(request["files"][0]["url"]).query
    up = urlsplit(request["upload"]["url"]).query
    cookie = f"{admin.http.cookies.keys()[0]}={admin.http.cookies.values()[0]}"
    for trick in TRICKS:
        for line in (
            f"GET /api/v1/files/{trick}?{query}",
            f"GET /api/v1/files/{trick}",
            f"PUT /api/v1/attempts/{trick}/files?{up}",
        ):
            peer = RawHttp(site.url)
            head = f"{line} HTTP/1.1\r\nHost: x\r\nCookie: {cookie}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            answer = peer.send(head.encode()).answer()
            peer.close()
            assert answer.status in (308, 400, 403, 404, 405, 414), (line[:80], answer.raw[:300])
            assert secret not in answer.raw
    assert app.fetch(request["files"][0]["url"]) == b"hello"


@pytest.mark.parametrize("mode", SOME_MODES)
def test_no_log_has_a_signature(own_site: OwnSite, started: Started, http: requests.Session, mode: str) -> None:
    site = own_site(async_mode=mode, SPACES_LOG_LEVEL="DEBUG", SPACES_UPLOAD_STALL=0.5)
    admin = site.admin()
    space = admin.make_space(timeout_seconds=30, inputs=EVERYTHING)
    app = started(Waiting(site.url, admin.make_token(spaces=[space]))).serve(space)
    submit(admin, space, b"x" * 3_000_000)
    request = app.next("inference_request")
    url, up = (one.removeprefix(site.url) for one in (request["files"][0]["url"], request["upload"]["url"]))
    for line, rest in (
        (f"GET {url} HTTP/9.9", b""),
        (f"GET {url} SPDY/1", b""),
        (f"GET {url} and more HTTP/1.1", b""),
        (f"G\x00ET {url} HTTP/1.1", b""),
        (f"BREW {up} HTTP/1.1", b""),
        (f"PUT {up} HTTP/1.1\r\nContent-Length: x", b""),
        (f"PUT {up} HTTP/1.1\r\nContent-Length: 9", b"x"),
        (f"PUT {up} HTTP/1.1\r\nTransfer-Encoding: chunked", b"zz\r\n"),
        (f"PUT {up} HTTP/1.1\r\nContent-Length: 5000000000", b"x"),
        (f"GET {url} HTTP/1.1\r\nX-Long: {'x' * 100_000}", b""),
        (f"GET {url}&x={'x' * 70_000} HTTP/1.1", b""),
        (f"GET {url} HTTP/1.1\r\nno header at all", b""),
    ):
        peer = RawHttp(site.url, 2)
        peer.send(f"{line}\r\nHost: {site.url[7:]}\r\nConnection: close\r\n\r\n".encode(), rest).half_close().answer()
        peer.close()
    leaver = RawHttp(site.url)
    leaver.send(f"GET {url} HTTP/1.1\r\nHost: x\r\n\r\n".encode()).socket.recv(10)
    leaver.close()
    for path in kept(site.data_dir):
        path.unlink()
    assert is_refused(http.get(site.url + url), 404)
    assert app.call("inference_result", result_of(request, {"text": "done"}))["code"] == "accepted"
    assert not SIGNATURE.search(site.output()), [one for one in site.output().splitlines() if SIGNATURE.search(one)]
    signature = dict(parse_qsl(urlsplit(url).query))["signature"]
    assert signature not in site.output()
