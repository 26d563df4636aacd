"""Peers that send slowly or not at all, read slowly or not at all, or stay too long: cut in time, others unharmed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import websocket

from tests.faults.conftest import Logs
from tests.faults.filer import Answer, RawHttp, Scene
from tests.faults.looking import SOME_MODES, wait_connected
from tests.faults.peers import (
    BOUNDS,
    HEAD,
    HELLO,
    IDLE,
    PING,
    SLACK,
    STALL,
    deaf_socket,
    drip,
    gives_everything_back,
    listens_for,
    open_sockets,
    open_uploads,
    serves,
    threads,
)
from tests.faults.raw_peer import RawPeer
from tests.site_process import SiteProcess, wait_until

Open = Callable[..., RawHttp]

each_mode = pytest.mark.parametrize("mode", SOME_MODES)
keeps_connections = pytest.mark.parametrize("mode", ["eventlet", "gevent"])  # Werkzeug answers one request each
FILE_BYTES = 8_000_000


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], tuple[Scene, int, int]]]:
    """One site a mode, with its scene, and the sockets and threads that it has when nobody calls."""
    made: dict[str, tuple[Scene, int, int]] = {}

    def of_mode(mode: str) -> tuple[Scene, int, int]:
        if mode not in made:
            scene = Scene(SiteProcess(tmp_path_factory.mktemp(mode), async_mode=mode, **BOUNDS).start())
            serves(scene.site)
            made[mode] = scene, open_sockets(scene.site), threads(scene.site)
        return made[mode]

    yield of_mode
    for scene, _, _ in made.values():
        scene.close()
        scene.site.kill9()


@pytest.fixture
def scene(scenes: Callable[[str], tuple[Scene, int, int]], mode: str, logs: Logs) -> Iterator[Scene]:
    """The scene of a mode; afterwards its app is still connected, and everything else was given back."""
    found, sockets, real_threads = scenes(mode)
    logs.watch(found.site)
    with gives_everything_back(found.site, sockets, real_threads):
        yield found
        while found.open:
            found.open.pop().close()
    assert found.app.is_connected(), "an app that had nothing to do with it was cut"
    assert serves(found.site)


@pytest.fixture
def open_raw(scene: Scene) -> Open:
    """Open raw connections that are closed after the test."""

    def open_one(*pieces: bytes) -> RawHttp:
        one = RawHttp(scene.site.url, seconds=STALL + SLACK)
        scene.open.append(one)
        return one.send(*pieces)

    return open_one


@each_mode
def test_a_head_that_drips_is_cut_as_a_whole(scene: Scene, open_raw: Open) -> None:
    begun = time.monotonic()
    for start in (b"", b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: "):
        said = drip(open_raw(start), b"G" * 1_000, HEAD / 5, HEAD + SLACK)
        assert said.startswith(b"HTTP/1.1 408 "), said
        assert Answer(said, 0).code == "request_timeout"
    assert open_raw(b"GET /heal").answer().code == "request_timeout"
    assert time.monotonic() - begun < 3 * HEAD + SLACK
    assert serves(scene.site)


@each_mode
def test_who_says_nothing_is_left_without_a_word(scene: Scene, open_raw: Open) -> None:
    silent = [open_raw() for _ in range(50)]
    assert serves(scene.site)
    assert {one.until_closed() for one in silent} == {b""}


@keeps_connections
def test_a_kept_connection_may_be_idle_for_a_while_only(scene: Scene, open_raw: Open) -> None:
    one = open_raw(HELLO)
    assert one.answer().status == 200
    assert listens_for(one, IDLE / 3) == b""
    assert one.send(HELLO).answer().status == 200, "it was cut too early"
    begun = time.monotonic()
    assert one.until_closed() == b""
    assert IDLE - 0.5 < time.monotonic() - begun < IDLE + SLACK
    slow = open_raw(HELLO)
    assert slow.answer().status == 200
    assert drip(slow, b"GET /", HEAD / 3, HEAD + SLACK).startswith(b"HTTP/1.1 408 ")


@each_mode
def test_held_calls_and_apps_outlive_all_bounds(scene: Scene) -> None:
    longest = 2 * max(HEAD, IDLE, STALL)
    path = f"requests/{scene.request['request_id']}"
    begun = time.monotonic()
    held = scene.api.json("GET", path, params={"until": "final", "wait": f"{longest:g}"})
    assert held["status"] == "processing"
    assert time.monotonic() - begun >= longest - 0.5
    polling = type(scene.app)(scene.site.url, scene.admin.make_token(), transports=["polling"])
    with contextlib.closing(polling):
        ends = time.monotonic() + longest
        wait_until(lambda: time.monotonic() > ends, "the time passes", longest + 5)
        assert polling.is_connected()


@each_mode
def test_a_plain_body_has_a_time_as_a_whole(scene: Scene) -> None:
    head = "Content-Type: application/json\r\nContent-Length: 5000\r\n"
    line = f"POST /api/v1/spaces/{scene.space}/requests"
    for start in (b"", b'{"prompt": "'):
        one = scene.begin(line, head, start)
        answer = one.answer()
        assert (answer.status, answer.code) == (408, "upload_stalled"), answer.raw[:500]
        assert STALL - 0.5 < answer.seconds < STALL + SLACK
        assert one.until_closed() == b""
    said = drip(scene.begin(line, head), b"[" * 1_000, STALL / 8, STALL + SLACK)
    assert said.startswith(b"HTTP/1.1 408 "), said
    assert scene.api.submit(scene.space, "in one piece")["status"] == "queued"


@each_mode
def test_a_form_that_stands_still_gets_a_page(scene: Scene, open_raw: Open) -> None:
    head = b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    answer = open_raw(head + b"Content-Length: 100\r\n\r\nusername=a").answer()
    assert answer.status == 408
    assert b"It took too long" in answer.raw
    assert STALL - 0.5 < answer.seconds < STALL + SLACK


@each_mode
def test_posts_of_long_polling_are_whole_and_readable_or_refused(scene: Scene, open_raw: Open) -> None:
    def post(length: int, body: bytes) -> RawHttp:
        opened = scene.admin.call("GET", "/socket.io/?EIO=4&transport=polling").text
        where = f"/socket.io/?EIO=4&transport=polling&sid={json.loads(opened[1:])['sid']}"
        return open_raw(f"POST {where} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode(), body)

    stalled = post(100, b"40").answer()
    assert (stalled.status, stalled.code) == (408, "upload_stalled")
    assert post(100, b"40").half_close().answer().status == 400
    for unreadable in (b"\xff\xff", b"", b"x", b"\x1e" * 50, b"b!", b"d=", b"d=%"):
        assert post(len(unreadable), unreadable).answer().status in (200, 400), unreadable


@pytest.fixture(scope="module")
def big_files() -> dict[str, tuple[str, str]]:
    return {}


@pytest.fixture
def big_file(scene: Scene, big_files: dict[str, tuple[str, str]]) -> tuple[str, str]:
    """The path of a file on the site, and the digest of its bytes."""
    if scene.site.url not in big_files:
        content = b"".join(hashlib.sha256(b"%d" % one).digest() for one in range(FILE_BYTES // 32))
        files = [("file", ("big", content))]
        sent = scene.api.json("POST", f"spaces/{scene.space}/requests", 202, files=files)
        big_files[scene.site.url] = sent["input"]["files"][0]["url"], hashlib.sha256(content).hexdigest()
    return big_files[scene.site.url]


def ask_for(scene: Scene, path: str) -> RawHttp:
    one = RawHttp(scene.site.url)
    one.socket.close()
    one.socket = deaf_socket(scene.site.url)
    scene.open.append(one)
    bearer = scene.api.http.headers["Authorization"]
    return one.send(f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {bearer!s}\r\n\r\n".encode())


@each_mode
def test_an_answer_that_nobody_takes_is_cut(scene: Scene, big_file: tuple[str, str]) -> None:
    sockets = open_sockets(scene.site)
    deaf = [ask_for(scene, big_file[0]) for _ in range(20)]
    wait_until(lambda: open_uploads(scene.site) == len(deaf), "all downloads run, each with its file")
    assert serves(scene.site)
    wait_until(lambda: not open_uploads(scene.site), "the files are given back", STALL + SLACK)
    wait_until(lambda: open_sockets(scene.site) <= sockets, "the connections are given back", SLACK)
    assert len(deaf[0].until_closed()) < FILE_BYTES


@each_mode
def test_a_slow_but_steady_reader_gets_everything(scene: Scene, big_file: tuple[str, str]) -> None:
    """It takes so little at a time that the site can send nothing more for longer than the bound."""
    one = ask_for(scene, big_file[0])
    raw, begun = b"", time.monotonic()
    while time.monotonic() < begun + 3 * STALL:
        raw += one.socket.recv(6_000)
        ends = time.monotonic() + 0.1
        wait_until(lambda ends=ends: time.monotonic() > ends, "a pause", step=0.02)
    assert len(raw) < FILE_BYTES / 4
    one.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1_000_000)
    while more := one.socket.recv(1_000_000):
        raw += more
        if Answer(raw, 0).is_whole:
            break
    assert hashlib.sha256(raw.partition(b"\r\n\r\n")[2]).hexdigest() == big_file[1]


class Deaf:
    """A WebSocket peer that serves spaces, and answers pings without ever reading one."""

    def __init__(self, scene: Scene, spaces: list[str]) -> None:
        self.scene = scene
        raw = deaf_socket(scene.site.url)
        self.peer = RawPeer(scene.site.url, scene.admin.make_token(spaces=spaces), socket=raw)
        for number, space in enumerate(spaces):
            self.peer.send(f"42{number}" + json.dumps(["register", {"space_name": space}]))
            assert self.peer.acknowledged(number)["success"]

    def pong(self) -> bool:
        """Send a pong, and say whether the site still takes it."""
        try:
            self.peer.ws.settimeout(PING / 4)
            self.peer.send("3")
        except (OSError, websocket.WebSocketException):
            return False
        return True


@each_mode
def test_an_app_that_never_reads_is_cut(scene: Scene) -> None:
    spaces = [scene.admin.make_space(timeout_seconds=60, max_attempts=1) for _ in range(10)]
    before = open_sockets(scene.site)
    deaf = Deaf(scene, spaces)
    for space in spaces:
        deaf.pong()
        sent = scene.admin.call("POST", f"spaces/{space}/requests", json={"prompt": "x" * 890_000})
        assert sent.status_code in (202, 503), sent.text  # it may have been cut already
    wait_until(lambda: not deaf.pong(), "the site cuts it", 2 * PING + SLACK, step=PING / 3)
    wait_connected(scene.admin, spaces[0], False)
    wait_until(lambda: open_sockets(scene.site) <= before, "its socket is closed", SLACK)
    deaf.peer.close()


@each_mode
def test_a_peer_that_goes_on_after_the_goodbye_is_cut(scene: Scene) -> None:
    before = open_sockets(scene.site)
    space = scene.admin.make_space()
    deaf = Deaf(scene, [space])
    deaf.peer.send_binary(b"not taken")
    wait_connected(scene.admin, space, False)
    wait_until(lambda: not deaf.pong() or open_sockets(scene.site) <= before, "it is cut", 2 * PING + SLACK)
    wait_until(lambda: open_sockets(scene.site) <= before, "its socket is closed", SLACK)
    deaf.peer.close()


@each_mode
def test_many_slow_peers_of_all_kinds_take_nothing_from_others(scene: Scene, open_raw: Open) -> None:
    """More than there are connections to the database."""
    partly = b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nusername"
    kinds = [b"", b"GET / HT", partly]
    slow: list[Any] = [open_raw(kind) for kind in kinds for _ in range(60)]
    begun = time.monotonic()
    assert serves(scene.site)
    assert scene.api.submit(scene.space, "prompt alone")["status"] == "queued"
    assert time.monotonic() - begun < 3
    for one in slow:
        one.until_closed()
