"""A network that a test can break: a TCP proxy on a free port before a site.

    with TcpProxy(site.port) as network:
        app = Echo(network.url, token)
        network.weather.blackhole()
        ...
        network.weather.clear()

One thread moves all bytes; at the end of the block it is gone, and so are all sockets.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Literal, Self

Way = Literal["up", "down", "both"]

#: Bytes read at once, held in a direction that is not stalled, and offered to the kernel on the site's side.
PIECE, ROOM, KERNEL_ROOM = 16_384, 65_536, 16_384
THROTTLE_STEP = 0.05
RESET = struct.pack("ii", 1, 0)


class Weather:
    """What happens to bytes now, on all connections or on one; every change counts at once.

    ``up`` is towards the site, ``down`` away from it.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self.clear()

    def clear(self) -> None:
        """Let everything go on; what was held is passed."""
        self.seconds = {"up": 0.0, "down": 0.0}
        self.rates: dict[str, float | None] = {"up": None, "down": None}
        self.stalled: set[str] = set()
        self.is_pulled = False
        self.cut_at: float | None = None
        self._changed()

    def delay(self, seconds: float, way: Way = "both") -> None:
        """Pass everything so many seconds after it came."""
        self.seconds |= dict.fromkeys(_ways(way), seconds)
        self._changed()

    def throttle(self, bytes_per_second: float, way: Way = "both") -> None:
        """Pass no more than that."""
        self.rates |= dict.fromkeys(_ways(way), bytes_per_second)
        self._changed()

    def stall(self, way: Way = "both") -> None:
        """Take everything and pass nothing; an end of the connection is held back too."""
        self.stalled = {*self.stalled, *_ways(way)}
        self._changed()

    def blackhole(self) -> None:
        """Read nothing and close nothing, as a pulled cable does."""
        self.is_pulled = True
        self._changed()

    def cut_after(self, count: int) -> None:
        """Reset a connection once it has passed so many bytes in both directions together; 0 cuts it at once."""
        self.cut_at = count
        self._changed()


def _ways(way: Way) -> tuple[str, ...]:
    return ("up", "down") if way == "both" else (way,)


class _Pipe:
    """One direction of a connection: what came, when, and how much of it may go."""

    def __init__(self, way: str, source: socket.socket, sink: socket.socket) -> None:
        self.way, self.source, self.sink = way, source, sink
        self.passed = 0
        self.is_over = False
        self._held: deque[tuple[float, bytes]] = deque()
        self._size = 0
        self._has_ended = False
        self._free_at = 0.0

    def may_read(self, weather: Weather) -> bool:
        """Whether there is room for more."""
        has_room = self.way in weather.stalled or self._size < ROOM
        return has_room and not self._has_ended and not weather.is_pulled

    def read(self) -> None:
        """Take what is there; nothing means that the sender has ended."""
        with contextlib.suppress(BlockingIOError):
            data = self.source.recv(PIECE)
            self._has_ended = not data
            self._held.append((time.monotonic(), data))
            self._size += len(data)

    def due_at(self, weather: Weather) -> float | None:
        """When the next bytes may go, on the monotonic clock; None when that is not known."""
        if not self._held or weather.is_pulled or self.way in weather.stalled:
            return None
        return max(self._held[0][0] + weather.seconds[self.way], self._free_at)

    def write(self, weather: Weather) -> None:
        """Pass on what may go now, or the end."""
        came, data = self._held.popleft()
        if not data:
            self.is_over = True
            with contextlib.suppress(OSError):
                self.sink.shutdown(socket.SHUT_WR)
            return
        rate = weather.rates[self.way]
        sent = 0
        with contextlib.suppress(BlockingIOError):
            sent = self.sink.send(data[: max(1, int(rate * THROTTLE_STEP))] if rate else data)
        if sent < len(data):
            self._held.appendleft((came, data[sent:]))
        self._size -= sent
        self.passed += sent
        self._free_at = time.monotonic() + sent / rate if rate else 0.0


class _Pair:
    """One connection: the sockets on both sides, and a pipe each way."""

    def __init__(self, near: socket.socket, far: socket.socket, weather: Weather) -> None:
        self.sockets, self.weather = (near, far), weather
        self.pipes = (_Pipe("up", near, far), _Pipe("down", far, near))

    @property
    def is_over(self) -> bool:
        return all(pipe.is_over for pipe in self.pipes)

    def is_cut(self) -> bool:
        """Whether it has passed as much as it may."""
        most = self.weather.cut_at
        return most is not None and sum(pipe.passed for pipe in self.pipes) >= most

    def wanted(self, now: float) -> tuple[dict[socket.socket, int], float | None]:
        """Return what to wait for at each socket, and the moment at which that changes by itself."""
        events, moments = dict.fromkeys(self.sockets, 0), []
        for pipe in self.pipes:
            if pipe.may_read(self.weather):
                events[pipe.source] |= selectors.EVENT_READ
            due = pipe.due_at(self.weather)
            if due is not None and due <= now:
                events[pipe.sink] |= selectors.EVENT_WRITE
            elif due is not None:
                moments.append(due)
        return events, min(moments, default=None)

    def move(self, ready: socket.socket, events: int) -> None:
        """Move bytes at a socket that is ready. Raises OSError when a side has broken off."""
        for pipe in self.pipes:
            if pipe.source is ready and events & selectors.EVENT_READ and pipe.may_read(self.weather):
                pipe.read()
            due = pipe.due_at(self.weather)
            if pipe.sink is ready and events & selectors.EVENT_WRITE and due is not None and due <= time.monotonic():
                pipe.write(self.weather)


