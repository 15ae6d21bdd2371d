"""What means this gateway in a SIP URI, also after the addresses of its machine have changed."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from gateway.config import Config, advertised
from gateway.config.ports import WILDCARDS, is_own_address
from gateway.sip.message.uri import Uri


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnNames:
    """Hosts as a URI has them, in lower case: the domains, and every address that phones may have been given.

    Those of a wildcard are what the machine has when one is asked for, by DHCP or a VPN. One that a trunk has means
    that trunk.
    """

    names: frozenset[str]
    wildcards: frozenset[int]
    """IP versions of which every address is listened at."""
    trunks: frozenset[str]
    """Hosts of trunks."""

    @classmethod
    def of(cls, config: Config) -> OwnNames:
        """As the configuration has them."""
        listen = [one.host for one in config.sip.listen]
        hosts = [advertised(host, 1, told).host.lower() for host in listen for told in (None, config.sip.advertised)]
        trunks = [Uri.parse(uri).host for trunk in config.every_trunk for uri in trunk.uris]
        return cls(
            names=frozenset(map(_canonical, (config.domain, *config.also_domains, *hosts))),
            wildcards=frozenset(_version(host) for host in listen if host in WILDCARDS),
            trunks=frozenset(_canonical(host) for host in trunks),
        )

    def __contains__(self, name: object) -> bool:
        if name in self.names:
            return True
        address = _address(name) if self.wildcards else None
        if address is None or address.version not in self.wildcards or _in_uri(str(address)) in self.trunks:
            return False
        return is_own_address(str(address))


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnPlaces:
    """(host in lower case, port) of every listener; IPv6 without brackets."""

    places: frozenset[tuple[str, int]]
    wildcards: frozenset[tuple[int, int]]
    """IP version and port of those at every address."""

    @classmethod
    def of(cls, config: Config) -> OwnPlaces:
        """As the configuration has them."""
        told = [advertised(one.host, one.port, to) for one in config.sip.listen for to in (None, config.sip.advertised)]
        return cls(
            places=frozenset((place.host.lower(), place.port) for place in told),
            wildcards=frozenset((_version(one.host), one.port) for one in config.sip.listen if one.host in WILDCARDS),
        )

    def __contains__(self, place: object) -> bool:
        if place in self.places:
            return True
        if not isinstance(place, tuple) or not self.wildcards:
            return False
        address = _address(place[0])
        return address is not None and (address.version, place[1]) in self.wildcards and is_own_address(str(address))


def _address(host: object) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]")) if isinstance(host, str) else None
    except ValueError:
        return None


def _version(host: str) -> int:
    return ipaddress.ip_address(host).version


def _canonical(host: str) -> str:
    address = _address(host)
    return host.lower() if address is None else _in_uri(str(address))


def _in_uri(address: str) -> str:
    return f"[{address}]" if ":" in address else address
