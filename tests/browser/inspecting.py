"""Looking at a page all round: axe, in both themes, wide and narrow, and whether it scrolls sideways."""

from __future__ import annotations

from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.visitors import NARROW, WIDE, scrolls_sideways

ONLY_ELSEWHERE = {"runOnly": ["color-contrast", "scrollable-region-focusable"], "resultTypes": ["violations"]}
BAD = {"serious", "critical"}


def inspect(page: Page) -> None:
    """Look at the page as a whole in light and wide, then at what can differ in dark and narrow."""
    assert not serious(Axe().run(page).response), f"light, wide: {page.url}"
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size(NARROW)
    expect(page.locator("html")).to_have_attribute("data-bs-theme", "dark")
    assert not serious(page.evaluate("options => axe.run(options)", ONLY_ELSEWHERE)), f"dark, narrow: {page.url}"
    assert not scrolls_sideways(page), f"scrolls sideways: {page.url}"


def inspect_and_go_on(page: Page) -> None:
    """Look at a state in the middle of a journey, and leave the page light and wide as it was."""
    page.emulate_media(color_scheme="light")
    inspect(page)
    page.emulate_media(color_scheme="light")
    page.set_viewport_size(WIDE)


def serious(answer: dict[str, Any]) -> list[str]:
    """Return what axe found serious or critical, one line each."""
    bad = [one for one in answer["violations"] if one["impact"] in BAD]
    return [f"{one['id']}: {', '.join(node['html'] for node in one['nodes'])}" for one in bad]
