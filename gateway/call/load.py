"""Overload control: limits the rate of new calls when the gateway cannot keep up.

Control starts after a full second of lateness, measured by waiting messages and late timers. Short stalls and load of
further processes do not count.

Occupancy then sets the pace (RFC 6357 section 5.2). The rate of admitted calls is the capacity; the pace falls while
the loop is late or busy, and rises otherwise. A slow store lowers the pace likewise. Rejections are cheap, so that
admitted calls complete.

A few calls per second are always admitted: a single caller is not the cause of a late loop.

Packet threads are filled by long calls and by junk from strangers, at about a tenth of a packet's forwarding cost.
Above a bound only a share of new calls is admitted, falling to none when full.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

_SMOOTHING = 0.5
"""Weight of the newest measurement of the event loop."""
_COUNTED = 0.15
"""Weight of the newest interval in call rates."""
_FULL = 0.98
"""Occupancy above which the backlog is hidden in the sockets and cannot be measured."""
_HARDER = 0.03
"""Relative reduction of the pace for each consecutive measurement at full occupancy."""
_GAIN = 0.8
"""Part of the excess, or of the spare capacity, applied to the pace."""
_MOST = 0.5
"""Largest relative reduction of the pace at once."""
_LEFT = 0.2
"""Largest spare capacity counted in one step, relative to the bound."""
_KEPT = 0.93
"""Part of the admitted rate to which the pace returns in large steps; the pace itself overshoots before the overload
shows.
"""
_BEGUN = 0.6
"""Part of the rate admitted before control started to which the pace returns in large steps."""
_BURST = 0.1
"""Seconds of the pace that may be admitted at once."""
_OVER = 1.25
"""Ratio of pace to offered rate above which control ends."""
_LEAST = 0.1
"""Smallest pace in calls per second, from which the pace can rise again."""
_LASTING = 1.0
"""Seconds before the start or end of control is announced: callers are not moved elsewhere for a short burst, nor back
for a short pause.
"""
_AGAIN, _LITTLE = 5.0, 0.25
"""Seconds after the end of control with a stricter bound, and the stricter bound as a share of `late`, because random
arrivals leave idle moments.
"""
_ALWAYS = 5.0
"""Calls per second admitted under any load."""
EVERY = 0.1
"""Seconds between measurements."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPolicy:
    """Bounds above which calls are rejected."""

    busy: float = 0.95
    """Largest occupancy of the event loop under control; 0 disables the check."""
    late: float = 0.25
    """Waiting time of messages and timers in seconds that starts control after a full second."""
    plane: float = 0.9
    """Largest load of the least busy packet thread (`MediaEngine.busy`); 0 disables the check."""
    store: float = 0.5
    """Largest response time of the store in seconds; 0 disables the check."""


class _Rate:
    """Smoothed rate in calls per second."""

    def __init__(self) -> None:
        self.count = 0
        self.value = 0.0

    def measured(self, seconds: float) -> None:
        """Update the rate after an interval of `seconds`."""
        self.value += _COUNTED * (self.count / seconds - self.value)
        self.count = 0


