"""Sockets are counted exactly: by address, where all of one IPv6 network are one, and together."""

from __future__ import annotations

import random

import pytest

from project.addresses import network
from project.concurrency.heads import HeadRefused, check_head
from project.socket_counts import SocketCounts
from tests.house import together


@pytest.mark.parametrize(
    ("address", "counts_as"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("unix", "unix"),
    ],
)
def test_what_counts_as_one_address(address: str, counts_as: str) -> None:
    assert network(address) == counts_as


def test_an_address_has_its_share_and_others_have_theirs() -> None:
    counts = SocketCounts(2, 100)
    assert [counts.come("192.0.2.1") for _ in range(4)] == [None, None, "address", "address"]
    assert counts.come("192.0.2.2") is None
    counts.go("192.0.2.1")
    assert [counts.come("192.0.2.1") for _ in range(2)] == [None, "address"]
    assert counts.total() == 3


def test_one_network_is_one_address() -> None:
    counts = SocketCounts(2, 100)
    assert [counts.come(f"2001:db8::{one:x}") for one in range(3)] == [None, None, "address"]
    assert counts.come("2001:db8:0:1::1") is None


def test_all_together_have_a_bound_too() -> None:
    counts = SocketCounts(2, 3)
    assert [counts.come(f"192.0.2.{one}") for one in range(5)] == [None, None, None, "all", "all"]
    counts.go("192.0.2.0")
    assert counts.come("192.0.2.9") is None


def test_without_a_bound_for_addresses_none_is_remembered() -> None:
    counts = SocketCounts(None, 3)
    assert [counts.come("192.0.2.1") for _ in range(4)] == [None, None, None, "all"]
    assert counts.addresses() == 0
    counts.go("192.0.2.1")
    assert counts.total() == 2


def test_who_has_left_is_forgotten() -> None:
    counts = SocketCounts(5, 1_000)
    for one in range(500):
        assert counts.come(f"10.0.{one // 250}.{one % 250}") is None
    for one in range(500):
        counts.go(f"10.0.{one // 250}.{one % 250}")
    assert (counts.total(), counts.addresses()) == (0, 0)


def test_nothing_is_lost_when_many_come_and_go_at_once() -> None:
    counts = SocketCounts(7, 20)

    def come_and_go() -> bool:
        chance = random.Random(1)
        for _ in range(2_000):
            address = f"192.0.2.{chance.randrange(4)}"
            if counts.come(address) is None:
                assert counts.total() <= 20
                counts.go(address)
        return True

    assert together([come_and_go] * 8) == [True] * 8
    assert (counts.total(), counts.addresses()) == (0, 0)


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
