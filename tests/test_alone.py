"""`tests.alone` passes only what passes by itself, and says what did."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.wall

ROOT = Path(__file__).parent.parent
SUITE = """
from pathlib import Path
import pytest
def test_good(): pass
@pytest.mark.parametrize("number", [1, 2])
def test_once(number):
    ran = Path(f"ran-{number}")
    ran.touch() if (first := not ran.exists()) else None
    assert not first
def test_bad(): assert not Path("is-bad").exists()
"""


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """`python -m` of it in `folder`."""
    environ = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    line = [sys.executable, "-m", *command]
    return subprocess.run(line, cwd=folder, env=environ, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("is_bad", "most", "status"), [(False, "2", 0), (False, "1", 1), (True, "3", 1)])
def test_what_failed_is_run_again_by_itself(tmp_path: Path, is_bad: bool, most: str, status: int) -> None:
    (tmp_path / "test_them.py").write_text(SUITE)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    if is_bad:
        (tmp_path / "is-bad").touch()
    first = run(tmp_path, "pytest", "-q")
    assert first.returncode == 1
    second = run(tmp_path, "tests.alone", most)
    assert second.returncode == status, second.stdout + second.stderr
    named = "test_them.py::test_once[1], test_them.py::test_once[2]"
    said = f"2 failed beside others and passed by themselves: {named}"
    assert (said in second.stdout) == (status == 0)


def test_a_run_that_failed_without_a_test_stays_failed(tmp_path: Path) -> None:
    """A broken configuration, say: nothing can be run again, and nothing passed."""
    done = run(tmp_path, "tests.alone", "3")
    assert (done.returncode, done.stdout) == (1, "0 tests failed: by themselves only 1 to 3 are run again\n")
