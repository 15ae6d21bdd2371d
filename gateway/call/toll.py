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
        self._left: OrderedDict[tuple[str, str], tuple[float, float]] = OrderedDict()
        """Calls that are left, and when that was so, by caller and prefix."""

    def counts(self) -> dict[str, float]:
        """Calls of this hour that are not forgiven yet, by names that other gateways have as well; the latest."""
        most, now = self.limits.prefix_calls_per_hour, self._clock()
        latest = islice(reversed(self._left.items()), _TOLD)
        spent = {_name(key): most - left - (now - since) * most / _HOUR for key, (left, since) in latest}
        return {name: count for name, count in spent.items() if count > 0}

    def spent(self, most: int) -> list[Spent]:
        """Those who have called the most, at most so many."""
        spent = ((caller, prefix, round(count, 2)) for (caller, prefix), count in self._spent().items() if count > 0)
        return nlargest(most, spent, key=itemgetter(2))

    def add(self, spent: Iterable[Spent], ago: float) -> None:
        """Have what `spent` gave somewhere else, `ago` seconds ago, count here beside what was counted here."""
        most, now = float(self.limits.prefix_calls_per_hour), self._clock()
        here = self._spent()
        for caller, prefix, count in spent:
            remains = count - ago * most / _HOUR
            if most and remains > 0:
                key = (caller, prefix)
                self._left[key] = (most - remains - here.get(key, 0.0), now)

    def _spent(self) -> dict[tuple[str, str], float]:
        most, now = self.limits.prefix_calls_per_hour, self._clock()
        return {key: most - left - (now - since) * most / _HOUR for key, (left, since) in self._left.items()}

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
        now = self._clock()
        left, since = self._left.pop(key, (float(most), now))
        left = min(float(most), left + (now - since) * most / _HOUR)
        elsewhere = self.others(_name(key))
        is_let_through = left - elsewhere >= 1.0
        self.counted += is_let_through
        self._left[key] = (left - is_let_through, now)
        if len(self._left) > _REMEMBERED + _MORE:
            self._forget()
        if not is_let_through:
            log.warning("toll brake", caller=caller.id, prefix=key[1], trunk=target.trunk)
            raise RouteError(
                Cause.LINE_FULL,
                f"limits.prefix_calls_per_hour: {caller.id} has called numbers that begin with {key[1]} {most} times",
                retry_after=round((1.0 - left + elsewhere) * _HOUR / most),
            )

    def _forget(self) -> None:
        # Whoever dials thousands of numbers once is not to make us forget the one that was dialled too often.
        spent = self._spent()
        for key in sorted(spent, key=spent.__getitem__)[: len(spent) - _REMEMBERED]:
            del self._left[key]


def _name(key: tuple[str, str]) -> str:
    return f"toll:{key[0]} {key[1]}"
