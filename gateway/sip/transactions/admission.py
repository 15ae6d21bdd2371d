"""Rate limits per source, and sources with a proven address, in bounded memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from gateway.sip.flow import WEBSOCKET, Flow
from gateway.sources import source_of

_Buckets = OrderedDict[str, tuple[float, float]]
"""Tokens of each source, with the time of counting."""

UNANSWERED = 0.1
"""Tokens of a response or an ACK: every admitted call brings some, but reading each takes time."""


def cost_of(data: bytes) -> float:
    """Return the tokens for one message, by its first bytes."""
    return UNANSWERED if data.startswith((b"SIP/", b"ACK ")) else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionLimits:
    """Limits on requests; a retransmission counts fully, an ACK or response a tenth."""

    rate: float = 50.0
    """Requests per second and source (an IPv4 address, a /64 of IPv6); 0 for no limit."""
    burst: float = 100.0
    """Requests allowed at once."""
    sources: int = 10_000
    """Source addresses remembered; the longest idle is dropped first."""
    trusted: Collection[str] = ()
    """Addresses and networks ("192.0.2.0/24") without rate limit: trunks, proxies. Refusals to these are never
    withheld."""
    trunks: Collection[str] = ()
    """Addresses of trunks among the trusted, with a separate limit for INVITEs."""
    trunk_invites: float = 50.0
    """INVITEs per second from one trunk source, including retransmissions; 0 for no limit."""
    trunk_burst: float = 20.0
    """INVITEs allowed at once from one trunk source."""
    proven: int = 20_000
    """Proven sources remembered; the oldest proof is dropped first."""
    proof_lifetime: float = 7_200.0
    """Seconds for which a proof is valid."""


class Admission:
    """Rate limiter per source address; the caller passes monotonic seconds."""

    __slots__ = ("_buckets", "_invites", "_limits", "_networks", "_trunks", "_trusted", "refused", "vouched")

    def __init__(self, limits: AdmissionLimits) -> None:
        """Raise ValueError for a trusted entry that is neither address nor network."""
        self.change(limits)
        self._buckets: _Buckets = OrderedDict()
        self._invites: _Buckets = OrderedDict()
        self.vouched: Callable[[str], bool] = lambda source: False
        """Callback for a source over its limit; True admits the request regardless."""
        self.refused = 0
        """Requests rejected."""

    def __len__(self) -> int:
        return len(self._buckets)

    def change(self, limits: AdmissionLimits) -> None:
        """Apply new limits; raise ValueError without any change for invalid limits."""
        networks = [tuple(ip_network(one, strict=False) for one in kind) for kind in (limits.trusted, limits.trunks)]
        self._networks, self._trunks = networks
        self._limits = limits
        self._trusted: OrderedDict[str, tuple[bool, bool]] = OrderedDict()

    def is_trusted(self, source: str) -> bool:
        """Return True for a source without rate limit."""
        return bool(self._networks) and self._kind_of(source)[0]

    def _kind_of(self, source: str) -> tuple[bool, bool]:
        """Return the pair (is trusted, is a trunk's source)."""
        known = self._trusted.get(source)
        if known is None:
            try:
                address = ip_address(source)
            except ValueError:
                return False, False
            known = _is_of(address, self._networks), _is_of(address, self._trunks)
            self._trusted[source] = known
            if len(self._trusted) > self._limits.sources:
                self._trusted.popitem(last=False)
        return known

    def admit(self, source: str, now: float, cost: float = 1.0) -> bool:
        """Take `cost` tokens of `source`; return False if there are too few."""
        limits = self._limits
        if limits.rate <= 0 or self.is_trusted(source):
            return True
        has_room = self._take(self._buckets, source_of(source), now, limits.rate, limits.burst, cost)
        return has_room or self._is_vouched(source)

    def admit_invite(self, source: str, now: float) -> bool:
        """Take a token for an INVITE from a trunk source; return True for other sources, counted by `admit`."""
        limits = self._limits
        if not self._trunks or limits.trunk_invites <= 0 or not self._kind_of(source)[1]:
            return True
        if self._take(self._invites, source_of(source), now, limits.trunk_invites, limits.trunk_burst, 1.0):
            return True
        self.refused += 1
        return False

    def _is_vouched(self, source: str) -> bool:
        if self.vouched(source):
            return True
        self.refused += 1
        return False

    def _take(self, buckets: _Buckets, key: str, now: float, rate: float, burst: float, cost: float) -> bool:
        tokens, since = buckets.pop(key, (burst, now))
        tokens = min(burst, tokens + (now - since) * rate)
        has_room = tokens >= cost
        buckets[key] = (tokens - cost if has_room else tokens, now)
        if len(buckets) > self._limits.sources:
            buckets.popitem(last=False)
        return has_room


def _is_of(address: IPv4Address | IPv6Address, networks: Iterable[IPv4Network | IPv6Network]) -> bool:
    return any(address.version == one.version and address in one for one in networks)


class Proofs:
    """Sources with a proven address: a valid digest, or a response with a branch of ours, shows that messages arrive.

    A source is host and port, a WebSocket its connection. A forger of the address never sees nonce or branch.
    """

    __slots__ = ("_limits", "_until")

    def __init__(self, limits: AdmissionLimits) -> None:
        self._limits = limits
        self._until: OrderedDict[tuple[str, str, int], float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._until)

    def add(self, source: Flow, now: float) -> None:
        """Record a proof of `source` at `now` (monotonic seconds)."""
        key = _place(source)
        self._until[key] = now + self._limits.proof_lifetime
        self._until.move_to_end(key)
        if len(self._until) > self._limits.proven:
            self._until.popitem(last=False)

    def has(self, source: Flow, now: float) -> bool:
        """Return True while the proof of `source` is valid."""
        return self._until.get(_place(source), now) > now


def _place(source: Flow) -> tuple[str, str, int]:
    """Return the proven part of a flow; behind a web proxy all WebSockets have one address."""
    return (source.transport, source.local if source.transport in WEBSOCKET else source.host, source.port)
