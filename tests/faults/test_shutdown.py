"""SIGTERM: nothing new is taken or handed over, what runs may end, and the queue is there after the restart."""

from __future__ import annotations

import signal
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.faults.apps import Echo, Never
from tests.faults.filer import EVERYTHING, Scene, Waiting, kept
from tests.faults.looking import MODES, SOME_MODES, text_of, wait_status
from tests.faults.raw_peer import RawPeer
from tests.http_caller import HttpCaller
from tests.site_process import SiteProcess, wait_until

OwnSite = Callable[..., SiteProcess]
Started = Callable[[Any], Any]

EXIT_SECONDS = 30.0
#: More bytes than two sockets hold back.
BIG = 20_000_000


def terminate(site: SiteProcess) -> None:
    assert site.process
    site.process.send_signal(signal.SIGTERM)


def exit_status(site: SiteProcess) -> int:
    assert site.process
    return site.process.wait(EXIT_SECONDS)


def refusal(admin: HttpCaller, space: str) -> dict[str, Any] | None:
    """Submit, and return the refusal if it is one of a site that stops."""
    answer = admin.call("POST", f"spaces/{space}/requests", json={"prompt": "too late"})
    return answer.json() if answer.status_code == 503 and answer.json()["error"]["code"] == "shutting_down" else None


@pytest.mark.parametrize("mode", MODES)
def test_a_stop_takes_the_running_result_and_keeps_the_queue(own_site: OwnSite, started: Started, mode: str) -> None:
    site = own_site(async_mode=mode)
    admin = site.admin()
    space = admin.make_space(timeout_seconds=60)
    token = admin.make_token(spaces=[space])
    app = started(Never(site.url, token)).serve(space)
    ids = [admin.submit(space, prompt)["id"] for prompt in ("one", "two")]
    request = app.next("inference_request", request_id=ids[0])
    terminate(site)
    wait_until(lambda: "Stopping" in site.output(), "the site says that it stops")
    accepted = []
    wait_until(lambda: refusal(admin, space) or accepted.append(1), "a submit is refused as shutting_down")
    assert not accepted, "a submit was accepted after the site had begun to stop"
    assert app.answer(request) == "accepted"
    assert exit_status(site) == 0
    app.wait_gone()
    assert not app.ended_for_good, "a stop invites the apps to come back"
    assert not app.has_heard("inference_request"), "a request was handed over while the site stopped"
    assert "Traceback" not in site.output()
    site.start()
    admin = site.admin()
    assert text_of(admin.request(ids[0])) == "one"
    assert admin.request(ids[1])["status"] == "queued"
    started(Echo(site.url, token)).serve(space)
    final = admin.wait_final(ids[1])
    assert (text_of(final), final["attempt"]) == ("two", 1)


@pytest.mark.long
def test_an_app_that_never_answers_does_not_hold_up_the_stop(own_site: OwnSite, started: Started) -> None:
    site = own_site()
    admin = site.admin()
    space = admin.make_space(timeout_seconds=60)
    token = admin.make_token(spaces=[space])
    app = started(Never(site.url, token)).serve(space)
    request_id = admin.submit(space, "one")["id"]
    request = app.next("inference_request")
    asked = time.monotonic()
    terminate(site)
    assert exit_status(site) == 0
    assert time.monotonic() - asked < EXIT_SECONDS
    site.start()
    claim = {"request_id": request_id, "attempt_id": request["attempt_id"]}
    back = started(Never(site.url, token))
    assert back.register(space, resume=[claim])["resumed"] == [claim]
    assert back.answer(request) == "accepted"
    assert wait_status(site.admin(), request_id, "completed")["attempt"] == 1


def test_a_stop_without_work_is_quick(own_site: OwnSite, started: Started) -> None:
    site = own_site()
    admin = site.admin()
    space = admin.make_space()
    app = started(Never(site.url, admin.make_token(spaces=[space]))).serve(space)
    asked = time.monotonic()
    assert site.stop() == 0
    assert time.monotonic() - asked < 5
    app.wait_gone()


@pytest.mark.parametrize("mode", SOME_MODES)
def test_ctrl_c_stops_alike_and_held_calls_are_answered(own_site: OwnSite, started: Started, mode: str) -> None:
    site = own_site(async_mode=mode)
    admin = site.admin()
    space = admin.make_space(queue_when_offline=True)
    request_id = admin.submit(space, "waits")["id"]
    cursor = admin.json("GET", f"spaces/{space}/live")["cursor"]
    paths = [f"requests/{request_id}?until=final&wait=30"] * 3 + [f"spaces/{space}/live?after={cursor}&wait=30"] * 3
    assert site.process
    with ThreadPoolExecutor(len(paths)) as pool:
        held = [pool.submit(HttpCaller.call, copy_of(admin), "GET", path) for path in paths]
        wait_until(lambda: admin.call("GET", "/healthz").ok, "the site answers beside the held calls")
        wait_until(lambda: connections_to(site) >= len(paths), "the calls are held")
        site.process.send_signal(signal.SIGINT)
        assert exit_status(site) == 0
        answers = [one.result(EXIT_SECONDS) for one in held]
    assert [answer.status_code for answer in answers] == [200] * len(paths)
    site.start()
    assert site.admin().request(request_id)["status"] == "queued"