class LoadControl:
    """Overload control: `measured` is called every EVERY seconds, `admit` for each new call."""

    def __init__(self, policy: LoadPolicy, store: Callable[[], float] = lambda: 0.0) -> None:
        """`store` returns the store's current response time in seconds."""
        self.policy = policy
        """Bounds in force; replaced at a reload."""
        self.store = store
        self.plane = 0.0
        """Load of the least busy packet thread, 0 to 1; set by the caller of `measured`."""
        self._busy = 0.0
        self._late = 0.0
        self._full = 0
        """Consecutive measurements at full occupancy."""
        self._late_for = -math.inf
        """Seconds of uninterrupted lateness; -infinity if the latest measurement was punctual."""
        self._ended = math.inf
        """Seconds since the end of control."""
        self._was_over = False
        self._is_bounded = self._is_said = False
        """True while a pace is in force, and the announced state."""
        self._lasted = 0.0
        """Seconds since the last change of `_is_bounded`."""
        self._offered, self._let_in = _Rate(), _Rate()
        self._pace = math.inf
        """Pace in calls per second set by loop and store; infinity without control."""
        self._lately = _ALWAYS
        """Latest finite pace."""
        self._carried = math.inf
        """Rate to which the pace rises in large steps."""
        self._credit = 0.0
        """Calls that may be admitted now."""
        self._asked = -math.inf
        """Time of the last update of the credit, in seconds."""
        self._spare = _ALWAYS
        """Calls that may be admitted beside the pace."""
        self._turn = 1.0
        """Progress toward the next admitted call under a share."""
        self.refused = 0
        self.told: list[Callable[[float, float], None]] = []
        """Called with occupancy and lateness of every measurement."""

    @property
    def share(self) -> float:
        """Share of new calls admitted, 0 to 1."""
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
        """Name of the setting that limits new calls; "" for none."""
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
        """True while calls are rejected, except for short bursts."""
        return self._is_said or self._left_by_plane < 1.0

    @property
    def taken(self) -> str:
        """Admitted share or rate of new calls, in words."""
        if self._left_by_plane < 1.0:
            return f"at most {min(99, math.floor(100 * self._left_by_plane))} % of new calls"
        return f"at most {max(self._lately, _ALWAYS):.0f} new calls a second"

    @property
    def reasons(self) -> list[str]:
        """Sentences about overload of packet threads or store."""
        found, took = [], self.store()
        if self._left_by_plane < 1.0:
            found.append(f"A thread that forwards packets works {self.plane:.0%} of its time (limits.plane_load).")
        if self._is_store_late:
            found.append(f"The store takes {took:.1f} s to answer (limits.store_delay).")
        return found

    def measured(self, busy: float, late: float, waited: float = 0.0) -> None:
        """Take a measurement: the loop's occupancy, its lateness in seconds, and the longest wait of a message in
        seconds.
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
        """Return True for lasting lateness; during control and shortly after, slight lateness counts."""
        bound = self.policy.late
        # The first late measurement does not count as lasting: a single stall may explain it.
        self._late_for = max(0.0, self._late_for + seconds) if late > bound else -math.inf
        is_bounded = self._pace < math.inf
        self._ended = 0.0 if is_bounded else self._ended + seconds
        again = self._ended < _AGAIN and late > _LITTLE * bound
        return is_bounded or again or self._late_for >= _LASTING

    def _see(self, is_bounded: bool, seconds: float) -> None:
        if is_bounded != self._is_bounded:
            self._is_bounded, self._lasted = is_bounded, 0.0  # earlier time counts for the previous state
        else:
            self._lasted += seconds
        if self._lasted >= _LASTING:
            self._is_said = is_bounded

    def _of_loop(self, busy: float, late: float) -> float:
        """Return the loop's relative excess over its bound; negative for spare capacity."""
        policy = self.policy
        if not policy.busy:
            self._busy, self._late, self._full = 0.0, 0.0, 0
            return -1.0
        self._busy += _SMOOTHING * (busy - self._busy)
        self._late += _SMOOTHING * (late - self._late)
        self._full = self._full + 1 if self._busy >= _FULL else 0
        # At full occupancy, lateness measures the backlog, not the necessary reduction.
        of_time, of_waits = self._busy / policy.busy, self._late / policy.late
        return (of_time if of_time > 1.0 else max(of_time, of_waits)) - 1.0

    def _lower(self, excess: float) -> None:
        if self._pace == math.inf:
            self._pace = max(self._let_in.value, _ALWAYS)
            # Calls admitted while messages waited were started, but not all were carried.
            self._carried = (_KEPT if self._is_store_late else _BEGUN) * self._pace
        elif not self._was_over:
            self._carried = _KEPT * min(self._pace, self._let_in.value)
        step = max(_GAIN * excess, _HARDER * self._full)
        self._pace = max(_LEAST, self._pace * (1.0 - min(_MOST, step)))

    def _raise(self, left: float) -> None:
        if left >= 1.0:  # no bound applies
            self._pace = self._carried = math.inf
        elif self._pace < self._carried:
            self._pace = min(self._carried, 2.0 * self._pace)
        else:
            self._pace *= 1.0 + _GAIN * min(left, _LEFT)
        if self._pace > _OVER * self._offered.value + _ALWAYS:
            self._pace = self._carried = math.inf

    def admit(self, now: float) -> bool:
        """Return True if a call is admitted at `now` (monotonic seconds); rejections are evenly spaced, not random."""
        self._offered.count += 1
        is_let_in = self._has_turn() and self._has_credit(now)
        if is_let_in:
            self._let_in.count += 1
        else:
            self.refused += 1
        return is_let_in

    def _has_turn(self) -> bool:
        """Count the call against the share left by the packet threads."""
        share = self._left_by_plane
        self._turn = min(1.0, self._turn) + share
        if share < 1.0 and self._turn < 1.0:
            return False
        self._turn -= 1.0
        return True

    def _has_credit(self, now: float) -> bool:
        """Count the call against the pace, or against the few calls admitted always."""
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
