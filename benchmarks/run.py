"""Every measurement, one after the other: ``make bench``."""

from __future__ import annotations

import subprocess
import sys

from tests.site_process import ROOT

MEASUREMENTS = (
    ("benchmarks.latency", "--mode", "eventlet"),
    ("benchmarks.latency", "--mode", "gevent"),
)


def main() -> None:
    """Run each in a process of its own. Raises CalledProcessError when one fails."""
    for number, arguments in enumerate(MEASUREMENTS, 1):
        print(f"[{number}/{len(MEASUREMENTS)}] {' '.join(arguments)}", flush=True)
        subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
