"""Audit of dependencies: advisories are named, and what could not be judged is no success."""

from __future__ import annotations

from typing import Any

import pytest

from scripts import audit
from tests.rows import by_row

CLEAN = {"name": "httptools", "version": "0.7.1", "vulns": []}
SKIPPED = {"name": "redis", "skip_reason": "Dependency not found"}
OURS = {"name": "sip-webrtc-gateway", "skip_reason": "distribution marked as editable"}
HIT = {"name": "av", "version": "14.0.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["14.0.1"], "aliases": []}]}
JUDGED = {"database": {"advisory-count": 700}, "lockfile": {"dependency-count": 90}}
CRATE = JUDGED | {
    "vulnerabilities": {
        "list": [
            {
                "package": {"name": "ring", "version": "0.17.0"},
                "advisory": {"id": "RUSTSEC-1"},
                "versions": {"patched": [">=0.17.1"]},
            }
        ]
    }
}


@by_row(
    ("dependencies", "said"),
    [
        ([CLEAN, OURS], []),
        ([CLEAN, HIT], ["av 14.0.0: PYSEC-1, mended in 14.0.1."]),
        ([], ["No advisories could be asked for the Python packages: the report names none."]),
        ([OURS], ["No advisories could be asked for the Python packages: the report names none."]),
        ([SKIPPED], ["No advisories could be asked for redis."]),
        ([SKIPPED] * 7, ["No advisories could be asked for redis, redis, redis, redis, redis and 2 others."]),
    ],
)
def test_packages_with_advisories_are_named(dependencies: list[dict[str, Any]], said: list[str]) -> None:
    """The gateway itself is no dependency."""
    assert list(audit.of_packages({"dependencies": dependencies})) == said


def test_crates_with_advisories_are_named() -> None:
    """By the file that locks them."""
    said = "ring 0.17.0 (plane/Cargo.lock): RUSTSEC-1, mended in >=0.17.1."
    assert list(audit.of_crates(CRATE, "plane/Cargo.lock")) == [said]
    clean: dict[str, Any] = JUDGED | {"vulnerabilities": {"list": []}}
    assert list(audit.of_crates(clean, "plane/Cargo.lock")) == []
    [said] = audit.of_crates(clean | {"database": {"advisory-count": 0}}, "plane/Cargo.lock")
    assert said == "No advisories could be asked for plane/Cargo.lock: the database or the file is empty."


@pytest.mark.parametrize(
    ("reports", "status"),
    [
        (JUDGED | {"dependencies": [CLEAN], "vulnerabilities": {"list": []}}, 0),
        ("the service does not answer", 1),
    ],
)
def test_an_audit_that_asked_nobody_fails(
    reports: dict[str, Any] | str, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 0 only where everything was judged, and nothing found."""
    monkeypatch.setattr(audit, "_asked", lambda command: reports)
    assert audit.main() == status
    said = capsys.readouterr().out
    assert ("No dependency has" in said) == (status == 0)
    assert (f"the Python packages: {reports}." in said) == (status == 1)
