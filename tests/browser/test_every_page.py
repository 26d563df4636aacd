"""Every page, light and dark, wide and narrow: nothing that axe calls serious, and nothing scrolls sideways."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.apps import start_mock_app
from tests.browser.conftest import Visit
from tests.browser.inspecting import inspect
from tests.browser.visitors import NARROW, WIDE, Visitor, scrolls_sideways
from tests.http_caller import HttpCaller
from tests.site_process import SiteProcess, wait_until

OpenAs = Callable[[HttpCaller | None, str], None]

LONG_WORD = "without_any_place_to_break_" * 5
DESCRIPTION = f"Some **bold** words, `code` and {LONG_WORD}.\n\n| a | b |\n|---|---|\n| {'cell ' * 20} | 2 |"
UNKNOWN = "a" * 22

VISITORS = ["/", "/?q=nothing-fits", "/login", "/register", "/spaces/busy", "/spaces/empty", "/spaces/media"]
PEOPLES = [
    *[
        "/",
        "/spaces/busy",
        "/spaces/empty",
        "/spaces/media",
        "/requests",
        "/requests?status=timed_out",
        "/requests/{completed}",
    ],
    *["/requests/{failed}", "/requests/{processing}", "/requests/{queued}", "/account", "/account/delete", "/api/docs"],
]
# User 1 is the admin, user 2 is somebody else.
ADMINS = [
    *["/admin/", "/admin/spaces", "/admin/spaces?q=nothing-fits", "/admin/spaces/new", "/admin/spaces/busy/edit"],
    *["/admin/spaces/busy/delete", "/admin/connections", "/admin/users", "/admin/users/new", "/admin/users/2"],
    *["/admin/users/2/delete", "/admin/tokens", "/spaces/busy", "/-/patterns"],
]
ERRORS = {"/spaces/no-such-space": 404, f"/requests/{UNKNOWN}": 404, "/admin/": 404}
INLINE_SCRIPT = "document.body.append(Object.assign(document.createElement('script'), { text: 'window.ran = true' }))"
PROMPTS = {
    "completed": "words",
    "json": "as json",
    "failed": "please fail",
    "processing": "hold",
    "queued": "waits " * 60,
}


@pytest.fixture(scope="module")
def scene(site: SiteProcess, admin: HttpCaller, ann: HttpCaller, tmp_path_factory: Any) -> Iterator[dict[str, str]]:
    """Fill the site: three spaces, a connected app, and requests of ann in several states (state to id)."""
    folder = tmp_path_factory.mktemp("scene")
    admin.make_space("busy", title=f"Busy {LONG_WORD}", description=DESCRIPTION)
    admin.make_space("empty", allow_app_without_token=True, queue_when_offline=True, owner="ann")
    admin.make_space("media", queue_when_offline=True, inputs=dict.fromkeys(("prompt", "audio", "video", "file"), True))
    ann.make_token(scopes=("api",), name=LONG_WORD[:90])
    app = start_mock_app(site.url, admin.make_token(spaces=["busy"]), "busy", folder / "app.log", folder / "gate")
    app.wait_for("Registration successful")
    wait_until(lambda: admin.space("busy")["connected"], "the app is connected")
    ids = {state: ann.submit("busy", f"{words} {LONG_WORD}")["id"] for state, words in PROMPTS.items()}
    wait_until(lambda: ann.request(ids["processing"])["progress"]["message"], "the app works on the held prompt")
    yield ids
    app.kill()


@pytest.fixture(scope="module")
def open_as(chromium: Browser, site: SiteProcess) -> Iterator[OpenAs]:
    """Open a page and look at it all round: ``open_as(caller, path)``. One browser context a person, for speed."""
    visitors: dict[HttpCaller | None, Visitor] = {}

    def open_and_inspect(caller: HttpCaller | None, path: str) -> None:
        if caller not in visitors:
            visitors[caller] = Visitor(chromium, site.url, caller)
        visitor = visitors[caller]
        visitor.page.set_viewport_size(WIDE)
        visitor.page.emulate_media(color_scheme="light")
        look_at(visitor.go(path))
        visitor.check()

    yield open_and_inspect
    for visitor in visitors.values():
        visitor.context.close()


@pytest.mark.parametrize("path", VISITORS)
def test_a_visitors_page(open_as: OpenAs, scene: dict[str, str], path: str) -> None:
    open_as(None, path)


@pytest.mark.parametrize("path", PEOPLES)
def test_a_persons_page(open_as: OpenAs, ann: HttpCaller, scene: dict[str, str], path: str) -> None:
    open_as(ann, path.format(**scene))


@pytest.mark.parametrize("path", ADMINS)
def test_an_admins_page(open_as: OpenAs, admin: HttpCaller, scene: dict[str, str], path: str) -> None:
    open_as(admin, path)


@pytest.mark.parametrize("path", ERRORS)
def test_an_error_page(visit: Visit, ann: HttpCaller, path: str) -> None:
    page = visit(ann).go(path, ERRORS[path])
    expect(page.get_by_role("link", name="To the spaces")).to_be_visible()
    inspect(page)


def test_a_new_tokens_page(visit: Visit, ann: HttpCaller) -> None:
    page = visit(ann).go("/account")
    page.get_by_text("New token", exact=True).click()
    page.get_by_label("Name", exact=True).fill("shown once")
    page.get_by_label("Use the HTTP API in your name (api)").check()
    inspect(page)
    page.get_by_role("button", name="Make the token").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("shown once")
    inspect(page)


def test_a_refused_form(visit: Visit, admin: HttpCaller) -> None:
    me = visit(admin)
    me.expect_problem("status of 422 ")
    me.go("/admin/spaces/new").get_by_role("button", name="Make the space").click()
    expect(me.page.locator("#name-error")).to_be_visible()
    inspect(me.page)


def test_an_open_question(visit: Visit, admin: HttpCaller, scene: dict[str, str]) -> None:
    page = visit(admin).go("/admin/spaces")
    page.get_by_role("button", name="Disable busy").click()
    expect(page.get_by_role("dialog")).to_contain_text("requests fail")
    inspect(page)


def test_a_page_wider_than_the_window_is_noticed(chromium: Browser) -> None:
    page = chromium.new_page(viewport=NARROW)
    page.set_content("<!doctype html><title>wide</title><p style='width: 400px'>wide</p>")
    assert scrolls_sideways(page)
    page.close()


def test_an_inline_script_is_refused_and_noticed(visit: Visit) -> None:
    me = visit()
    me.expect_problem("CSP violation|Content Security Policy")
    me.go("/").evaluate(INLINE_SCRIPT)
    assert me.page.evaluate("window.ran") is None
    wait_until(lambda: any("CSP violation: script-src" in one for one in me.problems), "the violation is noticed")


def look_at(page: Page) -> None:
    """Look at the page all round once it is drawn."""
    if page.url.endswith("/api/docs"):
        expect(page.locator(".opblock").first).to_be_visible()
    inspect(page)
