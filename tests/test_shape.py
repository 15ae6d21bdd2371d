"""The shape of each room may only get better: `tests/data/shape.json` has the highest count of each metric."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import shape
from tests.rows import by_row


def test_no_count_of_a_room_rises() -> None:
    """A new room begins with no place over a limit."""
    allowed = json.loads(shape.RATCHET.read_text())
    risen = [
        f"{room}: {metric} {allowed.get(room, {}).get(metric, 0)} -> {count}: python -m tests.shape --over '{metric}'"
        for room, metrics in shape.counts().items()
        for metric, count in metrics.items()
        if count > allowed.get(room, {}).get(metric, 0)
    ]
    assert risen == []


@pytest.mark.parametrize("metric", shape.BOUNDS)
def test_no_place_is_over_its_bound(metric: str) -> None:
    """A longer function or a wider class gets parts of its own; a bound falls with the worst place, and never rises."""
    over = [
        f"{path.relative_to(shape.ROOT)}:{place.line} {place.name}: {place.value}"
        for path in shape.sources()
        for place in shape.measured(path)
        if place.metric == metric and place.value > shape.BOUNDS[metric]
    ]
    assert over == []


CASES = {
    "constructor parameters": "class A:\n    def __init__(self, a, b, c, d, e, f, g, h): ...",
    "function parameters": "def f(a, b, c, d, e, f, g): ...",
    "callable parameters": "def f(a: Callable[[], int], b: Callable[[], int], c: Callable[[], int] | None): ...",
    "complexity": "def f(a):\n    return " + " or ".join(f"a.b{n}" for n in range(12)),
    "methods of a class": "class A:\n" + "".join(f"    def m{n}(self): ...\n" for n in range(26)),
    "function lines": "def f():\n" + "    pass\n" * 40,
    "docstring words": f'def f():\n    """{"Word " * 41}"""',
    "late-bound attributes": "class A:\n    def __init__(self):\n        self.hook: Callable[[], None] = print",
    "attributes written across files": "def f(other):\n    other.state = 1",
    "computed attribute names": "class A:\n    def f(self, name):\n        return getattr(self, name)",
    "docstrings opened by a pronoun": 'def f():\n    """What stands here."""',
}


@by_row("metric", shape.LIMITS)
def test_each_metric_counts_an_example(metric: str, tmp_path: Path) -> None:
    """Each example stands over the limit of one metric alone."""
    path = tmp_path / "example.py"
    path.write_text(CASES[metric])
    over = {place.metric for place in shape.measured(path) if place.value > shape.LIMITS[place.metric]}
    assert over == {metric}
