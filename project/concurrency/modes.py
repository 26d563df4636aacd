"""The mode of this process: patching, real threads, and what depends on it beside the server."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

MODES = ("eventlet", "gevent", "threading")
#: For password hashes: each real thread keeps the 19 MiB that its last hash needed.
REAL_THREADS = 4

_mode = "threading"


def patch(mode: str) -> None:
    """Make the standard library cooperative for ``mode``; call it before any other import of the site."""
    global _mode
    if mode not in MODES:
        raise ValueError(f"SPACES_ASYNC_MODE must be one of {', '.join(MODES)}, not {mode!r}")
    _mode = mode
    if mode == "eventlet":
        os.environ.setdefault("EVENTLET_THREADPOOL_SIZE", str(REAL_THREADS))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it announces its retirement at every start
            import eventlet

        eventlet.monkey_patch()
        _unmask_quickly()
    elif mode == "gevent":
        import gevent
        from gevent import monkey

        monkey.patch_all()
        gevent.get_hub().threadpool.maxsize = REAL_THREADS


def patch_from_environment() -> str:
    """Patch for the mode in ``SPACES_ASYNC_MODE`` and return it."""
    mode = os.environ.get("SPACES_ASYNC_MODE") or "eventlet"
    patch(mode)
    return mode


def current_mode() -> str:
    """Return the mode that this process was patched for (``threading`` when it was not patched)."""
    return _mode


def in_real_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run ``function`` where it cannot stall the other green threads (a password hash takes 0.1 s)."""
    if _mode == "eventlet":
        from eventlet import tpool

        result: T = tpool.execute(function, *args, **kwargs)
        return result
    if _mode == "gevent":
        import gevent

        pooled: T = gevent.get_hub().threadpool.apply(function, args, kwargs)
        return pooled
    return function(*args, **kwargs)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise :class:`TimeoutError` in the block when it takes longer; where threads are real, it must look itself."""
    if _mode == "eventlet":
        import eventlet

        with eventlet.Timeout(seconds, TimeoutError()):
            yield
    elif _mode == "gevent":
        import gevent

        with gevent.Timeout(seconds, TimeoutError()):
            yield
    else:
        yield


def give_way() -> None:
    """Let other green threads run: a stream whose next bytes are always there would hold everybody up."""
    time.sleep(0)


def _unmask_quickly() -> None:
    """Undo WebSocket masks (RFC 6455, 5.3) at once: byte by byte, one megabyte stops everybody for 0.2 s."""
    from eventlet.websocket import RFC6455WebSocket

    def apply_mask(data: bytes, mask: tuple[int, ...], length: int | None = None, offset: int = 0) -> bytes:
        data = data[:length]
        turn = offset % 4
        key = (bytes(mask[turn:]) + bytes(mask[:turn])) * (len(data) // 4 + 1)
        masked = int.from_bytes(data, "little") ^ int.from_bytes(key[: len(data)], "little")
        return masked.to_bytes(len(data), "little")

    RFC6455WebSocket._apply_mask = staticmethod(apply_mask)


def database_url(url: str) -> str:
    """Name the driver that fits the mode in a bare ``postgresql://`` address; others are left alone.

    psycopg 3 blocks under eventlet and psycopg2 blocks under gevent.
    """
    for bare in ("postgresql://", "postgres://"):
        if url.startswith(bare):
            driver = "psycopg2" if _mode == "eventlet" else "psycopg"
            return f"postgresql+{driver}://{url.removeprefix(bare)}"
    return url
