"""What is due when, by one timer of the event loop."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import Any, Protocol

Due = Callable[[float, float], float | None]
"""Something that is due: called with when it was and with the time it is, says when to be called again."""


class Timer(Protocol):
    """Something scheduled that can be called off."""

    def cancel(self) -> None: ...


class Timers(Protocol):
    """What an agenda needs of an event loop."""

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer: ...


class Reactor(Timers, Protocol):
    """What the plane needs of an event loop; asyncio's is one."""

    def add_reader(self, fd: Any, callback: Callable[[], None]) -> None: ...

    def remove_reader(self, fd: Any) -> Any: ...


class Agenda:
    """Things that are due, each at its time."""

    def __init__(self, timers: Timers, clock: Callable[[], float]) -> None:
        self._timers, self._clock = timers, clock
        self._due: list[tuple[float, int, Due]] = []
        self._numbers = itertools.count(1)
        self._timer: Timer | None = None
        self._timer_at = 0.0

    def at(self, when: float, callback: Due) -> None:
        """Have it called then."""
        heapq.heappush(self._due, (when, next(self._numbers), callback))
        self._arm()

    def clear(self) -> None:
        """Nothing is due any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._due.clear()

    def _arm(self) -> None:
        if not self._due:
            return
        first = self._due[0][0]
        if self._timer is not None:
            if self._timer_at <= first:
                return
            self._timer.cancel()
        self._timer_at = first
        # Event loops round to milliseconds; a millisecond more and it is due for certain.
        self._timer = self._timers.call_later(max(0.0, first - self._clock()) + 0.001, self._run)

    def _run(self) -> None:
        self._timer = None
        now = self._clock()
        while self._due and self._due[0][0] <= now:
            due, number, callback = heapq.heappop(self._due)
            again = callback(due, now)
            if again is not None:
                heapq.heappush(self._due, (again, number, callback))
        self._arm()
