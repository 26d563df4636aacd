"""Imports go down only: the map of the house, checked."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
#: From the roof to the ground; a name stands for its whole package. A module may import from its own floor and below.
FLOORS = [
    {"project", "wiring"},
    {"pages", "api", "websocket_handler", "web_security", "sweeps", "cli"},
    {
        "accounts",
        "backup",
        "engine_sockets",
        "first_admin",
        "identity",
        "messages",
        "passwords",
        "pruning",
        "restore",
        "restore_target",
        "schema",
        "session_rows",
        "space_admin",
        "submission",
        "throttle",
        "token_rules",
        "tokens",
        "transport",
        "user_rows",
    },
    {"services"},
    {
        "connection_rows",
        "file_reception",
        "file_rows",
        "files",
        "live_progress",
        "notify",
        "process_rows",
        "registrar",
        "request_moves",
        "request_reads",
        "request_store",
        "slot_keeper",
        "space_cells",
        "submit_key_rows",
        "websocket_manager",
    },
    {"database", "extensions", "models", "portable_rows", "request_tables"},
    {"database_bounds", "sqlite_file"},
    {
        "addresses",
        "app_slot",
        "archive",
        "at_once",
        "concurrency",
        "config",
        "errors",
        "event_rate",
        "file_links",
        "file_storage",
        "file_types",
        "forwarded",
        "inline_media",
        "markdown",
        "oversized",
        "polling_posts",
        "ports",
        "recent",
        "simple_sockets",
        "unread",
        "validation",
    },
]
FLOOR_OF = {name: number for number, names in enumerate(FLOORS) for name in names}
#: The room that acts: the manager and its parts know nothing but the slot, the ports and the refusals.
MANAGER = {"websocket_manager", "slot_keeper", "space_cells", "live_progress", "registrar"}
STORE = {
    "request_store",
    "request_reads",
    "request_moves",
    "request_tables",
    "connection_rows",
    "file_rows",
    "process_rows",
    "submit_key_rows",
}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in (ROOT / "project").rglob("*.py")}
PROGRAMS = [*(ROOT / "project").rglob("*.py"), *(ROOT / "spaces_app").rglob("*.py"), *ROOT.glob("*.py")]


def imports(path: Path) -> Iterator[str]:
    """Yield what a file imports when it runs, as full module names; imports for the type checker are left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    unseen = {id(part) for node in ast.walk(tree) if _is_for_types(node) for part in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in unseen:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else str(node.module)


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def room(module: str) -> str:
    """Return the room of a module of the project: ``project.pages.auth`` is in ``pages``."""
    return module.removeprefix("project.").partition(".")[0]


def own_imports(module: str) -> set[str]:
    return {name for name in imports(MODULES[module]) if name.partition(".")[0] == "project"}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_go_down_only(module: str) -> None:
    assert room(module) in FLOOR_OF, f"{module} has no floor yet: give it one in {Path(__file__).name}"
    upward = {name for name in own_imports(module) if FLOOR_OF[room(name)] < FLOOR_OF[room(module)]}
    assert not upward, f"{module} imports upward: {sorted(upward)}"


def test_every_floor_is_still_lived_in() -> None:
    assert set(FLOOR_OF) == {room(module) for module in MODULES}


def test_no_module_imports_itself_in_a_circle() -> None:
    graph = {module: own_imports(module) - {module} for module in MODULES}
    list(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("name", sorted(MANAGER))
def test_the_manager_knows_the_slot_the_ports_and_the_refusals_alone(name: str) -> None:
    allowed = MANAGER | {"app_slot", "errors", "ports"}
    for imported in imports(MODULES[f"project.{name}"]):
        top = imported.partition(".")[0]
        known = room(imported) in allowed if top == "project" else top in sys.stdlib_module_names
        assert known or imported == "project", f"project/{name}.py imports {imported}"


@pytest.mark.parametrize("name", ["app_slot", "ports", "errors"])
def test_the_ground_is_plain_python(name: str) -> None:
    foreign = {
        item for item in imports(MODULES[f"project.{name}"]) if item.partition(".")[0] not in sys.stdlib_module_names
    }
    assert not foreign


@pytest.mark.parametrize("name", sorted(STORE))
def test_the_store_knows_no_sockets_and_no_web(name: str) -> None:
    for imported in imports(MODULES[f"project.{name}"]):
        assert imported.partition(".")[0] not in {"flask", "flask_socketio", "socketio", "engineio", "werkzeug"}
        assert room(imported) not in {"notify", "websocket_manager", "websocket_handler"}


def test_manager_and_handler_never_meet() -> None:
    """The handler is given its manager; at run time it needs nothing of the manager's module but the type."""
    assert "project.websocket_handler" not in own_imports("project.websocket_manager")
    assert "project.websocket_handler" not in own_imports("project.transport")


def test_only_one_package_names_the_concurrency_modes() -> None:
    named = {
        path.relative_to(ROOT).as_posix()
        for path in PROGRAMS
        if {name.partition(".")[0] for name in imports(path)} & {"eventlet", "gevent"}
    }
    assert named == {"project/concurrency/modes.py", "project/concurrency/servers.py"}
