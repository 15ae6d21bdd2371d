"""Overload control: how many new calls a second a gateway takes that has more to do than it can.

Lateness begins it: only a process that is late for a second on end, by how long messages wait to be read and timers to
run, has more to do than it can. A busy moment is none, nor are other programs that leave it time enough.

Occupancy then decides (RFC 6357 section 5.2): the calls that the event loop let in a second are what it carries, and
this pace is lowered while it is late or too busy and raised while it has time left, so that it stays just below full.
Where the store answers slowly it is lowered in the same way. What is refused costs little, so that what is let in
completes. A few calls a second are let in at any time: where other programs take the processor one caller meets a loop
that is late, and has not made it so.

The threads that forward packets are filled by calls that stay, and by what strangers send them, which costs about a
tenth of a packet that is forwarded: from a bound on a share of calls is let in, the fuller they are the smaller, and
none where they are full.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

_SMOOTHING = 0.5
"""Weight of the newest measurement of the loop."""
_COUNTED = 0.15
"""Weight of the calls since the last measurement among those before."""
_FULL = 0.98
"""Beyond it no time was left: how much more there is to do waits in the sockets, where it cannot be seen."""
_HARDER = 0.03
"""By how much the pace is lowered for each measurement in a row at which no time was left."""
_GAIN = 0.8
"""By how much of an excess, or of what is left, it is changed else."""
_MOST = 0.5
"""Of the pace, by which it is lowered at once."""
_LEFT = 0.2
"""Of the bound, which counts as left even where more is."""
_KEPT = 0.93
"""Of what was let in at a pace that was too high, to which it comes back in large steps: the pace itself is beyond
what is carried by all that it rose before that was seen.
"""
_BEGUN = 0.6
"""Of the calls that were let in before they were bounded, to which the pace comes back in large steps."""
_BURST = 0.1
"""Seconds of the pace that may be let in at once."""
_OVER = 1.25
"""Times what is offered, from which pace on nothing is refused any more."""
_LEAST = 0.1
"""Calls a second, so that the pace can rise again."""
_LASTING = 1.0
"""Seconds for which calls are bounded before it is said, or are not before that is over: a busy moment is no reason to
send callers elsewhere, nor a quiet one to call them back."""
_AGAIN, _LITTLE = 5.0, 0.25
"""Seconds in which calls that come by chance leave a loop some time and fill it again, and the share of the bound on
lateness that has its calls bounded again in that time.
"""
_ALWAYS = 5.0
"""Calls a second that are let in however busy it is."""
EVERY = 0.1
"""Seconds between two measurements."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPolicy:
    """From when on calls are refused."""

    busy: float = 0.95
    """Share of time that the event loop may be at work once it was late; 0: nothing is refused for load."""
    late: float = 0.25
    """Seconds that a message or a timer may wait, for a second on end."""
    plane: float = 0.9
    """How full the least busy packet thread may be (`MediaEngine.busy`); 0: nothing is refused for it."""
    store: float = 0.5
    """Seconds that the store may take to answer; 0: nothing is refused for it."""


