"""Tests that failed beside others, each again by itself: `python -m tests.alone 3`, in CI after a run that failed.

There browsers, phones and Kamailio of three tests share two processors, and a bound of seconds may pass in which
nothing got one. Who fails by itself has failed. Who passes is named at the end, and is a fault of that test to mend.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

FAILED = Path(".pytest_cache/v/cache/lastfailed")


def again(most: int) -> int:
    """0 where at most `most` tests had failed, and each passes by itself; else 1."""
    failed = list(json.loads(FAILED.read_text(encoding="utf-8"))) if FAILED.exists() else []
    if not 0 < len(failed) <= most:
        _say(f"{len(failed)} tests failed: by themselves only 1 to {most} are run again")
        return 1
    _say(f"Again by themselves: {', '.join(failed)}")
    for test in failed:
        if status := subprocess.run([sys.executable, "-m", "pytest", test], check=False).returncode:
            return status
    _say(f"{len(failed)} failed beside others and passed by themselves: {', '.join(failed)}")
    return 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(again(int(sys.argv[1])))
