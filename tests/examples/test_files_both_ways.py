"""The package's files against a real site that is too small, or that crashes and comes back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from spaces_app import App, Request
from tests.http_caller import HttpCaller
from tests.program import Program
from tests.site_process import SiteProcess, wait_until

FILE_SPACE = {"prompt": True, "audio": False, "video": False, "file": True}
FILE_MODEL = """
import time

def answer(file):
    print("[HANDLER]", flush=True)
    time.sleep(1)
    return file
"""


class Served:
    """A space of a site, served by the package in a thread of the test."""

    def __init__(self, admin: HttpCaller, name: str, app: App) -> None:
        self.admin = admin
        self.name = name
        self.app = app
        self.thread = threading.Thread(target=app.run, daemon=True)

    def submit(self, content: bytes = b"content", **form: str) -> str:
        files = [("prompt", (None, "hello")), ("file", ("a.bin", content))]
        made: dict[str, Any] = self.admin.json("POST", f"spaces/{self.name}/requests", 202, files=files)
        return str(made["id"])


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., tuple[SiteProcess, Served]]]:
    """Start a site with these settings, and a handler for a space of it."""
    sites: list[SiteProcess] = []
    running: list[Served] = []

    def start(handler: Callable[..., Any], **settings: object) -> tuple[SiteProcess, Served]:
        sites.append(SiteProcess(tmp_path / "site", **settings).start())  # type: ignore[arg-type]
        admin = sites[-1].admin()
        name = admin.make_space(inputs=FILE_SPACE)
        app = App(sites[-1].url, admin.make_token(spaces=[name]))
        app.serve(name, handler)
        running.append(Served(admin, name, app))
        running[-1].thread.start()
        wait_until(lambda: admin.space(name)["connected"], "the app is connected")
        return sites[-1], running[-1]

    yield start
    for one in running:
        one.app.stop()
        one.thread.join(15)
    for site in sites:
        site.kill9()


def test_a_crash_of_the_site_loses_no_file(serve: Callable[..., tuple[SiteProcess, Served]]) -> None:
    began, go_on, folders = threading.Event(), threading.Event(), []
    content = bytes(range(256)) * 4_000

    def handler(request: Request) -> list[Any]:
        began.set()
        assert go_on.wait(30)
        folders.append(request.folder)
        return [request.files[0].path, request.files[0].path.read_bytes()]

    site, space = serve(handler, SPACES_GRACE=10)
    request_id = space.submit(content)
    assert began.wait(10)
    site.kill9()
    go_on.set()
    wait_until(lambda: folders, "the handler asks for its file while the site is away")
    site.start()
    final = space.admin.wait_final(request_id)
    assert (final["status"], final["attempt"]) == ("completed", 1), final
    for part in final["output"]:
        assert space.admin.call("GET", part["url"]).content == content
    assert not folders[0].exists()


def test_a_request_that_is_handed_over_again_brings_its_file(tmp_path: Path, program: Callable[..., Program]) -> None:
    settings = {"SPACES_GRACE": 1, "SPACES_PING_INTERVAL": 1, "SPACES_PING_TIMEOUT": 1}
    (tmp_path / "file_model.py").write_text(FILE_MODEL)
    with SiteProcess(tmp_path / "site", **settings) as site:
        admin = site.admin()
        space = Served(admin, admin.make_space(inputs=FILE_SPACE, queue_when_offline=True), App(site.url))
        words = ("mock_app.py", "--host", site.url, "--spaces", space.name, "--handler", "file_model:answer")
        token = admin.make_token(spaces=[space.name])
        app = program("python", *words, SPACES_TOKEN=token, PYTHONPATH=str(tmp_path))
        app.wait_for("Registration successful")
        request_id = space.submit(b"the same bytes")
        app.wait_for("[HANDLER]")
        app.pause()
        wait_until(lambda: admin.request(request_id)["status"] == "queued", "the request is queued again", 15)
        app.resume()
        final = admin.wait_final(request_id)
        assert (final["status"], final["attempt"]) == ("completed", 2), final
        (part,) = final["output"]
        assert admin.call("GET", part["url"]).content == b"the same bytes"


def test_what_is_larger_than_the_site_takes_fails_at_once_and_says_so(
    serve: Callable[..., tuple[SiteProcess, Served]], tmp_path: Path
) -> None:
    large = tmp_path / "large.bin"
    large.write_bytes(bytes(30_000_000))
    _site, space = serve(lambda request: large, SPACES_MAX_UPLOAD_MB=1)
    final = space.admin.wait_final(space.submit())
    assert final["status"] == "failed"
    assert final["error"]["message"].startswith("large.bin could not be sent: it is larger than the site takes")
