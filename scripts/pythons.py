"""Whether every library has a wheel for Pythons that are not here, and which newest releases our ranges do not take.

python -m scripts.pythons [VERSION...]: what is pure Python and comes as source is built by pip anywhere; it is left out
by name. A newest release beyond a range of pyproject.toml is told and fails nothing: it came after what was tested.
An index that cannot be reached fails CI (`CI` in the environment), and nothing elsewhere.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
VERSIONS = ("3.11", "3.12", "3.13", "3.14")
SOURCE_ONLY = {"http-ece"}
NOT_EVERYWHERE = {"phone"}
"""Extras that say by themselves where they can be had."""

PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")


def requirements() -> list[Requirement]:
    """All of the project and of its extras, without what names the project itself."""
    project = tomllib.loads(PROJECT.read_text())["project"]
    extras = [
        one for name, each in project["optional-dependencies"].items() if name not in NOT_EVERYWHERE for one in each
    ]
    found = [Requirement(one) for one in [*project["dependencies"], *extras]]
    return [one for one in found if one.name != project["name"]]


def resolve(version: str, wanted: Iterable[Requirement]) -> bool:
    """Whether pip finds a wheel for each, and for all that they want, for that Python."""
    with tempfile.TemporaryDirectory() as folder:
        options = ("--dry-run", "--ignore-installed", "--target", folder, "--only-binary", ":all:", "--quiet")
        return (
            subprocess.run([*PIP, "install", *options, "--python-version", version, *map(str, wanted)]).returncode == 0
        )


def newest(name: str) -> str | None:
    """The newest release that the index has; None where it does not say."""
    done = subprocess.run([*PIP, "index", "versions", name], capture_output=True, text=True, check=False)
    said = re.match(r"\S+ \((\S+)\)", done.stdout)
    return said[1] if done.returncode == 0 and said else None


def beyond(wanted: Iterable[Requirement], newest: Callable[[str], str | None]) -> list[str]:
    """A line for each range with an upper end that does not take the newest release, or of which nobody says it."""
    told = []
    ranges = {
        one.name: one.specifier for one in wanted if any(part.operator in ("<", "<=", "==") for part in one.specifier)
    }
    for name, specifier in sorted(ranges.items()):
        there = newest(name)
        if there is None:
            told.append(f"{name}: the index does not say what is newest")
        elif Version(there) not in specifier:
            told.append(f"{name} {there} is there, and pyproject.toml has {specifier}: try it, and widen the range")
    return told


def main(versions: list[str]) -> int:
    """Status 1 where a library has no wheel, and in CI where nobody can tell."""
    if newest("pip") is None:
        sys.stdout.write("The index cannot be reached: nothing was looked at\n")
        return 1 if os.environ.get("CI") else 0
    wanted = [one for one in requirements() if one.name not in SOURCE_ONLY]
    asked = versions or VERSIONS
    with ThreadPoolExecutor(len(asked)) as pool:
        for version, resolved in zip(asked, pool.map(lambda each: resolve(each, wanted), asked), strict=True):
            if not resolved:
                sys.stdout.write(f"Python {version}: see above\n")
                return 1
            sys.stdout.write(f"Python {version}: every library has a wheel\n")
    for line in beyond(wanted, newest) or ["Every range takes the newest release"]:
        sys.stdout.write(f"{line}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
