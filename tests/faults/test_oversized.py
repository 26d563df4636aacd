"""Results that are too large for one event, and files inside of results as older apps send them."""

from __future__ import annotations

import base64
import contextlib
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import NullPool, create_engine
from websocket import ABNF, WebSocketException

from project.database import Database
from project.request_store import RequestStore
from tests.faults.apps import FaultApp, Never
from tests.faults.filer import Waiting, result_of
from tests.faults.looking import EVENT_KB, SOME_MODES, ending, steps, text_of, wait_status
from tests.faults.raw_peer import RawPeer
from tests.house import LIMITS
from tests.http_caller import HttpCaller
from tests.site_process import SiteProcess

Connect = Callable[..., Any]
OwnSite = Callable[..., SiteProcess]
Started = Callable[[FaultApp], Any]

LIMIT = EVENT_KB * 1_000
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4
WAV = b"RIFF\x24\x00\x00\x00WAVEfmt \x10\x00\x00\x00" + bytes(200)
HTML = b"<!DOCTYPE html><script>alert(1)</script>"
TOO_LARGE = ("failed", "too_large")
each_mode = pytest.mark.parametrize("site", SOME_MODES, indirect=True)
each_transport = pytest.mark.parametrize("transport", ["websocket", "polling"])


def plain(content: bytes) -> str:
    return base64.b64encode(content).decode()


