"""Overload control: which share of new calls a gateway takes that has more to do than it can.

Occupancy decides (RFC 6357 section 5.2): how busy the event loop was moves the share of calls that are let in, so that
it stays just below full; how long the store takes to answer counts as the loop's lateness does. What is refused costs
little, so that what is let in completes. A few calls a second are let in at any time: where other programs take the
processor one caller meets a loop that is full, and has not filled it.

The threads that forward packets are filled by calls that stay, and by what strangers send them, which costs about a
tenth of a packet that is forwarded: from a bound on fewer are let in the fuller they are, and none where they are full.
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
    plane: float = 0.9
    """How full the least busy packet thread may be (`MediaEngine.busy`); 0: nothing is refused for it."""
    store: float = 0.5
    """Seconds that the store may take to answer; 0: nothing is refused for it."""


class LoadControl:
    """`measured` is told every EVERY seconds how it goes; `admit` asks for one new call."""

    def __init__(self, policy: LoadPolicy, store: Callable[[], float] = lambda: 0.0) -> None:
        """`store` gives the seconds that the store takes to answer now."""
        self.policy = policy
        """May be another one in the course of things."""
        self.store = store
        self.plane = 0.0
        """How full the least busy packet thread is, 0 to 1; set by whoever asks for it."""
        self._busy = 0.0
        self._late = 0.0
        self._full = 0
        """Measurements in a row at which there was no time left."""
        self._credit = 1.0
        self._spare = _ALWAYS
        """Calls that may be let in beside the share."""
        self._share = 1.0
        """What the loop and the store leave."""
        self.refused = 0
        self.told: list[Callable[[float, float], None]] = []
        """Told of every measurement, as `measured` is."""

    @property
    def share(self) -> float:
        """Of new calls that are let in, 0 to 1."""
        return min(self._share, self._left_by_plane)

    @property
    def _left_by_plane(self) -> float:
        most = self.policy.plane
        if not most or self.plane <= most:
            return 1.0
        return max(0.0, (1.0 - self.plane) / (1.0 - most)) if most < 1.0 else 1.0

    @property
    def overloaded(self) -> bool:
        """Whether calls are refused now."""
        return self.share < 1.0

    @property
    def reasons(self) -> list[str]:
        """Sentences on what is beyond its bound beside the event loop."""
        found, policy, took = [], self.policy, self.store()
        if self._left_by_plane < 1.0:
            found.append(f"A thread that forwards packets works {self.plane:.0%} of its time (limits.plane_load).")
        if policy.store and took > policy.store:
            found.append(f"The store takes {took:.1f} s to answer (limits.store_delay).")
        return found

    def measured(self, busy: float, late: float) -> None:
        """The loop was `busy` for that share of the time, and something came `late` by so many seconds."""
        for tell in self.told:
            tell(busy, late)
        policy = self.policy
        self._spare = min(_ALWAYS, self._spare + _ALWAYS * (EVERY + late))
        excess = max(self._of_loop(busy, late), self.store() / policy.store - 1.0 if policy.store else -1.0)
        if excess <= -1.0:  # nothing bounds it
            self._share = 1.0
        self._share = max(_LEAST, min(1.0, self._share * (1.0 - _GAIN * max(-1.0, min(excess, 1.0)))))

    def _of_loop(self, busy: float, late: float) -> float:
        """By how much of its bound the loop is beyond it; below 0: so much is left."""
        policy = self.policy
        if not policy.busy:
            self._busy, self._late, self._full = 0.0, 0.0, 0
            return -1.0
        self._busy += _SMOOTHING * (busy - self._busy)
        self._late += _SMOOTHING * (late - self._late)
        excess = max(self._busy / policy.busy, self._late / policy.late) - 1.0
        if self._busy < _FULL:
            self._full = 0
            return excess
        # How much more there is to do cannot be seen, for it waits in the sockets: the longer, the harder.
        self._full += 1
        return max(excess, _HARDER * self._full)

    def admit(self) -> bool:
        """Whether one more call is let in; evenly, not by chance."""
        share = self.share
        if share >= 1.0:
            self._credit = 1.0
            return True
        self._credit = min(1.0, self._credit) + share
        if self._credit >= 1.0:
            self._credit -= 1.0
        elif self._spare < 1.0 or self._left_by_plane < 1.0:
            self.refused += 1
            return False
        self._spare = max(0.0, self._spare - 1.0)
        return True
