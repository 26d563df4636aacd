"""Real apps against a real site: the package, the mock app, a plain Python program, and a JavaScript program."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from spaces_app import App, Ended, Request
from spaces_app.credentials import save_token
from tests.http_caller import HttpCaller
from tests.program import Program
from tests.site_process import ROOT, SiteProcess, free_port, wait_until

Start = Callable[..., Program]
JAVASCRIPT = ROOT / "examples" / "javascript"
REFUSED_STATUS = 2
SLOW_MODEL = """
import time

def answer(prompt):
    time.sleep(1)
    return prompt
"""


class Running:
    """An app of the package, run in a thread of the test."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.ended: Ended | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> Ended:
        self.app.stop()
        return self.wait()

    def wait(self, seconds: float = 15.0) -> Ended:
        self._thread.join(seconds)
        assert self.ended, f"the app did not end within {seconds:g} s"
        return self.ended

    def _run(self) -> None:
        self.ended = self.app.run()


@pytest.fixture
def run() -> Iterator[Callable[[App], Running]]:
    running: list[Running] = []

    def start(app: App) -> Running:
        running.append(Running(app))
        return running[-1]

    yield start
    for one in running:
        one.stop()


@pytest.fixture
def space(admin: HttpCaller) -> str:
    return admin.make_space()


@pytest.fixture
def token(admin: HttpCaller, space: str) -> str:
    return admin.make_token(spaces=[space])


@pytest.fixture
def node() -> str:
    """The path of Node, with the example's packages installed. Absent: skipped at home, an error in CI."""
    found = shutil.which("node")
    if found and (JAVASCRIPT / "node_modules" / "socket.io-client").is_dir():
        return found
    reason = "the JavaScript app needs Node and `npm ci --omit=optional` in examples/javascript"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def connected(admin: HttpCaller, space: str) -> None:
    wait_until(lambda: admin.space(space)["connected"], f"{space} is connected")


def mock_app(start: Start, site: SiteProcess, space: str, token: str, *more: str) -> Program:
    words = ("--host", site.url, "--spaces", space, "--delay", "0.1", *more)
    return start("python", "mock_app.py", *words, SPACES_TOKEN=token)


class TestThePackage:
    def test_a_prompt_is_answered(
        self, site: SiteProcess, admin: HttpCaller, space: str, token: str, run: Callable[[App], Running]
    ) -> None:
        app = App(site.url, token)

        @app.space(space.upper())
        def answer(request: Request) -> str:
            request.progress(0.5, "half")
            return f"{request.username} said {request.prompt}"

        running = run(app)
        connected(admin, space)
        final = admin.wait_final(admin.submit(space, "hello")["id"])
        assert final["status"] == "completed", final
        assert [part["text"] for part in final["output"]] == ["admin said hello"]
        assert running.stop().ok
        wait_until(lambda: not admin.space(space)["connected"], "the space is seen as not connected after a clean stop")

    def test_one_at_a_time_in_order(
        self, site: SiteProcess, admin: HttpCaller, space: str, token: str, run: Callable[[App], Running]
    ) -> None:
        app = App(site.url, token)
        order: list[str] = []
        inside = threading.Lock()

        @app.space(space)
        def answer(prompt: str) -> str:
            assert inside.acquire(blocking=False), "two requests of one space at once"
            order.append(prompt)
            threading.Event().wait(0.05)
            inside.release()
            return prompt

        run(app)
        connected(admin, space)
        prompts = [f"prompt {number}" for number in range(6)]
        ids = [admin.submit(space, prompt)["id"] for prompt in prompts]
        assert [admin.wait_final(one)["status"] for one in ids] == ["completed"] * 6
        assert order == prompts

    def test_spaces_run_side_by_side(self, site: SiteProcess, admin: HttpCaller, run: Callable[[App], Running]) -> None:
        names = [admin.make_space(), admin.make_space()]
        app = App(site.url, admin.make_token(spaces=names))
        both = threading.Barrier(2)
        for name in names:
            app.serve(name, lambda request: f"{both.wait(10) >= 0} {request.prompt}")
        run(app)
        for name in names:
            connected(admin, name)
        ids = [admin.submit(name, "x")["id"] for name in names]
        assert [admin.wait_final(one)["status"] for one in ids] == ["completed"] * 2

    def test_an_exception_reaches_the_user(
        self, site: SiteProcess, admin: HttpCaller, space: str, token: str, run: Callable[[App], Running]
    ) -> None:
        app = App(site.url, token)

        @app.space(space)
        def answer(_request: Request) -> str:
            raise RuntimeError("the model has no memory left")

        run(app)
        connected(admin, space)
        final = admin.wait_final(admin.submit(space, "x")["id"])
        assert (final["status"], final["error"]["code"]) == ("failed", "app_error")
        assert final["error"]["message"] == "the model has no memory left"

    def test_a_cancel_reaches_the_handler(
        self, site: SiteProcess, admin: HttpCaller, space: str, token: str, run: Callable[[App], Running]
    ) -> None:
        app = App(site.url, token)
        began, seen = threading.Event(), threading.Event()

        @app.space(space)
        def answer(request: Request) -> str:
            if request.prompt == "long":
                began.set()
                assert request.cancelled.wait(15)
                seen.set()
            return request.prompt

        run(app)
        connected(admin, space)
        request_id = admin.submit(space, "long")["id"]
        assert began.wait(10), "the request never reached the handler"
        admin.json("POST", f"requests/{request_id}/cancel")
        assert seen.wait(10), "the handler never heard of the cancel"
        assert admin.wait_final(request_id)["status"] == "cancelled"
        assert admin.wait_final(admin.submit(space, "next")["id"])["status"] == "completed"

    def test_a_result_above_the_limit_fails_with_a_reason(
        self, site: SiteProcess, admin: HttpCaller, space: str, token: str, run: Callable[[App], Running]
    ) -> None:
        app = App(site.url, token)
        app.serve(space, lambda request: "x" * 6_000_000 if request.prompt == "big" else "small")
        run(app)
        connected(admin, space)
        final = admin.wait_final(admin.submit(space, "big")["id"])
        assert final["status"] == "failed"
        assert "too large" in final["error"]["message"]
        assert admin.wait_final(admin.submit(space, "next")["id"])["status"] == "completed"

    def test_an_app_without_a_handler_does_not_start(self) -> None:
        with pytest.raises(ValueError, match="no space"):
            App("http://localhost:5001").run()


