"""Tests of chance measure no coverage: a test that names its rule takes each branch, and none depends on a draw."""

from __future__ import annotations

import sys
from collections.abc import Generator

import pytest
from hypothesis import is_hypothesis_test


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark property tests; files of random walks and of tables of garbled headers mark themselves."""
    for item in items:
        if isinstance(item, pytest.Function) and is_hypothesis_test(item.obj):
            item.add_marker(pytest.mark.no_cover)


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Trace nothing of a test without coverage.

    In a worker of xdist pytest-cov pauses the coverage of that worker alone, and the one of its start goes on tracing.
    """
    trace = sys.gettrace() if item.get_closest_marker("no_cover") else None
    if trace is None:
        return (yield)
    sys.settrace(None)
    try:
        return (yield)
    finally:
        sys.settrace(trace)
