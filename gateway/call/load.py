"""Overload control: which share of new calls a gateway takes that has more to do than it can.

Occupancy decides (RFC 6357 section 5.2): how busy the event loop was moves the share of calls that are let in, so that
it stays just below full. What is refused costs little, so that what is let in completes. A few calls a second are let
in at any time: where other programs take the processor one caller meets a loop that is full, and has not filled it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

_SMOOTHING = 0.5
"""Weight of the newest measurement."""
_GAIN = 0.5
"""How much of an excess, or of what is left, the share is changed by."""
_FULL = 0.985
_HARDER = 0.2
"""Excess that is assumed for each measurement in a row at which no time was left."""
_LEAST = 0.02
"""Of the share, so that it can grow again."""
_ALWAYS = 5.0
"""Calls a second that are let in however busy it is."""
EVERY = 0.1
"""Seconds between two measurements."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPolicy:
    """From when on calls are refused."""

    busy: float = 0.95
    """Share of time that the event loop may be at work; 0: nothing is refused for load."""
    late: float = 1.0
    """Seconds that a timer may be late."""


class LoadControl:
    """`measured` is told every EVERY seconds how it goes; `admit` asks for one new call."""

    def __init__(self, policy: LoadPolicy) -> None:
        self.policy = policy
        """May be another one in the course of things."""
        self._busy = 0.0
        self._late = 0.0
        self._full = 0
        """Measurements in a row at which there was no time left."""
        self._credit = 1.0
        self._spare = _ALWAYS
        """Calls that may be let in beside the share."""
        self.share = 1.0
        """Of new calls that are let in, 0 to 1."""
        self.refused = 0
        self.told: list[Callable[[float, float], None]] = []
        """Told of every measurement, as `measured` is."""

    @property
    def overloaded(self) -> bool:
        """Whether calls are refused now."""
        return self.share < 1.0

    def measured(self, busy: float, late: float) -> None:
        """The loop was `busy` for that share of the time, and something came `late` by so many seconds."""
        for tell in self.told:
            tell(busy, late)
        policy = self.policy
        if not policy.busy:
            self.share, self._busy, self._late, self._full = 1.0, 0.0, 0.0, 0
            return
        self._spare = min(_ALWAYS, self._spare + _ALWAYS * (EVERY + late))
        self._busy += _SMOOTHING * (busy - self._busy)
        self._late += _SMOOTHING * (late - self._late)
        excess = max(self._busy / policy.busy, self._late / policy.late) - 1.0
        if self._busy < _FULL:
            self._full = 0
        else:
            # How much more there is to do cannot be seen, for it waits in the sockets: the longer, the harder.
            self._full += 1
            excess = max(excess, _HARDER * self._full)
        self.share = max(_LEAST, min(1.0, self.share * (1.0 - _GAIN * max(-1.0, min(excess, 1.0)))))

    def admit(self) -> bool:
        """Whether one more call is let in; evenly, not by chance."""
        if self.share >= 1.0:
            self._credit = 1.0
            return True
        self._credit = min(1.0, self._credit) + self.share
        if self._credit >= 1.0:
            self._credit -= 1.0
        elif self._spare < 1.0:
            self.refused += 1
            return False
        self._spare = max(0.0, self._spare - 1.0)
        return True
