"""The whole suite in lanes, and one table of them at the end: `python -m scripts.lanes [LANE...]`.

The status is 0 where every lane passed; no lane runs a test twice.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parent.parent
BUILD = ROOT / "build"
COVERED = ("transactions", "dialogs", "invite", "requests", "subscription")
"""Rooms of the SIP core whose every branch tests/sip takes."""
EFFORT, ROOM = ROOT / "tests" / "data" / "effort.json", 1.05
"""Counts of each lane, which only fall, and the part more that random examples may take."""
PYTEST = (sys.executable, "-m", "pytest", "--durations", "15")


@dataclass(frozen=True)
class Lane:
    """One command."""

    name: str
    command: Sequence[str]
    report: Path | None = None
    """File in the form of JUnit that the command writes; a lane without one is silent unless it fails."""

    @property
    def effort(self) -> dict[str, int]:
        """Counts that the command has written beside its report."""
        file = BUILD / f"effort-{self.name}.json"
        return dict(json.loads(file.read_text())) if self.report is not None and file.exists() else {}


@dataclass(frozen=True)
class Outcome:
    """One lane as it ended."""

    lane: Lane
    status: int
    seconds: float
    cpu: float
    """Seconds of processors, of the lane and of every process that it waited for."""

    @property
    def tests(self) -> str:
        """Counts of the report, such as "14250 passed, 1 skipped"."""
        if self.lane.report is None or not self.lane.report.exists():
            return ""
        suites = list(ElementTree.parse(self.lane.report).getroot().iter("testsuite"))
        names = ("tests", "failures", "errors", "skipped")
        total, *others = (sum(int(suite.get(name, "0")) for suite in suites) for name in names)
        counts = [(total - sum(others), "passed"), *zip(others, ("failed", "errors", "skipped"), strict=True)]
        return ", ".join(f"{count} {word}" for count, word in counts if count or word == "passed")


def steps(workers: int) -> list[list[Lane]]:
    """Return the lanes; those of one step run beside each other, the next step after them."""
    beside = (*PYTEST, "--numprocesses", str(workers), "--dist", "loadfile", "--no-loadscope-reorder")
    apart = "--ignore=tests/sip", "--ignore=tests/strangers"
    coverage = (*(f"--cov=gateway/sip/{room}" for room in COVERED), "--cov-branch", "--cov-fail-under=100")

    def tests(name: str, *command: str) -> Lane:
        report = BUILD / f"tests-{name}.xml"
        return Lane(name, [*command, f"--junit-xml={report}", f"--effort={BUILD / f'effort-{name}.json'}"], report)

    return [
        [
            Lane("rust", ["scripts/plane", "test"]),
            tests("suite", *beside, "-m", "not serial and not nightly", *apart),
        ],
        # Tests of strangers add links to the machine; a browser of the suite would drop its loads then.
        [tests("strangers", *beside, "-m", "not serial and not nightly", "tests/strangers")],
        [tests("sip", *beside, "tests/sip", *coverage, "--cov-report=term-missing:skip-covered")],
        [tests("serial", *PYTEST, "-m", "serial and not nightly")],
    ]


def run(lane: Lane) -> Outcome:
    """Run a lane to its end; where it has no report its output is shown only if it fails."""
    begun = time.monotonic()
    with tempfile.TemporaryFile() as log:
        kept: dict[str, Any] = {"stdout": log, "stderr": subprocess.STDOUT} if lane.report is None else {}
        process = subprocess.Popen(lane.command, cwd=ROOT, **kept)
        _, ended, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(ended)
        if process.returncode:
            log.seek(0)
            sys.stdout.write(log.read().decode(errors="replace"))
            sys.stdout.flush()
    return Outcome(lane, process.returncode, time.monotonic() - begun, used.ru_utime + used.ru_stime)


def excess(lane: Lane, kept: Mapping[str, int]) -> list[str]:
    """Return a line for each count of a lane that is over its kept number."""
    return [
        f"{lane.name}: {count} {name}, of which {EFFORT.name} has {kept[name]}"
        for name, count in lane.effort.items()
        if name in kept and count > kept[name] * ROOM
    ]


def lowered(lane: Lane, kept: Mapping[str, int]) -> dict[str, int]:
    """Return the numbers to keep of a lane: no count rises, and one that was not kept is."""
    return {name: min(count, kept.get(name, count)) for name, count in sorted(lane.effort.items())}


def shown(outcomes: Sequence[Outcome]) -> Table:
    """Return the table of lanes."""
    table = Table("lane", "tests", "seconds", "CPU seconds", "reruns", "status")
    for one in outcomes:
        status = f"failed ({one.status})" if one.status else "passed"
        table.add_row(one.lane.name, one.tests, f"{one.seconds:.0f}", f"{one.cpu:.0f}", "0", status)
    return table


def main() -> int:
    """Run every lane, also after one that failed."""
    parser = argparse.ArgumentParser(prog="python -m scripts.lanes", description="Run the whole suite in lanes.")
    parser.add_argument("lanes", nargs="*", metavar="LANE", help="rust, suite, strangers, sip or serial (all)")
    parser.add_argument("--workers", type=int, default=3, help="tests at a time in the lanes of pytest (3)")
    parser.add_argument("--lower", action="store_true", help=f"write counts that have fallen to {EFFORT.name}")
    options = parser.parse_args()
    chosen = [[lane for lane in step if lane.name in (options.lanes or [lane.name])] for step in steps(options.workers)]
    if not any(chosen):
        parser.error(f"there is no lane {' '.join(options.lanes)}")
    BUILD.mkdir(exist_ok=True)
    console = Console(width=120)
    outcomes: list[Outcome] = []
    for step in filter(None, chosen):
        console.print(f"Running {' and '.join(lane.name for lane in step)}")
        with ThreadPoolExecutor() as beside:
            outcomes += beside.map(run, step)
    console.print(shown(outcomes))
    kept: dict[str, dict[str, int]] = json.loads(EFFORT.read_text())
    over = [line for one in outcomes for line in excess(one.lane, kept.get(one.lane.name, {}))]
    console.print(*over, sep="\n", end="\n" if over else "")
    if options.lower:
        found = {one.lane.name: lowered(one.lane, kept.get(one.lane.name, {})) for one in outcomes if one.lane.effort}
        EFFORT.write_text(json.dumps(kept | found, indent=2) + "\n")
    return int(bool(over) or any(one.status for one in outcomes))


if __name__ == "__main__":
    sys.exit(main())
