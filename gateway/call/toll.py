"""The brake on toll fraud: how often one caller may reach the same few numbers through a trunk within an hour.

Who gets hold of a password calls premium numbers that lie close together, again and again, at night; people do not.
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
"""Callers and prefixes that other gateways are told of."""
_REMEMBERED = 10_000
"""Callers and prefixes; those with the fewest calls of this hour are forgotten first."""
_MORE = 1_000
"""So many more there may be, so that few are looked for seldom."""


Spent = tuple[str, str, float]
"""A caller, a prefix, and how many calls of an hour are not forgiven yet."""


class TollBrake:
    """Asked for each call that is about to leave, whether dialled, forwarded or transferred."""

    def __init__(self, limits: CallLimits, clock: Callable[[], float]) -> None:
        """`clock` gives monotonic seconds."""
        self.limits = limits
        """May be others in the course of things."""
        self.others: Callable[[str], float] = none_elsewhere
        """What other gateways count under a name of `counts`."""
        self.counted = 0
        """Calls, since the process began."""
        self._clock = clock
        self._counted: OrderedDict[tuple[str, str], tuple[float, float]] = OrderedDict()
        """Calls that were not forgiven, and when that was so, by caller and prefix: the limit may be another since."""

    def counts(self) -> dict[str, float]:
        """Calls of this hour that are not forgiven yet, by names that other gateways have as well; the latest."""
        latest = islice(reversed(self._counted), _TOLD)
        return {_name(key): count for key in latest if (count := self._spent(key)) > 0}

    def spent(self, most: int) -> list[Spent]:
        """Those who have called the most, at most so many."""
        spent = ((*key, round(count, 2)) for key in self._counted if (count := self._spent(key)) > 0)
        return nlargest(most, spent, key=itemgetter(2))

    def add(self, spent: Iterable[Spent], ago: float) -> None:
        """Have what `spent` gave somewhere else, `ago` seconds ago, count here beside what was counted here."""
        for caller, prefix, count in spent:
            remains, key = self._remains(count, ago), (caller, prefix)
            if remains > 0:
                self._counted[key] = (remains + self._spent(key), self._clock())

    def _spent(self, key: tuple[str, str]) -> float:
        """Calls that are not forgiven yet."""
        now = self._clock()
        count, since = self._counted.get(key, (0.0, now))
        return self._remains(count, now - since)

    def _remains(self, count: float, seconds: float) -> float:
        """Of so many calls, after so long; who had called more often than one may now has used up what there is."""
        most = self.limits.prefix_calls_per_hour
        return max(0.0, min(count, most) - seconds * most / _HOUR)

    def check(self, caller: Caller, target: Target) -> None:
        """Count a call of `caller`, who pays for it; raises RouteError for one too many.

        Calls that stay here, and those to emergency numbers, are free.
        """
        most = self.limits.prefix_calls_per_hour
        if not most or not isinstance(target, SipTarget) or target.trunk is None or target.emergency:
            return
        number = target.uri.removeprefix("sips:").removeprefix("sip:").partition("@")[0]
        # Who has no account takes any name.
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
        # Whoever dials thousands of numbers once is not to make us forget the one that was dialled too often.
        for key in sorted(self._counted, key=self._spent)[: len(self._counted) - _REMEMBERED]:
            del self._counted[key]


def _name(key: tuple[str, str]) -> str:
    return f"toll:{key[0]} {key[1]}"
