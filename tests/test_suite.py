"""Three tiers of tests by their purpose, the lanes of CI, and the table at the end."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from scripts import lanes
from tests import peers
from tests.virtual import is_wall

ROOT = Path(__file__).parent.parent
CORE = 40
"""Tests with a peer in another process that `make test` runs, at most."""


def recipe(target: str) -> str:
    """Return what `make` would do, asked from outside the one that runs these tests; it does nothing."""
    environ = {
        key: value
        for key, value in os.environ.items()
        if "MAKE" not in key and key not in ("ARGS", "MFLAGS", "WORKERS")
    }
    command = [peers.program("make", "make"), "-n", target]
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=True).stdout


def chosen(printed: str) -> list[str]:
    """Return what each run of pytest chooses by marks."""
    return [" ".join(each.split()) for each in re.findall(r'pytest .*?-m "([^"]+)"', printed)]


def test_the_core_is_small_and_real(request: pytest.FixtureRequest) -> None:
    """Of the tests that this run has collected."""
    core = [item for item in request.session.items if item.get_closest_marker("core")]
    assert len(core) <= CORE
    assert [item.nodeid for item in core if not is_wall(item) or item.get_closest_marker("nightly")] == []


def test_core_tests_of_each_kind_are_there() -> None:
    """As many files carry the mark as there are kinds of the real thing."""
    marked = {file.stem for file in (ROOT / "tests").rglob("test_*.py") if "pytest.mark.core" in file.read_text()}
    assert marked - {Path(__file__).stem, "test_contributing"} == {
        "test_baresip",
        "test_data_channels",
        "test_demo",
        "test_examples",
        "test_kamailio",
        "test_killed_gateway",
        "test_page_lines",
        "test_pjsua2",
        "test_sipp_gateway",
        "test_softphone_calls",
        "test_softphone_video",
        "test_takeover",
    }


@pytest.mark.wall
def test_each_target_runs_its_tier() -> None:
    """No target runs a test twice."""
    assert chosen(recipe("test")) == ["(core or not wall) and not serial and not nightly", "core and serial"]
    assert chosen(recipe("nightly")) == ["nightly and not serial", "nightly and serial", "hypothesis and not serial"]


def test_the_lanes_run_all_but_what_is_nightly() -> None:
    """The suite beside Rust, then links of strangers, tests/sip with every branch, and tests that want no neighbour."""
    (_, suite), (strangers,), (sip,), (serial,) = [[lane.command for lane in step] for step in lanes.steps(3)]
    assert [lane.name for step in lanes.steps(3) for lane in step] == ["rust", "suite", "strangers", "sip", "serial"]
    assert suite[suite.index("-m", 3) + 1] == "not serial and not nightly"
    assert {"--ignore=tests/sip", "--ignore=tests/strangers"} <= set(suite)
    assert "tests/strangers" in strangers
    assert {"tests/sip", "--cov-branch", "--cov-fail-under=100"} <= set(sip)
    assert serial[serial.index("-m", 3) + 1] == "serial and not nightly"


def test_nothing_of_the_sip_core_is_nightly_or_serial() -> None:
    """The lane of tests/sip runs all of it."""
    for file in (ROOT / "tests" / "sip").glob("**/*.py"):
        assert not re.search(r"mark\.(nightly|serial|wall)", file.read_text()), file


def test_the_table_names_lanes_counts_and_failures(tmp_path: Path) -> None:
    """Counts come from the report of a lane, and its status from its command."""
    report = tmp_path / "tests.xml"
    report.write_text('<testsuites><testsuite tests="9" failures="2" errors="1" skipped="1" /></testsuites>')
    outcomes = [
        lanes.Outcome(lanes.Lane("suite", [], report), 1, 61.4, 99.6),
        lanes.Outcome(lanes.Lane("rust", []), 0, 3.0, 4.0),
    ]
    console = Console(width=120, file=io.StringIO(), record=True)
    console.print(lanes.shown(outcomes))
    printed = [[cell.strip() for cell in re.split("[│┃]", line)[1:-1]] for line in console.export_text().splitlines()]
    assert ["suite", "5 passed, 2 failed, 1 errors, 1 skipped", "61", "100", "0", "failed (1)"] in printed
    assert ["rust", "", "3", "4", "0", "passed"] in printed


def test_a_count_that_rises_is_named_and_one_that_falls_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random examples have a twentieth of room; what was not counted before is kept from then on."""
    monkeypatch.setattr(lanes, "BUILD", tmp_path)
    (tmp_path / "effort-suite.json").write_text('{"gateways": 106, "processes": 90, "wall": 104}')
    lane, kept = lanes.Lane("suite", [], tmp_path / "tests.xml"), {"gateways": 100, "wall": 100}
    assert lanes.excess(lane, kept) == ["suite: 106 gateways, of which effort.json has 100"]
    assert lanes.lowered(lane, kept) == {"gateways": 100, "processes": 90, "wall": 100}


@pytest.mark.wall
def test_a_run_counts_gateways_processes_and_marks(tmp_path: Path) -> None:
    """Of every worker together: the counts stand in the file that the run names."""
    test = tmp_path / "test_counted.py"
    test.write_text("import pytest, subprocess\n@pytest.mark.wall\ndef test_it():\n    subprocess.run(['true'])\n")
    file = tmp_path / "effort.json"
    command = [sys.executable, "-m", "pytest", "-q", "-n2", "-p", "no:cacheprovider", "-p", "tests.virtual"]
    command += [
        "-p",
        "tests.effort",
        "-c",
        str(ROOT / "pyproject.toml"),
        "--rootdir",
        str(tmp_path),
        f"--effort={file}",
    ]
    subprocess.run([*command, str(test)], cwd=ROOT, check=True, capture_output=True)
    assert json.loads(file.read_text()) == {"processes": 1, "wall": 1}


@pytest.mark.wall
def test_a_lane_that_fails_shows_its_output(capfd: pytest.CaptureFixture[str]) -> None:
    """One that passes is silent; both count the processor time of their processes."""
    loud = lanes.run(lanes.Lane("loud", ["sh", "-c", "echo what went wrong; exit 3"]))
    assert (loud.status, capfd.readouterr().out) == (3, "what went wrong\n")
    quiet = lanes.run(lanes.Lane("quiet", ["sh", "-c", "echo all well"]))
    assert (quiet.status, capfd.readouterr().out) == (0, "")
    assert loud.cpu > 0


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_the_documents_say_so(page: str) -> None:
    """Readers of `make test` read of `make test-all`."""
    assert "make test-all" in (ROOT / page).read_text()
