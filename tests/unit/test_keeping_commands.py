"""How the long commands speak and wait, and what the documentation says of them."""

from __future__ import annotations

import re

import click
import pytest
from flask_migrate import cli

from project.cli import COMMANDS
from project.cli.keeping import PAUSE, TRIES, Progress, patiently
from project.errors import DatabaseAway
from tests.schemas import STORED
from tests.site_process import ROOT


def test_progress_is_one_line_a_second(capsys: pytest.CaptureFixture[str]) -> None:
    clock = iter([0.0, 0.5, 1.0, 1.5, 1.9, 2.0, 7.0])
    progress = Progress(monotonic=lambda: next(clock))
    for line in "abcdef":
        progress(line)
    assert capsys.readouterr().err.split() == ["b", "e", "f"]


class Busy:
    """Refuses so many times."""

    def __init__(self, times: int) -> None:
        self.left, self.done, self.pauses = times, 0, [0.0]

    def act(self) -> None:
        if self.left:
            self.left -= 1
            raise DatabaseAway(retry_after=1)
        self.done += 1


def test_a_busy_database_is_asked_again() -> None:
    busy = Busy(3)
    patiently(busy.act, busy.pauses.append)
    assert (busy.done, busy.pauses[1:]) == (1, [PAUSE] * 3)


def test_but_not_for_ever() -> None:
    busy = Busy(1_000)
    with pytest.raises(DatabaseAway):
        patiently(busy.act, busy.pauses.append)
    assert len(busy.pauses) == TRIES


# What the documentation says

PAGES = [ROOT / "docs" / "operations.md", ROOT / "WEBSOCKETS_GUIDE.md"]


def said_commands() -> set[str]:
    """Return all that the documentation says behind ``flask --app project``."""
    found = [re.findall(r"flask --app project ([^\n`']+)", page.read_text(encoding="utf-8")) for page in PAGES]
    return {line.partition(" && ")[0].strip() for lines in found for line in lines}


@pytest.mark.parametrize("line", sorted(said_commands()))
def test_each_command_of_the_documentation_exists(line: str) -> None:
    words = line.split()
    command = {one.name: one for one in (*COMMANDS, cli.db)}[words[0]]
    if isinstance(command, click.Group):
        command, words = command.commands[words[1]], words[1:]
    options = {name for parameter in command.params for name in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= options


def test_every_command_and_option_is_explained() -> None:
    page = PAGES[0].read_text(encoding="utf-8") + PAGES[1].read_text(encoding="utf-8")
    for command in COMMANDS:
        assert f"flask --app project {command.name}" in page
        for parameter in command.params:
            if isinstance(parameter, click.Option) and command.name in {"backup", "restore", "prune"}:
                assert f"`{parameter.opts[0]}" in page


def test_the_schemas_of_the_releases_are_stored() -> None:
    revisions = re.findall(r"^\| [\d.]+ \| `(\d{4})` \|", PAGES[0].read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert revisions
    assert set(revisions) <= set(STORED)
