"""``make demo``: it comes up on an empty folder, and again on its own, whatever happened to the password."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from tests.http_caller import HttpCaller
from tests.program import Program
from tests.site_process import free_port

Start = Callable[..., Program]

LOGIN = re.compile(r"User name:\s+(\S+)\s+Password:\s+(.+)")


def start_demo(program: Start, folder: Path, port: int) -> Program:
    words = ("python", "-m", "scripts.demo", "--folder", str(folder))
    return program(*words, SPACES_PORT=str(port), PYTHONUNBUFFERED="1")


def printed_login(text: str) -> tuple[str, str]:
    found = LOGIN.search(text)
    assert found, f"no login in: {text}"
    return found[1], found[2].strip()


def test_the_printed_account_gets_an_answer_and_ctrl_c_ends_it(program: Start, tmp_path: Path) -> None:
    port = free_port()
    demo = start_demo(program, tmp_path / "demo", port)
    text = demo.wait_for("Ctrl+C stops the demo", 60)
    assert f"http://localhost:{port}/spaces/demo" in text

    person = HttpCaller(f"http://127.0.0.1:{port}").sign_in(*printed_login(text))
    assert set(person.space("demo")["inputs"].values()) == {True}
    request = person.wait_final(person.submit("demo", "Is anybody there?")["id"])
    assert request["status"] == "completed"
    assert "Is anybody there?" in request["output"][0]["text"]
    assert f"[REQUEST] {request['id']}" in demo.wait_for("[RESULT]")

    assert demo.interrupt() == 0, demo.output()
    assert "Summary:" in demo.output(), "the app was not stopped cleanly"
    assert "Stopped." in (tmp_path / "demo" / "site.log").read_text(encoding="utf-8"), (
        "the site was not stopped cleanly"
    )


def test_a_second_demo_starts_after_the_password_was_changed(program: Start, tmp_path: Path) -> None:
    folder, port = tmp_path / "demo", free_port()
    first = start_demo(program, folder, port)
    first.wait_for("Ctrl+C stops the demo", 60)
    assert first.interrupt() == 0
    (folder / "first-admin.json").unlink()

    second = start_demo(program, folder, port)
    assert "the one that you chose" in second.wait_for("Ctrl+C stops the demo", 60)
    assert second.interrupt() == 0


def test_a_revoked_app_token_is_made_anew(program: Start, tmp_path: Path) -> None:
    folder, port = tmp_path / "demo", free_port()
    first = start_demo(program, folder, port)
    text = first.wait_for("Ctrl+C stops the demo", 60)
    admin = HttpCaller(f"http://127.0.0.1:{port}").sign_in(*printed_login(text))
    made = {token["scopes"][0]: token["id"] for token in admin.json("GET", "tokens")["items"]}
    admin.json("DELETE", f"tokens/{made['app']}", 204)
    first.wait_for("The app has ended", 20)
    assert first.interrupt() == 0

    second = start_demo(program, folder, port)
    second.wait_for("Ctrl+C stops the demo", 60)
    assert second.interrupt() == 0


def test_a_taken_port_is_said_clearly(program: Start, tmp_path: Path) -> None:
    port = free_port()
    holder = program("python", "-m", "http.server", str(port), "--bind", "127.0.0.1", PYTHONUNBUFFERED="1")
    holder.wait_for("Serving HTTP")
    demo = start_demo(program, tmp_path / "demo", port)
    assert demo.wait_exit() == 1
    assert f"Port {port} cannot be used" in demo.output()
    assert "SPACES_PORT=" in demo.output()
