"""The main job in a real browser: open a space, send a prompt, watch it, read the answer."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import expect

from tests.browser.conftest import Visit
from tests.http_caller import HttpCaller
from tests.program import Program
from tests.site_process import SiteProcess

StartApp = Callable[..., Program]


def test_sign_in_and_find_the_space_in_the_gallery(visit: Visit, site: SiteProcess, admin: HttpCaller) -> None:
    space = admin.make_space(title="Poems of the sea", description="It **writes** poems.")
    me = visit()
    me.go("/login")
    me.sign_in(*site.admin_credentials())

    me.page.get_by_role("link", name="Poems of the sea").click()

    expect(me.page).to_have_url(re.compile(f"/spaces/{space}$"))
    expect(me.page.get_by_role("heading", level=1)).to_have_text("Poems of the sea")
    expect(me.page.locator(".prose strong")).to_have_text("writes")
    me.see_status("✗ Not connected")


def test_an_open_page_follows_the_app_as_it_comes_and_goes(
    visit: Visit, admin: HttpCaller, ann: HttpCaller, start_app: StartApp
) -> None:
    space = admin.make_space()
    me = visit(ann)
    me.go(f"/spaces/{space}")
    me.page.evaluate("document.body.dataset.sameLoad = 'yes'")
    me.see_status("✗ Not connected")
    expect(me.page.get_by_label("Prompt")).to_be_disabled()
    expect(me.page.get_by_role("button", name="Send")).to_be_disabled()
    expect(me.page.locator("#form-note")).to_contain_text("Not connected")

    app = start_app(space)
    began = time.monotonic()
    me.see_status("✓ Connected")
    expect(me.page.get_by_label("Prompt")).to_be_enabled()
    expect(me.page.get_by_role("button", name="Send")).to_be_enabled()
    assert time.monotonic() - began < 3, "the form came alive too late"

    app.interrupt()
    me.see_status("✗ Not connected", 5)
    expect(me.page.get_by_role("button", name="Send")).to_be_disabled()
    assert me.page.locator("body").get_attribute("data-same-load") == "yes", "the page was loaded anew"


def test_requests_queue_process_and_end_on_the_open_page(
    visit: Visit, admin: HttpCaller, ann: HttpCaller, start_app: StartApp, gate: Path
) -> None:
    space = admin.make_space()
    start_app(space)
    me = visit(ann)
    me.go(f"/spaces/{space}")

    first = me.send("hold the first")
    expect(first).to_contain_text("Processing")
    expect(first).to_contain_text("half of it is done")
    expect(first.get_by_role("progressbar")).to_have_attribute("value", "0.5")
    second = me.send("the second")
    expect(second).to_contain_text("next in line")
    third = me.send("the third")
    expect(third).to_contain_text("2nd in line")
    me.see_status("2 waiting, 1 processing")

    third.get_by_role("button", name="Cancel request").click()
    expect(third).to_contain_text("Cancelled")
    gate.touch()

    expect(first).to_contain_text("Completed")
    expect(second).to_contain_text("Completed")
    expect(second.locator(".prose strong")).to_have_text("Bold")
    expect(second.locator(".prose li")).to_have_text(["one", "two"])
    expect(third).not_to_contain_text("Completed")

    me.page.reload()
    expect(me.page.locator("[data-request]")).to_have_count(3)
    expect(me.page.locator("[data-request] .state")).to_have_text(
        [re.compile("Cancelled"), re.compile("Completed"), re.compile("Completed")]
    )
    expect(second.locator(".prose strong")).to_have_text("Bold")


def test_a_json_result_is_folded_and_unfolds(
    visit: Visit, admin: HttpCaller, ann: HttpCaller, start_app: StartApp
) -> None:
    space = admin.make_space()
    start_app(space)
    me = visit(ann)
    me.go(f"/spaces/{space}")

    card = me.send("squares as json")

    expect(card).to_contain_text("Completed")
    text = card.get_by_role("region", name="JSON result")
    expect(text).to_be_hidden()
    card.get_by_text("JSON:").click()
    expect(text).to_be_visible()
    expect(text).to_contain_text('"square": 3481')


def test_a_failed_request_says_why_and_its_prompt_can_be_sent_again(
    visit: Visit, admin: HttpCaller, ann: HttpCaller, start_app: StartApp
) -> None:
    space = admin.make_space()
    start_app(space)
    me = visit(ann)
    me.go(f"/spaces/{space}")

    card = me.send("please fail")

    expect(card).to_contain_text("Failed")
    expect(card).to_contain_text("The model has no answer to that.")
    card.get_by_role("link", name="Edit and send again").click()
    expect(me.page.get_by_label("Prompt")).to_have_value("please fail")
    expect(me.page.get_by_label("Prompt")).to_be_focused()


def test_cancelling_what_the_app_works_on_lets_the_next_one_go(
    visit: Visit, admin: HttpCaller, ann: HttpCaller, start_app: StartApp
) -> None:
    space = admin.make_space()
    app = start_app(space)
    me = visit(ann)
    me.go(f"/spaces/{space}")
    running = me.send("hold for ever")
    expect(running).to_contain_text("Processing")
    waiting = me.send("the next one")

    running.get_by_role("button", name="Cancel request").click()

    expect(running).to_contain_text("Cancelled")
    expect(waiting).to_contain_text("Completed")
    app.wait_for("[CANCEL]")


def test_a_request_is_nobody_elses(
    visit: Visit, site: SiteProcess, admin: HttpCaller, ann: HttpCaller, start_app: StartApp
) -> None:
    space = admin.make_space()
    start_app(space)
    me = visit(ann)
    me.go(f"/spaces/{space}")
    card = me.send("my own affair")
    expect(card).to_contain_text("Completed")
    request = f"/requests/{card.get_attribute('data-request')}"
    expect(me.go(request).get_by_text("my own affair", exact=True)).to_be_visible()

    other = visit(site.user())
    foreign = other.go(request, 404).get_by_role("main").inner_text()
    unknown = other.go("/requests/" + "a" * 22, 404).get_by_role("main").inner_text()

    assert foreign == unknown
    other.go(f"/spaces/{space}")
    expect(other.page.locator("[data-request]")).to_have_count(0)
    expect(other.page.get_by_text("my own affair")).to_have_count(0)
