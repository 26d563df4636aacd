"""Floods at the server itself: heads that are too much or make no sense, too many sockets, no files left."""

from __future__ import annotations

import contextlib
import json
import resource
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from websocket import WebSocketException, create_connection

from project.concurrency.heads import MAX_HEADERS, MAX_LINE
from tests.faults.apps import FaultApp
from tests.faults.conftest import Logs
from tests.faults.filer import Answer, RawHttp, Waiting
from tests.faults.looking import MODES, SOME_MODES
from tests.faults.peers import (
    HELLO,
    SLACK,
    connections,
    cpu_seconds,
    file_numbers,
    gives_everything_back,
    most_memory,
    open_sockets,
    pid,
    serves,
    threads,
)
from tests.http_caller import HttpCaller
from tests.site_process import SiteProcess, wait_until

OwnSite = Callable[..., SiteProcess]
Started = Callable[[FaultApp], Any]

each_mode = pytest.mark.parametrize("mode", MODES)
MOST = 12
#: Whoever says nothing may stay; whoever has been answered leaves soon.
TIMES = {"SPACES_HEADER_TIMEOUT": 60, "SPACES_IDLE_TIMEOUT": 1, "SPACES_UPLOAD_STALL": 1.5}
HANDSHAKE = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"


def get(*headers: bytes, line: bytes = b"GET /healthz HTTP/1.1") -> bytes:
    return b"\r\n".join([line, b"Host: x", *headers, b"", b""])


def post(*headers: bytes) -> bytes:
    return get(*headers, line=b"POST /api/v1/spaces HTTP/1.1")


#: An answer, a refusal, a peer that leaves without a word, in the middle of a head, and in the middle of a body.
ENDINGS = [HELLO, b"GET\r\n\r\n", b"", b"GET / HT", post(b"Content-Length: 5")]


def socket_io(*headers: bytes) -> bytes:
    return get(b"".join(headers).rstrip(), line=b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1")


MALFORMED: dict[str, tuple[bytes, set[int]]] = {
    "a long address": (get(line=b"GET /" + b"x" * 20_000 + b" HTTP/1.1"), {414}),
    "a long header": (get(b"X-Long: " + b"x" * 20_000), {431}),
    "a giant cookie": (get(b"Cookie: a=" + b"x" * 100_000), {431}),
    "many headers": (get(*[b"X-%d: x" % one for one in range(5_000)]), {431}),
    "long headers together": (get(*[b"X-%d: %s" % (one, b"x" * 4_000) for one in range(50)]), {431}),
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", {400}),
    "one word": (b"HELLO\r\n\r\n", {400}),
    "four words": (get(line=b"GET / now HTTP/1.1"), {400}),
    "HTTP/0.9": (b"GET /healthz\r\n\r\n", {400}),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400}),
    "HTTP/1.x": (get(line=b"GET / HTTP/1.x"), {400}),
    "HTTP/11": (get(line=b"GET / HTTP/11.11"), {400}),
    "a method that is none": (get(line=b"G<T / HTTP/1.1"), {400}),
    "an address that is none": (get(line=b"GET http://[ HTTP/1.1"), {400}),
    "a host that is none": (get(line=b"GET //[ HTTP/1.1"), {400}),
    "a tunnel": (get(line=b"CONNECT example.org:443 HTTP/1.1"), {400}),
    "only empty lines": (b"\r\n" * 100, {400}),
    "NUL in the line": (get(line=b"GET /\0 HTTP/1.1"), {400}),
    "NUL in a header": (get(b"X-A: a\0b"), {400}),
    "CR in a header": (get(b"X-A: a\rb"), {400}),
    "no colon": (get(b"X-A"), {400}),
    "a space before the colon": (get(b"Content-Length : 5"), {400}),
    "a folded header": (get(b"X-A: a", b" b"), {400}),
    "two hosts": (get(b"Host: y"), {400}),
    "a negative length": (post(b"Content-Length: -1"), {400}),
    "a length with a sign": (post(b"Content-Length: +5"), {400}),
    "a length that is no number": (post(b"Content-Length: five"), {400}),
    "a length in hex": (post(b"Content-Length: 0x5"), {400}),
    "a huge length": (post(b"Content-Length: 999999999999999"), {400, 401, 413}),
    "a length of 5,000 digits": (post(b"Content-Length: " + b"9" * 5_000), {400}),
    "two lengths": (post(b"Content-Length: 5", b"Content-Length: 6"), {400}),
    "two equal lengths": (post(b"Content-Length: 5", b"Content-Length: 5"), {400}),
    "a list of lengths": (post(b"Content-Length: 5, 5"), {400}),
    "length and coding": (post(b"Content-Length: 5", b"Transfer-Encoding: chunked"), {400}),
    "coding and length": (post(b"Transfer-Encoding: chunked", b"Content-Length: 5"), {400}),
    "two codings": (post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"), {400}),
    "a list of codings": (post(b"Transfer-Encoding: gzip, chunked"), {400}),
    "a hidden coding": (post(b"Transfer-Encoding: \x0bchunked"), {400}),
    "a coding in HTTP/1.0": (get(b"Transfer-Encoding: chunked", line=b"POST / HTTP/1.0"), {400}),
    "an old WebSocket": (socket_io(b"Upgrade: WebSocket\r\nConnection: Upgrade\r\n"), {400}),
    "a WebSocket without a key": (socket_io(HANDSHAKE), {400}),
    "a WebSocket with two keys": (socket_io(HANDSHAKE, KEY, KEY), {400}),
    "a WebSocket with a body": (socket_io(HANDSHAKE, KEY, b"Content-Length: 5\r\n"), {400}),
    "a posted WebSocket": (post(b"Upgrade: websocket", b"Content-Length: 5"), {400}),
}


