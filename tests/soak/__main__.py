"""The long soak, with a report: ``make soak``, or ``python -m tests.soak --minutes 60``.

The exit status is 0 only if everything held.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from pathlib import Path

from tests.site_process import ROOT
from tests.soak.judging import judge
from tests.soak.load import Load
from tests.soak.report import write
from tests.soak.run import soak


def main() -> int:
    """Run, write the report, and print what held."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="length of the load")
    parser.add_argument("--mode", choices=["eventlet", "gevent", "threading"], help="concurrency mode of the site")
    parser.add_argument(
        "--kill-every", type=float, default=0.0, metavar="SECONDS", help="kill -9 of the site; 0: never"
    )
    parser.add_argument("--report", type=Path, default=ROOT / "soak-report", help="folder of the report")
    given = parser.parse_args()
    load = Load(seconds=60 * given.minutes, kill_seconds=given.kill_every)
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        outcome = soak(load, Path(folder), given.mode)
        verdicts = judge(outcome)
    page = write(outcome, verdicts, given.report, shlex.join(["python", "-m", "tests.soak", *sys.argv[1:]]))
    print(*outcome.surprises[:5], outcome.violations(), sep="\n")
    for verdict in verdicts:
        print(verdict)
    print(f"The report: {page}")
    return 0 if all(verdict.holds for verdict in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
