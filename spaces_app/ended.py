"""How serving ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Refusal:
    """Why the site does not let this app serve a space; ``code`` is for programs, ``message`` for people."""

    code: str
    message: str


@dataclass(frozen=True)
class Ended:
    """What :meth:`spaces_app.App.run` returns.

    ``why`` is ``stopped`` (somebody asked for it), ``refused`` (no space is left to serve, or the site
    refused the connection) or ``disconnected`` (the site ended the connection for good).
    ``refusals`` has one entry for each refused space.
    """

    why: Literal["stopped", "refused", "disconnected"]
    message: str = ""
    refusals: dict[str, Refusal] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether serving ended because somebody asked for it."""
        return self.why == "stopped"
