"""Heap of many timers with one deadline; cancelled entries are skipped, and swept once numerous."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")

SWEEP_FLOOR = 1024
"""Entries below which no sweep is worthwhile."""


class TimerQueue(Generic[K]):
    """Entries (deadline, key) in order of deadline, in monotonic seconds of the caller's clock.

    The key's owner cancels: `live(key, deadline)` returns True while an entry counts. Memory is a small multiple of the
    live entries, as dead entries are swept when the heap has doubled.
    """

    __slots__ = ("_count", "_heap", "_limit", "_live")

    def __init__(self, live: Callable[[K, float], bool]) -> None:
        self._heap: list[tuple[float, int, K]] = []
        self._count = 0
        self._limit = SWEEP_FLOOR
        self._live = live

    def __len__(self) -> int:
        return len(self._heap)

    def armed(self) -> int:
        """Count the live entries; linear in the entries."""
        return sum(1 for deadline, _, key in self._heap if self._live(key, deadline))

    def push(self, deadline: float, key: K) -> None:
        """Add an entry, due at `deadline`."""
        self._count += 1
        heapq.heappush(self._heap, (deadline, self._count, key))
        if len(self._heap) > self._limit:
            self._heap = [entry for entry in self._heap if self._live(entry[2], entry[0])]
            heapq.heapify(self._heap)
            self._limit = max(SWEEP_FLOOR, 2 * len(self._heap))

    def deadline(self) -> float | None:
        """Return the deadline of the earliest live entry, or None."""
        heap = self._heap
        while heap:
            deadline, _, key = heap[0]
            if self._live(key, deadline):
                return deadline
            heapq.heappop(heap)
        return None

    def earliest(self) -> float:
        """Return a lower bound of the next deadline, without checking for live entries; infinity for an empty heap."""
        return self._heap[0][0] if self._heap else math.inf

    def pop_due(self, now: float) -> tuple[float, K] | None:
        """Remove and return the earliest live entry due at `now`, or None."""
        deadline = self.deadline()
        if deadline is None or deadline > now:
            return None
        due, _, key = heapq.heappop(self._heap)
        return due, key
