"""The head of a request: what is taken, and what two readers could understand differently."""

from __future__ import annotations

import pytest

from project.concurrency.heads import HeadRefused, check_head

GOOD = [b"GET / HTTP/1.1\r\n", b"Host: x\r\n"]


@pytest.mark.parametrize(
    "lines",
    [
        GOOD,
        [b"OPTIONS * HTTP/1.1\n", b"Host: x\n"],
        [b"POST /a?b[]=1 HTTP/1.0\r\n", b"Content-Length: 0\r\n"],
        [*GOOD, b"Transfer-Encoding: Chunked\r\n"],
        [*GOOD, b"X-Empty:\r\n", b"X-Tab:\ta\tb \r\n", b"X-Old: \xe4\r\n", b"Cookie: a\r\n", b"Cookie: b\r\n"],
        [*GOOD, b"Upgrade: h2c\r\n"],
    ],
)
def test_heads_that_are_taken(lines: list[bytes]) -> None:
    check_head(lines)


@pytest.mark.parametrize(
    "header",
    [
        b"Content-Length: 5\r\nContent-Length: 5\r\n",
        b"X A: b\r\n",
        b": b\r\n",
        b"X\xe4: b\r\n",
        b"X: a\x00\r\n",
        b"Content-Length:\r\n",
        b"Content-Length: \xb2\r\n",
        b"Transfer-Encoding: chunked \x0b\r\n",
        b"Upgrade: websocket\r\n",
        b"Upgrade: h2c, WebSocket\r\n",
    ],
)
def test_heads_that_are_refused(header: bytes) -> None:
    with pytest.raises(HeadRefused) as refused:
        check_head([*GOOD, *header.splitlines(keepends=True)])
    assert refused.value.status == 400
    assert refused.value.message
