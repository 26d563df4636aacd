"""The network that the fault tests break: each weather does what it says, and at the end nothing is left."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from socketserver import BaseRequestHandler, ThreadingTCPServer

import pytest

from tests.faults.tcp_proxy import TcpProxy
from tests.site_process import wait_until

#: For this long, what must not come has not come.
QUIET = 0.2
LARGE = 20_000_000


class Echo(BaseRequestHandler):
    """Sends everything back, and ends when the other side does."""

    def handle(self) -> None:
        try:
            while data := self.request.recv(65_536):
                self.request.sendall(data)
        except ConnectionError:
            pass


class Server(ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 50


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join(5)


@pytest.fixture
def network(server: Server) -> Iterator[TcpProxy]:
    with TcpProxy(server.server_address[1]) as network:
        yield network


@pytest.fixture
def peer(network: TcpProxy) -> Iterator[socket.socket]:
    """A connection through the network, in good weather until now."""
    with socket.create_connection(("127.0.0.1", network.port), timeout=5) as peer:
        assert heard(peer, b"hello") == b"hello"
        yield peer


def heard(peer: socket.socket, say: bytes, seconds: float = 5.0) -> bytes:
    """Say something and return what came back until it was as long, or the time was over."""
    peer.sendall(say)
    return received(peer, len(say), seconds)


def received(peer: socket.socket, size: int, seconds: float = 5.0) -> bytes:
    got, deadline = b"", time.monotonic() + seconds
    while len(got) < size and (left := deadline - time.monotonic()) > 0:
        peer.settimeout(left)
        try:
            more = peer.recv(size - len(got))
        except TimeoutError:
            break
        if not more:
            break
        got += more
    return got


def swallowed(peer: socket.socket) -> int:
    """Say as much as the network takes in a moment and return how much that was."""
    peer.settimeout(QUIET)
    taken = 0
    try:
        while taken < LARGE:
            taken += peer.send(bytes(65_536))
    except TimeoutError:
        pass
    return taken


def test_in_good_weather_everything_passes_both_ways_and_so_does_the_end(
    network: TcpProxy, peer: socket.socket
) -> None:
    large = bytes(range(256)) * 4_000
    assert heard(peer, large) == large
    assert network.connections == 1
    for way in ("up", "down"):  # counted only once it is sent
        wait_until(lambda way=way: network.passed(way) == 5 + len(large), f"all is counted that went {way}")
    peer.shutdown(socket.SHUT_WR)
    assert peer.recv(1) == b""
    wait_until(lambda: network.connections == 0, "the connection is forgotten")


def test_an_end_that_is_half_lets_the_other_half_go_on(network: TcpProxy, peer: socket.socket) -> None:
    network.weather.delay(QUIET, "down")
    peer.sendall(b"last words")
    peer.shutdown(socket.SHUT_WR)
    assert received(peer, 100) == b"last words"


@pytest.mark.parametrize("reset", [False, True])
def test_a_cut_is_seen_on_both_sides(network: TcpProxy, peer: socket.socket, reset: bool) -> None:
    network.cut(reset=reset)
    assert network.connections == 0
    if reset:
        with pytest.raises(ConnectionResetError):
            peer.recv(1)
    else:
        assert peer.recv(1) == b""
    with socket.create_connection(("127.0.0.1", network.port), timeout=5) as again:
        assert heard(again, b"again") == b"again"


def test_a_delay_is_kept_and_the_order_too(network: TcpProxy, peer: socket.socket) -> None:
    network.weather.delay(QUIET)
    begun = time.monotonic()
    peer.sendall(b"first ")
    assert heard(peer, b"second") + received(peer, 6) == b"first second"
    assert time.monotonic() - begun >= 2 * QUIET, "one delay each way"


@pytest.mark.parametrize("way", ["up", "down"])
def test_what_is_stalled_comes_later_and_whole(network: TcpProxy, peer: socket.socket, way: str) -> None:
    before = network.passed("up")
    network.weather.stall(way)  # type: ignore[arg-type]
    assert heard(peer, b"held", QUIET) == b""
    assert (network.passed("up") - before, network.connections) == (4 if way == "down" else 0, 1)
    network.weather.clear()
    assert received(peer, 4) == b"held"


def test_a_stalled_network_takes_all_that_is_said(network: TcpProxy, peer: socket.socket) -> None:
    network.weather.stall()
    assert swallowed(peer) >= LARGE


def test_a_pulled_cable_takes_no_more_than_the_kernel_holds_and_notices_no_end(
    network: TcpProxy, peer: socket.socket
) -> None:
    network.weather.blackhole()
    taken = swallowed(peer)
    assert 0 < taken < LARGE
    peer.shutdown(socket.SHUT_WR)
    assert network.connections == 1
    network.weather.clear()
    assert len(received(peer, taken, 20)) == taken
    assert peer.recv(1) == b""


def test_through_a_pulled_cable_nobody_gets_in_until_it_is_back(network: TcpProxy, peer: socket.socket) -> None:
    network.weather.blackhole()
    with socket.create_connection(("127.0.0.1", network.port), timeout=5) as late:
        assert heard(late, b"late", QUIET) == b""
        assert network.accepted == 1
        network.weather.clear()
        assert received(late, 4) == b"late"


def test_a_throttled_way_takes_its_time(network: TcpProxy, peer: socket.socket) -> None:
    network.weather.throttle(10_000, "down")
    begun = time.monotonic()
    assert len(heard(peer, bytes(3_000))) == 3_000
    assert time.monotonic() - begun >= 0.2
    network.weather.clear()
    assert len(heard(peer, bytes(300_000))) == 300_000


def test_the_next_connection_may_have_weather_of_its_own(network: TcpProxy, peer: socket.socket) -> None:
    own = network.next_weather()
    own.stall()
    with socket.create_connection(("127.0.0.1", network.port), timeout=5) as other:
        assert heard(other, b"held", QUIET) == b""
        assert heard(peer, b"free") == b"free"
        own.clear()
        assert received(other, 4) == b"held"


def test_the_next_connection_can_be_cut_after_so_many_bytes(network: TcpProxy, peer: socket.socket) -> None:
    network.next_weather().cut_after(4)
    with socket.create_connection(("127.0.0.1", network.port), timeout=5) as short:
        short.sendall(b"word")
        with pytest.raises(ConnectionResetError):
            short.recv(4)
    assert heard(peer, b"free") == b"free"


def test_where_nobody_listens_the_connection_is_reset(server: Server) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with TcpProxy(nobody.getsockname()[1]) as network:
            with (
                pytest.raises(ConnectionResetError),
                socket.create_connection(("127.0.0.1", network.port), timeout=5) as peer,
            ):
                peer.recv(1)
            assert network.connections == 0


@pytest.mark.parametrize("pulled", [True, False])
def test_at_the_end_nothing_is_left(server: Server, pulled: bool) -> None:
    threads = threading.active_count()
    with TcpProxy(server.server_address[1]) as network:
        peers = [socket.create_connection(("127.0.0.1", network.port), timeout=5) for _ in range(5)]
        wait_until(lambda: network.connections == 5, "all are connected")
        if pulled:
            network.weather.blackhole()
    for peer in peers:
        with pytest.raises(ConnectionResetError):
            peer.recv(1)
        peer.close()
    wait_until(lambda: threading.active_count() <= threads, "the threads are gone")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", network.port), timeout=5)
