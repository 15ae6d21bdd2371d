"""What every benchmark shares: results as values, a table for people, a file for programs."""

from __future__ import annotations

import gc
import json
import re
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

RESULTS: Final = Path(__file__).parent / "results"
_GOAL: Final = re.compile(r"(value|ratio) (<=|>=) ([0-9.]+)")


@dataclass(frozen=True, slots=True)
class Result:
    """One measured figure, beside a peer's where one was measured in the same run."""

    name: str
    value: float
    unit: str
    """As "µs", "ms", "calls/s", "packets/s", "MiB"."""
    goal: str | None = None
    """"value <= 300" or "ratio >= 10"; None where nothing was promised."""
    peer: str | None = None
    """Whose figure `peer_value` is."""
    peer_value: float | None = None
    ratio: float | None = None
    """How many times better than the peer we are: above 1 is better, whichever way the unit goes."""

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without one. Raises ValueError for a goal of another form."""
        if self.goal is None:
            return None
        match = _GOAL.fullmatch(self.goal)
        if match is None:
            raise ValueError(f"{self.name}: a goal is 'value <= N', 'value >= N' or 'ratio >= N'")
        measured = self.value if match[1] == "value" else self.ratio
        if measured is None:
            return False
        return measured <= float(match[3]) if match[2] == "<=" else measured >= float(match[3])


def faster(name: str, seconds: float, peer: str, peer_seconds: float, goal: str | None = None) -> Result:
    """A duration beside a peer's, in µs; the ratio says how many times faster we are."""
    return Result(name, seconds * 1e6, "µs", goal, peer, peer_seconds * 1e6, peer_seconds / seconds)


def medians(
    calls: Mapping[str, Callable[[], object]], repeats: int = 100, warm: int = 20, batch: int = 5
) -> dict[str, float]:
    """The median seconds of CPU of each call, taken in turns so that the machine's moods fall on all alike.

    A turn is `batch` calls, so that what ran before it in another's turn has left the caches; CPU time,
    so that other processes on the machine do not count. For calls that only compute.
    """
    for call in calls.values():
        for _ in range(warm):
            call()
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for _ in range(repeats):
            for name, call in calls.items():
                start = time.thread_time()
                for _ in range(batch):
                    call()
                seconds[name].append((time.thread_time() - start) / batch)
    finally:
        if enabled:
            gc.enable()
    return {name: statistics.median(taken) for name, taken in seconds.items()}


def report(name: str, results: Sequence[Result], console: Console | None = None) -> bool:
    """Print the table, write bench/results/NAME.json, and say whether every goal is met."""
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps([asdict(result) for result in results], indent=2, ensure_ascii=False)
    (RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    (console or Console(width=None if sys.stdout.isatty() else 140)).print(_table(name, results))
    return all(result.met is not False for result in results)


def _table(name: str, results: Sequence[Result]) -> Table:
    table = Table(title=name)
    table.add_column("what")
    table.add_column("value", justify="right")
    table.add_column("unit")
    table.add_column("peer")
    table.add_column("peer's value", justify="right")
    table.add_column("ratio", justify="right")
    table.add_column("goal")
    for result in results:
        mark = {None: "", True: " [green]met[/]", False: " [red]missed[/]"}[result.met]
        table.add_row(
            result.name,
            _number(result.value),
            result.unit,
            result.peer or "",
            _number(result.peer_value),
            _number(result.ratio),
            (result.goal or "") + mark,
        )
    return table


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
