"""What the examples need of a machine: absent at home, their tests are skipped; absent in CI, they fail."""

from __future__ import annotations

import importlib
import os
from typing import NoReturn

import pytest


def need(*modules: str) -> None:
    """Skip the test when a package or a library of the system is absent; in CI that is a failure."""
    for module in modules:
        try:
            importlib.import_module(module)
        except (ImportError, OSError) as error:
            missing(f"{module} cannot be used ({error})")


def missing(what: str) -> NoReturn:
    """End the test for the want of something."""
    reason = f"{what}; see examples/README.md and requirements-dev.txt"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
