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


def of_packages(report: dict[str, Any]) -> Iterator[str]:
    """Yield a sentence for each advisory that pip-audit found, and one for what it could not judge."""
    unjudged = []
    for one in report["dependencies"]:
        if one["name"] in _OURS:
            continue
        if "skip_reason" in one:
            unjudged.append(one["name"])
        for found in one.get("vulns", ()):
            fixed = ", ".join(found["fix_versions"]) or "no version"
            yield f"{one['name']} {one['version']}: {found['id']}, mended in {fixed}."
    yield from _unjudged(unjudged)


def of_crates(report: dict[str, Any], lock: str) -> Iterator[str]:
    """Yield a sentence for each advisory that cargo-audit found in a Cargo.lock."""
    for found in report["vulnerabilities"]["list"]:
        package, fixed = found["package"], ", ".join(found["versions"]["patched"]) or "no version"
        yield f"{package['name']} {package['version']} ({lock}): {found['advisory']['id']}, mended in {fixed}."


def _unjudged(names: Sequence[str]) -> Iterator[str]:
    if names:
        more = f" and {len(names) - _SHOWN} others" if len(names) > _SHOWN else ""
        yield f"No advisories could be asked for {', '.join(names[:_SHOWN])}{more}."


def _asked(command: Sequence[str | Path]) -> dict[str, Any] | None:
    """Return the report that a command writes, None where it writes none."""
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        report: dict[str, Any] = json.loads(done.stdout)
    except (OSError, ValueError):
        return None
    return report


def _audit() -> Iterator[str]:
    packages = _asked([BIN / "pip-audit", "--format", "json", "--progress-spinner", "off"])
    yield from _unjudged(["the Python packages"]) if packages is None else of_packages(packages)
    for path in sorted(ROOT.glob("*/Cargo.lock")) + sorted(ROOT.glob("*/*/Cargo.lock")):
        lock = str(path.relative_to(ROOT))
        crates = _asked([_CARGO, "audit", "--json", "--file", path])
        yield from _unjudged([lock]) if crates is None else of_crates(crates, lock)


def main() -> int:
    """Print what was found; the status of the process."""
    found = list(_audit())
    sys.stdout.write("".join(f"{sentence}\n" for sentence in found) or "No dependency has a known advisory.\n")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
