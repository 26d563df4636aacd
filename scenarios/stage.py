"""Where a scenario plays: a signed-in admin, spaces and apps made for it, all of them gone afterwards."""

from __future__ import annotations

import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from scenarios.admin import ALL_INPUTS, Login
from scenarios.browser import Answer, Browser, SiteProblem
from scenarios.mock import Failure, MockApp
from scenarios.records import Record, Trip

RESULT_SECONDS = 60.0
STATUS_SECONDS = 15.0
HELD_SECONDS = 25.0
PAUSE = 0.1
FINAL = frozenset({"completed", "failed", "cancelled", "timed_out"})

Request = dict[str, Any]


def check(holds: object, message: str) -> None:
    """Raise :class:`Failure` with ``message`` unless ``holds``."""
    if not holds:
        raise Failure(message)


def expect(answer: Answer, status: int, code: str = "") -> dict[str, Any]:
    """Return the body of an answer that is as expected. Raises :class:`Failure` for another one."""
    wanted, got = f"{status} {code}".strip(), f"{answer.status} {answer.code}".strip()
    check(
        answer.status == status and answer.code == code, f"expected {wanted}, the site answered {got}: {answer.message}"
    )
    return answer.body


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold Ctrl+C back until the end of the block: what is made there is then also known, and removed later."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []
    before = [(number, signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)]
    for number, _ in before:
        signal.signal(number, lambda *_: held.append(1))
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)
    if held:
        raise KeyboardInterrupt


class Stage:
    """Makes what a scenario needs, and removes it in :meth:`clear`. ``say`` prints a detail."""

    def __init__(self, host: str, login: Login, say: Callable[[str], None], record: Record) -> None:
        self.host = host
        self.record = record
        self._login = login
        self._say = say
        self._apps: list[MockApp] = []
        self._spaces: list[str] = []
        self._tokens: list[int] = []
        self.admin = login.browser(host)

    def note(self, text: str) -> None:
        """Keep a detail for the report, and print it when that is wanted."""
        self.record.notes.append(text)
        self._say(text)

    def sign_in(self) -> Browser:
        """Return one more browser with a session of its own."""
        return self._login.browser(self.host)

    @uninterrupted()
    def space(self, **fields: Any) -> str:
        """Create a space with all four inputs and return its name."""
        name = f"Scenario_{int(time.time())}_{secrets.token_hex(3)}"
        expect(self.admin.api("POST", "spaces", json={"name": name, "inputs": ALL_INPUTS, **fields}), 201)
        self._spaces.append(name)
        return name

    @uninterrupted()
    def token(self, space: str) -> str:
        """Make a token for the app of ``space``."""
        body = {"name": f"Scenario {space}", "scopes": ["app"], "spaces": [space]}
        made = expect(self.admin.api("POST", "tokens", json=body), 201)
        self._tokens.append(made["id"])
        return str(made["token"])

    @uninterrupted()
    def start(self, space: str, *options: str, token: str | None = None) -> MockApp:
        """Start an app for ``space`` without waiting for anything."""
        token = self.token(space) if token is None else token
        app = MockApp(self.host, space, token, options, echo=lambda text: self._say(f"app | {text}"))
        self._apps.append(app)
        return app

    def connect(self, space: str, *options: str) -> MockApp:
        """Start an app, wait until it is registered and the site shows it; the connection's time is kept."""
        app = self.start(space, *options)
        begun, registered = app.wait_for("Connecting to"), app.wait_for("Registration successful")
        self.record.connections.append(registered.at - begun.at)
        self.wait_connected(space, True)
        return app

    def wait_connected(self, space: str, connected: bool) -> None:
        """Wait until the site shows the space as ``connected`` or not."""
        deadline = time.monotonic() + STATUS_SECONDS
        while expect(self.admin.api("GET", f"spaces/{space}"), 200)["connected"] is not connected:
            state = "connected" if connected else "not connected"
            check(time.monotonic() < deadline, f"the site does not show {space} as {state} after {STATUS_SECONDS:g} s")
            time.sleep(PAUSE)

    def submit(self, space: str, prompt: str, browser: Browser | None = None) -> Answer:
        """Send a prompt and return the answer, whatever it is."""
        return (browser or self.admin).api("POST", f"spaces/{space}/requests", json={"prompt": prompt})

    def wait_final(self, request_id: str, browser: Browser | None = None) -> Request:
        """Wait in held calls until the request has ended, and return it."""
        deadline = time.monotonic() + RESULT_SECONDS
        query = {"until": "final", "wait": HELD_SECONDS}
        while True:
            answer = (browser or self.admin).api("GET", f"requests/{request_id}", params=query, seconds=HELD_SECONDS)
            request = expect(answer, 200)
            if request["status"] in FINAL:
                return request
            check(
                time.monotonic() < deadline,
                f"no result of {request_id} within {RESULT_SECONDS:g} s: {request['status']}",
            )

    def ask(self, app: MockApp, space: str, prompt: str) -> Request:
        """Send one prompt, wait for its result, and keep each part of the time."""
        sent = time.monotonic()
        request_id = expect(self.submit(space, prompt), 202)["id"]
        request = self.wait_final(request_id)
        answered = time.monotonic()
        came, done = app.wait_for("[REQUEST]", request_id).at, app.wait_for("[RESULT]", request_id).at
        self.record.trips.append(Trip(answered - sent, came - sent, done - came, max(0.0, answered - done)))
        return request

    @uninterrupted()
    def clear(self) -> list[str]:
        """Stop the apps and remove spaces and tokens; return what could not be removed."""
        for app in self._apps:
            app.stop()
        paths = [f"spaces/{name}" for name in self._spaces] + [f"tokens/{number}" for number in self._tokens]
        return [path for path in paths if not self._removed(path)]

    def _removed(self, path: str) -> bool:
        try:
            return self.admin.api("DELETE", path).status in {204, 404}
        except SiteProblem:
            return False


def text_of(request: Request) -> str:
    """Return all text of a result."""
    return "\n".join(str(part.get("text", "")) for part in request["output"])


def check_completed(request: Request, prompt: str) -> None:
    """Raise :class:`Failure` unless the request completed with an answer to ``prompt``."""
    error = request["error"] or {}
    check(request["status"] == "completed", f"expected completed, got {request['status']} {error.get('message', '')}")
    check(prompt in text_of(request), f"the result does not answer {prompt!r}: {text_of(request)[:200]!r}")
