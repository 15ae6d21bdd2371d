"""What all tests share."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
from hypothesis import settings

from tests import slow

pytest_plugins = ("tests.virtual", "tests.leaks")

# How long an example takes is the machine's business: a deadline on the wall clock fails tests that hold.
settings.register_profile("gateway", deadline=None)
settings.register_profile("long", deadline=None, max_examples=300)
settings.load_profile("gateway")


LONGEST = ("test_kamailio", "test_loss", "test_examples", "test_cli", "test_init")
"""Files that take a minute and more, and wait for most of it: one begun late keeps one worker busy alone at the end."""


def evenly(*groups: list[Path]) -> list[Path]:
    """All of them, each group spread over the whole."""
    places = [((at + 0.5) / len(group), file) for group in groups for at, file in enumerate(group)]
    return [file for _, file in sorted(places)]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long is marked so; the longest files first, then those with peers, so that browsers, which compute,
    and others, which wait, come by turns."""
    from tests.virtual import is_wall  # pytest imports the plugin itself, to explain its assertions

    long = slow.named()
    for item in items:
        if is_wall(item):
            item.add_marker("wall")
            if item.nodeid in long:
                item.add_marker("slow")
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)

    def marked(name: str) -> set[Path]:
        return {file for file, its in files.items() if any(True for item in its for _ in item.iter_markers(name))}

    with_browser, with_peer = marked("browser"), marked("peer")
    first = [file for file in files if file.stem in LONGEST]
    browsers = [file for file in files if file in with_browser and file not in first]
    peers = [file for file in files if file in with_peer and file not in first and file not in browsers]
    order = dict.fromkeys([*first, *evenly(browsers, peers), *files])
    items[:] = [item for file in order for item in files[file]]


def pytest_collection_finish() -> None:
    """Look for garbage among what tests leave and as rarely as `gateway run` does, not among thousands of items."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
