"""An answer that gets lost on the way: the page sends again, and there is one request all the same."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Route, expect

from tests.browser.conftest import Visit
from tests.browser.visitors import Visitor
from tests.http_caller import HttpCaller
from tests.program import Program

StartApp = Callable[..., Program]
SUBMITS = re.compile(r"/api/v1/(spaces/.+/requests|requests/.+/retry)$")
BROKEN = r"net::ERR_(CONNECTION_RESET|FAILED)"


class LostAnswers:
    """Lets calls through to the site, and loses the answers to the first ``count``."""

    def __init__(self, me: Visitor, count: int) -> None:
        self.left, self.keys = count, list[str]()
        me.expect_problem(BROKEN)
        me.page.route(SUBMITS, self.handle)

    def handle(self, route: Route) -> None:
        self.keys.append(route.request.headers["idempotency-key"])
        if self.left == 0:
            route.continue_()
            return
        self.left -= 1
        route.fetch()
        route.abort("connectionreset")


@pytest.fixture
def space(admin: HttpCaller, start_app: StartApp) -> str:
    """A space that takes prompts and files, with an app."""
    name = admin.make_space(inputs={"prompt": True, "file": True})
    start_app(name)
    return name


def own_requests(ann: HttpCaller, space: str) -> list[str]:
    return [one["input"]["prompt"] for one in ann.json("GET", "requests", params={"space": space})["items"]]


def test_a_prompt_is_one_request_however_often_its_answer_is_lost(visit: Visit, ann: HttpCaller, space: str) -> None:
    me = visit(ann)
    me.go(f"/spaces/{space}")
    lost = LostAnswers(me, 2)
    expect(me.send("only once")).to_contain_text("Completed")
    expect(me.page.get_by_label("Prompt")).to_have_value("")
    expect(me.page.locator("[data-request]")).to_have_count(1)
    assert len(lost.keys) == 3
    assert len(set(lost.keys)) == 1
    assert own_requests(ann, space) == ["only once"]
    me.send("only once again")
    expect(me.page.get_by_label("Prompt")).to_have_value("")
    me.page.get_by_label("Prompt").fill("only once")
    me.page.get_by_label("Prompt").press("Control+Enter")
    expect(me.page.locator("[data-request]")).to_have_count(3)
    sent = ["only once", "only once again", "only once"]
    assert own_requests(ann, space) == sent, "sent on purpose a second time, it is a second request"


def test_a_file_is_one_request_too(visit: Visit, ann: HttpCaller, space: str) -> None:
    me = visit(ann)
    me.go(f"/spaces/{space}")
    lost = LostAnswers(me, 1)
    me.page.locator("#file").set_input_files({"name": "a.txt", "mimeType": "text/plain", "buffer": b"hello"})
    expect(me.send("with a file")).to_contain_text("Completed")
    expect(me.page.get_by_label("Prompt")).to_have_value("")
    assert len(lost.keys) == 2
    assert own_requests(ann, space) == ["with a file"]


def test_after_many_losses_the_text_stays_and_the_button_asks_for_the_same_request(
    visit: Visit, ann: HttpCaller, space: str
) -> None:
    me = visit(ann)
    me.go(f"/spaces/{space}")
    lost = LostAnswers(me, 5)
    prompt = me.page.get_by_label("Prompt")
    prompt.fill("hello")
    prompt.press("Control+Enter")
    expect(me.page.locator("[data-form-error]")).to_have_text(re.compile("Sending it again"))
    expect(me.page.locator("[data-form-error]")).to_have_text(re.compile("cannot be reached"), timeout=30_000)
    expect(prompt).to_have_value("hello")
    me.page.get_by_role("main").get_by_role("button", name="Send").click()
    expect(prompt).to_have_value("")
    assert len(lost.keys) == 6
    assert len(set(lost.keys)) == 1
    assert own_requests(ann, space) == ["hello"]


def test_a_retry_is_one_request_too(visit: Visit, ann: HttpCaller, space: str) -> None:
    first = ann.submit(space, "fail")["id"]
    ann.wait_final(first)
    me = visit(ann)
    me.go(f"/spaces/{space}")
    lost = LostAnswers(me, 1)
    me.page.get_by_role("button", name="Retry").click()
    expect(me.page.locator("[data-request]")).to_have_count(2)
    assert len(set(lost.keys)) == 1
    assert own_requests(ann, space) == ["fail"] * 2
