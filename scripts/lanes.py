"""The whole suite in lanes, and one table of them at the end: `python -m scripts.lanes [LANE...]`.

The status is 0 where every lane passed; no lane runs a test twice.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
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
PYTEST = (sys.executable, "-m", "pytest", "--durations", "15")


@dataclass(frozen=True)
class Lane:
    """One command."""

    name: str
    command: Sequence[str]
    report: Path | None = None
    """File in the form of JUnit that the command writes; a lane without one is silent unless it fails."""


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
        return Lane(name, [*command, f"--junit-xml={report}"], report)

    return [
        [
            Lane("rust", ["scripts/plane", "test"]),
            tests("suite", *beside, "-m", "not serial and not nightly", *apart),
        ],
        # They add links to this machine, which browsers of the suite would take for another network.
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
    return int(any(one.status for one in outcomes))


if __name__ == "__main__":
    sys.exit(main())
