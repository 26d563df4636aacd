"""All routes of the site, from its own map of addresses, so that no test forgets a new one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from flask import Flask

SAFE = {"GET", "HEAD", "OPTIONS"}
#: The signature in their address vouches for the call: the only unsafe calls that need neither token nor CSRF token.
SIGNED = {"api_files.put_file", "api_files.post_file"}
ARGUMENT = re.compile(r"<(?:\w+:)?(\w+)>")


@dataclass(frozen=True)
class Route:
    """One address with one method."""

    method: str
    rule: str
    endpoint: str

    @property
    def arguments(self) -> list[str]:
        """The names of what its address is filled in with."""
        return ARGUMENT.findall(self.rule)

    @property
    def is_safe(self) -> bool:
        """Whether its method promises to change nothing."""
        return self.method in SAFE

    def path(self, values: Mapping[str, object]) -> str:
        """Return its address with ``values`` filled in."""
        return ARGUMENT.sub(lambda found: quote(str(values[found[1]]), safe=""), self.rule)


def routes_of(app: Flask) -> list[Route]:
    """Return one route for each address and method; HEAD and OPTIONS come with every other."""
    found = {
        Route(method, rule.rule, str(rule.endpoint))
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    return sorted(found, key=lambda route: (route.rule, route.method))
