"""What all tests share."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import settings

pytest_plugins = ("tests.virtual", "tests.leaks", "tests.rows", "tests.effort")

# How long an example takes is the machine's business: a deadline on the wall clock fails tests that hold.
settings.register_profile("gateway", deadline=None)
settings.register_profile("long", deadline=None, max_examples=300)
settings.load_profile("gateway")


LONGEST = ("test_kamailio", "test_loss", "test_examples", "test_cli", "test_init")
"""Files that take a minute and more: one that begins late keeps one worker busy alone at the end."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out files without the mark where a run is of serial tests: to collect all takes as long as they do."""
    wants_serial = re.search(r"(?<!not )\bserial\b", config.getoption("-m"))
    if wants_serial and collection_path.name.startswith("test_") and collection_path.suffix == ".py":
        return "mark.serial" not in collection_path.read_text() or None
    return None


def evenly(*groups: list[Path]) -> list[Path]:
    """Return every file, each group spread over the whole."""
    places = [((at + 0.5) / len(group), file) for group in groups for at, file in enumerate(group)]
    return [file for _, file in sorted(places)]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with a peer outside, and take the longest files first, then browsers and other peers by turns."""
    from tests.virtual import is_wall  # pytest imports the plugin itself, to explain its assertions

    files: dict[Path, list[pytest.Item]] = {}
    walls = set()
    for item in items:
        files.setdefault(item.path, []).append(item)
        if is_wall(item):
            item.add_marker("wall")
            walls.add(item.path)
    first = [file for file in files if file.stem in LONGEST]
    with_peer = [file for file in files if file in walls and file not in first]
    browsers = [file for file in with_peer if file.parent.name == "browser"]
    others = [file for file in with_peer if file.parent.name != "browser"]
    order = dict.fromkeys([*first, *evenly(browsers, others), *files])
    items[:] = [item for file in order for item in files[file]]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Count the tests that ran by their marks, and those that were skipped by what they lack."""
    from tests.effort import mark

    ran = (each for name in ("passed", "failed") for each in terminalreporter.stats.get(name, ()))
    marks = Counter(mark(each.keywords) for each in ran)
    terminalreporter.write_line("By mark: " + ", ".join(f"{count} {mark}" for mark, count in marks.most_common()))
    lacking = Counter(each.longrepr[2].removeprefix("Skipped: ") for each in terminalreporter.stats.get("skipped", ()))
    for what, count in lacking.most_common():
        terminalreporter.write_line(f"{count} skipped: {what}")