def copy_of(caller: HttpCaller) -> HttpCaller:
    """Return a caller with the same session and a connection of its own."""
    copy = HttpCaller(caller.url)
    copy.http.cookies.update(caller.http.cookies)
    copy.http.headers.update(caller.http.headers)
    return copy


def connections_to(site: SiteProcess) -> int:
    """Return how many TCP connections to the site stand (state 01 of the kernel's table), seen from its side."""
    local = f"0100007F:{site.port:04X}"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(line[1] == local and line[3] == "01" for line in lines)


def test_a_second_signal_ends_at_once_and_loses_nothing(own_site: OwnSite, started: Started) -> None:
    site = own_site(SPACES_GRACE=8)
    admin = site.admin()
    space = admin.make_space(timeout_seconds=60)
    token = admin.make_token(spaces=[space])
    app = started(Never(site.url, token)).serve(space)
    ids = [admin.submit(space, prompt)["id"] for prompt in ("one", "two")]
    request = app.next("inference_request", request_id=ids[0])
    terminate(site)
    wait_until(lambda: "Stopping" in site.output(), "the site says that it stops")
    asked = time.monotonic()
    terminate(site)
    assert exit_status(site) == 1
    assert time.monotonic() - asked < 2
    site.start()
    back = started(Never(site.url, token))
    claim = {"request_id": ids[0], "attempt_id": request["attempt_id"]}
    assert back.register(space, resume=[claim])["resumed"] == [claim]
    assert back.answer(request) == "accepted"
    assert back.answer(back.next("inference_request", request_id=ids[1])) == "accepted"


def test_while_it_stops_it_says_so_and_takes_the_files_of_results(own_site: OwnSite, started: Started) -> None:
    site = own_site()
    admin = site.admin()
    space = admin.make_space(timeout_seconds=60, inputs=EVERYTHING)
    app = started(Waiting(site.url, admin.make_token(spaces=[space]))).serve(space)
    done = admin.submit(space, "done")["id"]
    assert app.answer(app.next("inference_request", request_id=done)) == "accepted"
    request_id = admin.submit(space, "running")["id"]
    request = app.next("inference_request", request_id=request_id)
    terminate(site)
    wait_until(lambda: refusal(admin, space), "a submit is refused as shutting_down")
    a_file = {"file": ("a.txt", b"too late", "text/plain")}
    late = (
        admin.call("POST", f"spaces/{space}/requests", json={"prompt": "too late"}),
        admin.call("POST", f"spaces/{space}/requests", data={"prompt": "too late"}, files=a_file),
        admin.call("POST", f"requests/{done}/retry"),
        admin.call("GET", "/readyz"),
    )
    assert [(one.status_code, one.json()["error"]["code"]) for one in late] == [(503, "shutting_down")] * len(late)
    assert all(int(one.headers["Retry-After"]) > 0 for one in late)
    assert admin.call("GET", "/healthz").status_code == 200
    assert admin.request(request_id)["status"] == "processing"
    assert app.hand_in(request, app.upload(request, b"in time")) == "accepted"
    assert exit_status(site) == 0
    site.start()
    assert site.admin().request(request_id)["output"][0]["size"] == len(b"in time")
    assert [path.read_bytes() for path in kept(site.data_dir)] == [b"in time"]


@pytest.mark.parametrize("mode", MODES)
def test_whoever_stands_still_does_not_hold_up_the_stop(own_site: OwnSite, started: Started, mode: str) -> None:
    """A download that nobody reads, an upload that stalls, a locked database, and connections that say nothing."""
    site = own_site(async_mode=mode, SPACES_UPLOAD_STALL=60)
    scene = Scene(site)
    try:
        assert scene.app.hand_in(scene.request, scene.app.upload(scene.request, b"x" * BIG)) == "accepted"
        link = scene.api.request(scene.request["request_id"])["output"][0]["url"]
        reader = scene.begin(f"GET {link}", "")
        assert reader.socket.recv(100).startswith(b"HTTP/1.1 200"), "the download begins"
        scene.post("Content-Length: 1000000\r\n", b"--B\r\n", b'Content-Disposition: form-data; name="prompt"\r\n\r\n')
        silent = started(RawPeer(site.url, join=False))
        outside = sqlite3.connect(site.database, isolation_level=None)
        with closing(outside):
            outside.execute("BEGIN EXCLUSIVE")
            asked = time.monotonic()
            terminate(site)
            assert exit_status(site) == 0
        assert time.monotonic() - asked < 15, "nothing was in an app's hands"
        silent.wait_closed()
    finally:
        scene.close()


@pytest.mark.long
def test_a_locked_database_does_not_hold_up_the_stop_of_a_running_request(own_site: OwnSite, started: Started) -> None:
    site = own_site(SPACES_GRACE=8)
    admin = site.admin()
    space = admin.make_space(timeout_seconds=60)
    token = admin.make_token(spaces=[space])
    app = started(Never(site.url, token)).serve(space)
    request_id = admin.submit(space, "one")["id"]
    request = app.next("inference_request")
    with closing(sqlite3.connect(site.database, isolation_level=None)) as outside:
        outside.execute("BEGIN EXCLUSIVE")
        terminate(site)
        assert app.answer(request) == "retry_later"
        assert exit_status(site) == 0
    site.start()
    back = started(Never(site.url, token))
    claim = {"request_id": request_id, "attempt_id": request["attempt_id"]}
    assert back.register(space, resume=[claim])["resumed"] == [claim]
    assert back.answer(request) == "accepted"