@pytest.fixture(scope="module")
def sites_of_mode(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], SiteProcess]]:
    """One running site a mode."""
    made: dict[str, SiteProcess] = {}

    def of_mode(mode: str) -> SiteProcess:
        if mode not in made:
            made[mode] = SiteProcess(tmp_path_factory.mktemp(mode), async_mode=mode, **TIMES).start()
        return made[mode]

    yield of_mode
    for site in made.values():
        site.kill9()


@pytest.fixture
def mode_site(sites_of_mode: Callable[[str], SiteProcess], mode: str, logs: Logs) -> Iterator[SiteProcess]:
    """The site of a mode, which afterwards holds nothing of what the test began, and serves."""
    site = sites_of_mode(mode)
    logs.watch(site)
    assert serves(site)
    with gives_everything_back(site, open_sockets(site), threads(site)):
        yield site
    assert serves(site)


@pytest.fixture
def raw() -> Iterator[Callable[..., RawHttp]]:
    """Open raw connections, closed after the test."""
    made: list[RawHttp] = []

    def open_one(site: SiteProcess, *pieces: bytes, source: str | None = None) -> RawHttp:
        made.append(RawHttp(site.url))
        if source:
            made[-1].socket.close()
            where = ("127.0.0.1", site.port)
            made[-1].socket = socket.create_connection(where, timeout=20, source_address=(source, 0))
        return made[-1].send(*pieces)

    yield open_one
    for one in made:
        one.close()


@each_mode
def test_heads_that_are_too_much_or_make_no_sense_are_refused(
    mode_site: SiteProcess, raw: Callable[..., RawHttp]
) -> None:
    for name, (sent, statuses) in MALFORMED.items():
        one = raw(mode_site, sent)
        answer = one.answer()
        assert answer.status in statuses, (name, answer.raw[:300])
        assert answer.code, (name, answer.raw[:300])
        assert one.half_close().until_closed() == b"", name
    assert serves(mode_site)


@each_mode
def test_what_is_unusual_but_right_is_served(mode_site: SiteProcess, raw: Callable[..., RawHttp]) -> None:
    for sent in (
        b"\r\n" + HELLO,
        HELLO.replace(b"\r\n", b"\n"),
        get(b"X-Empty:", b"X-Odd:\tvalue \t", b"Cookie: a=" + b"x" * 8_000),
        get(*[b"X-%d: x" % one for one in range(MAX_HEADERS - 1)]),
        get(b"X: ".ljust(MAX_LINE - 3, b"x")),
        get(*[b"X-%d: %s" % (one, b"x" * 8_000) for one in range(8)]),
        get(line=b"GET /healthz?".ljust(MAX_LINE - 12, b"x") + b" HTTP/1.1"),
        get(line=b"GET /healthz?a[]=1&b=\xc3\xa4 HTTP/1.0"),
        HELLO.replace(b"GET", b"HEAD"),
    ):
        assert raw(mode_site, sent).half_close().until_closed().startswith(b"HTTP/1.1 200 "), sent[:100]


