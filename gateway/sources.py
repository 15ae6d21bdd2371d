"""Key of a source, by which every limit counts: an IPv4 address, or the /64 of IPv6 that one customer has at least."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv6Network, ip_address

_PREFIX = 64


@lru_cache(maxsize=4096)
def source_of(host: str) -> str:
    """Return "192.0.2.7", also for "::ffff:192.0.2.7", or "2001:db8:1:2::/64"; text that is no address stays."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    mapped = getattr(address, "ipv4_mapped", None)
    if mapped is not None:
        return str(mapped)
    return str(address) if address.version == 4 else str(IPv6Network((int(address), _PREFIX), strict=False))
