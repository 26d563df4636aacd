"""The main job by other ways than mouse and script: by keyboard alone, and without script."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import expect

from tests.browser.conftest import Visit
from tests.browser.visitors import Visitor
from tests.http_caller import HttpCaller
from tests.program import Program
from tests.site_process import SiteProcess, wait_until

StartApp = Callable[..., Program]

FOCUSED = """() => {
  const element = document.activeElement;
  const words = element.getAttribute("aria-label") || element.labels?.[0]?.textContent || element.textContent;
  return words.trim().replace(/\\s+/g, " ");
}"""
MOST_STEPS = 40


def test_without_script_a_prompt_is_sent_read_and_another_cancelled(
    visit: Visit, site: SiteProcess, admin: HttpCaller, start_app: StartApp, gate: Path
) -> None:
    space = admin.make_space()
    start_app(space)
    me = visit(java_script_enabled=False)
    me.go(f"/login?next=/spaces/{space}")
    me.sign_in(*site.admin_credentials())
    me.see_status("✓ Connected")
    expect(me.page.locator("noscript p")).to_be_visible()

    first = _send_form(me, "hold the first")
    me.go(f"/spaces/{space}")
    second = _send_form(me, "the second")
    expect(me.card("the second")).to_contain_text("Queued")
    me.page.get_by_role("button", name="Cancel request").click()
    expect(me.card("the second")).to_contain_text("Cancelled")
    gate.touch()
    admin.wait_final(first.rpartition("/")[2])

    me.go(first)
    expect(me.card("hold the first")).to_contain_text("Completed")
    expect(me.page.locator(".result strong")).to_have_text("Bold")
    me.go(f"/requests?space={space}")
    expect(me.page.locator("[data-request] .state")).to_have_text([re.compile("Cancelled"), re.compile("Completed")])
    assert first != second


def test_without_script_a_refused_prompt_keeps_its_text(
    visit: Visit, admin: HttpCaller, ann: HttpCaller, start_app: StartApp
) -> None:
    space = admin.make_space()
    app = start_app(space)
    me = visit(ann, java_script_enabled=False)
    me.go(f"/spaces/{space}")
    app.interrupt()
    wait_until(lambda: not admin.space(space)["connected"], "the site knows that the app is gone")
    me.expect_problem("status of 503|: 503$")

    me.page.get_by_label("Prompt").fill("keep these words")
    me.page.get_by_role("button", name="Send").click()

    expect(me.page.get_by_role("alert")).to_contain_text("not connected")
    expect(me.page.get_by_label("Prompt")).to_have_value("keep these words")


def test_by_keyboard_alone(visit: Visit, site: SiteProcess, admin: HttpCaller, start_app: StartApp) -> None:
    space = admin.make_space(title="Reached by keys")
    start_app(space)
    name, password = site.admin_credentials()
    me = visit()
    me.go("/")
    me.page.keyboard.press("Tab")
    assert me.page.evaluate(FOCUSED) == "Skip to the content"

    _press_on(me, "Sign in")
    expect(me.page.get_by_label("User name")).to_be_focused()
    me.page.keyboard.type(name)
    me.page.keyboard.press("Tab")
    me.page.keyboard.type(password)
    me.page.keyboard.press("Enter")
    expect(me.page.get_by_role("button", name="Sign out")).to_be_visible()
    _press_on(me, "Reached by keys")
    expect(me.page).to_have_url(re.compile(f"/spaces/{space}$"))
    me.page.wait_for_load_state()  # before its script runs, the form would be sent the plain way
    _tab_to(me, "Prompt")
    me.page.keyboard.type("hold by keys")
    _press_on(me, "Send")
    card = me.card("hold by keys")
    expect(card).to_contain_text("Processing")
    expect(me.page.get_by_label("Prompt")).to_be_focused()
    _press_on(me, "Cancel request")

    expect(card).to_contain_text("Cancelled")
    assert card.evaluate("card => card.contains(document.activeElement)"), "the focus was lost with the old card"


def _send_form(me: Visitor, prompt: str) -> str:
    """Send the form and return the address of the request's page."""
    me.page.get_by_label("Prompt").fill(prompt)
    me.page.get_by_role("button", name="Send").click()
    expect(me.page).to_have_url(re.compile("/requests/"))
    return me.page.url


def _tab_to(me: Visitor, words: str) -> None:
    """Press Tab until the thing of that name has the focus; fails when it is not reached or shows no focus."""
    passed: list[str] = []
    for _step in range(MOST_STEPS):
        me.page.keyboard.press("Tab")
        passed.append(me.page.evaluate(FOCUSED))
        if passed[-1] == words:
            return
    raise AssertionError(f"{words!r} is not reached by Tab: {passed}")


def _press_on(me: Visitor, words: str) -> None:
    _tab_to(me, words)
    me.page.keyboard.press("Enter")
