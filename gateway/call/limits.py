"""Limits on the number of calls: admission of new calls, and release of their places."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from gateway.call.routing import Caller, RouteError
from gateway.call.status import Cause
from gateway.sources import source_of

_WHEN_FULL = 10
"""Retry-After in seconds when all places are taken."""


_CALLS, _GUESTS = "calls:", "guests:"


def none_elsewhere(name: str) -> float:
    """Return 0: no second gateway exists."""
    return 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CallLimits:
    """Limits on callers."""

    max_calls: int = 500
    calls_per_second: float = 100.0
    """New calls per second, with a burst of the same number."""
    max_calls_per_caller: int = 10
    guest_calls: int = 250
    """Concurrent calls of guests; the rest of max_calls is reserved for users with an account."""
    guest_calls_per_source: int = 10
    """Concurrent calls of guests from one IPv4 address or one /64 of IPv6."""
    prefix_length: int = 6
    """Leading characters that group outgoing numbers for `prefix_calls_per_hour`."""
    prefix_calls_per_hour: int = 200
    """Calls of one caller to numbers with an equal prefix through trunks, per hour; 0 for no limit."""
    history: int = 1000
    """Records of ended calls kept in memory."""


class Admission:
    """Counter of calls by caller and by guest source; includes calls being placed, so that no burst slips through."""

    def __init__(self, limits: CallLimits, now: float) -> None:
        self.limits = limits
        """Limits in force; replaced at a reload."""
        self._per_caller: Counter[str] = Counter()
        self._per_source: Counter[str] = Counter()
        """Calls of guests, by source."""
        self.others: Callable[[str], float] = none_elsewhere
        """Returns the number of remote calls under a name of `counts`."""
        self._tokens = max(limits.calls_per_second, 1.0)
        self._refilled_at = now

    @property
    def total(self) -> int:
        """Places taken."""
        return self._per_caller.total()

    def of(self, caller: str) -> int:
        """Return the number of a caller's calls on all gateways."""
        return self._per_caller[caller] + int(self.others(_CALLS + caller))

    def counts(self) -> dict[str, float]:
        """Return local counts under names shared by all gateways."""
        calls = {_CALLS + caller: float(count) for caller, count in self._per_caller.items()}
        return calls | {_GUESTS + source: float(count) for source, count in self._per_source.items()}

    def admit(self, caller: Caller, own_limit: int | None, now: float, *, emergency: bool = False) -> None:
        """Take a place for a new call; raises RouteError with the name of the reached limit.

        `own_limit` overrides the limit per caller. Emergency calls are always admitted.
        """
        if not emergency:
            self._check(caller, own_limit, now)
            self._tokens -= 1
        self.restore(caller)

    def restore(self, caller: Caller) -> None:
        """Take a place for a call admitted earlier."""
        self._per_caller[caller.id] += 1
        if caller.guest:
            self._per_source[source_of(caller.source)] += 1

    def release(self, caller: Caller) -> None:
        """Release a place."""
        _less(self._per_caller, caller.id)
        if caller.guest:
            _less(self._per_source, source_of(caller.source))

    def withdraw(self, caller: Caller) -> None:
        """Undo `admit` for a call rejected afterwards; the rate limit is restored, too."""
        self._tokens += 1
        self.release(caller)

    def _check(self, caller: Caller, own_limit: int | None, now: float) -> None:
        limits = self.limits
        rate = limits.calls_per_second
        self._tokens = min(max(rate, 1.0), self._tokens + (now - self._refilled_at) * rate)
        self._refilled_at = now
        if self.total >= limits.max_calls:
            raise _refused(f"limits.max_calls: all {limits.max_calls} calls are taken", _WHEN_FULL)
        if caller.guest and self._per_source.total() >= limits.guest_calls:
            raise _refused(f"limits.guest_calls: all {limits.guest_calls} calls of guests are taken", _WHEN_FULL)
        source = source_of(caller.source)
        of_source = self._per_source[source] + self.others(_GUESTS + source) if caller.guest else 0
        if caller.guest and of_source >= limits.guest_calls_per_source:
            raise _refused(
                f"limits.guest_calls_per_source: {source or 'one address'} has as many calls as guests may",
                _WHEN_FULL,
                Cause.TOO_MANY_OWN,
            )
        own = limits.max_calls_per_caller if own_limit is None else own_limit
        if self.of(caller.id) >= own:
            raise _refused(f"max_calls: {caller.id} has {own} calls, as many as it may", _WHEN_FULL, Cause.TOO_MANY_OWN)
        if self._tokens < 1:
            wait = math.ceil((1 - self._tokens) / rate)
            raise _refused(f"limits.calls_per_second: more than {rate:g} new calls in a second", wait)


def _refused(reason: str, retry_after: int, cause: Cause = Cause.LIMIT) -> RouteError:
    return RouteError(cause, reason, retry_after=retry_after)


def _less(counts: Counter[str], key: str) -> None:
    counts[key] -= 1
    if counts[key] <= 0:
        del counts[key]
