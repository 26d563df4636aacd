"""The queue: its length, its time, its order, and a space that nobody serves."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.faults.apps import Echo, FaultApp, Never
from tests.faults.looking import ending, some_modes, text_of, wait_connected
from tests.http_caller import HttpCaller
from tests.site_process import SiteProcess

Connect = Callable[..., Any]
Started = Callable[[FaultApp], FaultApp]


def test_a_full_queue_refuses_and_takes_again(admin: HttpCaller, space: str, connect: Connect) -> None:
    admin.json("PATCH", f"spaces/{space}", json={"queue_length": 2})
    app = connect(Never)
    admin.submit(space, "processing")
    request = app.next("inference_request")
    waiting = [admin.submit(space, prompt)["id"] for prompt in ("one", "two")]
    full = admin.call("POST", f"spaces/{space}/requests", json={"prompt": "three"})
    assert (full.status_code, full.json()["error"]["code"]) == (429, "queue_full")
    assert int(full.headers["Retry-After"]) >= 1
    assert admin.space(space)["queue_size"] == 2
    assert app.answer(request) == "accepted"
    assert app.next("inference_request")["request_id"] == waiting[0]
    admin.submit(space, "three")


def test_of_many_submits_at_once_no_more_than_fit_are_accepted(
    site: SiteProcess, admin: HttpCaller, space: str, connect: Connect
) -> None:
    admin.json("PATCH", f"spaces/{space}", json={"queue_length": 5})
    app = connect(Never)
    admin.submit(space, "processing")
    app.next("inference_request")
    program = admin.make_token(scopes=("api",))

    def submit(number: int) -> int:
        caller = HttpCaller(site.url, program)
        return caller.call("POST", f"spaces/{space}/requests", json={"prompt": str(number)}).status_code

    with ThreadPoolExecutor(12) as pool:
        statuses = list(pool.map(submit, range(12)))
    assert sorted(statuses) == [202] * 5 + [429] * 7


def test_nobody_connected_is_refused_at_once(admin: HttpCaller, space: str, connect: Connect) -> None:
    refused = admin.call("POST", f"spaces/{space}/requests", json={"prompt": "hello"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "space_offline")
    assert "not connected" in refused.json()["error"]["message"]
    app = connect(Never)
    admin.submit(space, "hello")
    app.drop()
    wait_connected(admin, space, False)
    again = admin.call("POST", f"spaces/{space}/requests", json={"prompt": "in the grace"})
    assert (again.status_code, again.json()["error"]["code"]) == (503, "space_offline")


def test_what_waits_too_long_is_told_so_whether_an_app_is_there_or_not(
    own_site: Callable[..., SiteProcess], started: Started
) -> None:
    site = own_site(SPACES_QUEUE_TTL=1.5)
    admin = site.admin()
    busy, empty = admin.make_space(timeout_seconds=30), admin.make_space(queue_when_offline=True)
    app = started(Never(site.url, admin.make_token(spaces=[busy]))).serve(busy)
    processing = admin.submit(busy, "one")["id"]
    request = app.next("inference_request")
    waiting = [admin.submit(space, "waits")["id"] for space in (busy, empty)]
    for one in waiting:
        assert ending(admin.wait_final(one)) == ("timed_out", "queue_timeout")
    assert admin.request(processing)["status"] == "processing"
    assert app.answer(request) == "accepted"
    assert not app.has_heard("inference_request")
    started(Echo(site.url, admin.make_token(spaces=[empty]))).serve(empty)
    assert text_of(admin.wait_final(admin.submit(empty, "new")["id"])) == "new"


@some_modes
def test_the_order_of_acceptance_is_the_order_of_work(admin: HttpCaller, space: str, connect: Connect) -> None:
    admin.json("PATCH", f"spaces/{space}", json={"queue_when_offline": True})
    prompts = [f"prompt {number}" for number in range(20)]
    ids = [admin.submit(space, prompt)["id"] for prompt in prompts[:10]]
    assert [admin.request(one)["position"] for one in ids] == list(range(1, 11))
    app = connect(Echo)
    ids += [admin.submit(space, prompt)["id"] for prompt in prompts[10:]]
    assert [text_of(admin.wait_final(one)) for one in ids] == prompts
    assert app.prompts == prompts
