"""Timers of the user agent core: cancellable callbacks at a monotonic time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from gateway.sip.timer_queue import TimerQueue

K = TypeVar("K")


class Alarm(Generic[K]):
    """Pending callback. A cancelled alarm never runs."""

    __slots__ = ("callback", "owner")

    def __init__(self, callback: Callable[[], None], owner: K) -> None:
        self.callback: Callable[[], None] | None = callback
        self.owner: K | None = owner
        """Usage to end when the callback raises."""

    def cancel(self) -> None:
        """Cancel the alarm and drop its references; the empty entry stays queued until its deadline."""
        self.callback = self.owner = None


class Alarms(Generic[K]):
    """All pending callbacks of one core, with one deadline."""

    __slots__ = ("_queue",)

    def __init__(self) -> None:
        self._queue: TimerQueue[Alarm[K]] = TimerQueue(lambda alarm, _: alarm.callback is not None)

    def armed(self) -> int:
        """Count the pending callbacks; linear in their number."""
        return self._queue.armed()

    def at(self, deadline: float, callback: Callable[[], None], owner: K) -> Alarm[K]:
        """Schedule `callback` at `deadline` (monotonic seconds)."""
        alarm = Alarm(callback, owner)
        self._queue.push(deadline, alarm)
        return alarm

    def deadline(self) -> float | None:
        """Return the deadline of the next callback, or None."""
        return self._queue.deadline()

    def earliest(self) -> float:
        """Return a lower bound of the next deadline; infinity without callbacks."""
        return self._queue.earliest()

    def run(self, now: float, guard: Callable[[K | None, Callable[[], None]], None]) -> None:
        """Pass each callback due at `now` to `guard`, which must catch every exception so that all of them run."""
        while (due := self._queue.pop_due(now)) is not None:
            alarm = due[1]
            callback, owner = alarm.callback, alarm.owner
            alarm.cancel()
            assert callback is not None, "the queue gives only what was not called off"
            guard(owner, callback)
