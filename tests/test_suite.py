"""`make test` leaves out what is slow, and `make test-all`, which CI runs, nothing."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests import peers, slow
from tests.virtual import is_wall

ROOT = Path(__file__).parent.parent


def told(target: str) -> str:
    """What `make` would do, asked from outside the one that runs these tests; it does nothing."""
    environ = {
        key: value
        for key, value in os.environ.items()
        if "MAKE" not in key and key not in ("ARGS", "MFLAGS", "WORKERS")
    }
    command = [peers.program("make", "make"), "-n", target]
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=True).stdout


def chosen(target: str) -> list[str]:
    """What each run of pytest of that target chooses by marks."""
    printed = told(target)
    return [" ".join(each.split()) for each in re.findall(r'pytest .*?-m "([^"]+)"', printed)]


def serial_files() -> set[str]:
    return {
        file.relative_to(ROOT).as_posix()
        for file in (ROOT / "tests").glob("**/test_*.py")
        if re.search(r"pytest\.mark\.serial", file.read_text()) and file != Path(__file__)
    }


@pytest.mark.wall
def test_what_is_slow_is_left_out_by_make_test_alone() -> None:
    """Beside each other, one after the other and tests/sip, which has nothing slow."""
    quick, whole = chosen("test"), chosen("test-all")
    assert quick == ["not serial and not slow", "not serial", "serial and not slow"]
    assert whole[:3] == ["not serial", "not serial", "serial"]
    assert whole[3:] == ["hypothesis and not serial"]


@pytest.mark.wall
def test_as_many_run_at_once_as_contributing_says() -> None:
    """Four where nothing slow is among them, else three; and as many as one asks for."""
    assert set(re.findall(r"--numprocesses (\d+)", told("test"))) == {"4"}
    assert re.findall(r"--numprocesses (\d+)", told("test-all"))[0] == "3"
    assert "four at a time, `make test-all` three" in (ROOT / "CONTRIBUTING.md").read_text()


def test_nothing_of_the_sip_core_is_slow_or_serial() -> None:
    """`make coverage` runs all of it."""
    for file in (ROOT / "tests" / "sip").glob("**/*.py"):
        assert "mark.slow" not in file.read_text(), file
        assert "mark.serial" not in file.read_text(), file


@pytest.mark.wall
def test_each_file_with_serial_tests_is_given_to_their_run() -> None:
    """By the Makefile's own search."""
    [line] = [line for line in told("test").splitlines() if '-m "serial' in line]
    assert serial_files() <= set(line.split())


def test_what_is_named_as_slow_is_there_and_marked(request: pytest.FixtureRequest) -> None:
    """A test that is renamed or gone is named no more; of the files that are run here, each named test is marked."""
    for test in slow.named():
        file, _, function = test.partition("::")
        assert re.search(
            rf"def {re.escape(function.rpartition('::')[2].partition('[')[0])}\(", (ROOT / file).read_text()
        ), test
    for item in request.session.items:
        if item.nodeid in slow.named() and is_wall(item):
            assert item.get_closest_marker("slow"), item.nodeid


def test_long_tests_are_found_in_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are not in it stay as they are."""
    report, names = tmp_path / "tests.xml", tmp_path / "slow.txt"
    here = "tests.test_suite"
    cases = [(here, "a[1::b]", 3.5), (here, "b", 2.5), (f"{here}.Group", "c", 9.0), ("elsewhere", "d", 9.0)]
    lines = [f'<testcase classname="{group}" name="{name}" time="{took}" />' for group, name, took in cases]
    report.write_text(f"<testsuites><testsuite>{''.join(lines)}</testsuite></testsuites>")
    names.write_text("tests/test_suite.py::b\ntests/test_suite.py::absent\n")
    monkeypatch.setattr(slow, "FILE", names)
    slow.main([report])
    assert names.read_text().splitlines() == [
        f"tests/test_suite.py::{each}" for each in ("Group::c", "a[1::b]", "absent")
    ]


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_the_documents_say_so(page: str) -> None:
    """Whoever reads of `make test` reads of `make test-all`."""
    assert "make test-all" in (ROOT / page).read_text()
