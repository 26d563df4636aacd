"""``test_websockets.py`` against a real site, in each concurrency mode, and what it says when something is wrong."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from scenarios.admin import Login
from scenarios.catalogue import Scenario
from scenarios.runner import Screen, exit_status, play_all, summary
from scenarios.stage import Stage, check
from tests.http_caller import HttpCaller
from tests.program import Program
from tests.site_process import SiteProcess, free_port

Start = Callable[..., Program]

PLAY_SECONDS = 150.0
NEXT_COMMAND = re.compile(r'python mock_app\.py --host (\S+) --spaces "(TestSpace_\d+)" --verbose')
REPORTED = ("~500 ms", "~100 ms", "1-5 s", "1.7-5.7 s", "QA lead", "Development lead", "13 passed, 0 failed")
HEADINGS = (
    "Test environment",
    "Pre-test checklist",
    "Scenarios",
    "Performance",
    "Issues found",
    "Versions",
    "Sign-off",
)


def play(program: Start, site: SiteProcess, *options: str, **environment: str) -> Program:
    words = ("python", "test_websockets.py", "--host", site.url, *options)
    return program(*words, **{"SPACES_DATA_DIR": str(site.data_dir), **environment})


def left_behind(site: SiteProcess) -> list[str]:
    """Return the spaces and tokens of scenarios that still exist."""
    admin = site.admin()
    found = [*admin.json("GET", "spaces")["items"], *admin.json("GET", "tokens")["items"]]
    return [one["name"] for one in found if one["name"].startswith("Scenario")]


@pytest.mark.parametrize("mode", ["eventlet", "gevent", pytest.param("threading", marks=pytest.mark.long)])
def test_all_scenarios_pass(mode: str, program: Start, tmp_path: Path) -> None:
    report = tmp_path / "results.md"
    with SiteProcess(tmp_path / "site", async_mode=mode, SPACES_RATE_LIMITS="on") as site:
        played = play(program, site, "--report", str(report))
        status = played.wait_exit(PLAY_SECONDS)
        assert status == 0, f"{played.output()}\n--- the site:\n{site.output()}"
        assert "13 passed, 0 failed" in played.output()
        assert left_behind(site) == []
        assert "Traceback" not in site.output()
        text = report.read_text(encoding="utf-8")
        assert [heading for heading in HEADINGS if f"\n## {heading}\n" not in text] == []
        assert [figure for figure in REPORTED if figure not in text] == []
        assert str(tmp_path.parent) not in text
        assert site.admin_credentials()[1] not in text


def test_the_quick_start_works_word_for_word(program: Start, site: SiteProcess, admin: HttpCaller) -> None:
    setup = play(program, site, "--setup-space")
    assert setup.wait_exit() == 0, setup.output()
    found = NEXT_COMMAND.search(setup.output())
    assert found, setup.output()
    assert found[1] == site.url
    name = found[2]
    assert admin.space(name)["inputs"] == {"prompt": True, "audio": True, "video": True, "file": True}

    words = ("python", "mock_app.py", "--host", found[1], "--spaces", name, "--verbose")
    app = program(*words, SPACES_DATA_DIR=str(site.data_dir))
    app.wait_for("Registration successful")
    request = admin.wait_final(admin.submit(name, "From the quick start")["id"])
    assert request["status"] == "completed"
    app.wait_for("[RESULT]")
    assert app.interrupt() == 0


def test_the_token_is_kept_for_its_owner_only_and_not_printed(
    program: Start, site: SiteProcess, tmp_path: Path
) -> None:
    username, password = site.admin_credentials()
    elsewhere = {"SPACES_DATA_DIR": str(tmp_path), "SPACES_ADMIN_USERNAME": username, "SPACES_ADMIN_PASSWORD": password}
    setup = play(program, site, "--setup-space", **elsewhere)
    assert setup.wait_exit() == 0, setup.output()
    kept = tmp_path / "app-credentials.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    tokens = [token for spaces in json.loads(kept.read_text()).values() for token in spaces.values()]
    assert len(tokens) == 1
    assert tokens[0] not in setup.output()


def test_a_site_that_is_down_gets_one_clear_line(program: Start) -> None:
    host = f"http://127.0.0.1:{free_port()}"
    played = program("python", "test_websockets.py", "--host", host, "--username", "a", "--password", "b")
    assert played.wait_exit() == 1
    assert played.output().count("\n") == 1
    assert "Connection refused" in played.output()
    assert "python run.py" in played.output()


def test_a_wrong_password_says_what_to_do(program: Start, site: SiteProcess) -> None:
    played = play(program, site, "--username", "admin", "--password", "not the password")
    assert played.wait_exit() == 1
    assert "--password" in played.output()


def test_no_password_at_all_says_what_to_do(program: Start, site: SiteProcess, tmp_path: Path) -> None:
    played = play(program, site, SPACES_DATA_DIR=str(tmp_path / "empty"))
    assert played.wait_exit() == 1
    assert "SPACES_ADMIN_PASSWORD" in played.output()


def test_somebody_who_is_no_admin_is_told_so(program: Start, site: SiteProcess) -> None:
    HttpCaller(site.url).sign_up("ann", "a password of her own")
    played = play(program, site, SPACES_ADMIN_USERNAME="ann", SPACES_ADMIN_PASSWORD="a password of her own")
    assert played.wait_exit() == 1
    assert "not an admin" in played.output()


def test_ctrl_c_removes_what_was_made(program: Start, site: SiteProcess) -> None:
    played = play(program, site, "--verbose")
    played.wait_for("Registration successful")
    assert played.interrupt() == 130, played.output()
    assert left_behind(site) == []
    assert "Traceback" not in played.output()


def test_a_failing_scenario_is_counted_and_the_rest_still_plays(
    site: SiteProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(stage: Stage) -> None:
        space = stage.space()
        check(stage.submit(space, "Nobody is there").status == 202, "nobody took the prompt")

    def surprising(stage: Stage) -> None:
        stage.space()
        raise KeyError("no such key")

    def fine(stage: Stage) -> None:
        stage.connect(stage.space(), "--delay", "0")

    played = [Scenario("one", "", refused), Scenario("two", "", surprising), Scenario("three", "", fine)]
    records = play_all(site.url, Login(*site.admin_credentials()), Screen(verbose=False), played)
    assert [record.problem for record in records] == ["nobody took the prompt", "KeyError: 'no such key'", ""]
    assert summary(records) == "1 passed, 2 failed"
    assert exit_status(records) == 1
    assert exit_status(records[2:]) == 0
    assert "[ 2/3] FAIL  two" in capsys.readouterr().out
    assert left_behind(site) == []
