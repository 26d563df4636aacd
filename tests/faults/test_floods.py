"""Floods of what is too much, from many sockets at once: cut with bounded memory, and others are served meanwhile."""

from __future__ import annotations

import contextlib
import re
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import websocket
from websocket import ABNF

from tests.faults.apps import SECONDS, Echo
from tests.faults.filer import RawHttp
from tests.faults.looking import EVENT_KB, some_modes, text_of
from tests.faults.raw_peer import RawPeer
from tests.http_caller import HttpCaller
from tests.site_process import SiteProcess

Connect = Callable[..., Any]
Flood = Callable[[str, str], None]

#: By how many megabytes the site may grow: in all, and for each socket, which brings ten times that and more.
GROWTH_MB, GROWTH_EACH_MB = 20.0, 2.0
#: The longest that a look may take: far more than it should, far less than a stuck process needs.
STUCK_SECONDS = 5.0
#: In which a flooding peer is cut, all of them together and on a busy machine; less than two heartbeats.
CUT_SECONDS = 15.0
#: For how long a flooding peer tries to send when nothing is taken.
SEND_SECONDS = 1.0
LONGEST = 4 * EVENT_KB * 1_000
MEGABYTE = 1_000_000
counts = pytest.mark.parametrize("sockets", [20, pytest.param(100, marks=pytest.mark.long)])


def until_cut(send: Callable[[bytes], Any], piece: bytes, count: int) -> None:
    """Send a piece so many times, or until the site has had enough."""
    with contextlib.suppress(OSError, websocket.WebSocketException):
        for _ in range(count):
            send(piece)


def wait_cut(peer: RawPeer) -> None:
    """Wait until the site has ended the connection, sooner than its heartbeats would; pass over its last words."""
    begun = time.monotonic()
    peer.ws.sock.settimeout(CUT_SECONDS)
    with contextlib.suppress(ConnectionError):
        while peer.ws.sock.recv(65_536):
            pass
    peer.ws.sock.settimeout(SEND_SECONDS)
    assert time.monotonic() - begun < CUT_SECONDS, "the site let it go on"


@contextlib.contextmanager
def flooding(url: str, token: str | None, **options: Any) -> Iterator[RawPeer]:
    """Open a connection that does not wait long for a site that takes nothing any more."""
    with contextlib.closing(RawPeer(url, token, **options)) as peer:
        peer.ws.settimeout(SEND_SECONDS)
        yield peer


def attachments(url: str, token: str) -> None:
    """Announce attachments without end, and send some."""
    for announced in ('451-["x",{"_placeholder":true,"num":0}]', '45999999-["x"]', '460-1["x"]'):
        with flooding(url, token) as peer:
            peer.send(announced)
            until_cut(peer.send_binary, bytes(LONGEST // 2), 200)
            wait_cut(peer)


def frames(url: str, token: str) -> None:
    """Send one frame of 20 megabytes."""
    with flooding(url, token) as peer:
        head = b"\x81\xff" + (20 * MEGABYTE).to_bytes(8, "big") + bytes(4)
        until_cut(peer.ws.sock.sendall, head + b"4" * 100, 1)
        until_cut(peer.ws.sock.sendall, b"4" * MEGABYTE, 20)
        wait_cut(peer)


def fragments(url: str, token: str) -> None:
    """Send a message in fragments of which none is the last, half of them empty."""
    with flooding(url, token) as peer:
        peer.ws.send_frame(ABNF.create_frame('42["inference_progress","', ABNF.OPCODE_TEXT, fin=0))
        full = ABNF.create_frame("y" * 20_000, ABNF.OPCODE_CONT, fin=0).format()
        empty = ABNF.create_frame("", ABNF.OPCODE_CONT, fin=0).format()
        until_cut(peer.ws.sock.sendall, full + empty * 100, 1_000)
        wait_cut(peer)


def bombs(url: str, _token: str) -> None:
    """Offer compression, and send a message that is small until it is inflated to 60 megabytes."""
    packed = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = packed.compress(b"4" * (60 * MEGABYTE)) + packed.flush(zlib.Z_SYNC_FLUSH)
    with flooding(url, None, join=False, header=["Sec-WebSocket-Extensions: permessage-deflate"]) as peer:
        assert "sec-websocket-extensions" not in peer.ws.getheaders(), "packets are not to be inflated"
        until_cut(peer.ws.sock.sendall, ABNF(1, 1, 0, 0, ABNF.OPCODE_TEXT, 1, data[:-4]).format(), 1)
        wait_cut(peer)


def polls(url: str, _token: str) -> None:
    """Post one long-polling body of 20 megabytes."""
    address = "/socket.io/?EIO=4&transport=polling"
    sid = re.findall(r'"sid":"([^"]+)"', HttpCaller(url).call("GET", address).text)[0]
    with contextlib.closing(RawHttp(url)) as raw:
        head = f"POST {address}&sid={sid} HTTP/1.1\r\nHost: x\r\nContent-Length: {20 * MEGABYTE}\r\n\r\n"
        until_cut(raw.socket.sendall, head.encode(), 1)
        until_cut(raw.socket.sendall, b"4" * MEGABYTE, 20)
        answer = raw.answer()
        assert answer.status in (0, 400), answer.raw[:200]
        assert answer.seconds < SECONDS, "it was neither answered nor cut"


def memory(site: SiteProcess, which: str) -> float:
    """Return ``VmRSS`` or ``VmHWM`` (the most since :func:`forget_peak`) of the site in megabytes."""
    assert site.process
    found = re.search(rf"^{which}:\s+(\d+)", Path(f"/proc/{site.process.pid}/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) / 1024


def forget_peak(site: SiteProcess) -> None:
    assert site.process
    Path(f"/proc/{site.process.pid}/clear_refs").write_text("5")


@some_modes
@counts
@pytest.mark.parametrize("flood", [attachments, frames, fragments, bombs, polls])
def test_a_flood_is_cut_and_others_are_served_meanwhile(
    site: SiteProcess, admin: HttpCaller, space: str, token: str, connect: Connect, flood: Flood, sockets: int
) -> None:
    app = connect(Echo)
    other = admin.make_space()
    others = admin.make_token(spaces=[other])
    with contextlib.suppress(OSError, websocket.WebSocketException, AssertionError):
        flood(site.url, others)
    forget_peak(site)
    before = memory(site, "VmRSS")
    with ThreadPoolExecutor(sockets) as pool:
        flooding = [pool.submit(flood, site.url, others) for _ in range(sockets)]
        served = 0
        while not served or not all(one.done() for one in flooding):
            assert admin.call("GET", "/healthz", timeout=STUCK_SECONDS).status_code == 200
            assert text_of(admin.wait_final(admin.submit(space, f"prompt {served}")["id"])) == f"prompt {served}"
            served += 1
        for one in flooding:
            one.result()
    grown = memory(site, "VmHWM") - before
    assert grown < GROWTH_MB + sockets * GROWTH_EACH_MB, f"it grew by {grown:.0f} MB for {sockets} sockets"
    assert app.is_connected()
    assert len(app.prompts) == served
    print(f"{site.environment['SPACES_ASYNC_MODE']} {flood.__name__}: {grown:.0f} MB, {served} served")
