"""The same submit sent again over a bad network, at the same time, and over a crash: one request (guarantee G10)."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.faults.apps import Echo, FaultApp
from tests.faults.filer import Scene, taken
from tests.faults.looking import SOME_MODES, some_modes, text_of
from tests.http_caller import HttpCaller
from tests.site_process import SiteProcess

Connect = Callable[..., Any]
OwnSite = Callable[..., SiteProcess]
TOGETHER = 20
PART = b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n'
NO_FIELD = PART.replace(b'"file"', b'"nope"')
END = b"\r\n--B--\r\n"


def keyed(caller: HttpCaller, space: str, key: str, prompt: str = "hello") -> Any:
    return caller.call("POST", f"spaces/{space}/requests", json={"prompt": prompt}, headers={"Idempotency-Key": key})


def settled(caller: HttpCaller, space: str, key: str) -> Any:
    """Send a submit until it is answered with its request, as a program would."""
    for _ in range(100):
        answer = keyed(caller, space, key)
        if answer.status_code != 409:
            return answer
        assert answer.json()["error"]["code"] == "in_progress", answer.text
    raise AssertionError("in progress for ever")


@some_modes
def test_many_at_once_make_one_request(site: SiteProcess, admin: HttpCaller, space: str, connect: Connect) -> None:
    app = connect(Echo)
    token = admin.make_token(scopes=("api",))
    callers = [HttpCaller(site.url, token) for _ in range(TOGETHER)]
    with ThreadPoolExecutor(TOGETHER) as pool:
        answers = list(pool.map(lambda caller: settled(caller, space, "same"), callers))
    assert sorted(answer.status_code for answer in answers) == [200] * (TOGETHER - 1) + [202]
    ids = {answer.json()["id"] for answer in answers}
    assert len(ids) == 1
    assert text_of(admin.wait_final(ids.pop())) == "hello"
    assert app.prompts == ["hello"]


@pytest.mark.parametrize("mode", SOME_MODES)
def test_a_submit_whose_answer_was_lost_in_a_crash_is_found_again(
    own_site: OwnSite, started: Callable[[FaultApp], FaultApp], mode: str
) -> None:
    site = own_site(async_mode=mode)
    admin = site.admin()
    space = admin.make_space(queue_when_offline=True)
    first = keyed(admin, space, "before-the-crash").json()["id"]
    site.restart(kill=True)
    again = keyed(admin, space, "before-the-crash")
    assert (again.status_code, again.json()["id"]) == (200, first)
    assert keyed(admin, space, "before-the-crash", "other").json()["error"]["code"] == "key_reused"
    started(Echo(site.url, admin.make_token(spaces=[space]))).serve(space)
    assert text_of(admin.wait_final(first)) == "hello"
    assert len(admin.json("GET", "requests")["items"]) == 1


@pytest.mark.parametrize("mode", SOME_MODES)
def test_while_an_upload_runs_its_key_is_in_progress(own_site: OwnSite, mode: str) -> None:
    scene = Scene(own_site(async_mode=mode))
    length = len(PART) + 5 + len(END)
    headers = f"Content-Length: {length}\r\nIdempotency-Key: slow\r\n"
    (first,) = taken(
        1,
        lambda: scene.post(headers, PART, b"12"),
        lambda: scene.post(headers, NO_FIELD, b"12345", END).answer().code == "in_progress",
    )
    second = scene.post(headers, PART, b"12345", END).answer()
    assert (second.status, second.code) == (409, "in_progress")
    accepted = first.send(b"345", END).answer()
    assert accepted.status == 202
    again = scene.post(headers, PART, b"12345", END).answer()
    assert (again.status, again.json["id"]) == (200, accepted.json["id"])
    other = scene.post(headers, PART, b"12346", END).answer()
    assert (other.status, other.code) == (422, "key_reused")
    scene.close()


@pytest.mark.parametrize("mode", SOME_MODES)
def test_an_upload_that_broke_off_holds_its_key_no_longer(own_site: OwnSite, mode: str) -> None:
    scene = Scene(own_site(async_mode=mode))
    body = PART + b"12345" + END
    headers = f"Content-Length: {len(body)}\r\nIdempotency-Key: broken\r\n"
    scene.post(headers, body[:-10]).close()
    answer = json.loads("null")
    while answer is None or answer.code == "in_progress":
        answer = scene.post(headers, body).answer()
    assert answer.status == 202
    scene.close()