class TestRefusals:
    def test_a_wrong_token_ends_it_with_the_reason(self, site: SiteProcess, space: str, program: Start) -> None:
        refused = mock_app(program, site, space, "spaces_not-a-token")
        assert refused.wait_exit() == REFUSED_STATUS
        assert "token" in refused.output()
        assert "Registration successful" not in refused.output()

    def test_an_unknown_space_ends_it_with_the_reason(self, site: SiteProcess, token: str, program: Start) -> None:
        refused = mock_app(program, site, "no-such-space", token)
        assert refused.wait_exit() == REFUSED_STATUS
        assert "unknown_space" in refused.output()

    @pytest.mark.parametrize("names", ["{space},no-such-space", "no-such-space,{space}"])
    def test_one_refused_space_does_not_stop_the_others(
        self, site: SiteProcess, admin: HttpCaller, space: str, token: str, program: Start, names: str
    ) -> None:
        app = mock_app(program, site, names.format(space=space), token)
        app.wait_for("Registration successful")
        app.wait_for("unknown_space")
        assert admin.wait_final(admin.submit(space, "hello")["id"])["status"] == "completed"
        assert app.interrupt() == 0

    def test_a_second_app_is_refused_and_the_first_goes_on(
        self, site: SiteProcess, admin: HttpCaller, space: str, token: str, program: Start
    ) -> None:
        first = mock_app(program, site, space, token)
        first.wait_for("Registration successful")
        second = mock_app(program, site, space, token)
        assert second.wait_exit() == REFUSED_STATUS
        assert "space_busy" in second.output()
        assert admin.wait_final(admin.submit(space, "hello")["id"])["status"] == "completed"
        assert first.interrupt() == 0

    def test_a_revoked_token_ends_a_running_app(
        self, site: SiteProcess, admin: HttpCaller, space: str, program: Start
    ) -> None:
        made = admin.json("POST", "tokens", 201, json={"name": "short", "scopes": ["app"], "spaces": [space]})
        app = mock_app(program, site, space, made["token"])
        app.wait_for("Registration successful")
        admin.json("DELETE", f"tokens/{made['id']}", 204)
        assert app.wait_exit() == REFUSED_STATUS

    def test_a_deleted_space_ends_its_app_with_a_reason(
        self, site: SiteProcess, admin: HttpCaller, space: str, token: str, program: Start
    ) -> None:
        app = mock_app(program, site, space, token)
        app.wait_for("Registration successful")
        admin.json("DELETE", f"spaces/{space}", 204)
        assert app.wait_exit() == REFUSED_STATUS
        assert "Registration refused" in app.output()


