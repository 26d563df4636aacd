"""Forwarded headers are believed as far as there are trusted proxies, and seen by nobody further in."""

from __future__ import annotations

from typing import Any

import pytest

from project.forwarded import behind

CALL = {
    "REMOTE_ADDR": "10.0.0.1",
    "wsgi.url_scheme": "http",
    "HTTP_HOST": "inside",
    "SERVER_NAME": "inside",
    "SERVER_PORT": "80",
    "HTTP_X_FORWARDED_FOR": "203.0.113.1, 198.51.100.2, 192.0.2.3",
    "HTTP_X_FORWARDED_PROTO": "http, https, http",
    "HTTP_X_FORWARDED_HOST": "evil.example, spaces.example, middle.example",
    "HTTP_X_FORWARDED_PORT": "1",
    "HTTP_X_FORWARDED_PREFIX": "/evil",
}


def seen(call: dict[str, Any], proxies: int) -> dict[str, Any]:
    """Return what the application is called with."""
    calls: list[dict[str, Any]] = []
    behind(lambda environ, _start: calls.append(environ), proxies)(dict(call), None)
    return calls[0]


@pytest.mark.parametrize(
    ("proxies", "address", "scheme", "host"),
    [
        (0, "10.0.0.1", "http", "inside"),
        (1, "192.0.2.3", "http", "middle.example"),
        (2, "198.51.100.2", "https", "spaces.example"),
        (4, "10.0.0.1", "http", "inside"),
    ],
)
def test_as_many_are_believed_as_there_are_proxies(proxies: int, address: str, scheme: str, host: str) -> None:
    environ = seen(CALL, proxies)
    assert (environ["REMOTE_ADDR"], environ["wsgi.url_scheme"], environ["HTTP_HOST"]) == (address, scheme, host)
    assert not [name for name in environ if name.startswith("HTTP_X_FORWARDED")]
    assert environ.get("SCRIPT_NAME", "") == ""
