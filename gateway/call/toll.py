"""Toll fraud brake: limits a caller's calls per hour to numbers with an equal prefix through trunks.

Stolen passwords are used to call neighbouring premium numbers again and again; people do not call like that.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from heapq import nlargest
from itertools import islice
from operator import itemgetter

import structlog

from gateway.call.limits import CallLimits, none_elsewhere
from gateway.call.routing import Caller, RouteError, SipTarget, Target
from gateway.call.status import Cause

log = structlog.get_logger(__name__)

_HOUR = 3_600.0
_TOLD = 2_000
"""Largest number of counts published to remote gateways."""
_REMEMBERED = 10_000
"""Largest number of counts kept; the smallest are dropped first."""
_MORE = 1_000
"""Excess over `_REMEMBERED` before dropping, so that sorting is rare."""


Spent = tuple[str, str, float]
"""Caller, prefix, and the number of calls of the past hour still counted."""


class TollBrake:
    """Counter consulted for each outgoing call: dialled, forwarded or transferred."""

    def __init__(self, limits: CallLimits, clock: Callable[[], float]) -> None:
        """`clock` returns monotonic seconds."""
        self.limits = limits
        """Limits in force; replaced at a reload."""
        self.others: Callable[[str], float] = none_elsewhere
        """Returns the number of remote calls under a name of `counts`."""
        self.counted = 0
        """Number of counted calls since the start of the process."""
        self._clock = clock
        self._counted: OrderedDict[tuple[str, str], tuple[float, float]] = OrderedDict()
        """Count and its time by caller and prefix; the remaining count is computed on reading, as limits may change."""

    def counts(self) -> dict[str, float]:
        """Return the latest local counts under names shared by all gateways."""
        latest = islice(reversed(self._counted), _TOLD)
        return {_name(key): count for key in latest if (count := self._spent(key)) > 0}

    def spent(self, most: int) -> list[Spent]:
        """Return up to `most` largest counts."""
        spent = ((*key, round(count, 2)) for key in self._counted if (count := self._spent(key)) > 0)
        return nlargest(most, spent, key=itemgetter(2))

    def add(self, spent: Iterable[Spent], ago: float) -> None:
        """Add counts returned by `spent` elsewhere, `ago` seconds ago, to the local counts."""
        for caller, prefix, count in spent:
            remains, key = self._remains(count, ago), (caller, prefix)
            if remains > 0:
                self._counted[key] = (remains + self._spent(key), self._clock())

    def _spent(self, key: tuple[str, str]) -> float:
        """Return the remaining count of a key."""
        now = self._clock()
        count, since = self._counted.get(key, (0.0, now))
        return self._remains(count, now - since)

    def _remains(self, count: float, seconds: float) -> float:
        """Return the remainder of a count after `seconds`; a count above a lowered limit is cut to the limit."""
        most = self.limits.prefix_calls_per_hour
        return max(0.0, min(count, most) - seconds * most / _HOUR)

    def check(self, caller: Caller, target: Target) -> None:
        """Count an outgoing call of the paying caller; raises RouteError above the limit.

        Local and emergency calls are free.
        """
        most = self.limits.prefix_calls_per_hour
        if not most or not isinstance(target, SipTarget) or target.trunk is None or target.emergency:
            return
        number = target.uri.removeprefix("sips:").removeprefix("sip:").partition("@")[0]
        # A guest can choose any name, so the source address counts.
        key = (caller.source if caller.guest else caller.id, number[: self.limits.prefix_length])
        spent = self._spent(key)
        elsewhere = self.others(_name(key))
        is_let_through = spent + elsewhere <= most - 1.0
        self.counted += is_let_through
        self._counted[key] = (spent + is_let_through, self._clock())
        self._counted.move_to_end(key)
        if len(self._counted) > _REMEMBERED + _MORE:
            self._forget()
        if not is_let_through:
            log.warning("toll brake", caller=caller.id, prefix=key[1], trunk=target.trunk)
            raise RouteError(
                Cause.LINE_FULL,
                f"limits.prefix_calls_per_hour: {caller.id} has called numbers that begin with {key[1]} {most} times",
                retry_after=round((1.0 + spent + elsewhere - most) * _HOUR / most),
            )

    def _forget(self) -> None:
        # The smallest counts go: many single calls must not displace the count of an abused prefix.
        for key in sorted(self._counted, key=self._spent)[: len(self._counted) - _REMEMBERED]:
            del self._counted[key]


def _name(key: tuple[str, str]) -> str:
    return f"toll:{key[0]} {key[1]}"