class TestTheMockApp:
    def test_it_prints_what_happens(
        self, site: SiteProcess, admin: HttpCaller, space: str, token: str, program: Start
    ) -> None:
        app = mock_app(program, site, space, token, "--verbose")
        app.wait_for("Registration successful")
        final = admin.wait_final(admin.submit(space, "three little words")["id"])
        assert final["output"][0]["type"] == "markdown"
        assert "3 words" in final["output"][0]["text"]
        app.wait_for("Acknowledged")
        assert app.interrupt() == 0
        printed = app.output()
        for words in ("[REQUEST]", "Queue size: 0", "[RESULT]", "accepted", "Summary:"):
            assert words in printed, printed
        assert "\033[" not in printed, "colours in a file"
        assert token not in printed

    def test_a_real_function_takes_the_place_of_simulated_work(
        self, site: SiteProcess, admin: HttpCaller, space: str, token: str, program: Start
    ) -> None:
        app = mock_app(program, site, space, token, "--handler", "textwrap:dedent")
        app.wait_for("Registration successful")
        final = admin.wait_final(admin.submit(space, "  indented")["id"])
        assert [part["text"] for part in final["output"]] == ["indented"]

    def test_two_answers_are_one_result(
        self, site: SiteProcess, admin: HttpCaller, space: str, token: str, program: Start
    ) -> None:
        app = mock_app(program, site, space, token, "--fault", "double")
        app.wait_for("Registration successful")
        request_id = admin.submit(space, "hello")["id"]
        final = admin.wait_final(request_id)
        app.wait_for("Acknowledged again")
        assert f"{request_id} duplicate" in app.output()
        assert admin.request(request_id) == final

    @pytest.mark.parametrize("fault", ["garbage", "drop"])
    def test_a_fault_on_the_way_leaves_the_right_answer(
        self, site: SiteProcess, admin: HttpCaller, space: str, token: str, program: Start, fault: str
    ) -> None:
        app = mock_app(program, site, space, token, "--fault", fault)
        app.wait_for("Registration successful")
        final = admin.wait_final(admin.submit(space, "hello")["id"])
        assert (final["status"], final["attempt"]) == ("completed", 1), final
        assert "hello" in final["output"][0]["text"]

    def test_without_a_token_it_reads_the_credentials_file(
        self, site: SiteProcess, space: str, token: str, program: Start
    ) -> None:
        save_token(site.url, space, token, site.data_dir / "app-credentials.json")
        words = ("--host", site.url, "--spaces", space)
        program("python", "mock_app.py", *words, SPACES_DATA_DIR=str(site.data_dir)).wait_for("Registration successful")

    def test_a_bad_address_and_a_bad_handler_say_so(self, program: Start) -> None:
        bad = program("python", "mock_app.py", "--host", "http://x/?token=secret", "--spaces", "cats")
        assert bad.wait_exit() == REFUSED_STATUS
        assert "does not belong in the address" in bad.output()
        missing = program("python", "mock_app.py", "--spaces", "cats", "--handler", "no_such_module:answer")
        assert missing.wait_exit() == 1
        assert "--handler no_such_module:answer" in missing.output()


