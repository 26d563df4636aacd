"""The site fetches nothing: whatever addresses its users and their apps name, nobody is called."""

from __future__ import annotations

import ast
import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.faults.filer import EVERYTHING, Filer, result_of
from tests.http_caller import HttpCaller
from tests.security.trap import Trap
from tests.site_process import ROOT, SiteProcess

#: What of the standard library and of the site's packages could open a connection of its own accord.
CALLERS = {
    *("requests", "httpx", "urllib3", "aiohttp", "websocket", "urllib.request", "http.client", "ftplib", "smtplib"),
    *(
        "telnetlib",
        "imaplib",
        "poplib",
        "xmlrpc.client",
        "socketserver",
        "subprocess",
        "webbrowser",
        "pickle",
        "marshal",
    ),
}


def aimed_at(trap: Trap) -> list[str]:
    """Return addresses that lead to the trap, by every scheme that a library might follow."""
    host = trap.url.removeprefix("http://")
    schemes = ("http", "https", "ws", "ftp", "gopher", "dict", "ldap", "jar:http", "tftp", "git+http")
    return [f"{scheme}://{host}/{scheme[:3]}" for scheme in schemes] + [f"//{host}/none", f"http://x@{host}/", host]


@pytest.fixture
def trap() -> Iterator[Trap]:
    with Trap() as listening:
        yield listening


def test_the_trap_notices_a_visitor(trap: Trap) -> None:
    assert requests.get(f"{trap.url}/x", timeout=5).text == "hi"
    assert trap.calls == ["GET /x HTTP/1.1\r\n"]


def test_nothing_that_anybody_names_is_fetched(site: SiteProcess, admin: HttpCaller, trap: Trap) -> None:
    aims = aimed_at(trap)
    every = {f"{kind}_url": aims[0] for kind in ("image", "audio", "video", "file", "callback", "webhook", "result")}
    every |= dict.fromkeys(("url", "href", "src", "callback", "webhook", "proxy", "icon", "avatar"), aims[0])
    about: dict[str, Any] = {"description": f"![x]({aims[0]}) <img src={aims[0]}>", "inputs": EVERYTHING}
    space = admin.make_space(title=aims[0], **about)
    entity = f'<!DOCTYPE x [<!ENTITY y SYSTEM "{aims[0]}">]><svg><image href="{aims[0]}"/>&y;</svg>'.encode()
    playlist = f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{aims[0]}\n".encode()

    class Namer(Filer):
        def on_request(self, request: dict[str, Any]) -> None:
            file_id = self.upload(request, entity, "x.svg")
            if "parts" in request["payload"]["prompt"]:
                texts: list[dict[str, Any]] = [{"type": "markdown", "text": f"![x]({aim}) <{aim}>"} for aim in aims]
                media = [{"type": "image", "file_id": file_id}, {"type": "json", "data": every}]
                media += [{"type": "video", "data": base64.b64encode(playlist).decode(), "url": aims[0]}]
                result: dict[str, Any] = {"parts": texts + media}
            else:
                result = {**every, "output": aims[0]}
            self.codes.append(self.call("inference_result", result_of(request, result))["code"])

    app = Namer(site.url, admin.make_token(spaces=[space])).serve(space, app={"name": aims[0], "version": aims[1]})
    for prompt in (f"parts {aims[0]}", aims[0]):
        done = admin.wait_final(admin.submit(space, prompt, parameters={**every, "many": aims})["id"])
        assert done["status"] == "completed", (done, app.codes)
        for path in (f"/requests/{done['id']}", f"/spaces/{space}", f"/requests/{done['id']}/download", "/", "/admin/"):
            assert admin.call("GET", path).status_code == 200
    for aim in aims:
        for kind in ("image", "audio", "video"):
            refused = admin.call("POST", f"spaces/{space}/requests", json={"prompt": "x", kind: aim})
            assert refused.status_code == 422
    in_hand = {"file": ("x.svg", entity), "audio": ("x.m3u8", playlist)}
    assert admin.call("POST", f"spaces/{space}/requests", files=in_hand).status_code == 422, "a playlist is no sound"
    sent = admin.json("POST", f"spaces/{space}/requests", 202, files={"file": ("x.svg", entity)})
    admin.wait_final(sent["id"])
    headers = {"X-Forwarded-Host": trap.url, "Referer": trap.url, "X-Original-URL": aims[0], "Host": aims[-1]}
    assert admin.call("GET", f"/spaces/{space}", headers=headers).status_code == 200
    app.close()
    assert trap.calls == []


def test_no_module_of_the_site_could_fetch_or_run_anything() -> None:
    """No HTTP client, no subprocess and no pickle is imported anywhere in the site."""
    for path in sorted((ROOT / "project").rglob("*.py")):
        for name in imported(path):
            assert not any(name == one or name.startswith(f"{one}.") for one in CALLERS), f"{path.name} imports {name}"


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
