"""A person or a program at the HTTP side of a running site, as tests need them."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from typing import Any, ClassVar, Self

import requests

SECONDS = 40.0
CSRF_META = re.compile(r"<meta[^>]*name=\"csrf-token\"[^>]*content=\"([^\"]+)\"")
FINAL = {"completed", "failed", "cancelled", "timed_out"}


class HttpCaller:
    """Calls a site at ``url``: as nobody, as a signed-in user, or with a bearer token.

    ``username`` is empty unless it signed in. All ``listeners`` are told of every answer to any caller.
    """

    listeners: ClassVar[list[Callable[[HttpCaller, requests.Response], None]]] = []

    def __init__(self, url: str, token: str | None = None) -> None:
        self.url = url.rstrip("/")
        self.username = ""
        self.http = requests.Session()
        self.http.trust_env = False
        self.http.hooks["response"].append(self._tell)
        if token:
            self.http.headers["Authorization"] = f"Bearer {token}"

    def is_ready(self) -> bool:
        """Return whether the site answers that it can serve."""
        try:
            return self.http.get(f"{self.url}/readyz", timeout=2).status_code == 200
        except requests.RequestException:
            return False

    def sign_in(self, username: str, password: str) -> Self:
        """Sign in through the login form; every later call carries the CSRF token."""
        form = {"username": username, "password": password, "csrf_token": self._csrf("/login")}
        answer = self.http.post(f"{self.url}/login", data=form, timeout=SECONDS, allow_redirects=False)
        assert answer.status_code in {302, 303}, f"sign-in of {username}: {answer.status_code} {answer.text[:500]}"
        self.http.headers["X-CSRFToken"] = self._csrf("/account")
        self.username = username
        return self

    def sign_up(self, username: str, password: str) -> Self:
        """Make an account through the form."""
        form = {"username": username, "password": password, "confirm": password, "csrf_token": self._csrf("/register")}
        answer = self.http.post(f"{self.url}/register", data=form, timeout=SECONDS, allow_redirects=False)
        assert answer.status_code in {302, 303}, f"sign-up of {username}: {answer.status_code} {answer.text[:500]}"
        return self

    def join(self, username: str, password: str) -> Self:
        """Make an account and stay signed in with it, as the form does; every later call carries the CSRF token."""
        self.sign_up(username, password)
        self.http.headers["X-CSRFToken"] = self._csrf("/account")
        return self

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        """Send one request to ``path`` (``/api/v1`` is put in front unless it begins with a slash and ``/api``)."""
        where = path if path.startswith("/") else f"/api/v1/{path}"
        options.setdefault("timeout", SECONDS)
        return self.http.request(method, f"{self.url}{where}", **options)

    def json(self, method: str, path: str, expect: int = 200, **options: Any) -> Any:
        """Send one request and return its JSON. Fails when the status is not ``expect``."""
        answer = self.call(method, path, **options)
        assert answer.status_code == expect, f"{method} {path}: {answer.status_code} {answer.text[:800]}"
        return answer.json() if answer.content else None

    def make_space(self, name: str | None = None, **fields: Any) -> str:
        """Create a space (an admin may) and return its name."""
        body = {"name": name or f"space-{secrets.token_hex(4)}", **fields}
        created: dict[str, Any] = self.json("POST", "spaces", 201, json=body)
        return str(created["name"])

    def make_token(
        self, *, scopes: tuple[str, ...] = ("app",), spaces: list[str] | None = None, name: str = "test"
    ) -> str:
        """Make a token and return its plain text."""
        body: dict[str, Any] = {"name": name, "scopes": list(scopes)}
        if spaces is not None:
            body["spaces"] = spaces
        return str(self.json("POST", "tokens", 201, json=body)["token"])

    def space(self, name: str) -> dict[str, Any]:
        """Return the space object."""
        found: dict[str, Any] = self.json("GET", f"spaces/{name}")
        return found

    def submit(self, space: str, prompt: str, **fields: Any) -> dict[str, Any]:
        """Submit a prompt and return the request object as accepted."""
        made: dict[str, Any] = self.json("POST", f"spaces/{space}/requests", 202, json={"prompt": prompt, **fields})
        return made

    def request(self, request_id: str) -> dict[str, Any]:
        """Return the request object as it is now."""
        found: dict[str, Any] = self.json("GET", f"requests/{request_id}")
        return found

    def wait_final(self, request_id: str, seconds: float = 30.0) -> dict[str, Any]:
        """Wait (in one held call) for the final state and return the request object; fails when it does not come."""
        query = {"until": "final", "wait": f"{min(seconds, 30):g}"}
        found: dict[str, Any] = self.json("GET", f"requests/{request_id}", params=query)
        assert found["status"] in FINAL, f"not final within {seconds:g} s: {found}"
        return found

    def _tell(self, answer: requests.Response, **_options: Any) -> None:
        for listener in self.listeners:
            listener(self, answer)

    def _csrf(self, path: str) -> str:
        page = self.http.get(f"{self.url}{path}", timeout=SECONDS)
        found = CSRF_META.search(page.text)
        assert found, f"no csrf-token on {path}: {page.status_code} {page.text[:300]}"
        return found.group(1)
