"""What is to reach a peer that is away waits for the connection that it alone can make (RFC 5626 5.3, RFC 7118 5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from gateway.sip.alarms import Alarm
from gateway.sip.dialogs.dialog import Dialog, DialogState
from gateway.sip.dialogs.usage import DialogUsage


class Clock(Protocol):
    """What of the core it takes to wait."""

    def now(self) -> float:
        """Monotonic seconds."""

    def wake(self) -> None:
        """A deadline has moved."""

    def at(self, deadline: float, callback: Callable[[], None], owner: DialogUsage | None) -> Alarm[DialogUsage | None]:
        """Have `callback` called at `deadline`."""


class Absences:
    """Everything that waits for a peer to connect again, in number and in time."""

    __slots__ = ("_clock", "_is_closed", "_most", "_waiting")

    def __init__(self, clock: Clock, most: int) -> None:
        """`most`: how many may wait at once."""
        self._clock = clock
        self._most = most
        self._waiting: set[Absence] = set()
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._waiting)

    def wait(
        self,
        dialog: Dialog,
        until: float,
        then: Callable[[], None],
        owner: DialogUsage | None,
        *,
        pause: float = 0.0,
    ) -> Absence | None:
        """Have `then` called `pause` seconds after requests in `dialog` go elsewhere, or it is over; else at `until`.

        None: nobody is waited for (any more), and `then` is not called.
        """
        if self._is_closed:
            dialog.when_over(_said_by_another)
            return None
        is_over = dialog.state is DialogState.TERMINATED or until <= self._clock.now()
        if is_over or len(self._waiting) >= self._most:
            return None
        absence = Absence(self._clock, dialog, until, then, owner, pause, self._waiting.discard)
        self._waiting.add(absence)
        return absence

    def close(self) -> None:
        """Wait for nobody any more. That those dialogs end is told to nobody here: their peers come back to another."""
        self._is_closed = True
        for absence in tuple(self._waiting):
            absence.dialog.when_over(_said_by_another)
            absence.over()


class Absence:
    """One thing that waits for a peer."""

    __slots__ = ("_alarm", "_clock", "_forget", "_owner", "_pause", "_then", "dialog")

    def __init__(
        self,
        clock: Clock,
        dialog: Dialog,
        until: float,
        then: Callable[[], None],
        owner: DialogUsage | None,
        pause: float,
        forget: Callable[[Absence], None],
    ) -> None:
        self._clock = clock
        self.dialog = dialog
        self._then = then
        self._owner = owner
        self._pause = pause
        self._forget = forget
        self._alarm = clock.at(until, self._go_on, owner)
        dialog.waiting = (*dialog.waiting, self.over)

    def over(self) -> None:
        """The peer is there, or is waited for no longer: it goes on once what happens now is done with."""
        self._alarm.cancel()
        self._alarm = self._clock.at(self._clock.now() + self._pause, self._go_on, self._owner)
        self._clock.wake()

    def cancel(self) -> None:
        """It goes on no more."""
        self._alarm.cancel()
        self.dialog.waiting = tuple(one for one in self.dialog.waiting if one != self.over)
        self._forget(self)

    def _go_on(self) -> None:
        self.cancel()
        self._then()


def _said_by_another() -> None:
    """The peer has not heard of the end."""