class TestAwayAndBack:
    def test_a_site_that_is_down_is_retried_until_it_is_up(
        self, own_site: Callable[..., SiteProcess], program: Start
    ) -> None:
        site = own_site().start()
        admin = site.admin()
        space = admin.make_space()
        token = admin.make_token(spaces=[space])
        site.kill9()
        app = mock_app(program, site, space, token)
        app.wait_for("Connection refused", count=3)
        site.start()
        app.wait_for("Registration successful")
        site.kill9()
        app.wait_for("The connection was lost")
        site.start()
        app.wait_for("Registration successful", count=2)
        assert app.interrupt() == 0

    def test_ctrl_c_ends_it_while_the_site_is_down(self, program: Start) -> None:
        words = ("--host", f"http://127.0.0.1:{free_port()}", "--spaces", "cats", "--token", "x")
        app = program("python", "mock_app.py", *words)
        app.wait_for("Connection refused")
        assert app.interrupt() == 0

    def test_what_was_computed_during_a_crash_of_the_site_is_taken_once(
        self, own_site: Callable[..., SiteProcess], run: Callable[[App], Running]
    ) -> None:
        site = own_site(SPACES_GRACE=8).start()
        admin = site.admin()
        space = admin.make_space()
        app = App(site.url, admin.make_token(spaces=[space]))
        began, go_on = threading.Event(), threading.Event()
        computed: list[str] = []

        @app.space(space)
        def answer(prompt: str) -> str:
            computed.append(prompt)
            began.set()
            assert go_on.wait(30)
            return prompt

        run(app)
        connected(admin, space)
        ids = [admin.submit(space, f"prompt {number}")["id"] for number in range(3)]
        assert began.wait(10)
        site.kill9()
        go_on.set()
        site.start()
        finals = [admin.wait_final(one) for one in ids]
        assert [one["status"] for one in finals] == ["completed"] * 3, finals
        assert finals[0]["attempt"] == 1
        assert computed == ["prompt 0", "prompt 1", "prompt 2"]

    def test_a_redelivered_request_is_answered_from_the_kept_result(
        self, own_site: Callable[..., SiteProcess], program: Start, tmp_path: Path
    ) -> None:
        site = own_site(SPACES_GRACE=1, SPACES_PING_INTERVAL=1, SPACES_PING_TIMEOUT=1).start()
        admin = site.admin()
        space = admin.make_space(queue_when_offline=True)
        (tmp_path / "slow_model.py").write_text(SLOW_MODEL)
        words = ("--host", site.url, "--spaces", space, "--handler", "slow_model:answer")
        token = admin.make_token(spaces=[space])
        app = program("python", "mock_app.py", *words, SPACES_TOKEN=token, PYTHONPATH=str(tmp_path))
        app.wait_for("Registration successful")
        request_id = admin.submit(space, "hello")["id"]
        app.wait_for("[REQUEST]")
        app.pause()
        wait_until(lambda: admin.request(request_id)["status"] == "queued", "the request is queued again", 15)
        app.resume()
        final = admin.wait_final(request_id)
        assert (final["status"], final["attempt"]) == ("completed", 2), final
        app.wait_for(f"[KEPT] {request_id}")


class TestOtherPrograms:
    def test_a_plain_python_program_is_an_app(
        self, site: SiteProcess, admin: HttpCaller, space: str, token: str, program: Start
    ) -> None:
        plain = program("python", "examples/plain_python_app.py", site.url, space, SPACES_TOKEN=token)
        connected(admin, space)
        ids = [admin.submit(space, f"prompt {number}")["id"] for number in range(3)]
        finals = [admin.wait_final(one) for one in ids]
        assert [one["output"][0]["text"] for one in finals] == ["PROMPT 0", "PROMPT 1", "PROMPT 2"], plain.output()

    def test_a_javascript_program_is_an_app(
        self, site: SiteProcess, admin: HttpCaller, space: str, token: str, node: str, program: Start
    ) -> None:
        app = program(node, str(JAVASCRIPT / "app.js"), site.url, space, SPACES_TOKEN=token)
        app.wait_for("Registration successful")
        ids = [admin.submit(space, f"prompt number {number}")["id"] for number in range(3)]
        finals = [admin.wait_final(one) for one in ids]
        assert [one["output"][0]["text"] for one in finals] == [
            f"JavaScript heard 3 words: prompt number {number}" for number in range(3)
        ], app.output()
        assert app.interrupt() == 0

    def test_a_javascript_program_claims_its_work_after_a_crash_of_the_site(
        self, own_site: Callable[..., SiteProcess], node: str, program: Start
    ) -> None:
        site = own_site(SPACES_GRACE=8).start()
        admin = site.admin()
        space = admin.make_space()
        token = admin.make_token(spaces=[space])
        app = program(node, str(JAVASCRIPT / "app.js"), site.url, space, SPACES_TOKEN=token, DELAY_MS="1000")
        app.wait_for("Registration successful")
        request_id = admin.submit(space, "hello")["id"]
        app.wait_for("[REQUEST]")
        site.restart(kill=True)
        final = admin.wait_final(request_id)
        assert (final["status"], final["attempt"]) == ("completed", 1), app.output()
        assert app.output().count("[REQUEST]") == 1, app.output()

    def test_a_javascript_program_stops_when_refused(
        self, site: SiteProcess, space: str, node: str, program: Start
    ) -> None:
        app = program(node, str(JAVASCRIPT / "app.js"), site.url, space, SPACES_TOKEN="spaces_not-a-token")
        assert app.wait_exit() == REFUSED_STATUS
        assert "refuses" in app.output()
