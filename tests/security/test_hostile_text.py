"""Hostile text in every place that somebody can fill in, on every page that shows it, in a real browser.

Nothing opens a dialog, nothing runs, nothing is loaded from elsewhere, and the browser has nothing to complain about.
"""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.visitors import Visitor
from tests.faults.apps import FaultApp
from tests.faults.filer import EVERYTHING, result_of
from tests.http_caller import HttpCaller
from tests.security.hostile import EVERYTHING_AT_ONCE, LONG, SHORT, dangers
from tests.security.trap import Trap
from tests.site_process import SiteProcess, wait_until

PASSWORD = "a long enough secret"
MARKED = (
    "() => [...document.querySelectorAll('*')].filter((one) => [...one.attributes].some((a) => /^on/i.test(a.name)))"
)
INLINE = "document.querySelectorAll('script:not([src])').length"


class Shouter(FaultApp):
    """Reports hostile progress, waits for ``go_on``, then answers with everything hostile, or fails with it."""

    def __init__(self, *args: Any, trap: Trap, **more: Any) -> None:
        self.go_on, self.trap = threading.Event(), trap
        super().__init__(*args, **more)

    def on_request(self, request: dict[str, Any]) -> None:
        about = {"request_id": request["request_id"], "attempt_id": request["attempt_id"]}
        said = {"message": SHORT[0] + SHORT[1] + SHORT[2], "delta": EVERYTHING_AT_ONCE, "value": 0.5}
        self.call("inference_progress", {**about, **said})
        assert self.go_on.wait(60), "the test never let the app go on"
        if "fail" in request["payload"]["prompt"]:
            self.call("inference_result", {**about, "status": "failed", "error": EVERYTHING_AT_ONCE})
        else:
            self.call("inference_result", result_of(request, {"parts": hostile_parts(self.trap)}))


def hostile_parts(trap: Trap) -> list[dict[str, Any]]:
    """Return parts of each kind that is shown as text, and pictures from elsewhere."""
    named = {"name": SHORT[1]}
    pictures = f"![x]({trap.url}/a.png) <img src={trap.url}/b.png> ![y][z]\n\n[z]: {trap.url}/c.png\n\n"
    texts = [{"type": "markdown", "text": pictures + EVERYTHING_AT_ONCE, **named}]
    texts += [{"type": "markdown", "text": vector} for vector in LONG]
    texts += [{"type": "text", "text": EVERYTHING_AT_ONCE, **named}]
    texts += [{"type": "json", "data": {vector: [vector] for vector in LONG}, **named}]
    files = [{"type": "file", "data": "aGVsbG8=", "name": vector} for vector in SHORT]
    return [*texts, *files]


@dataclass
class Stage:
    """A site full of hostile text: an admin and a victim who look at it, and the app that shouts it."""

    admin: HttpCaller
    victim: HttpCaller
    space: str
    app: Shouter
    trap: Trap


@pytest.fixture(scope="module")
def stage(site: SiteProcess, admin: HttpCaller) -> Iterator[Stage]:
    """Fill everything in that can be filled in, through the front doors."""
    suffix = secrets.token_hex(2)
    names = [f"{vector[: 58 - len(suffix)]}{suffix}" for vector in SHORT]
    for name in names:
        HttpCaller(site.url).sign_up(name, PASSWORD)
    victim = HttpCaller(site.url).sign_in(names[0], PASSWORD)
    with Trap() as trap:
        description = f"![x]({trap.url}/d.png)\n\n{EVERYTHING_AT_ONCE}"
        about = {"description": description, "inputs": EVERYTHING, "queue_when_offline": True}
        spaces = [admin.make_space(title=vector, owner=names[0], **about) for vector in SHORT]
        for vector in SHORT:
            victim.make_token(scopes=("api",), name=vector)
        token = admin.make_token(spaces=[spaces[0]], name=SHORT[2])
        app = Shouter(site.url, token, trap=trap)
        app.serve(spaces[0], app={"name": SHORT[0] + SHORT[1], "version": SHORT[2], "instance": SHORT[3]})
        yield Stage(admin, victim, spaces[0], app, trap)
        app.close()


@pytest.fixture(scope="module")
def pages(stage: Stage) -> list[tuple[HttpCaller, str]]:
    """Every page that shows something hostile, once requests have run."""
    stage.app.go_on.set()
    files = {
        "file": (SHORT[1], b"hello"),
        "parameters": (None, '{"<script>alert(1)</script>": "<svg onload=alert(1)>"}'),
    }
    sent = [
        stage.victim.submit(stage.space, EVERYTHING_AT_ONCE)["id"],
        stage.victim.submit(stage.space, f"fail {SHORT[0]}")["id"],
        stage.victim.json("POST", f"spaces/{stage.space}/requests", 202, files=files | {"prompt": (None, SHORT[1])})[
            "id"
        ],
    ]
    for one in sent:
        stage.victim.wait_final(one)
    mine = [f"/requests/{one}" for one in sent]
    mine += [f"/spaces/{stage.space}", f"/spaces/{stage.space}?again={sent[0]}", "/requests", "/account", "/"]
    mine += [f"/?q={SHORT[3]}", "/account/delete"]
    user_id = max(map(int, re.findall(r'href="/admin/users/(\d+)"', stage.admin.call("GET", "/admin/users").text)))
    admins = ["/admin/", "/admin/spaces", "/admin/users", "/admin/tokens", "/admin/connections", "/"]
    admins += [f"/admin/users/{user_id}", f"/admin/users/{user_id}/delete", f"/admin/spaces/{stage.space}/edit"]
    admins += [f"/spaces/{stage.space}", f"/admin/users?q={SHORT[3]}"]
    return [(stage.victim, path) for path in mine] + [(stage.admin, path) for path in admins]


