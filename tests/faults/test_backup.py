"""A backup of a site that is hard at work, and a site that is started on it after a disaster."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from tests import schemas
from tests.faults import rules
from tests.faults.evidence import Witness, database_url
from tests.faults.filer import EVERYTHING, Filer
from tests.faults.history import FINAL
from tests.faults.looking import SHORT_TIMES
from tests.http_caller import HttpCaller
from tests.postgres import PostgresServer, start_or_skip
from tests.program import Program
from tests.site_process import SiteProcess, wait_until

OwnSite = Callable[..., SiteProcess]
Started = Callable[[Any], Any]
Start = Callable[..., Program]

ROOM = {"SPACES_QUEUE_LENGTH": 500, "SPACES_USER_QUEUE_LENGTH": 500, "SPACES_GRACE": 8}
INPUT = "input of request {} ".format


class Halting(Filer):
    """Answers so many requests, and the rest only once ``go_on`` is set."""

    def __init__(self, *args: Any, first: int, **more: Any) -> None:
        self.left, self.go_on = first, threading.Event()
        super().__init__(*args, **more)

    def on_request(self, request: dict[str, Any]) -> None:
        self.left -= 1
        assert self.left >= 0 or self.go_on.wait(60), "the test never let the app go on"
        with contextlib.suppress(requests.RequestException):  # its site may be gone meanwhile
            super().on_request(request)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    one = start_or_skip()
    yield one
    one.stop()


@pytest.fixture
def database(request: pytest.FixtureRequest) -> Callable[[str], dict[str, str]]:
    """Return the settings for a new database of a kind."""

    def settings(kind: str) -> dict[str, str]:
        if kind == "sqlite":
            return {}
        server: PostgresServer = request.getfixturevalue("server")
        return {"SPACES_DATABASE_URL": server.bare_url(server.make_database())}

    return settings


@pytest.fixture
def command(program: Start) -> Callable[..., Program]:
    """Run one of the site's commands on a site's data, as an admin would."""

    def run(site: SiteProcess, *words: object) -> Program:
        settings = {key: value for key, value in site.environment.items() if key.startswith("SPACES_")}
        return program("python", "-m", "flask", "--app", "project", *map(str, words), **settings)

    return run


@contextmanager
def another_world(witness: Witness) -> Iterator[Witness]:
    """Let a site that was restored be judged by itself: it knows nothing of what happened after its backup."""
    witness.stop()
    other = Witness(since=0.0)
    other.listen()
    try:
        yield other
    finally:
        other.stop()
        witness.listen()


def submit(caller: HttpCaller, space: str, number: int) -> str:
    """Send a request with a file that says its number."""
    files = {"file": (f"{number}.txt", INPUT(number) * 50)}
    return str(caller.json("POST", f"spaces/{space}/requests", 202, data={"prompt": number}, files=files)["id"])


def check_files(site: SiteProcess) -> int:
    """See that every row of a file has its bytes, and every request and result its rows; return how many files."""
    rows = schemas.rows(database_url(site).replace("file:", "").partition("?mode")[0])
    files = {row["id"]: row for row in rows["files"]}
    for row in files.values():
        content = (site.data_dir / "files" / "kept" / row["id"][:2] / row["id"]).read_bytes()
        assert (hashlib.sha256(content).hexdigest(), len(content)) == (row["sha256"], row["size"]), row
    for request in rows["requests"]:
        named = json.loads(request["files"] or "[]") + json.loads(request["result"] or "[]")
        for one in named:
            assert files[one["file_id"]]["sha256"] == one["sha256"], request
    return len(files)


@pytest.mark.parametrize("count", [30, pytest.param(100, marks=pytest.mark.long)])
@pytest.mark.parametrize(("kind", "new_kind"), [("sqlite", "sqlite"), ("postgresql", "postgresql")])
def test_a_backup_in_the_middle_of_everything_is_a_site_again(
    own_site: OwnSite,
    started: Started,
    command: Callable[..., Program],
    database: Callable[[str], dict[str, str]],
    witness: Witness,
    tmp_path: Path,
    kind: str,
    new_kind: str,
    count: int,
) -> None:
    site, backup = own_site(**ROOM, **database(kind)), tmp_path / "backup.tar"
    admin = site.admin()
    space = admin.make_space(timeout_seconds=30, inputs=EVERYTHING)
    token, api = admin.make_token(spaces=[space]), HttpCaller(site.url, admin.make_token(scopes=("api",)))
    app = started(Halting(site.url, token, first=count // 4)).serve(space)
    before = [submit(api, space, number) for number in range(count // 2)]
    wait_until(lambda: app.left < 0, "the app has answered a quarter of them and holds one more", 60)

    saving, part = command(site, "backup", backup), backup.with_name("backup.tar.part")
    wait_until(lambda: part.exists() or backup.exists(), "the backup has begun", 40, step=0.005)
    app.go_on.set()
    number = count // 2
    while saving.process.poll() is None or number < count:
        submit(api, space, number)
        number += 1
    assert saving.wait_exit(90) == 0, saving.output()
    saved_at = time.time()
    site.kill9()
    app.close()

    restored = SiteProcess(tmp_path / "restored", **(SHORT_TIMES | ROOM | database(new_kind)))
    with another_world(witness) as other:
        restoring = command(restored, "restore", backup)
        assert restoring.wait_exit(90) == 0, restoring.output()
        files = check_files(restored)
        assert files >= len(before) + count // 4
        with restored:
            other.slack = time.time() - saved_at + 60
            check_restored(restored, api, admin, space, before)
            started(Filer(restored.url, token)).serve(space)
            finish_all(restored, api, space)
            history = other.history([restored])
        assert check_files(restored) > files
    broken = rules.violations(history)
    assert not broken, rules.report(history, broken)
    assert "Traceback" not in restored.output()


def check_restored(site: SiteProcess, api: HttpCaller, admin: HttpCaller, space: str, before: list[str]) -> None:
    """Everybody is known as before, and every request accepted before the backup is there."""
    api.url = admin.url = site.url
    assert admin.call("GET", "/account", allow_redirects=False).status_code == 200, "the login session goes on"
    site.admin()
    shown = {one["id"]: one for one in everything(api, space)}
    assert set(before) <= set(shown)
    states = [one["status"] for one in shown.values()]
    assert "completed" in states
    assert "queued" in states
    for one in shown.values():
        for part in one["output"] or []:
            answer = api.call("GET", part["url"])
            assert hashlib.sha256(answer.content).hexdigest() == part["sha256"]
            assert answer.text == INPUT(int(one["input"]["prompt"])) * 50


def everything(api: HttpCaller, space: str) -> list[dict[str, Any]]:
    """Return all requests of the caller in the space."""
    found, query = [], {"space": space}
    while True:
        page = api.json("GET", "requests", params=query)
        found += page["items"]
        if not page["next_cursor"]:
            return found
        query["cursor"] = page["next_cursor"]


def finish_all(site: SiteProcess, api: HttpCaller, space: str) -> None:
    """Wait until an app that came back has completed all that was waiting, each with its own file."""
    for one in everything(api, space):
        final = one if one["status"] in FINAL else api.wait_final(one["id"], 60)
        assert final["status"] == "completed", final
        text = api.call("GET", final["output"][0]["url"]).text
        assert text == INPUT(int(final["input"]["prompt"])) * 50


def test_a_killed_backup_leaves_no_half_one_under_its_name(
    own_site: OwnSite, command: Callable[..., Program], tmp_path: Path
) -> None:
    """It is held up in the middle of the files, and killed there."""
    site, backup = own_site(), tmp_path / "backup.tar"
    admin = site.admin()
    space = admin.make_space(queue_when_offline=True, inputs=EVERYTHING)
    for number in range(3):
        submit(admin, space, number)
    kept = sorted((site.data_dir / "files" / "kept").glob("??/*"))[1]
    content = kept.read_bytes()
    kept.unlink()
    os.mkfifo(kept)  # whoever opens it waits
    saving, part = command(site, "backup", backup), tmp_path / "backup.tar.part"
    wait_until(lambda: part.exists() and is_waiting(saving, kept), "the backup waits for the file", 40)
    saving.kill()
    assert not backup.exists()
    kept.unlink()
    kept.write_bytes(content)
    again = command(site, "backup", backup)
    assert again.wait_exit(40) == 0, again.output()
    assert not part.exists()
    assert backup.stat().st_mode & 0o777 == 0o600


def is_waiting(program: Program, fifo: Path) -> bool:
    """Whether a program waits for a writer of the pipe: then one can be there without waiting."""
    try:
        descriptor = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return False
    # It reads, and this side holds the pipe open until the program is killed.
    program.process.send_signal(signal.SIGSTOP)
    os.close(descriptor)
    return True


def test_nothing_is_restored_under_a_site_that_runs(
    own_site: OwnSite, command: Callable[..., Program], tmp_path: Path
) -> None:
    site, backup = own_site(), tmp_path / "backup.tar"
    admin = site.admin()
    space = admin.make_space(queue_when_offline=True)
    assert command(site, "backup", backup).wait_exit(40) == 0
    request_id = admin.submit(space, "accepted after the backup")["id"]
    refused = command(site, "restore", "--replace", backup)
    assert refused.wait_exit(40) == 1
    assert "Stop it first" in refused.output()
    assert admin.request(request_id)["status"] == "queued"
    site.restart()
    assert site.admin().request(request_id)["status"] == "queued"


def test_a_site_is_pruned_while_it_works(
    own_site: OwnSite, started: Started, command: Callable[..., Program], witness: Witness
) -> None:
    """What has ended goes; what comes meanwhile, and what is under way, is completed afterwards."""
    site = own_site(**ROOM)
    admin = site.admin()
    space = admin.make_space(timeout_seconds=30, inputs=EVERYTHING)
    app = started(Halting(site.url, admin.make_token(spaces=[space]), first=5)).serve(space)
    ended = [submit(admin, space, number) for number in range(5)]
    for one in ended:
        admin.wait_final(one)
    with ThreadPoolExecutor() as pool:
        coming = pool.submit(lambda: [submit(admin, space, number) for number in range(5, 15)])
        pruning = command(site, "prune", "--before", 0)
        assert pruning.wait_exit(60) == 0, pruning.output()
        new = coming.result(60)
    witness.deleted.update(ended)
    assert "requests that ended: 5," in pruning.output()
    assert [admin.call("GET", f"requests/{one}").status_code for one in ended] == [404] * 5
    app.go_on.set()
    assert [admin.wait_final(one)["status"] for one in new] == ["completed"] * 10
    assert check_files(site) == 20