class TcpProxy:
    """Passes every connection on to ``port`` of 127.0.0.1, as the weather allows; see the module."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._selector = selectors.DefaultSelector()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=200)
        self._listener.setblocking(False)
        self._bell, self._ear = socket.socketpair()
        self._bell.setblocking(False)
        self._orders: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._pairs: set[_Pair] = set()
        self._next: deque[Weather] = deque()
        self._is_open = True
        self.weather = Weather(self._ring)
        self.accepted = 0
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._run, name="tcp proxy")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._order(self._end)
        self._thread.join(10)
        assert not self._thread.is_alive(), "the proxy's thread did not end"

    @property
    def connections(self) -> int:
        """How many connections are open now."""
        return len(self._pairs)

    def passed(self, way: Literal["up", "down"]) -> int:
        """Return the bytes that the connections open now have passed."""
        return sum(pipe.passed for pair in [*self._pairs] for pipe in pair.pipes if pipe.way == way)

    def next_weather(self) -> Weather:
        """Return weather of its own for the next connection; call again for the one after it."""
        self._next.append(Weather(self._ring))
        return self._next[-1]

    def cut(self, *, reset: bool = False) -> None:
        """End all connections on both sides now: with FIN, or with RST as whoever forgot them does."""
        self._order(lambda: self._drop_all(reset))

    # The proxy's own thread from here on, but for _order and _ring.

    def _order(self, action: Callable[[], None]) -> None:
        done = threading.Event()
        self._orders.put(action)
        self._orders.put(done.set)
        self._ring()
        assert done.wait(10), "the proxy does not react"

    def _ring(self) -> None:
        with contextlib.suppress(OSError):  # a full bell rings already, and a closed one has nobody to wake
            self._bell.send(b"!")

    def _end(self) -> None:
        self._is_open = False

    def _run(self) -> None:
        self._selector.register(self._ear, selectors.EVENT_READ)
        while self._is_open:
            for key, events in self._selector.select(self._prepare()):
                self._handle(key, events)
            with contextlib.suppress(Empty):
                while True:
                    self._orders.get_nowait()()
        self._drop_all(reset=True)
        for one in (self._selector, self._listener, self._bell, self._ear):
            one.close()

    def _prepare(self) -> float | None:
        """Tell the selector what to wait for, and return the seconds for which."""
        now, moments = time.monotonic(), []
        self._watch(self._listener, 0 if self.weather.is_pulled else selectors.EVENT_READ, None)
        for pair in [*self._pairs]:
            if pair.is_over or pair.is_cut():
                self._drop(pair, reset=not pair.is_over)
                continue
            wanted, moment = pair.wanted(now)
            for one, events in wanted.items():
                self._watch(one, events, pair)
            moments += [moment] if moment is not None else []
        return max(0.0, min(moments) - now) if moments else None

    def _watch(self, one: socket.socket, events: int, pair: _Pair | None) -> None:
        key = self._selector.get_map().get(one)
        if not events:
            if key:
                self._selector.unregister(one)
        elif not key:
            self._selector.register(one, events, pair)
        elif key.events != events:
            self._selector.modify(one, events, pair)

    def _handle(self, key: selectors.SelectorKey, events: int) -> None:
        if key.fileobj is self._ear:
            self._ear.recv(4096)
        elif key.fileobj is self._listener:
            if not self.weather.is_pulled:
                self._accept()
        elif key.data in self._pairs:
            try:
                key.data.move(key.fileobj, events)
            except OSError:
                self._drop(key.data, reset=True)

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        self.accepted += 1
        far = socket.socket()
        try:
            far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KERNEL_ROOM)
            far.settimeout(5)
            far.connect(("127.0.0.1", self._target))
        except OSError:
            _close(near, reset=True)
            far.close()
            return
        for one in (near, far):
            one.setblocking(False)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._pairs.add(_Pair(near, far, self._next.popleft() if self._next else self.weather))

    def _drop_all(self, reset: bool) -> None:
        for pair in [*self._pairs]:
            self._drop(pair, reset)

    def _drop(self, pair: _Pair, reset: bool) -> None:
        self._pairs.discard(pair)
        for one in pair.sockets:
            self._watch(one, 0, None)
            _close(one, reset)


def _close(one: socket.socket, reset: bool) -> None:
    with contextlib.suppress(OSError):
        if reset:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    one.close()
