"""What an app sends back: players that seek, pictures that open large, files to take home, and nothing that runs."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Visit
from tests.browser.inspecting import inspect, inspect_and_go_on
from tests.browser.media_app import HOSTILE_FILES, MediaApp
from tests.browser.samples import CLIP, NOTES, PICTURE, SPEECH, png
from tests.browser.visitors import Visitor
from tests.http_caller import HttpCaller
from tests.site_process import wait_until

Connect = Callable[[str], MediaApp]

EVERYTHING = dict.fromkeys(("prompt", "audio", "video", "file"), True)
RUNNING = ".result :is(script, iframe, object, embed, [onerror], [onload], a[href^='javascript'])"
SHOWN_INLINE = ("image/", "audio/", "video/")


@pytest.fixture
def space(admin: HttpCaller, media_app: Connect) -> str:
    """A space that takes everything, with its app."""
    name = admin.make_space(inputs=EVERYTHING)
    media_app(name)
    return name


def test_sound_and_pictures_come_back_and_can_be_played_and_sought(visit: Visit, ann: HttpCaller, space: str) -> None:
    me = visit(ann)
    me.go(f"/spaces/{space}")
    card = _send_files(me, audio=SPEECH, video=CLIP)
    _play_and_seek(card.locator(".result audio"))
    _play_and_seek(card.locator(".result video"))
    assert card.locator(".result video").evaluate("video => video.videoWidth") == 96
    inspect(me.page)


def test_a_file_can_be_taken_home_as_it_was(visit: Visit, ann: HttpCaller, space: str, tmp_path: Path) -> None:
    me = visit(ann)
    me.go(f"/spaces/{space}")
    card = _send_files(me, file=NOTES)
    result = card.locator(".result")
    expect(result).to_contain_text(f"text/plain, {len(NOTES['buffer'])} bytes")
    found = _download(me.page, result.get_by_role("link", name="Download notes.txt"))
    assert found == NOTES["buffer"]
    result.get_by_text("sha256").click()
    expect(result.locator(".hash code")).to_have_text(hashlib.sha256(found).hexdigest())
    bundle = zipfile.ZipFile(io.BytesIO(_download(me.page, card.get_by_role("link", name="Download all"))))
    assert NOTES["buffer"] in [bundle.read(name) for name in bundle.namelist()]


def test_pictures_open_large_one_after_the_other(visit: Visit, ann: HttpCaller, space: str) -> None:
    me = visit(ann)
    page = me.go(f"/spaces/{space}")
    card = me.send("pictures")
    tiles = card.locator(".image-grid img")
    expect(tiles).to_have_count(3)
    wait_until(lambda: all(tiles.evaluate_all("all => all.map((one) => one.naturalWidth === 40)")), "they are drawn")

    card.get_by_role("link", name="Open picture 2.png large").press("Enter")

    large = page.get_by_role("dialog")
    expect(large.get_by_role("img", name="picture 2.png")).to_be_visible()
    expect(large).to_contain_text("2 of 3")
    inspect_and_go_on(page)
    page.keyboard.press("ArrowRight")
    expect(large).to_contain_text("picture 3.png")
    large.get_by_role("button", name="Next").click()
    expect(large).to_contain_text("picture 1.png")
    assert _download(page, large.get_by_role("link", name="Download")) == png(60)
    page.keyboard.press("Escape")
    expect(large).to_be_hidden()
    expect(card.get_by_role("link", name="Open picture 2.png large")).to_be_focused()


def test_hostile_results_do_nothing(visit: Visit, ann: HttpCaller, space: str) -> None:
    me = visit(ann)
    asked: list[str] = []
    page = me.go(f"/spaces/{space}")
    page.on("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
    card = me.send("hostile")
    expect(card).to_contain_text("Completed")
    expect(
        card.locator(".result script, .result [onerror], .result [onload], .result a[href^='javascript']")
    ).to_have_count(0)
    expect(card.locator(".file-line")).to_have_count(len(HOSTILE_FILES))

    for address in card.locator(".result a[href]").evaluate_all("all => all.map((one) => one.href)"):
        if "/api/v1/files/" in address:
            _is_inert(me, address.partition("?")[0])
    for path in (f"/requests/{card.get_attribute('data-request')}", "/requests"):
        me.go(path)
        expect(page.locator(".result").first).to_contain_text("program.js")
    assert page.evaluate("window.ran") is None
    assert asked == []


def test_a_file_that_is_gone_is_said(visit: Visit, ann: HttpCaller, space: str) -> None:
    me = visit(ann)
    me.expect_problem("status of 404 ")
    me.page.route("**/api/v1/files/*", lambda route: route.fulfill(status=404))
    me.go(f"/spaces/{space}")
    card = _send_files(me, file=PICTURE, audio=SPEECH)
    expect(card.locator(".result .media-gone")).to_have_count(2)
    expect(card.locator(".result img, .result audio")).to_have_count(0)


def test_the_same_files_are_sent_again_by_retry_or_chosen_anew(visit: Visit, ann: HttpCaller, space: str) -> None:
    me = visit(ann)
    page = me.go(f"/spaces/{space}")
    card = _send_files(me, file=NOTES)
    card.get_by_role("link", name="Edit and send again").click()
    expect(page.get_by_label("Prompt")).to_have_value("send it back")
    expect(page.get_by_text("Choose the files again: notes.txt")).to_be_visible()

    card.get_by_role("button", name="Retry with the same files").click()

    cards = page.locator("[data-request]")
    expect(cards).to_have_count(2)
    expect(cards.first.locator(".result")).to_contain_text("notes.txt")


def test_retry_without_script(visit: Visit, ann: HttpCaller, space: str) -> None:
    me = visit(ann, java_script_enabled=False)
    page = me.go(f"/spaces/{space}")
    page.get_by_label("Files", exact=True).set_input_files([NOTES])
    page.get_by_role("button", name="Send").click()
    first = page.url
    ann.wait_final(first.rpartition("/")[2])
    page.reload()
    page.get_by_role("button", name="Retry with the same files").click()
    expect(page.get_by_role("list", name="Files sent")).to_contain_text("notes.txt")
    assert page.url != first


def _send_files(me: Visitor, **files: Any) -> Locator:
    """Choose the files, send them with a prompt, and return the card once it is completed."""
    for kind, file in files.items():
        me.page.locator(f"#{kind}").set_input_files(file)
    card = me.send("send it back")
    expect(card).to_contain_text("Completed")
    return card


def _play_and_seek(player: Locator) -> None:
    wait_until(lambda: player.evaluate("player => player.duration") > 2.5, "its length is known")
    player.evaluate("player => { player.muted = true; return player.play(); }")
    wait_until(lambda: player.evaluate("player => player.currentTime") > 0.1, "it plays")
    player.evaluate("player => { player.pause(); player.currentTime = 2; }")
    wait_until(lambda: player.evaluate("player => !player.seeking && player.currentTime === 2"), "it seeks")


def _download(page: Page, link: Locator) -> bytes:
    with page.expect_download() as started:
        link.click()
    return Path(started.value.path()).read_bytes()


def _is_inert(me: Visitor, address: str) -> None:
    """Fail if a browser that opens the address could run anything from there."""
    answer = me.context.request.get(address)
    disposition, kind = answer.headers.get("content-disposition", ""), answer.headers["content-type"]
    assert answer.headers["x-content-type-options"] == "nosniff", address
    shown = kind.startswith(SHOWN_INLINE) and "svg" not in kind
    assert shown or disposition.startswith("attachment"), f"{address}: {kind} {disposition}"