@each_mode
def test_floods_without_end_cost_no_memory(mode_site: SiteProcess, raw: Callable[..., RawHttp]) -> None:
    before, megabyte = most_memory(mode_site), b"x" * 1_000_000
    chunked = post(b"Transfer-Encoding: chunked", b"Content-Type: application/json")
    for start in (
        b"GET /",
        b"GET / HTTP/1.1\r\nX-A: ",
        b"GET / HTTP/1.1\r\n" + b"X-A: x\r\n" * 10_000,
        chunked + b"5;extension=",
        chunked + b"5;a=b\r\nhello\r\n" * 10_000 + b"0",
        chunked + b"0\r\nX-Trailer: ",
    ):
        one = raw(mode_site, start)
        one.socket.settimeout(5)
        with contextlib.suppress(OSError):
            for _ in range(60):
                one.socket.sendall(megabyte)
        one.close()
        assert serves(mode_site)
    assert most_memory(mode_site) - before < 40, "megabytes"


@each_mode
def test_the_ends_of_bodies_that_make_no_sense_are_not_another_request(
    mode_site: SiteProcess, raw: Callable[..., RawHttp]
) -> None:
    """What follows a refused head or body is never answered as a request of its own."""
    hidden = get(line=b"GET /login HTTP/1.1")
    for sent in (
        post(b"Content-Length: 5", b"Transfer-Encoding: chunked") + b"0\r\n\r\n" + hidden,
        post(b"Content-Length: 5", b"Content-Length: 0") + hidden,
        post(b"Transfer-Encoding: xchunked") + hidden,
        b"HELLO\r\n\r\n" + hidden,
        post(b"Transfer-Encoding: chunked") + b"zz\r\n\r\n" + hidden,
    ):
        said = raw(mode_site, sent).half_close().until_closed()
        assert b"HTTP/1.1 200" not in said, (sent[:200], said[:1000])
        assert said.count(b"HTTP/1.1 ") == 1, said


def refused(answer: Answer, status: int, code: str) -> bool:
    assert (answer.status, answer.code) == (status, code), answer.raw[:300]
    assert b"\r\nRetry-After: 5\r\n" in answer.raw
    assert b"\r\nConnection: close\r\n" in answer.raw
    assert set(answer.json["error"]) == {"code", "message", "details"}
    return True


def said_at_once(one: RawHttp) -> Answer | None:
    """Return an answer that comes before anything was asked, or None."""
    one.socket.settimeout(0.5)
    try:
        first = one.socket.recv(65_536)
    except TimeoutError:
        return None
    return Answer(first + one.until_closed(), 0)


@pytest.mark.parametrize("mode", SOME_MODES)
@pytest.mark.parametrize(
    ("setting", "status", "code"),
    [("SPACES_SOCKETS_PER_ADDRESS", 429, "too_many"), ("SPACES_MAX_SOCKETS", 503, "unavailable")],
)
def test_too_many_sockets_are_told_so_and_counted_exactly(
    own_site: OwnSite, raw: Callable[..., RawHttp], mode: str, setting: str, status: int, code: str
) -> None:
    site = own_site(async_mode=mode, **TIMES, **{setting: MOST})
    wait_until(lambda: not connections(site), "nobody is there")
    taken = [raw(site) for _ in range(MOST)]
    assert said_at_once(taken[-1]) is None, "too few are taken"
    told = said_at_once(raw(site))
    assert told, "one too many is taken"
    assert refused(told, status, code)
    assert refused(raw(site, HELLO).answer(), status, code)
    with pytest.raises(WebSocketException):
        create_connection(f"ws://127.0.0.1:{site.port}/socket.io/?EIO=4&transport=websocket", timeout=5)
    other = raw(site, HELLO, source="127.0.0.2").answer()
    assert other.status == (200 if status == 429 else 503)
    taken.pop().close()
    wait_until(lambda: raw(site, HELLO).answer().status == 200, "there is room for one more")
    for one in taken:
        one.close()
    for sent in ENDINGS * 4:
        wait_until(lambda: connections(site) < MOST, "there is room")
        raw(site, sent).half_close().until_closed()
    wait_until(lambda: not connections(site), "all are closed")
    assert len([one for one in [raw(site) for _ in range(MOST)] if said_at_once(one) is None]) == MOST


