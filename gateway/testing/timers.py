"""A clock turned by hand that keeps appointments: `gateway.call.timers.Timers` for tests."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count


class ManualTimer:
    """One appointment of ManualTimers."""

    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        self.callback = None


class ManualTimers:
    """Time stands still until `advance`."""

    def __init__(self, now: float = 1000.0) -> None:
        self._now = now
        self._order = count()
        self._queue: list[tuple[float, int, ManualTimer]] = []

    def time(self) -> float:
        """Seconds of the clock."""
        return self._now

    def call_later(self, delay: float, callback: Callable[[], object]) -> ManualTimer:
        """Call back once `advance` has gone on by `delay` seconds, unless it is cancelled before."""
        timer = ManualTimer(callback)
        heapq.heappush(self._queue, (self._now + delay, next(self._order), timer))
        return timer

    @property
    def pending(self) -> int:
        """Appointments that were neither kept nor cancelled."""
        return sum(timer.callback is not None for _, _, timer in self._queue)

    @property
    def deadline(self) -> float | None:
        """When the next appointment is; None where there is none."""
        while self._queue and self._queue[0][2].callback is None:
            heapq.heappop(self._queue)
        return self._queue[0][0] if self._queue else None

    def advance(self, seconds: float) -> None:
        """Move the clock on, keeping every appointment on the way at its own time."""
        end = self._now + seconds
        while self._queue and self._queue[0][0] <= end:
            self._now, _, timer = heapq.heappop(self._queue)
            callback, timer.callback = timer.callback, None
            if callback is not None:
                callback()
        self._now = end