def filled(request: dict[str, Any], size: int) -> dict[str, Any]:
    """Return a legacy result of about ``size`` characters."""
    return result_of(request, {"image": "A" * (size // 4 * 4), "image_format": "png"})


def told_where_to_go(final: dict[str, Any]) -> bool:
    assert ending(final) == TOO_LARGE
    assert "upload.url" in final["error"]["message"], final["error"]
    assert final["output"] == []
    return True


def ended(caller: HttpCaller, request_id: str) -> dict[str, Any]:
    """Wait for the end of a request and check that it was handed over once."""
    final = caller.wait_final(request_id)
    assert final["attempt"] == 1
    assert [one[0] for one in steps(final)] == ["queued", "processing", final["status"]]
    return final


@each_mode
@each_transport
def test_over_the_limit_that_request_fails_and_the_app_goes_on(
    site: SiteProcess, admin: HttpCaller, space: str, token: str, started: Started, transport: str
) -> None:
    app = started(Waiting(site.url, token, transports=[transport])).serve(space)
    for size in (LIMIT + 10, 2 * LIMIT, 4 * LIMIT - 500):
        request_id = admin.submit(space, "hello")["id"]
        request = app.next("inference_request")
        assert app.call("inference_result", filled(request, size))["code"] == "too_large"
        assert told_where_to_go(ended(admin, request_id))
    request_id = admin.submit(space, "hello")["id"]
    assert app.call("inference_result", filled(app.next("inference_request"), LIMIT - 500))["code"] == "accepted"
    assert admin.wait_final(request_id)["status"] == "completed"


@each_mode
@each_transport
def test_far_over_the_limit_the_transport_closes_and_only_that_request_fails(
    site: SiteProcess, admin: HttpCaller, started: Started, transport: str
) -> None:
    """The app serves two spaces; what it has in hand of the other one is handed over again."""
    spaces = [admin.make_space(timeout_seconds=30) for _ in range(2)]
    token = admin.make_token(spaces=spaces)
    app = started(Waiting(site.url, token, transports=[transport])).serve(spaces[0]).serve(spaces[1])
    ids = [admin.submit(space, "hello")["id"] for space in spaces]
    requests = [app.next("inference_request", request_id=one) for one in ids]
    app.client.emit("inference_result", filled(requests[0], 5 * LIMIT))
    assert told_where_to_go(ended(admin, ids[0]))
    app.wait_gone()
    assert not admin.request(ids[1])["error"]
    back = started(Waiting(site.url, token, transports=[transport])).serve(spaces[0]).serve(spaces[1])
    assert back.answer(back.next("inference_request", request_id=ids[1]), "small") == "accepted"
    assert text_of(admin.wait_final(ids[1])) == "small"
    again = back.call("inference_result", result_of(requests[0], {"text": "again"}))
    assert again["code"] in ("already_final", "duplicate")
    assert told_where_to_go(admin.request(ids[0]))


@each_mode
def test_the_next_request_waits_for_the_next_connection(
    site: SiteProcess, admin: HttpCaller, token: str, space: str, started: Started
) -> None:
    """None is handed to the connection that is about to go: it would lose an attempt."""
    admin.json("PATCH", f"spaces/{space}", json={"queue_when_offline": True, "max_attempts": 1})
    app = started(Waiting(site.url, token)).serve(space)
    first, second = [admin.submit(space, prompt)["id"] for prompt in ("first", "second")]
    app.client.emit("inference_result", filled(app.next("inference_request", request_id=first), 5 * LIMIT))
    assert told_where_to_go(ended(admin, first))
    app.wait_gone()
    back = started(Waiting(site.url, token)).serve(space)
    assert back.answer(back.next("inference_request", request_id=second)) == "accepted"
    assert text_of(ended(admin, second)) == "second"


@each_mode
@each_transport
def test_a_huge_event_that_is_no_result_ends_no_request(
    site: SiteProcess, admin: HttpCaller, space: str, token: str, started: Started, transport: str
) -> None:
    app = started(Waiting(site.url, token, transports=[transport])).serve(space)
    request_id = admin.submit(space, "hello")["id"]
    request = app.next("inference_request")
    names = {key: request[key] for key in ("request_id", "attempt_id")}
    app.client.emit("inference_progress", {**names, "delta": '["inference_result"' + "x" * 5 * LIMIT})
    app.wait_gone()
    assert not admin.request(request_id)["error"]
    back = started(Waiting(site.url, token, transports=[transport])).serve(space)
    assert back.answer(back.next("inference_request", request_id=request_id), "small") == "accepted"
    assert text_of(admin.wait_final(request_id)) == "small"


@each_mode
def test_a_message_without_end_closes_the_connection(
    site: SiteProcess, admin: HttpCaller, space: str, token: str, started: Callable[[Any], Any]
) -> None:
    """It comes in fragments, none of them large and none the last."""
    peer = started(RawPeer(site.url, token))
    peer.ws.send_frame(ABNF.create_frame('42["inference_progress","', ABNF.OPCODE_TEXT, fin=0))
    with contextlib.suppress(OSError, WebSocketException):
        for _ in range(10 * 4 * EVENT_KB):
            peer.ws.send_frame(ABNF.create_frame("y" * 1_000, ABNF.OPCODE_CONT, fin=0))
    peer.wait_closed(3)
    started(Waiting(site.url, token)).serve(space)


def test_nobody_ends_a_request_that_another_app_has(
    site: SiteProcess, admin: HttpCaller, space: str, connect: Connect, started: Started
) -> None:
    app = connect(Never)
    request_id = admin.submit(space, "hello")["id"]
    request = app.next("inference_request")
    other = admin.make_space(timeout_seconds=30)
    token = admin.make_token(spaces=[other])
    for size, code in ((2 * LIMIT, "too_large"), (5 * LIMIT, None)):
        stranger = started(Never(site.url, token)).serve(other)
        if code:
            assert stranger.call("inference_result", filled(request, size))["code"] == code
            stranger.close()
        else:
            stranger.client.emit("inference_result", filled(request, size))
            stranger.wait_gone()
    assert admin.request(request_id)["status"] == "processing"
    assert app.answer(request) == "accepted"
    assert text_of(ended(admin, request_id)) == "hello"


def test_where_the_name_comes_last_the_only_one_in_hand_is_meant(
    site: SiteProcess, admin: HttpCaller, space: str, connect: Connect
) -> None:
    app = connect(Never)
    request_id = admin.submit(space, "hello")["id"]
    body = filled(app.next("inference_request"), 5 * LIMIT)
    app.client.emit("inference_result", dict(reversed(body.items())))
    app.wait_gone()
    assert told_where_to_go(ended(admin, request_id))


def test_a_result_that_is_sent_again_does_not_end_the_next_request(
    site: SiteProcess, admin: HttpCaller, space: str, token: str, started: Started
) -> None:
    """An app keeps a result until it is acknowledged, and after the reconnect it has the next request in hand."""
    app = started(Never(site.url, token)).serve(space)
    first = admin.submit(space, "first")["id"]
    body = filled(app.next("inference_request"), 5 * LIMIT)
    app.client.emit("inference_result", body)
    app.wait_gone()
    assert told_where_to_go(ended(admin, first))
    back = started(Never(site.url, token)).serve(space)
    second = admin.submit(space, "second")["id"]
    back.next("inference_request", request_id=second)
    back.client.emit("inference_result", body)
    back.wait_gone()
    assert not admin.request(second)["error"]
    again = started(Never(site.url, token)).serve(space)
    assert again.answer(again.next("inference_request", request_id=second)) == "accepted"
    assert text_of(admin.wait_final(second)) == "second"


LEGACY: dict[str, tuple[dict[str, Any], list[tuple[str, Any]]]] = {
    "an image": ({"image": plain(PNG)}, [("image", PNG)]),
    "images": ({"image": [plain(PNG), plain(PNG + b"2")]}, [("image", PNG), ("image", PNG + b"2")]),
    "a data address": ({"audio": f"data:audio/wav;base64,{plain(WAV)}"}, [("audio", WAV)]),
    "a format": ({"audio": plain(WAV), "audio_format": "wav"}, [("audio", WAV)]),
    "base64 in lines": ({"image": plain(PNG)[:76] + "\r\n" + plain(PNG)[76:]}, [("image", PNG)]),
    "text beside it": ({"text": "hi", "image": plain(PNG)}, [("text", "hi"), ("image", PNG)]),
    "an address": ({"image_url": "http://127.0.0.1:1/a.png"}, [("text", "http://127.0.0.1:1/a.png")]),
    "a word": ({"image": "cat.png"}, [("json", {"image": "cat.png"})]),
    "no base64": ({"image": "!" * 40}, [("json", {"image": "!" * 40})]),
    "parts": (
        {"parts": [{"type": "image", "data": plain(PNG), "name": "a.png"}, {"type": "text", "text": "hi"}]},
        [("image", PNG), ("text", "hi")],
    ),
    "a page as an image": ({"image": plain(HTML), "image_format": "png"}, [("file", HTML)]),
    "sound as an image": ({"parts": [{"type": "image", "data": plain(WAV), "format": "png"}]}, [("file", WAV)]),
    "a picture as a file": ({"parts": [{"type": "file", "data": plain(PNG)}]}, [("file", PNG)]),
}


@pytest.mark.parametrize("name", LEGACY)
def test_files_inside_a_result_are_kept_as_files(admin: HttpCaller, space: str, connect: Connect, name: str) -> None:
    result, expected = LEGACY[name]
    app = connect(Never)
    request_id = admin.submit(space, "hello")["id"]
    request = app.next("inference_request")
    assert app.call("inference_result", result_of(request, result))["code"] == "accepted"
    output = admin.wait_final(request_id)["output"]
    assert [part["type"] for part in output] == [kind for kind, _ in expected]
    for part, (_, content) in zip(output, expected, strict=True):
        if "url" in part:
            answer = admin.call("GET", part["url"])
            assert answer.content == content
            assert not answer.headers["Content-Type"].startswith(("text/html", "image/svg"))
            assert part["name"]
        else:
            assert part.get("text", part.get("data")) == content


WRONG: dict[str, dict[str, Any]] = {
    "an unknown file": {"type": "file", "file_id": "0" * 32},
    "no id at all": {"type": "file", "file_id": "../../secret-key"},
    "no content": {"type": "image"},
    "no base64": {"type": "image", "data": "not base64!"},
    "an empty file": {"type": "image", "data": ""},
    "NUL in the name": {"type": "image", "data": plain(PNG), "name": "a\x00.png"},
}


def test_a_result_that_names_what_is_not_its_own_is_invalid(
    site: SiteProcess, admin: HttpCaller, space: str, token: str, started: Started
) -> None:
    app = started(Waiting(site.url, token)).serve(space)
    first = admin.submit(space, "first")["id"]
    request = app.next("inference_request")
    foreign = app.upload(request, b"of the first")
    assert app.hand_in(request, foreign) == "accepted"
    assert ended(admin, first)["status"] == "completed"
    second = admin.submit(space, "second")["id"]
    request = app.next("inference_request")
    for name, part in {**WRONG, "another request's": {"type": "file", "file_id": foreign}}.items():
        body = json.loads(json.dumps(result_of(request, {"parts": [part]})))
        assert app.call("inference_result", body)["code"] == "invalid", name
    assert admin.request(second)["status"] == "processing"
    mine = app.upload(request, b"of the second")
    assert app.hand_in(request, mine, mine) == "accepted"
    output = ended(admin, second)["output"]
    assert [admin.call("GET", part["url"]).content for part in output] == [b"of the second"] * 2
    assert app.hand_in(request, mine) == "duplicate"
    assert wait_status(admin, second, "completed")["output"] == output


NAMES = ("../../etc/passwd", "..\\boot.ini", "gpj.\u202eexe.png", "a\r\nb.png", "x" * 255)


@pytest.mark.parametrize("by", ["upload", "part"])
def test_a_results_names_are_as_harmless_as_those_of_inputs(
    site: SiteProcess, admin: HttpCaller, space: str, token: str, started: Started, by: str
) -> None:
    app = started(Waiting(site.url, token)).serve(space)
    request_id = admin.submit(space, "hello")["id"]
    request = app.next("inference_request")
    parts = [{"type": "image", "file_id": app.upload(request, PNG, name)} for name in NAMES]
    if by == "part":
        parts = [{**part, "name": name} for part, name in zip(parts, NAMES, strict=True)]
    assert app.call("inference_result", result_of(request, {"parts": parts}))["code"] == "accepted"
    names = [part["name"] for part in ended(admin, request_id)["output"]]
    assert names == ["passwd", "boot.ini", "gpj._exe.png", "a__b.png", "x" * 255]


def test_a_result_whose_files_are_too_large_ends_its_request(own_site: OwnSite, started: Started) -> None:
    """The event fits, the file in it does not: sending it again would not make it smaller."""
    site = own_site(SPACES_MAX_UPLOAD_MB=0.001)
    admin = site.admin()
    space = admin.make_space()
    app = started(Waiting(site.url, admin.make_token(spaces=[space]))).serve(space)
    request_id = admin.submit(space, "hello")["id"]
    result = result_of(app.next("inference_request"), {"image": plain(PNG + bytes(2_000))})
    assert app.call("inference_result", result)["code"] == "too_large"
    assert ending(ended(admin, request_id)) == TOO_LARGE


def test_a_result_with_files_for_what_ended_elsewhere_is_refused(own_site: OwnSite, started: Started) -> None:
    """The process that holds the app has not heard of it yet, and there is no place for its files any more."""
    site = own_site()
    admin = site.admin()
    space = admin.make_space()
    app = started(Waiting(site.url, admin.make_token(spaces=[space]))).serve(space)
    request_id = admin.submit(space, "hello")["id"]
    request = app.next("inference_request")
    elsewhere = create_engine(f"sqlite:///{site.data_dir / 'spaces.db'}", poolclass=NullPool)
    RequestStore(Database(elsewhere), LIMITS).cancel(request_id, "cancelled_by_user", time.time())
    answer = app.call("inference_result", result_of(request, {"image": plain(PNG)}))
    assert answer["code"] == "already_final"
    assert "Traceback" not in site.output()