def guess(site: SiteProcess, source: str) -> int:
    """Sign in with a wrong password, as a proxy forwards it, and return the status."""
    caller = HttpCaller(site.url)
    caller.http.headers["X-Forwarded-For"] = source
    form = {"username": "admin", "password": "wrong", "csrf_token": caller._csrf("/login")}
    return int(caller.call("POST", "/login", data=form).status_code)


def test_without_proxies_forwarded_headers_are_not_believed(own_site: OwnSite, started: Started) -> None:
    site = own_site()
    admin = site.admin()
    assert [guess(site, f"192.0.2.{one}") for one in range(10)][-1] == 429
    assert upload_link(site, admin, started).startswith(site.url)


def test_behind_a_proxy_the_forwarded_address_counts(own_site: OwnSite, started: Started) -> None:
    site = own_site(SPACES_PROXIES=1, SPACES_SOCKETS_PER_ADDRESS=1)
    admin = site.admin()
    assert [guess(site, f"203.0.113.{one}, 192.0.2.1") for one in range(10)][-1] == 429, "the last one is the proxy's"
    assert guess(site, "192.0.2.2") != 429
    assert upload_link(site, admin, started).startswith("https://spaces.example/")
    assert serves(site)


@each_mode
def test_of_two_proxies_two_are_believed(own_site: OwnSite, mode: str) -> None:
    site = own_site(async_mode=mode, SPACES_PROXIES=2)
    assert guess(site, "198.51.100.7, 203.0.113.9, 192.0.2.1") != 429
    wait_until(lambda: "from 203.0.113.9" in site.output(), "the log names the caller's own address")


def upload_link(site: SiteProcess, admin: HttpCaller, started: Started) -> str:
    """Return the link that an app is given whose call seems to come by a proxy."""
    space = admin.make_space()
    forwarded = {"X-Forwarded-Host": "spaces.example", "X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.9"}
    token = admin.make_token(spaces=[space])
    app = started(Waiting(site.url, token, transports=["polling"], headers=forwarded)).serve(space)
    admin.submit(space, "hello")
    return str(app.next("inference_request")["upload"]["url"])


@pytest.mark.parametrize("mode", ["eventlet", "gevent"])  # Werkzeug opens a file for each answer
def test_without_files_the_site_waits_and_recovers(
    own_site: OwnSite, raw: Callable[..., RawHttp], mode: str, logs: Logs
) -> None:
    site = own_site(async_mode=mode, **TIMES)
    admin = site.admin()
    space = admin.make_space(queue_when_offline=True)
    before = resource.prlimit(pid(site), resource.RLIMIT_NOFILE)
    held = [raw(site) for _ in range(3)]
    wait_until(lambda: serves(site), "they are taken")
    resource.prlimit(pid(site), resource.RLIMIT_NOFILE, (file_numbers(site) + 3, before[1]))
    waiting = [raw(site, HELLO) for _ in range(20)]
    wait_until(lambda: "no connection can be taken" in logs.of_sites(), "the log says so")
    begun, used = time.monotonic(), cpu_seconds(site)
    wait_until(lambda: time.monotonic() > begun + 2, "it goes on for a while", 5)
    assert cpu_seconds(site) - used < 1, "it asks again and again"
    assert logs.of_sites().count("no connection can be taken") == 1
    resource.prlimit(pid(site), resource.RLIMIT_NOFILE, before)
    assert {one.answer().status for one in waiting} == {200}
    for one in held:
        assert one.send(HELLO).answer().status == 200
    assert admin.submit(space, "hello")["status"] == "queued"


def test_few_files_mean_few_connections(own_site: OwnSite, logs: Logs) -> None:
    site = own_site(SPACES_MAX_SOCKETS=100_000_000)
    wait_until(lambda: "connections, not 100000000" in site.output(), "the log says what it can take", SLACK)
    assert json.loads(HttpCaller(site.url).call("GET", "/healthz").text)