class _Rate:
    """Calls a second, of late."""

    def __init__(self) -> None:
        self.count = 0
        self.value = 0.0

    def measured(self, seconds: float) -> None:
        """So long after the last time."""
        self.value += _COUNTED * (self.count / seconds - self.value)
        self.count = 0


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
        self._late_for = -math.inf
        """Seconds for which every measurement has been late; -infinity: the latest was not."""
        self._ended = math.inf
        """Seconds since it was bounded last."""
        self._was_over = False
        self._is_bounded = self._is_said = False
        """Whether there is a pace, and whether there was when that had lasted."""
        self._lasted = 0.0
        """Seconds for which the former has been so."""
        self._offered, self._let_in = _Rate(), _Rate()
        self._pace = math.inf
        """Calls a second that the loop and the store leave; infinity: all."""
        self._lately = _ALWAYS
        """Latest pace that was a bound."""
        self._carried = math.inf
        """The pace that was too high last, or a little less."""
        self._credit = 0.0
        """Calls that may be let in now at this pace."""
        self._asked = -math.inf
        """When (s) the credit was counted last."""
        self._spare = _ALWAYS
        """Calls that may be let in beside the pace."""
        self._turn = 1.0
        """Of the next call, where the packet threads leave a share."""
        self.refused = 0
        self.told: list[Callable[[float, float], None]] = []
        """Called with the first two values of every measurement."""

    @property
    def share(self) -> float:
        """Of new calls that are let in, 0 to 1."""
        offered = max(self._offered.value, _ALWAYS)
        return min(1.0, self._pace / offered, self._left_by_plane)

    @property
    def _left_by_plane(self) -> float:
        most = self.policy.plane
        if not most or self.plane <= most:
            return 1.0
        return max(0.0, (1.0 - self.plane) / (1.0 - most)) if most < 1.0 else 1.0

    @property
    def limit(self) -> str:
        """The setting whose bound new calls are beyond; "" for none."""
        if self._left_by_plane < 1.0:
            return "limits.plane_load"
        if self._pace == math.inf:
            return ""
        return "limits.store_delay" if self._is_store_late else "limits.delay"

    @property
    def _is_store_late(self) -> bool:
        return bool(self.policy.store) and self.store() > self.policy.store

    @property
    def overloaded(self) -> bool:
        """Whether calls are refused, and not for a moment."""
        return self._is_said or self._left_by_plane < 1.0

    @property
    def taken(self) -> str:
        """Number of new calls that are let in, in words."""
        if self._left_by_plane < 1.0:
            return f"at most {min(99, math.floor(100 * self._left_by_plane))} % of new calls"
        return f"at most {max(self._lately, _ALWAYS):.0f} new calls a second"

    @property
    def reasons(self) -> list[str]:
        """Sentences on what is beyond its bound beside the event loop."""
        found, took = [], self.store()
        if self._left_by_plane < 1.0:
            found.append(f"A thread that forwards packets works {self.plane:.0%} of its time (limits.plane_load).")
        if self._is_store_late:
            found.append(f"The store takes {took:.1f} s to answer (limits.store_delay).")
        return found

    def measured(self, busy: float, late: float, waited: float = 0.0) -> None:
        """Take one measurement: the loop was `busy` for that share of the time, it came `late` by so many seconds, and
        a message `waited` so many to be read.
        """
        for tell in self.told:
            tell(busy, late)
        policy, seconds = self.policy, EVERY + late
        self._spare = min(_ALWAYS, self._spare + _ALWAYS * seconds)
        self._offered.measured(seconds)
        self._let_in.measured(seconds)
        late = max(late, waited)
        of_store = self.store() / policy.store - 1.0 if policy.store else -1.0
        excess = max(self._of_loop(busy, late), of_store)
        may_lower = self._is_late(late, seconds) or of_store > 0.0
        if not may_lower:
            self._full = 0
        if excess > 0.0 and may_lower:
            self._lower(excess)
        elif self._pace < math.inf:
            self._raise(-excess)
        if self._pace < math.inf:
            self._lately = self._pace
        self._was_over = excess > 0.0 and may_lower
        self._see(self._pace < math.inf, seconds)

    def _is_late(self, late: float, seconds: float) -> bool:
        """Return whether lateness has lasted; while calls are bounded, and shortly after, a little is enough."""
        bound = self.policy.late
        # The first of several late ones says nothing of the time before it, which a single stall has taken.
        self._late_for = max(0.0, self._late_for + seconds) if late > bound else -math.inf
        is_bounded = self._pace < math.inf
        self._ended = 0.0 if is_bounded else self._ended + seconds
        again = self._ended < _AGAIN and late > _LITTLE * bound
        return is_bounded or again or self._late_for >= _LASTING

    def _see(self, is_bounded: bool, seconds: float) -> None:
        if is_bounded != self._is_bounded:
            self._is_bounded, self._lasted = is_bounded, 0.0  # what came before, a stall as well, was under the other
        else:
            self._lasted += seconds
        if self._lasted >= _LASTING:
            self._is_said = is_bounded

    def _of_loop(self, busy: float, late: float) -> float:
        """By how much of its bound the loop is beyond it; below 0: so much is left."""
        policy = self.policy
        if not policy.busy:
            self._busy, self._late, self._full = 0.0, 0.0, 0
            return -1.0
        self._busy += _SMOOTHING * (busy - self._busy)
        self._late += _SMOOTHING * (late - self._late)
        self._full = self._full + 1 if self._busy >= _FULL else 0
        # Once it works all the time, lateness says what waits still, and not how much less there must be to do.
        of_time, of_waits = self._busy / policy.busy, self._late / policy.late
        return (of_time if of_time > 1.0 else max(of_time, of_waits)) - 1.0

    def _lower(self, excess: float) -> None:
        if self._pace == math.inf:
            self._pace = max(self._let_in.value, _ALWAYS)
            # What was let in while messages waited was begun, and not all of it carried.
            self._carried = (_KEPT if self._is_store_late else _BEGUN) * self._pace
        elif not self._was_over:
            self._carried = _KEPT * min(self._pace, self._let_in.value)
        step = max(_GAIN * excess, _HARDER * self._full)
        self._pace = max(_LEAST, self._pace * (1.0 - min(_MOST, step)))

    def _raise(self, left: float) -> None:
        if left >= 1.0:  # nothing bounds it
            self._pace = self._carried = math.inf
        elif self._pace < self._carried:
            self._pace = min(self._carried, 2.0 * self._pace)
        else:
            self._pace *= 1.0 + _GAIN * min(left, _LEFT)
        if self._pace > _OVER * self._offered.value + _ALWAYS:
            self._pace = self._carried = math.inf

    def admit(self, now: float) -> bool:
        """Whether one more call is let in at `now` (monotonic seconds); evenly, not by chance."""
        self._offered.count += 1
        is_let_in = self._has_turn() and self._has_credit(now)
        if is_let_in:
            self._let_in.count += 1
        else:
            self.refused += 1
        return is_let_in

    def _has_turn(self) -> bool:
        """Of what the packet threads leave."""
        share = self._left_by_plane
        self._turn = min(1.0, self._turn) + share
        if share < 1.0 and self._turn < 1.0:
            return False
        self._turn -= 1.0
        return True

    def _has_credit(self, now: float) -> bool:
        """Of what the loop and the store leave, or of the few that are always let in."""
        passed, self._asked = now - self._asked, now
        if self._pace == math.inf:
            self._credit = 0.0
            return True
        self._credit = min(self._credit + self._pace * passed, max(1.0, _BURST * self._pace))
        if self._credit >= 1.0:
            self._credit -= 1.0
        elif self._spare < 1.0:
            return False
        self._spare = max(0.0, self._spare - 1.0)
        return True
