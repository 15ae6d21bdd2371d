"""Advisories of every dependency: Python packages of this environment, crates of each Cargo.lock.

Status 1 where one has an advisory, and where one could not be judged: an audit that asked nobody is none.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
_CARGO = ROOT / ".venv/cargo/bin/cargo-audit"
_OURS = ("sip-webrtc-gateway", "gateway-plane")
_SHOWN = 5
"""Names of unjudged dependencies that a sentence lists."""
_PATIENCE = 600
"""Seconds for the report of one command."""
_LONGEST = 200
"""Characters of a complaint that are quoted."""


def of_packages(report: dict[str, Any]) -> Iterator[str]:
    """Yield a sentence for each advisory that pip-audit found, and one for what it could not judge."""
    unjudged, judged = [], 0
    for one in report["dependencies"]:
        if one["name"] in _OURS:
            continue
        if "skip_reason" in one:
            unjudged.append(one["name"])
        judged += "skip_reason" not in one
        for found in one.get("vulns", ()):
            fixed = ", ".join(found["fix_versions"]) or "no version"
            yield f"{one['name']} {one['version']}: {found['id']}, mended in {fixed}."
    yield from _unjudged(unjudged if judged or unjudged else ["the Python packages: the report names none"])


def of_crates(report: dict[str, Any], lock: str) -> Iterator[str]:
    """Yield a sentence for each advisory that cargo-audit found in a Cargo.lock, and one where it knew of none."""
    if not report["database"]["advisory-count"] or not report["lockfile"]["dependency-count"]:
        yield from _unjudged([f"{lock}: the database or the file is empty"])
    for found in report["vulnerabilities"]["list"]:
        package, fixed = found["package"], ", ".join(found["versions"]["patched"]) or "no version"
        yield f"{package['name']} {package['version']} ({lock}): {found['advisory']['id']}, mended in {fixed}."


def _unjudged(names: Sequence[str]) -> Iterator[str]:
    if names:
        more = f" and {len(names) - _SHOWN} others" if len(names) > _SHOWN else ""
        yield f"No advisories could be asked for {', '.join(names[:_SHOWN])}{more}."


def _asked(command: Sequence[str | Path]) -> dict[str, Any] | str:
    """Return the report that a command writes, or the reason for none: the end of its complaint."""
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=_PATIENCE)
    except FileNotFoundError:
        return f"{Path(command[0]).name} is not installed"
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{Path(command[0]).name}: {error}"
    try:
        report: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        return said[-1][:_LONGEST] if said else "no report"
    return report


def _audit() -> Iterator[str]:
    packages = _asked([BIN / "pip-audit", "--format", "json", "--progress-spinner", "off"])
    whole = "the Python packages"
    yield from _unjudged([f"{whole}: {packages}"]) if isinstance(packages, str) else of_packages(packages)
    for path in sorted(ROOT.glob("*/Cargo.lock")) + sorted(ROOT.glob("*/*/Cargo.lock")):
        lock = str(path.relative_to(ROOT))
        crates = _asked([_CARGO, "audit", "--json", "--file", path])
        yield from _unjudged([f"{lock}: {crates}"]) if isinstance(crates, str) else of_crates(crates, lock)


def main() -> int:
    """Print what was found; the status of the process."""
    found = list(_audit())
    sys.stdout.write("".join(f"{sentence}\n" for sentence in found) or "No dependency has a known advisory.\n")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
