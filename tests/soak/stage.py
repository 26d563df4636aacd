"""What stands before the clock starts: a site, spaces, people with tokens, programs with apps, and a bare server."""

from __future__ import annotations

import json
import secrets
import signal
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.http_caller import HttpCaller
from tests.program import Program
from tests.site_process import SiteProcess, free_port, wait_until
from tests.soak.load import SETTINGS, Load
from tests.soak.people import Person

INPUTS = {"prompt": True, "audio": False, "video": False, "file": True}
#: As many as the site hashes passwords at once.
HANDS = 4
#: The programs and what their apps are written with; the spaces are dealt out among them.
PROGRAMS = ("package", "plain")
START_SECONDS = 60.0
#: How the lines begin that are counted.
COUNTED = ("churn ", "ack ", "lost", "unreachable ")
#: Of what a program printed from its first traceback on.
SHOWN_CHARS = 3_000


@dataclass
class Stage:
    """All of it, running."""

    site: SiteProcess
    bare_url: str
    admin_token: str
    spaces: list[str]
    people: list[Person]
    programs: list[Program]

    def churn(self, begin: bool) -> None:
        """Let the apps come and go, or stay."""
        for program in self.programs:
            program.process.send_signal(signal.SIGUSR1 if begin else signal.SIGUSR2)

    def heard(self) -> list[tuple[str, dict[str, Any], Any]]:
        """Return what plain apps got and were told: event, body, acknowledgement."""
        return [json.loads(line.removeprefix("heard ")) for line in self._lines() if line.startswith("heard ")]

    def said(self) -> Counter[str]:
        """Return how often the apps came, went, lost their connection, or were told that a result does not count."""
        lines = (line for line in self._lines() if line.startswith(COUNTED))
        return Counter(" ".join(line.removeprefix("churn ").split()[:2]) for line in lines)

    def surprises(self) -> list[str]:
        """Return what nobody foresaw: strange words and tracebacks of the apps, and tracebacks of the site."""
        found = [line for line in self._lines() if line.startswith("strange")]
        outputs = {"the site": self.site.output()} | {str(one.process.args): one.output() for one in self.programs}
        return found + [f"{name}:\n{_from_traceback(text)}" for name, text in outputs.items() if "Traceback" in text]

    def _lines(self) -> Iterator[str]:
        for program in self.programs:
            yield from program.output().splitlines()


@contextmanager
def stage(load: Load, folder: Path, mode: str | None) -> Iterator[Stage]:
    """Set everything up in ``folder``, and take it down at the end."""
    with ExitStack() as stack:
        site = stack.enter_context(SiteProcess(folder, async_mode=mode, **SETTINGS))
        admin = site.admin()
        spaces = [admin.make_space(inputs=INPUTS, queue_when_offline=number % 4 == 0) for number in range(load.spaces)]
        with ThreadPoolExecutor(HANDS) as hands:
            people = list(hands.map(lambda number: _person(site.url, number), range(load.users)))
        bare_url = stack.enter_context(_bare_server(site, folder))
        token = admin.make_token(spaces=spaces)
        programs = [_program(site.url, token, spaces, number, load, folder) for number in range(len(PROGRAMS))]
        for program in programs:
            stack.callback(program.kill)
        wait_until(lambda: all(_is_connected(admin, space) for space in spaces), "every space has its app", 60)
        admin_token = admin.make_token(scopes=("api",))
        admin.http.close()
        yield Stage(site, bare_url, admin_token, spaces, people, programs)


def _from_traceback(text: str) -> str:
    return text[text.index("Traceback") :][:SHOWN_CHARS]


def _is_connected(admin: HttpCaller, space: str) -> bool:
    return bool(admin.space(space)["connected"])


def _person(url: str, number: int) -> Person:
    caller = HttpCaller(url).join(f"person{number}", secrets.token_urlsafe(16))
    person = Person(f"person{number}", caller.make_token(scopes=("api",)))
    caller.http.close()
    return person


def _program(url: str, token: str, spaces: list[str], number: int, load: Load, folder: Path) -> Program:
    given = {
        "url": url,
        "token": token,
        "spaces": spaces[number :: len(PROGRAMS)],
        "kind": PROGRAMS[number],
        "compute_seconds": load.compute_seconds,
        "churn_seconds": load.churn_seconds,
    }
    file = folder / f"apps{number}.json"
    file.write_text(json.dumps(given), encoding="utf-8")
    return Program(["python", "-m", "tests.soak.apps", str(file)], folder / f"apps{number}.log")


@contextmanager
def _bare_server(site: SiteProcess, folder: Path) -> Iterator[str]:
    """Run a server of the same kind that does nothing."""
    port = free_port()
    mode = {"SPACES_ASYNC_MODE": site.environment["SPACES_ASYNC_MODE"]}
    program = Program(["python", "-m", "benchmarks.bare_relay", str(port)], folder / "bare.log", mode)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(HttpCaller(url).is_ready, "the bare server serves", START_SECONDS)
        yield url
    finally:
        program.kill()
