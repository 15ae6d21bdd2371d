"""Those who are asked together, and who is asked when none of them takes the call (RFC 3261 section 16.7)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from gateway.call.leg import CalleeLeg, Diversion
from gateway.call.status import Cause, most_telling
from gateway.call.timers import Timer

Then = Callable[[Cause], Awaitable["Branch | None"]]


@dataclass(frozen=True, slots=True)
class Waiting:
    """Phones of a leg that are asked once none of those has taken the call who were named by a phone before them."""

    then: Callable[[Cause], None]
    """Has them asked; the cause is why the others have not taken it."""
    time: float | None
    """Seconds for which they wait for each that is asked; None: as long as the attempt."""


@dataclass(slots=True, eq=False)
class Branch:
    """One set of callees of an attempt."""

    legs: list[CalleeLeg]
    """Those that have not refused."""
    then: Then | None = None
    """Who is asked when all have refused for this reason, or the time is up; None: nobody."""
    time: float | None = None
    """Seconds they may ring; None: as long as the attempt."""
    diversions: tuple[Diversion, ...] = ()
    """Who was called before them, latest first."""
    refusals: list[Cause] = field(default_factory=list)
    timer: Timer | None = None
    waiting: Waiting | None = None

    @property
    def cause(self) -> Cause:
        """Why none of them has taken the call."""
        return most_telling(self.refusals) if self.refusals else Cause.UNAVAILABLE

    def wait_for(self, waiting: Waiting | None) -> None:
        """Have who waits come after these and after all that follow them; nobody where None."""
        self.waiting = waiting
        if waiting is not None and waiting.time is not None:
            self.time = min(waiting.time, self.time or waiting.time)

    def stop(self) -> None:
        """Its time does not count any more."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
