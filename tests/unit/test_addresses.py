"""Which addresses count as one: all of one IPv6 network."""

from __future__ import annotations

import socket

import pytest

from project.addresses import network
from project.concurrency.bounds import Bounds
from project.concurrency.door import Door


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


def test_the_door_counts_each_network_and_behind_a_proxy_all_together() -> None:
    with socket.socket() as listener:
        of_each, behind_proxy = (Door(listener, Bounds(per_address=bound)) for bound in (2, None))
    peers = [("2001:db8::1", 1, 0, 0), ("2001:db8::2", 2, 0, 0), ("2001:db8:0:1::1", 3, 0, 0), ("192.0.2.1", 4)]
    networks = ["2001:db8::/64", "2001:db8::/64", "2001:db8:0:1::/64", "192.0.2.1"]
    assert [of_each._holder(peer) for peer in peers] == networks
    assert {behind_proxy._holder(peer) for peer in peers} == {"all"}
