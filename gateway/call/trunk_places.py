"""Hosts and addresses that identify a trunk in a SIP URI."""

from __future__ import annotations

from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network
from typing import Protocol

from sdp.hosts import IpAddress, ip_of

Network = IPv4Network | IPv6Network

_OWN_PORTS = frozenset(("5060", "5061"))


class Addresses(Protocol):
    """Addresses of host names in SIP URIs."""

    def last_addresses(self, host: str) -> Collection[str]:
        """Return the IP addresses from the last resolution of a name; empty if never resolved."""

    async def look_up(self, host: str) -> None:
        """Resolve a name for `last_addresses`; bounded in time."""


class NoAddresses:
    """Addresses without resolution."""

    def last_addresses(self, host: str) -> Collection[str]:
        return ()

    async def look_up(self, host: str) -> None:
        return


@dataclass(frozen=True, slots=True)
class TrunkHosts:
    """Hosts and networks of a configured trunk."""

    places: Sequence[str]
    """Host, or host:port, of each URI."""
    sources: Sequence[Network] = ()
    """Source networks of the trunk's calls."""


class TrunkPlaces:
    """Finds the trunk for the "host:port" of a URI; the first configured one if several match."""

    def __init__(self, trunks: Mapping[str, TrunkHosts], addresses: Addresses | None = None) -> None:
        self._trunks = {
            name: TrunkHosts(tuple(map(canonical, one.places)), one.sources) for name, one in trunks.items()
        }
        self._addresses = addresses or NoAddresses()
        backward = [(name, place) for name, one in reversed(self._trunks.items()) for place in one.places]
        self._places = {place: name for name, place in backward}
        self._plain = {plain(place): name for name, place in backward}
        self._hosts = {without_port(place): name for name, place in backward}

    def __contains__(self, name: object) -> bool:
        return name in self._trunks

    def exactly_at(self, place: str) -> str | None:
        """Return the trunk configured with exactly the same host and port."""
        return self._places.get(place)

    def named(self, place: str) -> str | None:
        """Return the trunk configured with the host, and the same port if `place` has a port."""
        return self._places.get(place) or self._plain.get(plain(place)) or self._hosts.get(place)

    def is_of(self, trunk: str, place: str) -> bool:
        """Return True if a URI of `trunk` has the host, and the same port if `place` has a port."""
        one = self._trunks.get(trunk)
        return one is not None and any(
            place in (without_port(each), each) or plain(place) == plain(each) for each in one.places
        )

    def addressed(self, place: str, own: Container[str]) -> str | None:
        """Return the trunk with an address of the host, in its `sources` or from the resolution of its names.

        `own` are hosts of the gateway, which belong to no trunk.
        """
        found = [each for each in self._addresses_of(without_port(place)) if _in_uri(each) not in own]
        if not found:
            return None
        return next((name for name, one in self._trunks.items() if self._has(one, found, place)), None)

    def _has(self, trunk: TrunkHosts, found: Sequence[IpAddress], place: str) -> bool:
        port = _port(place)
        alike = [one for one in trunk.places if place == without_port(place) or _port(one) == port]
        if any(not self._addresses_of(without_port(one)).isdisjoint(found) for one in alike):
            return True
        return (not port or bool(alike)) and _is_among(found, trunk)

    async def learn(self, place: str, own: Container[str]) -> None:
        """Resolve a host unknown as ours or as a trunk's."""
        host = without_port(place)
        if host and host not in own and self.named(place) is None and ip_of(host) is None:
            await self._addresses.look_up(host)

    def _addresses_of(self, host: str) -> frozenset[IpAddress]:
        literal = ip_of(host)
        if literal is not None:
            return frozenset((_unmapped(literal),))
        found = map(ip_of, self._addresses.last_addresses(host))
        return frozenset([_unmapped(each) for each in found if each is not None])


def canonical(place: str) -> str:
    """Return a "host:port" in canonical form: lower case, RFC 5952 for IPv6, no leading zeros in the port."""
    text = place.lower()
    address = ip_of(text)
    if address is not None:
        return _in_uri(_unmapped(address))
    host = without_port(text)
    port = text[len(host) :].removeprefix(":")
    address = ip_of(host)
    host = host.removesuffix(".") if address is None else _in_uri(_unmapped(address))
    if not port:
        return host
    return f"{host}:{port.lstrip('0') or '0'}" if port.isdecimal() and port.isascii() else f"{host}:{port}"


def plain(place: str) -> str:
    """Return a "host:port" without SIP's default ports, which peers write or omit freely."""
    host, colon, port = place.rpartition(":")
    return host if colon and port in _OWN_PORTS and not host.endswith(":") else place


def without_port(host: str) -> str:
    """Return the host of a "host:port"; an IPv6 address keeps its brackets."""
    address, bracket, _ = host.partition("]")
    return address + bracket if bracket else host.partition(":")[0]


def _port(place: str) -> str:
    """Return the port unless a default port of SIP; "" for none."""
    bare = plain(place)
    return bare[len(without_port(bare)) :].removeprefix(":")


def _unmapped(address: IpAddress) -> IpAddress:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped


def _in_uri(address: IpAddress) -> str:
    return f"[{address}]" if address.version == 6 else str(address)


def _is_among(found: Sequence[IpAddress], trunk: TrunkHosts) -> bool:
    return any(address.version == net.version and address in net for address in found for net in trunk.sources)
