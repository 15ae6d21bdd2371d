"""How much one source may ask for, and which sources have proved that they are where they say; bounded memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from gateway.sip.flow import WEBSOCKET, Flow
from gateway.sources import source_of

_Buckets = OrderedDict[str, tuple[float, float]]
"""Tokens of each source, and when they were counted."""

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
    """Addresses and networks ("192.0.2.0/24") without that limit: trunks, proxies. They are told everything, too."""
    trunks: Collection[str] = ()
    """Those of trunks among them, whose INVITEs have a limit of their own."""
    trunk_invites: float = 50.0
    """INVITEs a second of one source of a trunk, repeated ones as well; 0: no limit."""
    trunk_burst: float = 20.0
    """INVITEs of one source of a trunk that may come at once."""
    proven: int = 20_000
    """How many proven sources are remembered; the one that was proven longest ago is forgotten first."""
    proof_lifetime: float = 7_200.0
    """Seconds for which a proof is good."""


class Admission:
    """Decides per source address whether one more request is let in; time is the caller's (monotonic seconds)."""

    __slots__ = ("_buckets", "_invites", "_limits", "_networks", "_trunks", "_trusted", "refused", "vouched")

    def __init__(self, limits: AdmissionLimits) -> None:
        """Raises ValueError for a trusted entry that is no address and no network."""
        self.change(limits)
        self._buckets: _Buckets = OrderedDict()
        self._invites: _Buckets = OrderedDict()
        self.vouched: Callable[[str], bool] = lambda source: False
        """Asked about a source that is over its limit: whether it is let in all the same."""
        self.refused = 0
        """How many requests were turned away."""

    def __len__(self) -> int:
        return len(self._buckets)

    def change(self, limits: AdmissionLimits) -> None:
        """Let in by these limits from now on; raises ValueError, and nothing has changed."""
        networks = [tuple(ip_network(one, strict=False) for one in kind) for kind in (limits.trusted, limits.trunks)]
        self._networks, self._trunks = networks
        self._limits = limits
        self._trusted: OrderedDict[str, tuple[bool, bool]] = OrderedDict()

    def is_trusted(self, source: str) -> bool:
        """Return True for a source without the limit of strangers."""
        return bool(self._networks) and self._kind_of(source)[0]

    def _kind_of(self, source: str) -> tuple[bool, bool]:
        """Return whether a source is trusted, and whether it is a trunk's."""
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
        """Take one token of `source`, or `cost` of one; False when there is none."""
        limits = self._limits
        if limits.rate <= 0 or self.is_trusted(source):
            return True
        has_room = self._take(self._buckets, source_of(source), now, limits.rate, limits.burst, cost)
        return has_room or self._is_vouched(source)

    def admit_invite(self, source: str, now: float) -> bool:
        """Take one token for an INVITE of a trunk's source; True for others, whose requests `admit` counts."""
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
