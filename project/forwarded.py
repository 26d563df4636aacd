"""Who calls when proxies stand in front: as many of the forwarded headers are believed as there are trusted proxies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from werkzeug.middleware.proxy_fix import ProxyFix

Application = Callable[[dict[str, Any], Any], Any]

FORWARDED = ("FOR", "PROTO", "HOST", "PORT", "PREFIX")


def behind(application: Application, proxies: int) -> Application:
    """Return ``application`` as it is called behind this many trusted proxies.

    It sees the caller's own address, scheme and host, and no forwarded header: whoever reads those further in
    (python-engineio does, to tell which origins are the site's own) would believe what the caller wrote.
    """

    def without_headers(environ: dict[str, Any], start_response: Any) -> Any:
        for name in FORWARDED:
            environ.pop(f"HTTP_X_FORWARDED_{name}", None)
        return application(environ, start_response)

    if not proxies:
        return without_headers
    return ProxyFix(without_headers, x_for=proxies, x_proto=proxies, x_host=proxies)
