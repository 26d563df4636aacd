"""Pages of other sites: their sockets are refused on both transports, and no answer is theirs to read."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
import requests
import websocket

from tests.faults.raw_peer import RawPeer
from tests.http_caller import HttpCaller
from tests.security.routes import Route
from tests.security.scene import Scene
from tests.site_process import SiteProcess

POLLING = "/socket.io/?EIO=4&transport=polling"


def foreign(site: SiteProcess) -> list[str]:
    """What browsers say of pages elsewhere, also of those whose address looks like the site's."""
    host = f"127.0.0.1:{site.port}"
    return [
        *("https://evil.example", "http://evil.example", "null", "file://", "chrome-extension://abc"),
        *(f"http://{host}.evil.example", f"http://evil.example#{host}", f"http://evil.example/{host}"),
        *(f"http://{host}@evil.example", f"https://{host}", f"ws://{host}", f"http://127.0.0.1:{site.port + 1}"),
        *(
            "http://127.0.0.1",
            f"http://localhost:{site.port}",
            f"http://{host}/",
            f"HTTP://{host}.",
            f"http://{host} x",
        ),
    ]


def test_a_socket_of_another_page_is_refused_on_both_transports(site: SiteProcess, scene: Scene) -> None:
    for origin in foreign(site):
        with pytest.raises(websocket.WebSocketBadStatusException) as refused:
            RawPeer(site.url, scene.token, origin=origin)
        assert refused.value.status_code == 400, origin
        answer = requests.get(site.url + POLLING, headers={"Origin": origin}, timeout=20)
        assert answer.status_code == 400, origin
        assert "Access-Control-Allow-Origin" not in answer.headers, origin


def test_an_open_socket_cannot_be_taken_over_by_another_page(site: SiteProcess) -> None:
    opened = requests.get(site.url + POLLING, timeout=20)
    sid = opened.text.partition('"sid":"')[2].partition('"')[0]
    assert sid, opened.text
    for method in ("GET", "POST"):
        headers = {"Origin": "https://evil.example"}
        answer = requests.request(method, f"{site.url}{POLLING}&sid={sid}", headers=headers, data="40", timeout=20)
        assert answer.status_code == 400


def test_a_cookie_opens_no_socket(site: SiteProcess, admin: HttpCaller) -> None:
    """A socket asks for a token; so a browser that sends cookies by itself gives a page elsewhere nothing."""
    ((name, value),) = admin.http.cookies.get_dict().items()
    peer = RawPeer(site.url, join=False, cookie=f"{name}={value}", origin=site.url)
    assert peer.refusal({})["data"]["code"] == "unauthorized"
    with suppress(OSError):
        peer.close()


def test_only_the_site_itself_is_no_other_page(secure_site: SiteProcess) -> None:
    """Its public address, and the one that was dialled: libraries of apps name the latter."""
    for origin, status in (("https://spaces.example", 200), (secure_site.url, 200), ("http://spaces.example", 400)):
        answer = requests.get(secure_site.url + POLLING, headers={"Origin": origin}, timeout=20)
        assert answer.status_code == status, origin
        assert answer.headers.get("Access-Control-Allow-Origin") == (origin if status == 200 else None)


def test_no_answer_of_any_route_is_another_pages_to_read(
    site: SiteProcess, scene: Scene, routes: list[Route], admin: HttpCaller
) -> None:
    cookies = admin.http.cookies.get_dict()
    asks = {"Access-Control-Request-Method": "DELETE", "Access-Control-Request-Headers": "authorization"}
    with requests.Session() as http:
        http.trust_env = False
        options: Any = {"cookies": cookies, "allow_redirects": False, "timeout": 20}
        for origin in ("https://evil.example", "null"):
            for route in routes:
                query = "?wait=0" if "live" in route.endpoint else ""
                url = site.url + route.path(scene.ids) + query
                for method, headers in ((route.method, {}), ("OPTIONS", asks)):
                    answer = http.request(method, url, headers={"Origin": origin, **headers}, **options)
                    named = [name for name in answer.headers if name.lower().startswith("access-control-")]
                    assert not named, (route, method, named)
                    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin", route
