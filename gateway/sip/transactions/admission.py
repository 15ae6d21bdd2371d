"""How much one source may ask for, and which sources have proved that they are where they say; bounded memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from gateway.sip.flow import WEBSOCKET, Flow
from gateway.sources import source_of

UNANSWERED = 0.1
"""Tokens of a response or an ACK: a call that is let in brings some of each, but reading one costs time as well."""


def cost_of(data: bytes) -> float:
    """Tokens of one message, by how it begins."""
    return UNANSWERED if data.startswith((b"SIP/", b"ACK ")) else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionLimits:
    """Limits on requests; a repeated one counts like any other, ACKs and responses a tenth of one."""

    rate: float = 50.0
    """Requests per second and source (an IPv4 address, a /64 of IPv6); 0 switches the limit off."""
    burst: float = 100.0
    """How many may come at once."""
    sources: int = 10_000
    """How many source addresses are remembered; the one that was quiet longest is forgotten first."""
    trusted: Collection[str] = ()
    """Addresses and networks ("192.0.2.0/24") without a limit: trunks, proxies. They are told everything, too."""
    proven: int = 20_000
    """How many proven sources are remembered; the one that was proven longest ago is forgotten first."""
    proof_lifetime: float = 7_200.0
    """Seconds for which a proof is good."""


class Admission:
    """Decides per source address whether one more request is let in; time is the caller's (monotonic seconds)."""

    __slots__ = ("_buckets", "_limits", "_networks", "_trusted", "refused", "vouched")

    def __init__(self, limits: AdmissionLimits) -> None:
        """Raises ValueError for a trusted entry that is no address and no network."""
        self.change(limits)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self.vouched: Callable[[str], bool] = lambda source: False
        """Asked about a source that is over its limit: whether it is let in all the same."""
        self.refused = 0
        """How many requests were turned away."""

    def __len__(self) -> int:
        return len(self._buckets)

    def change(self, limits: AdmissionLimits) -> None:
        """Let in by these limits from now on; raises ValueError, and nothing has changed."""
        self._networks = tuple(ip_network(entry, strict=False) for entry in limits.trusted)
        self._limits = limits
        self._trusted: OrderedDict[str, bool] = OrderedDict()

    def is_trusted(self, source: str) -> bool:
        """Whether `source` is one of the addresses without a limit."""
        if not self._networks:
            return False
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

    def admit(self, source: str, now: float, cost: float = 1.0) -> bool:
        """Take one token of `source`, or `cost` of one; False when there is none."""
        limits = self._limits
        if limits.rate <= 0 or self.is_trusted(source):
            return True
        key = source_of(source)
        tokens, since = self._buckets.pop(key, (limits.burst, now))
        tokens = min(limits.burst, tokens + (now - since) * limits.rate)
        admitted = tokens >= cost or self.vouched(source)
        if tokens >= cost:
            tokens -= cost
        elif not admitted:
            self.refused += 1
        self._buckets[key] = (tokens, now)
        if len(self._buckets) > limits.sources:
            self._buckets.popitem(last=False)
        return admitted


class Proofs:
    """Sources that have shown that what is sent to them arrives: by a digest, or by an answer to a branch of ours.

    A source is host and port, a WebSocket the connection itself; whoever forges one cannot have heard the nonce or the
    branch.
    """

    __slots__ = ("_limits", "_until")

    def __init__(self, limits: AdmissionLimits) -> None:
        self._limits = limits
        self._until: OrderedDict[tuple[str, str, int], float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._until)

    def add(self, source: Flow, now: float) -> None:
        """Note that `source` has proved itself at `now` (monotonic seconds)."""
        key = _place(source)
        self._until[key] = now + self._limits.proof_lifetime
        self._until.move_to_end(key)
        if len(self._until) > self._limits.proven:
            self._until.popitem(last=False)

    def has(self, source: Flow, now: float) -> bool:
        """Whether the proof of `source` still holds."""
        return self._until.get(_place(source), now) > now


def _place(source: Flow) -> tuple[str, str, int]:
    """What of a flow is proved: behind a web proxy all WebSockets have one address."""
    return (source.transport, source.local if source.transport in WEBSOCKET else source.host, source.port)
