"""What all tests share."""

from __future__ import annotations

import gc

import pytest
from hypothesis import settings

# How long an example takes is the machine's business: a deadline on the wall clock fails tests that hold.
settings.register_profile("gateway", deadline=None)
settings.register_profile("long", deadline=None, max_examples=300)
settings.load_profile("gateway")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with real peers come first: they wait most, and workers beside them have the rest to do meanwhile."""
    items.sort(key=lambda item: not any(item.iter_markers("peer")) and not any(item.iter_markers("browser")))


def pytest_collection_finish() -> None:
    """Look for garbage among what tests leave and as rarely as `gateway run` does, not among thousands of items."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
