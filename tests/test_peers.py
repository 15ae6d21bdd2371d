"""Skips: each names its remedy, and what CI could install is a failure there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import peers

TESTS = Path(__file__).parent
SKIPPING = re.compile(r"\bpytest\.(?:mark\.)?(?:skip|skipif|importorskip|xfail)\b(?!\.)")


def test_nothing_but_peers_skips_a_test() -> None:
    """So that pytest's last lines say of every skip what would cure it, in one line a remedy."""
    files = [path for path in TESTS.rglob("*.py") if SKIPPING.search(path.read_text(encoding="utf-8"))]
    assert files == [TESTS / "peers.py"]


@pytest.mark.parametrize(("ci", "outcome"), [("", pytest.skip.Exception), ("true", pytest.fail.Exception)])
def test_a_missing_peer_skips_but_fails_in_ci(
    monkeypatch: pytest.MonkeyPatch, ci: str, outcome: type[BaseException]
) -> None:
    """With the same sentence, which says what to install."""
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match=r"^no-such-program is not here: install the Debian package such$"):
        peers.program("no-such-program", "such")


@pytest.mark.wall
@pytest.mark.parametrize(("ci", "ending"), [("", "\n{0} skipped: {1}\n"), ("true", "\n{0} failed in ")])
def test_a_run_ends_with_one_line_for_each_remedy(ci: str, ending: str) -> None:
    """With how many tests it would let run."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-n0",
        "-p",
        "no:cacheprovider",
        "tests/interop/test_sipp_callees.py",
    ]
    environ = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    environ |= {"PATH": "/nonexistent", "CI": ci}
    done = subprocess.run(command, cwd=TESTS.parent, env=environ, capture_output=True, text=True, timeout=100)
    said = re.findall(r"\bsipp is not here: install the Debian package sip-tester\b", done.stdout)
    count = re.search(r"^(\d+) (?:skipped|failed) in ", done.stdout, re.MULTILINE)
    assert said, done.stdout
    assert count is not None
    assert ending.format(count[1], said[0]) in done.stdout


def test_what_no_package_cures_is_a_skip_in_ci_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wheels for another Python."""
    monkeypatch.setenv("CI", "true")
    monkeypatch.setattr(sys, "version_info", (3, 13))
    with pytest.raises(pytest.skip.Exception, match=r"^pjsua2 is not here: PyPI has wheels of it for Python 3\.11"):
        peers.pjsua2()
