"""Timers of the user agent core: a callback at a moment, which can be called off."""

from __future__ import annotations

from collections.abc import Callable

from gateway.sip.transactions import TimerQueue


class Alarm:
    """One pending callback; `cancel` before it is due and it never runs."""

    __slots__ = ("callback", "deadline")

    def __init__(self, deadline: float, callback: Callable[[], None]) -> None:
        self.deadline = deadline
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Call it off."""
        self.callback = None


class Alarms:
    """All pending callbacks of one core, one deadline."""

    __slots__ = ("_queue",)

    def __init__(self) -> None:
        self._queue: TimerQueue[Alarm] = TimerQueue(lambda alarm, _: alarm.callback is not None)

    def at(self, deadline: float, callback: Callable[[], None]) -> Alarm:
        """Have `callback` called at `deadline` (monotonic seconds)."""
        alarm = Alarm(deadline, callback)
        self._queue.push(deadline, alarm)
        return alarm

    def deadline(self) -> float | None:
        """When the next callback is due, or None."""
        return self._queue.deadline()

    def run(self, now: float) -> None:
        """Call what is due at `now`."""
        while (due := self._queue.pop_due(now)) is not None:
            alarm = due[1]
            callback, alarm.callback = alarm.callback, None
            if callback is not None:
                callback()
