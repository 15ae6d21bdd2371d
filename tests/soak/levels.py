"""What a process holds at rest, and whether it is more after so many calls."""

from __future__ import annotations

import json
import os
import re
import statistics
from collections import Counter
from dataclasses import astuple, dataclass, field, fields
from pathlib import Path

from rich.console import Console
from rich.table import Table

SPARE = 8
"""Descriptors, tasks or timers that may come and go at rest."""
MOST_A_CALL = {"rss": 2.0 / 1024, "heap": 1.0 / 1024, "blocks": 4.0}
"""By how much each may grow with each call from the middle to the end: MiB, MiB, blocks."""
MOST_CALLS = 1_200
"""Calls that this is allowed for, those of a minute: what goes on growing after them is a leak."""
MOST = {"rss": 5.0, "heap": 0.6, "blocks": 5_000.0}
"""And beside that: pages of the allocator that are half empty; tables and buffers that are made larger now and then."""


@dataclass(frozen=True, slots=True)
class Level:
    """What the process holds at one moment."""

    rss: float
    """MiB."""
    descriptors: float
    tasks: float
    timers: float
    heap: float = 0.0
    """MiB that `malloc` has given away: what is larger than 512 octets, and what libraries have."""
    blocks: float = 0.0
    """Of Python's own allocator: all that is smaller."""
    kinds: Counter[str] = field(default_factory=Counter, compare=False)
    """Objects that the collector looks through, by their class."""


NAMES = tuple(each.name for each in fields(Level) if each.name != "kinds")


def level(pid: int, figures: str, held: Path | None = None) -> Level:
    """Read off the process, its metrics, and what it has written down itself (inside.py)."""
    [kilobytes] = re.findall(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    found = {name: float(value) for name, value in re.findall(r"^(gateway_\w+) ([\d.]+)$", figures, re.MULTILINE)}
    descriptors = len(os.listdir(f"/proc/{pid}/fd"))
    own = {} if held is None else json.loads(held.read_text())
    return Level(
        int(kilobytes) / 1024,
        descriptors,
        found["gateway_tasks"],
        found["gateway_sip_timers"],
        own.get("heap", 0) / 2**20,
        own.get("blocks", 0),
        Counter(own.get("kinds", {})),
    )


def show(output: Console, rests: list[Level], samples: list[tuple[float, Level]]) -> None:
    """A line for each figure."""
    table = Table("", "at rest, early", "middle", "end", "slope a minute, under load", box=None, header_style="bold")
    half = samples[len(samples) // 3 :]
    for index, name in enumerate(NAMES):
        values = [f"{astuple(rest)[index]:.1f}" for rest in rests]
        slope = _slope([(at, astuple(each)[index]) for at, each in half])
        table.add_row(name, *values, "" if name in ("heap", "blocks") else f"{slope:+.2f}")
    output.print(table)


def _slope(samples: list[tuple[float, float]]) -> float:
    """Of a figure, a minute."""
    if len(samples) < 2:
        return 0.0
    return statistics.linear_regression(*zip(*samples, strict=True)).slope * 60


def faults(middle: Level, end: Level, calls: int) -> list[str]:
    """Where more is held at the end than may be, `calls` calls after the middle; what grew most."""
    found = []
    for name in NAMES:
        before, after = getattr(middle, name), getattr(end, name)
        most = MOST.get(name, SPARE) + min(calls, MOST_CALLS) * MOST_A_CALL.get(name, 0.0)
        if after - before > most:
            found.append(f"{name}: {before:.1f} in the middle, {after:.1f} at the end; {most:.1f} more may be")
    if found:
        grown = Counter(end.kinds)
        grown.subtract(middle.kinds)
        found.append("more of: " + ", ".join(f"{kind} {count:+}" for kind, count in grown.most_common(12)))
    return found
