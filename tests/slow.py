"""Which tests take long: `python -m tests.slow` names anew in data/slow.txt what `make test` leaves to `make test-all`.

It reads build/tests.xml, which the last of the two has left. What carries the mark `slow` by itself is not named.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parent.parent
FILE = Path(__file__).parent / "data" / "slow.txt"
LONGEST = 3.0
"""Seconds that a test takes, with its fixtures, of which `make test` has thousands."""


def named() -> frozenset[str]:
    """The ids of tests that took longer when it was last asked."""
    return frozenset(FILE.read_text(encoding="utf-8").splitlines())


def taken(report: Path) -> Iterator[tuple[str, float]]:
    """The id of each test in a report of pytest's, and the seconds that it took."""
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        parts = (case.get("classname") or "").split(".")
        for depth in range(len(parts), 0, -1):
            file = "/".join(parts[:depth]) + ".py"
            if (ROOT / file).is_file():
                yield "::".join([file, *parts[depth:], case.get("name") or ""]), float(case.get("time") or 0)
                break


def main(reports: Iterable[Path]) -> None:
    """Tests that were not in the reports stay as they are."""
    times = dict(each for report in reports for each in taken(report))
    found = {test for test, seconds in times.items() if seconds > LONGEST} | (named() - times.keys())
    FILE.write_text("".join(f"{test}\n" for test in sorted(found)), encoding="utf-8")
    sys.stdout.write(f"{len(found)} tests take longer than {LONGEST:.0f} s\n")


if __name__ == "__main__":
    main([ROOT / "build" / "tests.xml"])
