"""A person at the HTTP side of a running site: signs in as a browser does, then uses the JSON API."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

import requests

LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
CSRF_META = re.compile(r'<meta[^>]*name="csrf-token"[^>]*content="([^"]+)"')
CALL_SECONDS = 20.0


class SiteProblem(Exception):
    """The site cannot be used at all; the message is one line and says what to do."""


@dataclass(frozen=True)
class Answer:
    """What the API answered. ``code`` is that of a refusal, empty when it was none."""

    status: int
    body: dict[str, Any]

    @property
    def code(self) -> str:
        """The refusal's code for programs."""
        return str(self._refusal.get("code", ""))

    @property
    def message(self) -> str:
        """The refusal's message for people, or how the body begins."""
        return str(self._refusal.get("message", "")) or str(self.body)[:200]

    @property
    def _refusal(self) -> dict[str, Any]:
        """A request that failed has an ``error`` too, but its answer is none."""
        error = self.body.get("error") if self.status >= 400 else None
        return error if isinstance(error, dict) else {}


def is_local(host: str) -> bool:
    """Whether ``host`` (an address with scheme) names this computer."""
    return (urlsplit(host).hostname or "").lower() in LOCAL_NAMES


class Browser:
    """One browser with cookies of its own. ``token`` makes it a program with a bearer token instead."""

    def __init__(self, host: str, token: str | None = None) -> None:
        self.host = host.rstrip("/")
        self.username = ""
        self._http = requests.Session()
        self._http.trust_env = not is_local(host)
        if token:
            self._http.headers["Authorization"] = f"Bearer {token}"

    def sign_in(self, username: str, password: str) -> Self:
        """Sign in through the form. Raises :class:`SiteProblem` when the site is down or refuses."""
        form = {"username": username, "password": password, "csrf_token": self._csrf("/login")}
        answer = self._send("POST", "/login", data=form, allow_redirects=False)
        if answer.status_code not in {302, 303}:
            raise SiteProblem(_refused(username, answer.status_code))
        self.username = username
        self._http.headers["X-CSRFToken"] = self._csrf("/")
        return self

    def api(self, method: str, path: str, *, csrf: bool = True, seconds: float = 0.0, **options: Any) -> Answer:
        """Call ``/api/v1/`` + ``path``; ``seconds`` is how long the site may hold the call."""
        headers = {} if csrf else {"X-CSRFToken": None}
        answer = self._send(method, f"/api/v1/{path}", headers=headers, timeout=CALL_SECONDS + seconds, **options)
        try:
            body = answer.json() if answer.content else {}
        except ValueError:
            body = {"not_json": answer.text[:200]}
        return Answer(answer.status_code, body if isinstance(body, dict) else {"list": body})

    def page(self, path: str) -> tuple[int, str]:
        """Return the status and text of a page."""
        answer = self._send("GET", path)
        return answer.status_code, answer.text

    def download(self, path: str) -> tuple[int, bytes]:
        """Return the status and bytes of a file."""
        answer = self._send("GET", path)
        return answer.status_code, answer.content

    def _csrf(self, path: str) -> str:
        status, text = self.page(path)
        found = CSRF_META.search(text)
        if not found:
            raise SiteProblem(f"No CSRF token on {self.host}{path} (status {status}): is this a WebSocket Spaces site?")
        return found[1]

    def _send(self, method: str, path: str, **options: Any) -> requests.Response:
        options.setdefault("timeout", CALL_SECONDS)
        try:
            return self._http.request(method, f"{self.host}{path}", **options)
        except requests.RequestException as error:
            raise SiteProblem(_unreachable(self.host, error)) from error


def _unreachable(host: str, error: Exception) -> str:
    if isinstance(error, requests.Timeout):
        return f"No answer in time from {host}. Look at the output of the site."
    if "refused" in str(error).lower():
        return f"Connection refused: no site answers at {host}. Start it (python run.py) or give another --host."
    return f"Cannot reach {host}: {type(error).__name__}. Look at the address and the network."


def _refused(username: str, status: int) -> str:
    if status == 429:
        return "The site refuses to sign anybody in for a while: too many wrong passwords. Wait, then try again."
    return f"The site did not sign {username!r} in (status {status}). Give --username and --password of an admin."
