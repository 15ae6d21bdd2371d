"""Counts of a run that no machine's speed changes: gateways and processes that tests start, and tests by mark.

`--effort FILE` writes them, of all workers together; `scripts/lanes.py` compares them with `tests/data/effort.json`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

MARKS = ("nightly", "core", "serial", "wall")
"""Tiers and needs of a test; one with several counts by the first."""
_count = Counter[str]()
_popen = subprocess.Popen.__init__


def mark(keywords: Any) -> str:
    """Return the mark by which a test counts."""
    return next((name for name in MARKS if name in keywords), "unmarked")


class _Test:
    is_running = False


def _start(self: subprocess.Popen[Any], *args: Any, **options: Any) -> None:
    _popen(self, *args, **options)
    _count["processes"] += _Test.is_running


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--effort", metavar="FILE", help="write counts of tests, and of what they start, as JSON")


def pytest_configure() -> None:
    subprocess.Popen.__init__ = _start  # type: ignore[method-assign]


def pytest_collection_finish() -> None:
    """Count starts where a test module has imported the gateway."""
    if (app := sys.modules.get("gateway.app")) is None:
        return
    start = app.GatewayApp.start

    async def counted(self: Any) -> None:
        _count["gateways"] += 1
        await start(self)

    app.GatewayApp.start = counted


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[Any]:
    _count[mark(item.keywords)] += 1
    _Test.is_running = True
    try:
        return (yield)
    finally:
        _Test.is_running = False


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Add the counts of a worker that has ended."""
    _count.update(getattr(node, "workeroutput", {}).get("effort", {}))


def pytest_sessionfinish(session: pytest.Session) -> None:
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["effort"] = dict(_count)
    elif (name := session.config.getoption("--effort")) is not None:
        Path(name).write_text(json.dumps(_count, indent=2, sort_keys=True) + "\n")
