"""Branches of an attempt: callees that ring together, and their successors (RFC 3261 section 16.7)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from gateway.call.leg import CalleeLeg, Diversion
from gateway.call.status import Cause, most_telling
from gateway.call.timers import Timer

Then = Callable[[Cause], Awaitable["Branch | None"]]


@dataclass(frozen=True, slots=True)
class Waiting:
    """Continuation of a leg that waits for the targets of its redirection."""

    then: Callable[[Cause], None]
    """Continues with the leg's next phones; the argument is the cause of the failure."""
    time: float | None
    """Seconds to wait for each target; None for the duration of the attempt."""


@dataclass(slots=True, eq=False)
class Branch:
    """A set of callees of an attempt."""

    legs: list[CalleeLeg]
    """Callees that have not rejected the call."""
    then: Then | None = None
    """Returns the next branch after a failure with the given cause; None for no successor."""
    time: float | None = None
    """Seconds of ringing; None for the duration of the attempt."""
    diversions: tuple[Diversion, ...] = ()
    """Diversions on the way to the branch, latest first."""
    refusals: list[Cause] = field(default_factory=list)
    timer: Timer | None = None
    waiting: Waiting | None = None

    @property
    def cause(self) -> Cause:
        """Cause of the branch's failure."""
        return most_telling(self.refusals) if self.refusals else Cause.UNAVAILABLE

    def wait_for(self, waiting: Waiting | None) -> None:
        """Continue `waiting` after the branch and its successors have failed; None for no continuation."""
        self.waiting = waiting
        if waiting is not None and waiting.time is not None:
            self.time = min(waiting.time, self.time or waiting.time)

    def stop(self) -> None:
        """Stop the ringing timer."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
