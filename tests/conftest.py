"""What all tests share."""

from __future__ import annotations

import gc

import pytest
from hypothesis import settings

# How long an example takes is the machine's business: a deadline on the wall clock fails tests that hold.
settings.register_profile("gateway", deadline=None)
settings.register_profile("long", deadline=None, max_examples=300)
settings.load_profile("gateway")


LONGEST = ("test_kamailio", "test_loss", "test_examples", "test_cli", "test_init")
"""Files that take a minute and more, and wait for most of it: one begun late keeps one worker busy alone at the end."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with real peers come first: they wait most, and workers beside them have the rest to do meanwhile."""

    def turn(item: pytest.Item) -> int:
        if item.path.stem in LONGEST:
            return 0
        return 1 if any(item.iter_markers("peer")) or any(item.iter_markers("browser")) else 2

    items.sort(key=turn)


def pytest_collection_finish() -> None:
    """Look for garbage among what tests leave and as rarely as `gateway run` does, not among thousands of items."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
