"""Which source address a plain RTP leg listens to, and where it sends (symmetric RTP, RFC 4961, done safely).

The rule that keeps strangers out (RTP bleed): the address that signalling named always wins;
another one is learned at most once per description, only from the host that signalling
came from or named, and only where the named address cannot be reached or stays silent;
after that the source is strict. With SRTP a packet authenticates before its source counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from ipaddress import ip_address

from gateway.media.embedded.plane.values import Address
from sdp.transport import is_private


class Latching(StrEnum):
    """When an address that the description does not name may be learned."""

    OFF = "off"
    AUTO = "auto"
    """From the host of the signalling or of the description."""
    ON = "on"
    """From any host, within the window."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LatchRules:
    """How a leg learns."""

    mode: Latching = Latching.AUTO
    window: float = 10.0
    """Seconds after a description during which a named address that could be reached may be replaced."""
    patience: float = 1.0
    """Seconds the named (or present) source must have been silent before another is learned."""


class Latch:
    """The source of one leg, and who may become it. Addresses are canonical texts."""

    __slots__ = (
        "_destination",
        "_learned",
        "_named",
        "_opened",
        "_private_source",
        "_rules",
        "description",
        "heard",
        "source",
    )

    def __init__(self, rules: LatchRules) -> None:
        self.source: Address | None = None
        """The only address listened to; None before the first packet."""
        self.heard = float("-inf")
        """When the last packet of `source` came, as the plane said last."""
        self.description = 0
        """How often the named address has changed: sources that were learned under another number are of the past."""
        self._rules = rules
        self._named: Address | None = None
        self._private_source: str | None = None
        self._opened = 0.0
        self._learned = False
        self._destination: Address | None = None

    def expect(self, named: Address | None, private_source: str | None, now: float) -> None:
        """Take the address of a new description; only here may learning begin afresh."""
        if named != self._named:
            self.source = None
            self.description = (self.description + 1) & 0xFFFFFFFF
        self._named = named
        self._private_source = private_source
        self._opened = now
        self._learned = False
        decent = named is not None and may_send_to(named[0], private_source)
        self._destination = named if decent else None

    @property
    def named(self) -> Address | None:
        """The address of the description."""
        return self._named

    @property
    def learned(self) -> bool:
        """Whether `source` is another address than the one named."""
        return self.source is not None and self.source != self._named

    @property
    def destination(self) -> Address | None:
        """Where to send: the source once it is known, before that the named address where that is decent."""
        return self.source or self._destination

    def may_admit(self, address: Address, now: float) -> bool:
        """Whether a well-formed packet from `address`, which is not `source`, may make it the source."""
        return address == self._named or self._may_learn(address, now, False)

    def may_learn(self, address: Address, now: float) -> bool:
        """Whether an authentic one may."""
        return address == self._named or self._may_learn(address, now, True)

    def learn(self, address: Address) -> None:
        """`address` is the source from now on."""
        self._learned = self._learned or address != self._named
        self.source = address

    def _may_learn(self, address: Address, now: float, authentic: bool) -> bool:
        if self._rules.mode is Latching.OFF or self._learned or self._named is None:
            return False
        if authentic:
            return True
        host = address[0]
        if self._out_of_reach() and host == self._private_source:
            return now - self.heard >= self._rules.patience
        if self._rules.mode is Latching.AUTO and host not in (self._private_source, self._named[0]):
            return False
        silent = now - max(self.heard, self._opened) >= self._rules.patience
        return silent and now - self._opened < self._rules.window

    def _out_of_reach(self) -> bool:
        """Whether the named address is private and signalling came from elsewhere: a NAT is between."""
        if self._named is None or self._private_source in (None, self._named[0]):
            return False
        return is_private(self._named[0])


@lru_cache(maxsize=8192)
def may_send_to(host: str, signalling_host: str | None) -> bool:
    """Whether media may go to an address a stranger named: never to groups or nowhere, to loopback only from there."""
    try:
        parsed = ip_address(host)
    except ValueError:
        return False
    if parsed.is_multicast or parsed.is_unspecified or host == "255.255.255.255":
        return False
    if not parsed.is_loopback or signalling_host is None:
        return True
    try:
        return ip_address(signalling_host).is_loopback
    except ValueError:
        return False
