"""The documentation says what the code does: settings, codes, events, commands, files."""

import re
import subprocess
import sys

import pytest

from project.config import Settings
from project.websocket_handler import MESSAGES
from spaces_app.faults import FAULTS
from tests.site_process import ROOT

GUIDE = (ROOT / "WEBSOCKETS_GUIDE.md").read_text(encoding="utf-8")
SETTINGS = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
SECURITY = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
TESTING = (ROOT / "TESTING_WEBSOCKETS.md").read_text(encoding="utf-8")
PAGES = sorted(path for path in ROOT.glob("*.md")) + sorted((ROOT / "docs").rglob("*.md"))


def shown(default: object) -> str:
    if default == "":
        return "none"
    if isinstance(default, float) and default.is_integer():
        default = int(default)
    return f"`{default}`"


@pytest.mark.parametrize("name", Settings.model_fields)
def test_each_setting_has_one_line_with_its_default(name: str) -> None:
    line = f"| `SPACES_{name.upper()}` |"
    found = [row for row in SETTINGS.splitlines() if row.startswith(line)]
    assert len(found) == 1
    field = Settings.model_fields[name]
    assert f"| {shown(field.default)} |" in found[0]
    assert field.description
    assert field.description in found[0]


def test_the_reference_names_no_setting_that_is_not_there() -> None:
    rows = re.findall(r"^\| `SPACES_([A-Z_]+)` \|", SETTINGS, flags=re.MULTILINE)
    assert {name.lower() for name in rows} == set(Settings.model_fields)


def test_the_limits_name_settings_that_are_there() -> None:
    page = (ROOT / "docs" / "limits.md").read_text(encoding="utf-8")
    named = {name.lower() for name in re.findall(r"`SPACES_([A-Z_]+)`", page)}
    assert named <= set(Settings.model_fields)
    limits = {name for name in Settings.model_fields if name.startswith("max_") or "_per_" in name}
    assert limits - {"max_attempts"} <= named


@pytest.mark.parametrize("code", MESSAGES)
def test_each_code_of_the_wire_is_explained(code: str) -> None:
    assert f"`{code}`" in GUIDE


@pytest.mark.parametrize("event", ["register", "inference_progress", "inference_result", "register_response",
                                   "inference_request", "inference_cancel", "queue_update", "probe"])  # fmt: skip
def test_each_event_is_explained(event: str) -> None:
    assert f"| `{event}` |" in GUIDE


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_of_the_mock_app_is_explained(fault: str) -> None:
    assert f"| `{fault}` |" in TESTING


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_everything_that_the_security_review_names_exists() -> None:
    """Modules, test files, and test functions behind a file's name: no claim without a place."""
    named = re.findall(r"`((?:project|tests|scripts|migrations)/[\w./]*)(?:::(\w+))?`", SECURITY)
    assert len(named) > 60
    for path, function in named:
        assert (ROOT / path).exists(), path
        assert not function or f"def {function}(" in (ROOT / path).read_text(encoding="utf-8"), f"{path}::{function}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_make_commands_exist(page) -> None:
    help_text = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in set(re.findall(r"^    make ([a-z-]+)", page.read_text(encoding="utf-8"), flags=re.MULTILINE)):
        assert f"make {target} " in help_text


def test_python_snippets_compile() -> None:
    for page in PAGES:
        for snippet in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL):
            compile(re.sub(r"^   ", "", snippet, flags=re.MULTILINE) if snippet.startswith("   ") else snippet,
                    str(page), "exec")  # fmt: skip


@pytest.mark.parametrize("program", ["run.py", "mock_app.py", "test_websockets.py"])
def test_programs_explain_themselves(program: str) -> None:
    answer = subprocess.run([sys.executable, program, "--help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "--host" in answer.stdout