def test_the_rules_of_these_tests_notice_what_they_are_for() -> None:
    assert len([vector for vector in LONG if dangers(vector)]) > 30
    assert not dangers('<script src="/static/js/site.js"></script><a href="/x">&lt;script&gt;</a>')


def test_no_page_writes_any_of_it_as_html(pages: list[tuple[HttpCaller, str]]) -> None:
    for caller, path in pages:
        answer = caller.call("GET", path)
        assert "alert(1)" in answer.text, f"{path} shows nothing hostile, so this test says nothing"
        assert not dangers(answer.text), path
        assert "49$" not in answer.text, f"{path}: a template was made of what somebody sent"
        page = answer.text.replace("<template id", "").replace("</template>", "")
        assert "<script>" not in page, path


@pytest.mark.browser
def test_no_browser_runs_any_of_it(
    chromium: Browser, site: SiteProcess, stage: Stage, pages: list[tuple[HttpCaller, str]]
) -> None:
    """One page of each kind; what its addresses change is in the test of the HTML above."""
    visitors = {id(caller): Visitor(chromium, site.url, caller) for caller, _ in pages}
    for caller, path in [page for page in pages if "?" not in page[1] and not page[1].endswith("/delete")]:
        me = visitors[id(caller)]
        me.expect_problem("status of 404 ")
        dialogs = watch_dialogs(me.page)
        me.page.goto(path)
        has_run_nothing(me, dialogs, path)
    for me in visitors.values():
        me.context.close()
    assert stage.trap.calls == [], "a page loaded something from elsewhere"


@pytest.mark.browser
def test_what_comes_while_a_page_is_open_does_not_run_either(
    chromium: Browser, site: SiteProcess, stage: Stage
) -> None:
    """The script of the page draws what comes: progress, partial output, the result, and a failure."""
    stage.app.go_on.clear()
    me = Visitor(chromium, site.url, stage.victim)
    dialogs = watch_dialogs(me.page)
    page = me.go(f"/spaces/{stage.space}")
    for prompt in (f"live {SHORT[0]}", f"fail live {SHORT[1]}"):
        card = me.send(prompt)
        expect(card.locator("[data-partial]")).to_contain_text("alert(1)")
        has_run_nothing(me, dialogs, f"progress of {prompt}")
        stage.app.go_on.set()
        expect(card).to_have_attribute("data-status", "failed" if "fail" in prompt else "completed")
        stage.app.go_on.clear()
        has_run_nothing(me, dialogs, f"result of {prompt}")
        for summary in card.locator("summary").all():
            with suppress(Exception):
                summary.click(timeout=500)
        has_run_nothing(me, dialogs, f"result of {prompt}, unfolded")
    page.close()
    me.context.close()
    assert stage.trap.calls == [], "a page loaded something from elsewhere"


def watch_dialogs(page: Page) -> list[str]:
    """Return the list of all dialogs that the page will open."""
    seen: list[str] = []
    page.on("dialog", lambda dialog: (seen.append(dialog.message), dialog.dismiss()))
    return seen


def has_run_nothing(me: Visitor, dialogs: list[str], where: str) -> None:
    """Fail when anything ran, was drawn as an element, or made the browser complain."""
    assert dialogs == [], where
    assert me.page.evaluate(INLINE) == 0, where
    assert me.page.evaluate(f"({MARKED})().length") == 0, where
    assert me.page.locator("main :is(script, iframe, object, embed, form[action^='javascript'])").count() == 0, where
    assert me.page.locator("a[href^='javascript' i], a[href^='data' i], img[src^='http']").count() == 0, where
    me.check()


@pytest.mark.browser
def test_these_pages_would_be_caught_if_they_ran_something(chromium: Browser, site: SiteProcess, stage: Stage) -> None:
    me = Visitor(chromium, site.url, stage.victim)
    me.expect_problem("CSP violation|Content Security Policy")
    page = me.go("/")
    page.evaluate("document.querySelector('main').innerHTML = '<img src=x onerror=alert(1)>'")
    wait_until(lambda: page.title() and any("CSP violation" in one for one in me.problems), "the browser refuses it")
    with pytest.raises(AssertionError):
        has_run_nothing(me, [], "here")
    me.context.close()
