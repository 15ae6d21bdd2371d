"""How much one source may ask for: a token bucket per source address, in bounded memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AdmissionLimits:
    """Limits on requests that begin a transaction; retransmissions and responses are free."""

    rate: float = 50.0
    """New requests per second and source address; 0 switches the limit off."""
    burst: float = 100.0
    """How many may come at once."""
    sources: int = 10_000
    """How many source addresses are remembered; the one that was quiet longest is forgotten first."""
    trusted: Collection[str] = ()
    """Source addresses without a limit (trunks, proxies)."""


class Admission:
    """Decides per source address whether one more request is let in; time is the caller's (monotonic seconds)."""

    __slots__ = ("_buckets", "_limits", "refused")

    def __init__(self, limits: AdmissionLimits) -> None:
        self._limits = limits
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self.refused = 0
        """How many requests were turned away."""

    def __len__(self) -> int:
        return len(self._buckets)

    def admit(self, source: str, now: float) -> bool:
        """Take one token of `source`; False when there is none."""
        limits = self._limits
        if limits.rate <= 0 or source in limits.trusted:
            return True
        tokens, since = self._buckets.pop(source, (limits.burst, now))
        tokens = min(limits.burst, tokens + (now - since) * limits.rate)
        admitted = tokens >= 1.0
        if admitted:
            tokens -= 1.0
        else:
            self.refused += 1
        self._buckets[source] = (tokens, now)
        if len(self._buckets) > limits.sources:
            self._buckets.popitem(last=False)
        return admitted
