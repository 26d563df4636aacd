"""What the head of an HTTP/1 request may be (RFC 9112): bounded, and read in one way only.

Everything that two readers could understand differently is refused, since a proxy in front may be the other reader:
two lengths, a length beside a transfer coding, folded lines, and header names that are none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import urlsplit

#: Bytes of one line, bytes of a whole head, and how many headers it may have: a little less than the servers' own
#: parsers take (eventlet 8,192; ``http.client`` 99 headers), so that none of them ever refuses by itself.
MAX_LINE, MAX_HEAD, MAX_HEADERS = 8_190, 65_536, 96

REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}) ([\x21-\x7e\x80-\xff]+) HTTP/1\.([01])\r?\n")
HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00\r\n]*?)[ \t]*\r?\n")
LENGTH = re.compile(rb"[0-9]{1,15}")
WEBSOCKET_KEY = re.compile(rb"[A-Za-z0-9+/]{22}==")
#: Headers that may come once at most.
SINGLE = (b"content-length", b"transfer-encoding", b"host", b"upgrade", b"sec-websocket-key", b"sec-websocket-version")


class HeadRefused(Exception):
    """A head that is not taken: the status and the words to answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def check_head(lines: Sequence[bytes]) -> None:
    """Look at the request line and the headers, each with its line end. Raises :class:`HeadRefused`."""
    asked = REQUEST_LINE.fullmatch(lines[0])
    if not asked or not _is_target(asked[2]):
        raise HeadRefused(400, "This is not a request line of HTTP/1.")
    headers = _headers(lines[1:])
    for name in SINGLE:
        if len(headers.get(name, ())) > 1:
            raise HeadRefused(400, f"There may be one header {name.decode()} only.")
    _check_length(headers, is_old=asked[3] == b"0")
    if b"websocket" in headers.get(b"upgrade", [b""])[0].lower():
        _check_upgrade(asked[1], headers)


def _is_target(target: bytes) -> bool:
    if not target.startswith((b"/", b"http://", b"https://")) and target != b"*":
        return False
    try:
        urlsplit(target.decode("latin-1"))
    except ValueError:
        return False
    return True


def _headers(lines: Sequence[bytes]) -> dict[bytes, list[bytes]]:
    headers: dict[bytes, list[bytes]] = {}
    for line in lines:
        found = HEADER.fullmatch(line)
        if not found:
            raise HeadRefused(400, "A header could not be read.")
        headers.setdefault(found[1].lower(), []).append(found[2])
    return headers


def _check_length(headers: dict[bytes, list[bytes]], *, is_old: bool) -> None:
    length, coding = headers.get(b"content-length"), headers.get(b"transfer-encoding")
    if length and not LENGTH.fullmatch(length[0]):
        raise HeadRefused(400, "Content-Length is not a number.")
    if coding and length:
        raise HeadRefused(400, "Content-Length and Transfer-Encoding do not go together.")
    if coding and (is_old or coding[0].lower() != b"chunked"):
        raise HeadRefused(400, "Of transfer codings, only chunked is understood.")


def _check_upgrade(method: bytes, headers: dict[bytes, list[bytes]]) -> None:
    """Take WebSockets as RFC 6455 has them: the drafts before it, which some servers still speak, know no bounds."""
    version, key = headers.get(b"sec-websocket-version"), headers.get(b"sec-websocket-key", [b""])
    is_sound = method == b"GET" and version == [b"13"] and WEBSOCKET_KEY.fullmatch(key[0])
    if not is_sound or b"content-length" in headers or b"transfer-encoding" in headers:
        raise HeadRefused(400, "This is not a WebSocket handshake (RFC 6455).")
