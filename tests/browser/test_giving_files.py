"""Giving audio, video and files to a space: chosen, dropped, pasted or recorded, within limits, and watched."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import FilePayload, Locator, Page, expect

from tests.browser.conftest import Visit
from tests.browser.inspecting import inspect, inspect_and_go_on
from tests.browser.media_app import MediaApp
from tests.browser.samples import CLIP, NOTES, PICTURE, SPEECH
from tests.http_caller import HttpCaller
from tests.site_process import SiteProcess, wait_until

Connect = Callable[[str], MediaApp]

KINDS = ("prompt", "audio", "video", "file")
LABELS = {"prompt": "Prompt", "audio": "Audio", "video": "Video", "file": "Files"}
EVERYTHING = dict.fromkeys(KINDS, True)
SOME_SWITCHES = [*itertools.product((False, True), repeat=4)]
#: Hands files to the page as a drop or a paste would: name of the event, files, where.
HAND = """([kind, files, where]) => {
  const transfer = new DataTransfer();
  for (const { name, type, text } of files) transfer.items.add(new File([text], name, { type }));
  const target = document.querySelector(where);
  const more = { bubbles: true, cancelable: true };
  const event = kind === "paste" ? new ClipboardEvent(kind, { clipboardData: transfer, ...more })
                                 : new DragEvent(kind, { dataTransfer: transfer, ...more });
  return !target.dispatchEvent(event);
}"""
LEAVE = """() => {
  const event = new Event("beforeunload", { cancelable: true });
  window.dispatchEvent(event);
  return event.defaultPrevented;
}"""
NO_DEVICE = "navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('', '%s'); }"
INSECURE = "Object.defineProperty(window, 'isSecureContext', { get: () => false })"
SLOW = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 100_000}
LARGE = FilePayload(name="large.bin", mimeType="application/octet-stream", buffer=bytes(4_000_000))


def test_a_prompt_audio_video_and_files_reach_the_app_unchanged(
    visit: Visit, admin: HttpCaller, ann: HttpCaller, media_app: Connect
) -> None:
    space = admin.make_space(inputs=EVERYTHING)
    app = media_app(space)
    me = visit(ann)
    page = me.go(f"/spaces/{space}")
    _choose(page, "Audio", SPEECH)
    _choose(page, "Video", CLIP)
    _choose(page, "Files", NOTES)
    _hand(page, "drop", "dropped.txt", "#file")
    _hand(page, "paste", "pasted.txt", "body")
    expect(_chosen(page, "Files").get_by_role("listitem")).to_have_count(3)
    expect(page.locator("[data-upload-sum]")).to_contain_text("5 files")

    me.send("take all of it")

    card = me.card("take all of it")
    expect(card).to_contain_text("Completed")
    assert app.got["audio"] == [("speech.wav", hashlib.sha256(SPEECH["buffer"]).hexdigest())]
    assert app.got["video"] == [("clip.webm", hashlib.sha256(CLIP["buffer"]).hexdigest())]
    assert [name for name, _sum in app.got["file"]] == ["notes.txt", "dropped.txt", "pasted.txt"]
    expect(card.get_by_role("list", name="Files sent").get_by_role("listitem")).to_have_count(5)
    expect(page.locator(".chosen-file")).to_have_count(0)
    expect(page.get_by_label("Prompt")).to_have_value("")


def test_what_is_dropped_or_pasted_goes_where_it_belongs(visit: Visit, admin: HttpCaller, ann: HttpCaller) -> None:
    space = admin.make_space(inputs={**EVERYTHING, "video": False}, queue_when_offline=True)
    page = visit(ann).go(f"/spaces/{space}")

    assert _hand(page, "drop", "tune.mp3", "h1", "audio/mpeg"), "the browser would have opened the file"
    _hand(page, "drop", "film.mp4", "h1", "video/mp4")
    _hand(page, "paste", "image.png", "#prompt", "image/png")

    expect(_chosen(page, "Audio")).to_contain_text("tune.mp3")
    expect(_chosen(page, "Files")).to_contain_text("film.mp4")
    expect(_chosen(page, "Files")).to_contain_text(re.compile(r"pasted-\d{4}-\d\d-\d\d-\d{6}\.png"))
    _hand(page, "drop", "notes.txt", "#audio")
    expect(page.locator("#audio-error")).to_contain_text("notes.txt: not an audio file")
    expect(_chosen(page, "Audio")).to_contain_text("tune.mp3")


@pytest.mark.parametrize("kind", ["audio", "video"])
def test_a_recording_is_made_heard_and_sent(
    visit: Visit, admin: HttpCaller, ann: HttpCaller, media_app: Connect, kind: str
) -> None:
    space = admin.make_space(inputs={"prompt": False, kind: True})
    app = media_app(space)
    page = visit(ann).go(f"/spaces/{space}")
    page.get_by_role("button", name=f"Record {kind}").click()
    expect(page.get_by_role("timer")).to_have_text("0:01")
    expect(page.get_by_role("button", name="Stop")).to_be_focused()
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#form-error")).to_have_text("Stop or discard the recording first.")
    inspect_and_go_on(page)

    page.get_by_role("button", name="Stop").click()

    expect(_chosen(page, LABELS[kind])).to_contain_text(re.compile(r"recording-\d{4}-\d\d-\d\d-\d{4}\.webm"))
    _play(page.locator(f".chosen {kind}"))
    page.get_by_role("button", name="Send").click()
    expect(page.locator(".result .player")).to_be_visible()
    [(name, _sum)] = app.got[kind]
    assert name.startswith("recording-")


def test_a_recording_can_be_discarded_by_keyboard_alone(visit: Visit, admin: HttpCaller, ann: HttpCaller) -> None:
    space = admin.make_space(inputs={"audio": True}, queue_when_offline=True)
    page = visit(ann).go(f"/spaces/{space}")
    page.get_by_label("Audio", exact=True).focus()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Record audio")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Stop")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Record audio")).to_be_focused()
    expect(page.locator(".chosen-file")).to_have_count(0)


def test_a_recording_stops_by_itself_at_the_limit(visit: Visit, admin: HttpCaller, ann: HttpCaller) -> None:
    space = admin.make_space(inputs={"video": True}, queue_when_offline=True, upload_mb=0.21)
    page = visit(ann).go(f"/spaces/{space}")
    page.get_by_role("button", name="Record video").click()
    expect(page.locator("#video-error")).to_contain_text("as large as may be sent")
    expect(page.locator(".chosen-file")).to_have_count(1)
    expect(page.locator("[data-upload-total].is-wrong")).to_have_count(0)


@pytest.mark.parametrize(
    ("error", "words"),
    [("NotAllowedError", "does not let this page record"), ("NotFoundError", "No microphone was found")],
)
def test_a_refused_or_missing_microphone_is_said(
    visit: Visit, admin: HttpCaller, ann: HttpCaller, error: str, words: str
) -> None:
    space = admin.make_space(inputs={"audio": True}, queue_when_offline=True)
    me = visit(ann)
    me.context.add_init_script(NO_DEVICE % error)
    page = me.go(f"/spaces/{space}")
    page.get_by_role("button", name="Record audio").click()
    expect(page.locator("#audio-error")).to_contain_text(words)


def test_where_nothing_can_be_recorded_the_page_says_why(visit: Visit, admin: HttpCaller, ann: HttpCaller) -> None:
    space = admin.make_space(inputs={"audio": True}, queue_when_offline=True)
    me = visit(ann)
    me.context.add_init_script(INSECURE)
    page = me.go(f"/spaces/{space}")
    expect(page.locator("#audio-help")).to_contain_text("Recording needs https or localhost.")
    expect(page.get_by_role("button", name="Record audio")).to_be_hidden()


def test_only_what_is_switched_on_is_in_the_page(visit: Visit, admin: HttpCaller, ann: HttpCaller) -> None:
    space = admin.make_space(queue_when_offline=True)
    me = visit(ann)
    for values in SOME_SWITCHES:
        switches = dict(zip(KINDS, values, strict=True))
        admin.json("PATCH", f"spaces/{space}", json={"inputs": switches})
        page = me.go(f"/spaces/{space}")
        found = page.locator("form[data-prompt-form] :is(textarea, input[type=file])")
        assert found.evaluate_all("all => all.map((one) => one.name)") == [kind for kind in KINDS if switches[kind]]
        expect(page.get_by_role("button", name=re.compile("^Record"))).to_have_count(values[1] + values[2])
        expect(page.get_by_role("button", name="Send")).to_be_enabled(enabled=any(values))


def test_an_open_page_says_when_the_inputs_have_changed(visit: Visit, admin: HttpCaller, ann: HttpCaller) -> None:
    space = admin.make_space(queue_when_offline=True)
    page = visit(ann).go(f"/spaces/{space}")
    admin.json("PATCH", f"spaces/{space}", json={"inputs": {"audio": True}})
    expect(page.locator("#form-note")).to_contain_text("The inputs of this space have changed")
    expect(page.get_by_role("button", name="Send")).to_be_disabled()
    page.get_by_role("link", name="Reload the page").click()
    expect(page.get_by_label("Audio", exact=True)).to_be_enabled()


def test_limits_are_said_at_once_and_nothing_is_sent(visit: Visit, admin: HttpCaller, ann: HttpCaller) -> None:
    space = admin.make_space(inputs={"file": True}, queue_when_offline=True, upload_mb=0.001, files=2)
    me = visit(ann)
    page = me.go(f"/spaces/{space}")
    total = page.locator("[data-upload-total]")
    expect(total).to_contain_text("At most 2 files, 0.001 MB in all.")
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)

    _choose(page, "Files", *(FilePayload(name=f"{n}.txt", mimeType="text/plain", buffer=b"x" * 400) for n in range(3)))
    expect(total).to_contain_text("These are 3 files; at most 2 may be sent.")
    page.get_by_label("Prompt").fill("keep this")
    page.get_by_label("Prompt").press("Control+Enter")
    expect(page.locator("#form-error")).to_contain_text("Nothing was sent: there is too much.")
    inspect_and_go_on(page)
    page.get_by_role("button", name="Remove 0.txt").click()
    expect(page.get_by_role("button", name="Remove 1.txt")).to_be_focused()
    expect(total).to_contain_text("Chosen: 2 files, 800 bytes.")
    page.get_by_role("button", name="Remove 1.txt").click()
    _choose(page, "Files", FilePayload(name="big.txt", mimeType="text/plain", buffer=b"x" * 900))

    expect(total).to_contain_text("These are 1.3 kB; at most 1.0 kB may be sent.")
    assert sent == []
    page.get_by_role("button", name="Remove big.txt").click()
    page.get_by_role("button", name="Send").click()
    expect(me.card("keep this")).to_contain_text("2.txt")


def test_a_refusal_stands_at_its_field_and_loses_nothing(
    visit: Visit, admin: HttpCaller, ann: HttpCaller, media_app: Connect
) -> None:
    space = admin.make_space(inputs=EVERYTHING)
    media_app(space)
    me = visit(ann)
    me.expect_problem("status of 422 ")
    page = me.go(f"/spaces/{space}")
    page.get_by_label("Prompt").fill("keep this")
    _choose(page, "Files", PICTURE)
    _choose(page, "Audio", FilePayload(name="lie.wav", mimeType="audio/wav", buffer=b"these are words, not a sound"))
    page.get_by_role("button", name="Send").click()

    expect(page.locator("#audio-error")).not_to_be_empty()
    expect(page.get_by_label("Audio", exact=True)).to_be_focused()
    expect(page.get_by_label("Prompt")).to_have_value("keep this")
    expect(page.locator(".chosen-file")).to_have_count(2)
    page.get_by_role("button", name="Remove lie.wav").click()
    page.get_by_role("button", name="Send").click()
    expect(me.card("keep this")).to_contain_text("Completed")


def test_what_was_chosen_stays_while_the_app_is_away(
    visit: Visit, admin: HttpCaller, ann: HttpCaller, media_app: Connect
) -> None:
    space = admin.make_space(inputs=EVERYTHING)
    app = media_app(space)
    me = visit(ann)
    page = me.go(f"/spaces/{space}")
    _choose(page, "Audio", SPEECH)
    app.close()
    me.see_status("✗ Not connected")
    expect(page.get_by_role("button", name="Send")).to_be_disabled()
    expect(page.get_by_label("Video", exact=True)).to_be_disabled()
    expect(page.get_by_role("button", name="Record audio")).to_be_disabled()
    _hand(page, "drop", "late.txt", "#file")
    expect(page.locator("#toast")).to_contain_text("takes nothing right now")
    expect(_chosen(page, "Audio")).to_contain_text("speech.wav")

    media_app(space)
    me.see_status("✓ Connected")
    page.get_by_role("button", name="Send").click()
    expect(page.locator(".result audio")).to_be_visible()


def test_an_upload_is_watched_and_cancelled(
    visit: Visit, admin: HttpCaller, ann: HttpCaller, media_app: Connect
) -> None:
    space = admin.make_space(inputs=EVERYTHING)
    media_app(space)
    me = visit(ann)
    page = me.go(f"/spaces/{space}")
    network = me.context.new_cdp_session(page)
    network.send("Network.emulateNetworkConditions", SLOW)
    _choose(page, "Files", LARGE)
    page.get_by_label("Prompt").fill("a slow one")
    assert not page.evaluate(LEAVE)
    page.get_by_label("Prompt").press("Control+Enter")

    bar = page.get_by_role("progressbar", name="Upload")
    wait_until(lambda: 0 < bar.evaluate("bar => bar.value") < 90, "the upload is on its way")
    expect(page.locator("[data-sending-text]")).to_contain_text(re.compile(r"Uploading, \d+ %"))
    expect(page.locator("#announce")).to_contain_text("Uploading")
    expect(page.get_by_role("button", name="Send")).to_be_disabled()
    expect(page.get_by_role("button", name="Remove large.bin")).to_be_disabled()
    assert page.evaluate(LEAVE), "leaving would not be asked about"
    page.get_by_role("button", name="Cancel upload").click()

    expect(page.locator("#form-error")).to_contain_text("Upload cancelled")
    expect(bar).to_be_hidden()
    assert not page.evaluate(LEAVE)
    expect(page.get_by_label("Prompt")).to_have_value("a slow one")
    network.send("Network.emulateNetworkConditions", {**SLOW, "uploadThroughput": -1})
    me.expect_problem("status of 409 ")  # the site may still be reading what was cancelled; the page sends again
    page.get_by_role("button", name="Send").click()
    expect(me.card("a slow one")).to_contain_text("Completed")
    expect(page.locator("[data-request]")).to_have_count(1)


def test_without_script_a_file_is_sent(
    visit: Visit, site: SiteProcess, admin: HttpCaller, ann: HttpCaller, media_app: Connect
) -> None:
    space = admin.make_space(inputs={"file": True})
    app = media_app(space)
    me = visit(ann, java_script_enabled=False)
    page = me.go(f"/spaces/{space}")
    expect(page.get_by_text("Choose, drop or paste.")).to_be_hidden()
    expect(page.get_by_role("button", name="Record")).to_have_count(0)
    page.get_by_label("Files", exact=True).set_input_files([NOTES, PICTURE])
    page.get_by_role("button", name="Send").click()

    expect(page).to_have_url(re.compile("/requests/"))
    ann.wait_final(page.url.rpartition("/")[2])
    page.reload()
    expect(page.locator(".result")).to_contain_text("2 files for:")
    assert [name for name, _sum in app.got["file"]] == ["notes.txt", "picture.png"]


def test_the_form_with_files_all_round(visit: Visit, admin: HttpCaller, ann: HttpCaller) -> None:
    space = admin.make_space(inputs=EVERYTHING, queue_when_offline=True)
    page = visit(ann).go(f"/spaces/{space}")
    for label, file in (("Audio", SPEECH), ("Video", CLIP), ("Files", PICTURE)):
        _choose(page, label, file)
    inspect(page)


def _choose(page: Page, label: str, *files: FilePayload) -> None:
    page.get_by_label(label, exact=True).set_input_files(list(files))
    for file in files:
        expect(_chosen(page, label)).to_contain_text(file["name"])


def _chosen(page: Page, label: str) -> Locator:
    return page.get_by_role("list", name=f"Chosen: {label}")


def _hand(page: Page, event: str, name: str, where: str, kind: str = "text/plain") -> Any:
    """Drop or paste a file; return whether the page took the event for itself."""
    return page.evaluate(HAND, [event, [{"name": name, "type": kind, "text": name}], where])


def _play(player: Locator) -> None:
    """Play and wait until the time moves."""
    player.evaluate("player => { player.muted = true; return player.play(); }")
    wait_until(lambda: player.evaluate("player => player.currentTime") > 0, "the player moves")
