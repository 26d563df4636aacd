"""The audit of packages: a known hole fails it; a service that does not answer is said, and is no pass."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts import audit

#: Stands where ``pip-audit`` would: says the same of every package that it is asked about.
STAND_IN = """
import json, pathlib, sys
listed = pathlib.Path(sys.argv[sys.argv.index("--requirement") + 1]).read_text().split()
said = json.loads({said!r})
if said is None:
    sys.exit("the service does not answer")
print(json.dumps({{"dependencies": [dict(zip(("name", "version"), one.split("==")), **said) for one in listed]}}))
"""
HOLE = {"vulns": [{"id": "PYSEC-2026-1", "fix_versions": ["9.9"]}]}


@pytest.mark.parametrize(
    ("said", "status", "words"),
    [
        ({"vulns": []}, 0, "packages looked up, 0 of them unknown"),
        (HOLE, 1, "PYSEC-2026-1, repaired in 9.9"),
        (None, 0, "Left out: the service with the known vulnerabilities does not answer"),
        ({"skip_reason": "not found"}, 0, "Left out"),
    ],
    ids=["clean", "a hole", "no answer", "an empty service"],
)
def test_the_audit_says_what_it_found(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    said: dict[str, object] | None,
    status: int,
    words: str,
) -> None:
    (tmp_path / "pip_audit.py").write_text(STAND_IN.format(said=json.dumps(said)), encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert audit.main() == status
    assert words in capsys.readouterr().out
