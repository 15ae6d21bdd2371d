"""What a full agent does with the peer's candidates: which are taken, and when each is sent a check (RFC 8445).

Sans-IO. The peer nominates; what its checks prove needs no proof of ours, so that ours are there for the address
translators on the way: they open the one in front of us to the peer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from gateway.media.embedded.plane.values import Address, Host
from gateway.media.engine import MediaError
from sdp import SdpSyntaxError
from sdp.attributes import Candidate

PACE = 0.05
"""Seconds between two checks of a leg (Ta, RFC 8445 section 14.2)."""
ROUNDS = (0.5, 1.0, 2.0, 4.0)
"""Seconds between the checks that one candidate is sent."""
_NEVER = tuple(
    ip_network(text)
    for text in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/3"),
        *("::/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/32", "2002::/16"),
        *("fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8"),
    )
)
"""Ourselves, networks behind us, many at once; and ways to write an IPv4 address in IPv6."""

Network = IPv4Network | IPv6Network


def may_be_sent_to(host: str, allowed: Sequence[Network] = ()) -> str | None:
    """The IP address as sockets write it, where a stranger may have us send to it; None where not.

    A name is nobody's address: looking it up would take the call's time, and tell whom it belongs to.
    """
    try:
        address: IPv4Address | IPv6Address = ip_address(host)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if any(address in network for network in allowed):
        return str(address)
    return None if any(address in network for network in _NEVER) else str(address)


def networks_of_lite(allowed: Sequence[Network], signalling_host: str | None) -> tuple[Network, ...]:
    """Private networks that a lite peer, which waits for checks, may have us send to: its signalling's host as well.

    Media of phones may be sent there, too.
    """
    try:
        return (*allowed, *([ip_network(signalling_host)] if signalling_host is not None else []))
    except ValueError:
        return tuple(allowed)


def require_candidate(lines: Sequence[str], allowed: Sequence[Network]) -> None:
    """Raise MediaError 488 where a lite peer names no address that a check may be sent to."""
    checks = Checklist(allowed)
    if not any(checks.add(each, 0.0) is not None for each in lines):
        raise MediaError("no candidate of the ICE-lite peer may be sent to", 488)


@dataclass(slots=True, eq=False)
class _Check:
    address: Address
    due: float
    sent: int = 0


class Checklist:
    """The candidates of one peer. `add` them, send to `due` ones at `deadline`."""

    def __init__(self, allowed: Sequence[Network] = (), most: int = 20) -> None:
        """`allowed`: networks that may be sent to though they are private; `most`: candidates taken."""
        self._allowed = allowed
        self._most = most
        self._checks: dict[Address, _Check] = {}
        self._next = float("-inf")

    def __len__(self) -> int:
        return len(self._checks)

    def clear(self) -> None:
        """The peer begins afresh (ICE restart)."""
        self._checks.clear()

    def add(self, line: str, now: float) -> Address | None:
        """Take "candidate:…"; its address where it is one that we will send to."""
        try:
            candidate = Candidate.parse_line(line)
        except SdpSyntaxError:
            return None
        host = may_be_sent_to(candidate.address, self._allowed)
        usable = candidate.transport.lower() == "udp" and candidate.component == 1 and candidate.port
        if host is None or not usable or len(self._checks) >= self._most:
            return None
        address = (Host(host), candidate.port)
        if address in self._checks:
            return None
        self._checks[address] = _Check(address, now)
        return address

    def deadline(self) -> float | None:
        """When the next check is due; None: none is."""
        due = min((each.due for each in self._checks.values() if each.sent <= len(ROUNDS)), default=None)
        return None if due is None else max(due, self._next)

    def due(self, now: float) -> Address | None:
        """Whom to send a check to now, one at a time."""
        if now < self._next:
            return None
        waiting = [each for each in self._checks.values() if each.sent <= len(ROUNDS) and each.due <= now]
        if not waiting:
            return None
        check = min(waiting, key=lambda each: each.due)
        check.due = now + (ROUNDS[check.sent] if check.sent < len(ROUNDS) else 0.0)
        check.sent += 1
        self._next = now + PACE
        return check.address
