"""One kept-alive HTTP/1.1 connection in asyncio: hundreds of them cost little, and nothing is shared or pooled."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

#: Longer than any held call.
SECONDS = 60.0


class Broken(Exception):
    """The connection ended before the whole answer was there; whether the call was carried out is unknown."""


@dataclass(frozen=True)
class Answer:
    """What the site said, and the seconds that this took, with those for a new connection where one was needed."""

    status: int
    body: Any
    seconds: float


class Wire:
    """One connection to ``url``, opened at the first call and again after it broke. One call at a time."""

    def __init__(self, url: str, token: str | None = None) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "", parts.port or 80)
        self._head = f" HTTP/1.1\r\nHost: {parts.netloc}\r\nAccept: application/json\r\n"
        if token:
            self._head += f"Authorization: Bearer {token}\r\n"
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def get(self, path: str) -> Answer:
        """Call ``path``. Raises :class:`Broken`."""
        return await self._call(f"GET {path}{self._head}\r\n".encode())

    async def post(self, path: str, kind: str, content: bytes, **headers: str) -> Answer:
        """Send ``content`` of the type ``kind``; in names of headers ``_`` stands for ``-``. Raises :class:`Broken`."""
        lines = {"Content-Type": kind, "Content-Length": str(len(content))}
        lines |= {name.replace("_", "-"): value for name, value in headers.items()}
        head = f"POST {path}{self._head}" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return await self._call(f"{head}\r\n".encode() + content)

    def close(self) -> None:
        """Hang up."""
        if self._streams:
            self._streams[1].close()
            self._streams = None

    async def _call(self, message: bytes) -> Answer:
        try:
            async with asyncio.timeout(SECONDS):
                return await self._exchange(message)
        except (OSError, EOFError, TimeoutError) as error:
            self.close()
            raise Broken(f"{type(error).__name__}: {error}") from error
        except BaseException:
            self.close()
            raise

    async def _exchange(self, message: bytes) -> Answer:
        clock = asyncio.get_running_loop().time
        begun = clock()
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._address)
        reader, writer = self._streams
        writer.write(message)
        await writer.drain()
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(head.partition("content-length:")[2].partition("\r\n")[0])
        content = await reader.readexactly(length)
        taken = clock() - begun
        if "\r\nconnection: close" in head:
            self.close()
        return Answer(int(head.split(" ", 2)[1]), json.loads(content) if content[:1] in (b"{", b"[") else None, taken)
