"""Scenarios in which something is missing, taken, wrong or broken: each is answered clearly and harms nothing else."""

from __future__ import annotations

import secrets

from scenarios.stage import Stage, check, check_completed, expect, text_of

REFUSED_STATUS = 2
APPS_OWN_MESSAGE = "This app fails on purpose."


def disconnection_and_return(stage: Stage) -> None:
    """The app is stopped: a prompt is refused. It is started again: a prompt is answered."""
    space = stage.space()
    app = stage.connect(space, "--delay", "0.2")
    app.stop()
    stage.wait_connected(space, False)
    refused = stage.submit(space, "Nobody is there")
    expect(refused, 503, "space_offline")
    stage.note(f"without an app: 503 space_offline, {refused.message!r}")
    app = stage.connect(space, "--delay", "0.2")
    check_completed(stage.ask(app, space, "Somebody is back"), "Somebody is back")
    stage.note(f"after the return: answered; connected again in {stage.record.connections[-1]:.2f} s")


def duplicate_names(stage: Stage) -> None:
    """A second space of one name is refused, in other letter case too."""
    space = stage.space()
    for name in (space, space.upper(), space.lower()):
        refused = stage.admin.api("POST", "spaces", json={"name": name})
        expect(refused, 409, "duplicate_name")
    names = [one["name"].casefold() for one in _all_spaces(stage)]
    check(names.count(space.casefold()) == 1, f"the site lists {names.count(space.casefold())} spaces of this name")
    stage.note(f"refused: {refused.message!r}")


def duplicate_connections(stage: Stage) -> None:
    """A second app for a connected space ends with status 2 and the reason; the first goes on."""
    space = stage.space()
    first = stage.connect(space, "--delay", "0.2")
    second = stage.start(space, "--verbose")
    status = second.wait_exit()
    check(status == REFUSED_STATUS, f"the second app ended with status {status}; it printed:\n{second.printed}")
    reason = second.find("space_busy")
    check(reason, f"the second app does not say space_busy; it printed:\n{second.printed}")
    check_completed(stage.ask(first, space, "Still the first"), "Still the first")
    stage.note("the second app ended with status 2 and space_busy, the first answered the next prompt")


def failing_app(stage: Stage) -> None:
    """The user reads the app's own message, and the next prompt is handed over."""
    space = stage.space()
    app = stage.connect(space, "--delay", "0.1", "--fault", "fail")
    for prompt in ("Fails", "Fails again"):
        request = stage.ask(app, space, prompt)
        error = request["error"] or {}
        check(request["status"] == "failed", f"expected failed, got {request['status']}")
        check(error.get("code") == "app_error", f"expected app_error, got {error.get('code')}")
        check(APPS_OWN_MESSAGE in error.get("message", ""), f"the app's own message is missing: {error}")
    stage.note(f"failed, app_error, {error['message']!r}")


def garbage_from_the_app(stage: Stage) -> None:
    """Malformed events and forged results change nothing: the right answer arrives."""
    space = stage.space()
    app = stage.connect(space, "--delay", "0.1", "--fault", "garbage")
    for prompt in ("Through the noise", "And once more"):
        request = stage.ask(app, space, prompt)
        check_completed(request, prompt)
        check("forged" not in text_of(request), "a forged result was taken")
    stage.note("the right answers arrived; nothing forged was taken")


def app_without_valid_token(stage: Stage) -> None:
    """An app with a wrong token is refused and ends with status 2."""
    space = stage.space()
    app = stage.start(space, token=secrets.token_urlsafe(32))
    status = app.wait_exit()
    check(status == REFUSED_STATUS, f"expected exit status 2, got {status}; it printed:\n{app.printed}")
    check(not app.find("Registration successful"), "an app with a wrong token was registered")
    stage.wait_connected(space, False)
    stage.note("refused; the app ended with status 2")


def wrong_calls(stage: Stage) -> None:
    """Calls that cannot be served are answered with their reason."""
    space = stage.space()
    unknown = secrets.token_hex(16)
    expect(stage.admin.api("GET", f"requests/{unknown}"), 404, "not_found")
    expect(stage.admin.api("POST", f"requests/{unknown}/cancel"), 404, "not_found")
    expect(stage.submit(f"None_{unknown[:8]}", "Hello"), 404, "not_found")
    forged = stage.admin.api("POST", f"spaces/{space}/requests", csrf=False, json={"prompt": "Hello"})
    expect(forged, 400, "bad_request")
    expect(stage.submit(space, ""), 422, "invalid")
    stage.note("unknown request 404, unknown space 404, no CSRF token 400, empty prompt 422")


def _all_spaces(stage: Stage) -> list[dict[str, str]]:
    """Return all spaces that the site lists, page by page."""
    found: list[dict[str, str]] = []
    cursor: str | None = ""
    while cursor is not None:
        query = {"limit": "100"} | ({"cursor": cursor} if cursor else {})
        page = expect(stage.admin.api("GET", "spaces", params=query), 200)
        found += page["items"]
        cursor = page["next_cursor"]
    return found
