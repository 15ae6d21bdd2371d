"""Timers of the user agent core: a callback at a moment, which can be called off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from gateway.sip.timer_queue import TimerQueue

K = TypeVar("K")


class Alarm(Generic[K]):
    """One pending callback; `cancel` before it is due and it never runs."""

    __slots__ = ("callback", "owner")

    def __init__(self, callback: Callable[[], None], owner: K) -> None:
        self.callback: Callable[[], None] | None = callback
        self.owner: K | None = owner
        """Who answers for a mistake in the callback."""

    def cancel(self) -> None:
        """Call it off, and keep nobody: it waits for its moment all the same."""
        self.callback = self.owner = None


class Alarms(Generic[K]):
    """All pending callbacks of one core, one deadline."""

    __slots__ = ("_queue",)

    def __init__(self) -> None:
        self._queue: TimerQueue[Alarm[K]] = TimerQueue(lambda alarm, _: alarm.callback is not None)

    def armed(self) -> int:
        """How many callbacks are pending; looks at each."""
        return self._queue.armed()

    def at(self, deadline: float, callback: Callable[[], None], owner: K) -> Alarm[K]:
        """Have `callback` called at `deadline` (monotonic seconds)."""
        alarm = Alarm(callback, owner)
        self._queue.push(deadline, alarm)
        return alarm

    def deadline(self) -> float | None:
        """When the next callback is due, or None."""
        return self._queue.deadline()

    def earliest(self) -> float:
        """A moment before which no callback is due; infinity for none."""
        return self._queue.earliest()

    def run(self, now: float, guard: Callable[[K | None, Callable[[], None]], None]) -> None:
        """Have `guard` call what is due at `now`; it lets no exception through, so that every alarm has its turn."""
        while (due := self._queue.pop_due(now)) is not None:
            alarm = due[1]
            callback, owner = alarm.callback, alarm.owner
            alarm.cancel()
            assert callback is not None, "the queue gives only what was not called off"
            guard(owner, callback)
