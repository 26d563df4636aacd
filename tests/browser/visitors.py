"""A person at a browser: one context, one page, and everything that went wrong in it."""

from __future__ import annotations

import re
from typing import Any

from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Locator,
    Page,
    Response,
    ViewportSize,
    expect,
)

from tests.http_caller import HttpCaller

# Chromium tells of a violation by itself, but not of every kind in every version.
TELL_VIOLATIONS = """document.addEventListener("securitypolicyviolation", (event) => {
  console.error(`CSP violation: ${event.violatedDirective} ${event.blockedURI} in ${event.sourceFile}`);
});"""
NOISE = {"error", "warning", "assert"}
WIDE, NARROW = ViewportSize(width=1280, height=800), ViewportSize(width=360, height=740)


class Visitor:
    """Opens pages of the site and remembers console errors, page errors, violations and answers of 500 and more."""

    def __init__(self, browser: Browser, url: str, caller: HttpCaller | None = None, **context: Any) -> None:
        options: dict[str, Any] = {"base_url": url, "viewport": WIDE, "reduced_motion": "reduce", **context}
        self.context: BrowserContext = browser.new_context(**options)
        self.context.set_default_timeout(10_000)
        self.problems: list[str] = []
        self._expected: list[str] = []
        if caller:
            cookies: list[Any] = [{"name": one.name, "value": one.value, "url": url} for one in caller.http.cookies]
            self.context.add_cookies(cookies)
        if context.get("java_script_enabled", True):
            self.context.add_init_script(TELL_VIOLATIONS)
        self.page: Page = self.context.new_page()
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.problems.append(f"page error: {error}"))
        self.page.on("response", self._answered)

    def expect_problem(self, pattern: str) -> None:
        """Allow console messages that match ``pattern``: Chromium logs every answer of 400 and more."""
        self._expected.append(pattern)

    def check(self) -> None:
        """Fail when anything went wrong that was not expected; what is told now is not told again."""
        unexpected = [one for one in self.problems if not any(re.search(pattern, one) for pattern in self._expected)]
        self.problems.clear()
        assert not unexpected, "\n".join(unexpected)

    def go(self, path: str, status: int = 200) -> Page:
        """Open ``path``. Fails when it is not answered with ``status``."""
        if status >= 400:
            self.expect_problem(f"status of {status} ")
        answer = self.page.goto(path)
        assert answer, f"{path}: no answer"
        assert answer.status == status, f"{path}: {answer.status}"
        return self.page

    def sign_in(self, username: str, password: str) -> None:
        """Type name and password into the form of the page that is open, and send it."""
        self.page.get_by_label("User name").fill(username)
        self.page.get_by_label("Password", exact=True).fill(password)
        self.page.get_by_role("main").get_by_role("button", name="Sign in").click()
        expect(self.page.get_by_role("button", name="Sign out", exact=True)).to_be_visible()

    def send(self, prompt: str) -> Locator:
        """Type a prompt, send it with Ctrl+Enter, and return its card."""
        field = self.page.get_by_label("Prompt")
        expect(field).to_be_enabled()
        field.fill(prompt)
        field.press("Control+Enter")
        card = self.card(prompt)
        expect(card).to_be_visible()
        return card

    def card(self, prompt: str) -> Locator:
        """Return the card of the request with this prompt."""
        return self.page.locator("[data-request]").filter(has=self.page.get_by_text(prompt, exact=True))

    def see_status(self, words: str, seconds: float = 10) -> None:
        """Wait until the head of the space page says ``words``."""
        expect(self.page.locator("[data-space-status]")).to_contain_text(words, timeout=seconds * 1000)

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in NOISE:
            self.problems.append(f"console {message.type}: {message.text} ({message.location.get('url')})")

    def _answered(self, answer: Response) -> None:
        if answer.status >= 500:
            self.problems.append(f"{answer.request.method} {answer.url}: {answer.status}")


def scrolls_sideways(page: Page) -> bool:
    """Whether the page as a whole is wider than its window."""
    return bool(page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"))
