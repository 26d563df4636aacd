"""Limits on what goes on at the same time: each refuses clearly, at once, and nobody else feels it (guarantee G14)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
import socketio
from socketio.exceptions import ConnectionError as Refused

from tests.faults.apps import Echo, FaultApp, Never
from tests.faults.conftest import Logs
from tests.faults.filer import RawHttp, Scene, Waiting, taken
from tests.faults.looking import SHORT_TIMES, SOME_MODES, text_of
from tests.faults.raw_peer import RawPeer
from tests.http_caller import HttpCaller
from tests.site_process import SiteProcess, wait_until

OwnSite = Callable[..., SiteProcess]
Started = Callable[[Any], Any]
JOIN_SECONDS = 5.0
#: Closing at once is sooner than closing what has not registered in time.
AT_ONCE = 3.0
DEEP = 64
LOW_LIMITS = {
    "SPACES_EVENTS_PER_SECOND": 20,
    "SPACES_EVENTS_BEFORE_REGISTRATION": 3,
    "SPACES_JOIN_TIMEOUT": JOIN_SECONDS,
    "SPACES_MAX_UNAUTHENTICATED_SOCKETS": 3,
    "SPACES_SOCKETS_PER_TOKEN": 2,
    "SPACES_HELD_CALLS_PER_USER": 2,
    "SPACES_UPLOADS_PER_USER": 2,
}
PART = b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n'
END = b"\r\n--B--\r\n"

every_mode = pytest.mark.parametrize("mode", SOME_MODES)


class House:
    """A site with two spaces: one for whoever goes too far, one with an app that must not feel it."""

    def __init__(self, site: SiteProcess, started: Started) -> None:
        self.site, self.started = site, started
        self.admin = site.admin()
        self.space, self.quiet = self.admin.make_space(timeout_seconds=60), self.admin.make_space()
        self.token = self.admin.make_token(spaces=[self.space])
        self.neighbour = started(Echo(site.url, self.admin.make_token(spaces=[self.quiet]))).serve(self.quiet)

    def others_are_served(self) -> None:
        assert text_of(self.admin.wait_final(self.admin.submit(self.quiet, "hello")["id"])) == "hello"

    def api(self) -> HttpCaller:
        return HttpCaller(self.site.url, self.admin.make_token(scopes=("api",)))

    def stranger(self) -> HttpCaller:
        """Somebody else at the API, by a token of a new account."""
        user = self.site.user()
        return HttpCaller(self.site.url, user.make_token(scopes=("api",)))


@pytest.fixture(scope="module")
def limited_sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], SiteProcess]]:
    """Running sites with low limits, one a mode, shared by the tests of this file."""
    running: dict[str, SiteProcess] = {}

    def in_mode(mode: str) -> SiteProcess:
        if mode not in running:
            folder = tmp_path_factory.mktemp(f"limited-{mode}")
            running[mode] = SiteProcess(folder, async_mode=mode, **(SHORT_TIMES | LOW_LIMITS)).start()
        return running[mode]

    yield in_mode
    for site in running.values():
        site.kill9()


@pytest.fixture
def limited(limited_sites: Callable[[str], SiteProcess], mode: str, logs: Logs) -> SiteProcess:
    """The site with low limits in the mode of the test."""
    site = limited_sites(mode)
    logs.watch(site)
    return site


@pytest.fixture
def house(limited: SiteProcess, started: Started) -> House:
    """Two spaces on the site with low limits."""
    return House(limited, started)


def code(answer: requests.Response) -> tuple[int, str]:
    assert int(answer.headers.get("Retry-After", "1")) <= 60
    return answer.status_code, answer.json()["error"]["code"]


# Events


@every_mode
def test_more_events_than_allowed_are_answered_and_cost_no_result(house: House, started: Started) -> None:
    app = started(Never(house.site.url, house.token)).serve(house.space)
    request_id = house.admin.submit(house.space, "hello")["id"]
    request = app.next("inference_request")
    progress = {"request_id": request_id, "attempt_id": request["attempt_id"], "value": 0.5}
    codes = [app.call("inference_progress", progress)["code"] for _ in range(80)]
    assert set(codes) == {"accepted", "retry_later"}, codes
    assert codes[:40] == ["accepted"] * 40
    assert app.answer(request, "done") == "accepted"
    assert text_of(house.admin.wait_final(request_id)) == "done"
    house.others_are_served()


@every_mode
def test_a_flood_closes_the_transport_and_the_request_goes_on(house: House, started: Started) -> None:
    peer = started(RawPeer(house.site.url, house.token))
    peer.send("421" + json.dumps(["register", {"space_name": house.space}]))
    assert peer.acknowledged(1)["success"]
    request_id = house.admin.submit(house.space, "hello")["id"]
    peer.receive('42["inference_request"')
    peer.flood('42["inference_progress",{"request_id":"x"}]', 5_000)
    peer.wait_closed()
    started(Echo(house.site.url, house.token)).serve(house.space)
    assert text_of(house.admin.wait_final(request_id)) == "hello"
    house.others_are_served()


@every_mode
def test_whoever_talks_without_registering_is_told_and_cut(house: House, started: Started) -> None:
    peer = started(RawPeer(house.site.url, house.token))
    answers = []
    for number in range(1, 5):
        peer.send(f'42{number}["anything",{{}}]')
        answers.append(peer.acknowledged(number))
    assert [answer["code"] for answer in answers] == ["invalid"] * 4
    assert "Register" in answers[-1]["message"]
    peer.wait_closed(AT_ONCE)
    app = started(Never(house.site.url, house.token)).serve(house.space)
    assert [app.call("anything", {})["code"] for _ in range(10)] == ["invalid"] * 10
    house.others_are_served()


@every_mode
def test_a_result_with_too_many_levels_is_invalid_and_the_next_one_counts(house: House, started: Started) -> None:
    app = started(Never(house.site.url, house.token)).serve(house.space)
    request_id = house.admin.submit(house.space, "hello")["id"]
    request = app.next("inference_request")
    body = {"request_id": request_id, "attempt_id": request["attempt_id"], "status": "completed"}
    deep: Any = "x"
    for _ in range(DEEP):
        deep = {"text": deep}
    answer = app.call("inference_result", {**body, "result": {"one more": deep}})
    assert (answer["code"], "levels" in answer["message"]) == ("invalid", True)
    assert app.call("inference_result", {**body, "result": deep})["code"] == "accepted"
    assert house.admin.wait_final(request_id)["status"] == "completed"


# Sockets


@every_mode
def test_whoever_neither_authenticates_nor_registers_has_to_go(house: House, started: Started) -> None:
    serving = started(Never(house.site.url, house.token)).serve(house.space)
    silent, joined = started(RawPeer(house.site.url, join=False)), started(RawPeer(house.site.url, house.token))
    silent.wait_closed(JOIN_SECONDS + 5)
    joined.wait_closed(JOIN_SECONDS + 5)
    assert serving.is_connected()
    house.others_are_served()


@every_mode
def test_only_so_many_sockets_may_wait_without_authenticating(house: House, started: Started) -> None:
    handshake = f"{house.site.url}/socket.io/?EIO=4&transport=polling"
    waiting = [started(RawPeer(house.site.url, join=False)) for _ in range(3)]
    assert code(requests.get(handshake, timeout=10)) == (503, "unavailable")
    waiting[0].close()
    wait_until(lambda: requests.get(handshake, timeout=10).status_code == 200, "a place is free again")
    house.others_are_served()


@every_mode
def test_only_so_many_connections_may_a_token_have(house: House, started: Started) -> None:
    first, _second = (started(Never(house.site.url, house.token)) for _ in range(2))
    first.serve(house.space)
    refused = started(RawPeer(house.site.url, join=False)).refusal({"token": house.token})
    assert refused["data"]["code"] == "rate_limited"
    client = socketio.Client(reconnection=False, handle_sigint=False)
    with pytest.raises(Refused, match="failed to connect"):
        client.connect(house.site.url, auth={"token": house.token}, transports=["websocket"])
    other_token = house.admin.make_token(spaces=[house.space])
    started(FaultApp(house.site.url, other_token))
    first.close()
    wait_until(lambda: is_let_in(started, house), "a place is free again")
    house.others_are_served()


def is_let_in(started: Started, house: House) -> bool:
    peer = started(RawPeer(house.site.url, join=False))
    peer.send("40" + json.dumps({"token": house.token}))
    return bool(peer.receive("4").startswith("40"))


# Calls


@every_mode
def test_only_so_many_calls_of_one_user_may_wait(house: House, started: Started) -> None:
    ann, bob = house.api(), house.stranger()
    started(Never(house.site.url, house.token)).serve(house.space)
    request = ann.submit(house.space, "hello")
    path = f"/api/v1/requests/{request['id']}?until=final&wait=30"
    held = taken(2, lambda: get(house.site, path, ann), lambda: refused_at_once(ann, path))
    assert code(ann.call("GET", path)) == (429, "too_many")
    assert ann.call("GET", f"requests/{request['id']}").status_code == 200
    accepted = ann.call("POST", f"spaces/{house.space}/requests", json={"prompt": "x"}, headers={"Prefer": "wait=5"})
    assert accepted.status_code == 202, "accepted is not refused, it only does not wait"
    mine = bob.submit(house.quiet, "hello")["id"]
    assert text_of(bob.wait_final(mine)) == "hello"
    ann.call("POST", f"requests/{request['id']}/cancel")
    assert [one.answer().status for one in held] == [200, 200]
    for one in held:
        one.close()
    wait_until(lambda: ann.call("GET", path).status_code == 200, "the places are free again")


def test_visitors_count_by_their_address_and_all_together_have_a_limit(own_site: OwnSite, started: Started) -> None:
    house = House(own_site(SPACES_HELD_CALLS_PER_USER=3, SPACES_MAX_HELD_CALLS=4), started)
    live = f"/api/v1/spaces/{house.space}/live"
    cursor = HttpCaller(house.site.url).json("GET", live)["cursor"]
    path = f"{live}?after={cursor}&wait=30"
    visitor, ann, other = HttpCaller(house.site.url), house.stranger(), house.api()
    held = taken(3, lambda: get(house.site, path), lambda: refused_at_once(visitor, path))
    path = f"{live}?after={ann.json('GET', live)['cursor']}&wait=30"
    held += taken(1, lambda: get(house.site, path, ann), lambda: refused_at_once(other, path))
    assert ann.call("GET", live).status_code == 200
    for one in held:
        one.close()


def refused_at_once(caller: HttpCaller, path: str) -> bool:
    answer = caller.call("GET", path.replace("wait=30", "wait=0.2"))
    return answer.status_code == 429 and code(answer) == (429, "too_many")


def get(site: SiteProcess, path: str, caller: HttpCaller | None = None) -> RawHttp:
    """Send a call and do not wait for its answer."""
    bearer = f"Authorization: {caller.http.headers['Authorization']!s}\r\n" if caller else ""
    return RawHttp(site.url, 40).send(f"GET {path} HTTP/1.1\r\nHost: {site.url[7:]}\r\n{bearer}\r\n".encode())


# Uploads


@every_mode
def test_only_so_many_uploads_of_one_user_run_at_the_same_time(limited: SiteProcess, started: Started) -> None:
    scene = Scene(limited)
    started(scene)
    length = f"Content-Length: {len(PART) + 5 + len(END)}\r\n"
    running = taken(
        2, lambda: scene.post(length, PART, b"1"), lambda: scene.form(PART, b"12345", END).code == "too_many"
    )
    refused = scene.form(PART, b"12345", END)
    assert (refused.status, refused.code) == (429, "too_many")
    assert scene.admin.submit(scene.space, "text needs no place")
    running[0].send(b"2345", END)
    assert running[0].answer().status == 202
    assert scene.form(PART, b"12345", END).status == 202
    running[1].close()


@every_mode
def test_only_so_many_uploads_of_one_attempt_run_at_the_same_time(limited: SiteProcess, started: Started) -> None:
    scene = Scene(limited)
    started(scene)
    length = "Content-Length: 5\r\n"
    running = taken(2, lambda: scene.put(length, b"1"), lambda: scene.put(length, b"12345").answer().code == "too_many")
    running[0].send(b"2345")
    assert running[0].answer().status == 201
    assert scene.put(length, b"12345").answer().status == 201


def test_all_uploads_together_have_a_limit(own_site: OwnSite, started: Started) -> None:
    scene = Scene(own_site(SPACES_UPLOADS_PER_USER=5, SPACES_MAX_UPLOADS=1))
    started(scene)
    length = f"Content-Length: {len(PART) + 5 + len(END)}\r\n"
    (running,) = taken(
        1,
        lambda: scene.post(length, PART, b"1"),
        lambda: scene.put("Content-Length: 5\r\n", b"12345").answer().code == "too_many",
    )
    running.send(b"2345", END)
    assert running.answer().status == 202


def test_one_users_files_have_a_quota_that_deleting_frees(own_site: OwnSite, started: Started) -> None:
    scene = Scene(own_site(SPACES_USER_STORAGE_MB=0.1))
    started(scene)
    first = scene.form(PART, bytes(60_000), END)
    assert first.status == 202
    refused = scene.form(PART, bytes(60_000), END)
    assert (refused.status, refused.code) == (413, "quota_full")
    other = HttpCaller(scene.site.url, scene.site.user().make_token(scopes=("api",)))
    files = {"file": ("a.bin", bytes(60_000))}
    other.json("POST", f"spaces/{scene.space}/requests", 202, files=files)
    request_id = first.json["id"]
    scene.admin.json("POST", f"requests/{request_id}/cancel")
    again = scene.admin.call("POST", f"requests/{request_id}/retry")
    assert code(again) == (413, "quota_full")
    scene.admin.json("DELETE", f"requests/{request_id}", 204)
    assert scene.form(PART, bytes(60_000), END).status == 202


def test_a_result_is_never_refused_for_its_users_quota(own_site: OwnSite, started: Started) -> None:
    scene = Scene(own_site(SPACES_USER_STORAGE_MB=0.001))
    started(scene)
    assert isinstance(scene.app, Waiting)
    assert scene.put("Content-Length: 5000\r\n", bytes(5_000)).answer().status == 201
