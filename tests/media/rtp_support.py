"""What the tests of media share: a clock turned by hand, timers on it, a loop whose timers follow it."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import Any


class ManualTimer:
    """One entry of a `ManualClock`."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback, self.cancelled = callback, False

    def cancel(self) -> None:
        self.cancelled = True


class ManualClock:
    """Seconds that pass only when told; timers run in order on the way."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now
        self._timers: list[tuple[float, int, ManualTimer]] = []
        self._order = itertools.count()

    def __call__(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> ManualTimer:
        timer = ManualTimer(callback)
        heapq.heappush(self._timers, (when, next(self._order), timer))
        return timer

    def advance(self, seconds: float) -> float:
        end = self.now + seconds
        while self._timers and self._timers[0][0] <= end:
            when, _, timer = heapq.heappop(self._timers)
            if not timer.cancelled:
                self.now = max(self.now, when)
                timer.callback()
        self.now = end
        return end

    @property
    def pending(self) -> int:
        return sum(not timer.cancelled for _, _, timer in self._timers)


class ManualReactor:
    """Timers of a manual clock; sockets are read by `loop`, or by nobody."""

    def __init__(self, clock: ManualClock, loop: Any = None) -> None:
        self._clock = clock
        self._loop = loop
        self.readers: dict[Any, Callable[[], None]] = {}

    def add_reader(self, fd: Any, callback: Callable[[], None]) -> None:
        self.readers[fd] = callback
        if self._loop is not None:
            self._loop.add_reader(fd, callback)

    def remove_reader(self, fd: Any) -> None:
        self.readers.pop(fd, None)
        if self._loop is not None:
            self._loop.remove_reader(fd)

    def call_later(self, delay: float, callback: Callable[[], None]) -> ManualTimer:
        return self._clock.call_at(self._clock.now + delay, callback)
