"""How much one source may ask for: a token bucket per source address, in bounded memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import ip_address, ip_network


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
    """Addresses and networks ("192.0.2.0/24") without a limit: trunks, proxies."""


class Admission:
    """Decides per source address whether one more request is let in; time is the caller's (monotonic seconds)."""

    __slots__ = ("_buckets", "_limits", "_networks", "_trusted", "refused")

    def __init__(self, limits: AdmissionLimits) -> None:
        """Raises ValueError for a trusted entry that is no address and no network."""
        self._limits = limits
        self._networks = tuple(ip_network(entry, strict=False) for entry in limits.trusted)
        self._trusted: OrderedDict[str, bool] = OrderedDict()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self.refused = 0
        """How many requests were turned away."""

    def __len__(self) -> int:
        return len(self._buckets)

    def _is_trusted(self, source: str) -> bool:
        known = self._trusted.get(source)
        if known is None:
            try:
                address = ip_address(source)
            except ValueError:
                return False
            known = any(address.version == one.version and address in one for one in self._networks)
            self._trusted[source] = known
            if len(self._trusted) > self._limits.sources:
                self._trusted.popitem(last=False)
        return known

    def admit(self, source: str, now: float) -> bool:
        """Take one token of `source`; False when there is none."""
        limits = self._limits
        if limits.rate <= 0 or (self._networks and self._is_trusted(source)):
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
