"""What counts as one source: an IPv4 address, or a network of IPv6, of which one customer has at least a /64."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv6Network, ip_address, ip_network

_PREFIX = 64


@lru_cache(maxsize=4096)
def source_of(host: str) -> str:
    """ "192.0.2.7", or "2001:db8:1:2::/64"; what is no address stays as it is."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    mapped = getattr(address, "ipv4_mapped", None)
    if mapped is not None:
        return str(mapped)
    return str(address) if address.version == 4 else str(IPv6Network((int(address), _PREFIX), strict=False))


def address_in(host: str) -> str:
    """The IP address that a Via or URI names, IPv6 without brackets (RFC 5118 section 4.5); "" for a name."""
    try:
        return str(ip_address(host.strip("[]")))
    except ValueError:
        return ""


class Networks:
    """Addresses and networks ("192.0.2.0/24"); a host that is no address is in none."""

    def __init__(self, entries: Iterable[str]) -> None:
        """Raises ValueError for an entry that is neither."""
        self._networks = tuple(ip_network(entry, strict=False) for entry in entries)

    def __contains__(self, host: str) -> bool:
        if not self._networks:
            return False
        try:
            address = ip_address(host)
        except ValueError:
            return False
        return any(address.version == one.version and address in one for one in self._networks)
