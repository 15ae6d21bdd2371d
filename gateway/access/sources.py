"""IP addresses in messages, and networks of the configuration."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address, ip_network


def address_in(host: str) -> str:
    """Return the IP address of a Via or URI host, without brackets (RFC 5118 section 4.5); "" for a name."""
    try:
        return str(ip_address(host.strip("[]")))
    except ValueError:
        return ""


class Networks:
    """Addresses and networks ("192.0.2.0/24"); host names are in none."""

    def __init__(self, entries: Iterable[str]) -> None:
        """Raises ValueError for an entry that is neither address nor network."""
        self._networks = tuple(ip_network(entry, strict=False) for entry in entries)

    def __contains__(self, host: str) -> bool:
        if not self._networks:
            return False
        try:
            address = ip_address(host)
        except ValueError:
            return False
        return any(address.version == one.version and address in one for one in self._networks)
