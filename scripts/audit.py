"""Ask for known vulnerabilities of the installed packages (``pip-audit``); part of ``make check``.

One package is asked for first: where nobody answers, the audit is left out with a word in place of failing.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

SECONDS = 300
FIRST = "Flask"


def installed() -> list[str]:
    """Return all installed packages as ``name==version``, without pip itself and without this project."""
    freeze = [sys.executable, "-m", "pip", "--disable-pip-version-check", "freeze", "--exclude-editable"]
    lines = subprocess.run(freeze, check=True, capture_output=True, text=True, timeout=SECONDS).stdout.splitlines()
    return [line for line in lines if "==" in line]


def audit(packages: list[str]) -> list[dict[str, object]] | None:
    """Return what ``pip-audit`` says of each package, or nothing when it could not ask."""
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder) / "packages.txt"
        listed.write_text("\n".join(packages), encoding="utf-8")
        command = [sys.executable, "-m", "pip_audit", "--no-deps", "--disable-pip", "--progress-spinner", "off"]
        words = [*command, "--format", "json", "--requirement", str(listed)]
        try:
            answer = subprocess.run(words, check=False, capture_output=True, text=True, timeout=SECONDS)
            found: list[dict[str, object]] = json.loads(answer.stdout)["dependencies"]
        except (subprocess.TimeoutExpired, ValueError, KeyError):
            return None
    return found


def main() -> int:
    """Print what was found; the exit status is 1 when a package has a known vulnerability."""
    packages = installed()
    first = audit([line for line in packages if line.startswith(f"{FIRST}==")])
    answered = first and not any("skip_reason" in one for one in first)
    found = audit(packages) if answered else None
    if found is None:
        print("Left out: the service with the known vulnerabilities does not answer here.")
        return 0
    for one in found:
        for hole in one.get("vulns") or []:  # type: ignore[attr-defined]
            print(f"{one['name']} {one['version']}: {hole['id']}, repaired in {', '.join(hole['fix_versions']) or '-'}")
    unknown = sum("skip_reason" in one for one in found)
    print(f"{len(found)} packages looked up, {unknown} of them unknown there.")
    return 1 if any(one.get("vulns") for one in found) else 0


if __name__ == "__main__":
    sys.exit(main())
