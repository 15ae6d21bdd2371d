"""Requests that wait for a disconnected peer, which alone can connect again (RFC 5626 5.3, RFC 7118 5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from gateway.sip.alarms import Alarm
from gateway.sip.dialogs.dialog import Dialog, DialogState
from gateway.sip.dialogs.usage import DialogUsage


class Clock(Protocol):
    """Functions of the core that waiting needs."""

    def now(self) -> float:
        """Return monotonic seconds."""

    def wake(self) -> None:
        """Report that a deadline has moved."""

    def at(self, deadline: float, callback: Callable[[], None], owner: DialogUsage | None) -> Alarm[DialogUsage | None]:
        """Schedule `callback` at `deadline`."""


class Absences:
    """All requests waiting for a peer to reconnect, bounded in number and time."""

    __slots__ = ("_clock", "_is_closed", "_most", "_waiting")

    def __init__(self, clock: Clock, most: int) -> None:
        """`most`: requests that may wait at once."""
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
        """Call `then` `pause` seconds after the dialog moves to another flow or ends; without either, at `until`.

        Return None, without calling `then`, for an ended dialog, a past `until`, a full table or after `close`.
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
        """Stop waiting for all peers. Their dialogs end without notice here: the peers reconnect to another gateway."""
        self._is_closed = True
        for absence in tuple(self._waiting):
            absence.dialog.when_over(_said_by_another)
            absence.over()


class Absence:
    """Request waiting for a peer."""

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
        """Stop waiting and schedule the callback after the pause, once the current event is processed."""
        self._alarm.cancel()
        self._alarm = self._clock.at(self._clock.now() + self._pause, self._go_on, self._owner)
        self._clock.wake()

    def cancel(self) -> None:
        """Stop waiting without calling back."""
        self._alarm.cancel()
        self.dialog.waiting = tuple(one for one in self.dialog.waiting if one != self.over)
        self._forget(self)

    def _go_on(self) -> None:
        self.cancel()
        self._then()


def _said_by_another() -> None:
    """Ignore the end of a dialog continued by another gateway, as its peer has not received a BYE."""
