"""IP addresses of this machine, and the address that a wildcard stands for."""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import socket
import struct
from functools import lru_cache
from pathlib import Path

_SIOCGIFADDR = 0x8915
"""Linux ioctl that reads the IPv4 address of an interface."""


def is_loopback(host: str) -> bool:
    """Return True for an IP address that only this machine can reach."""
    return ipaddress.ip_address(host).is_loopback


def own_addresses() -> tuple[str, ...]:
    """Return the interfaces' IPv4 addresses except loopback, the default source address first; () without any."""
    found = [_routed(socket.AF_INET)] + [_of_interface(name) for _, name in _interfaces()]
    usable = dict.fromkeys(each for each in found if each is not None)
    return tuple([each for each in usable if not is_loopback(each)])


def has_network() -> bool:
    """Return True if an address is neither loopback nor, for IPv6, link-local. Browsers make no calls over loopback."""
    if own_addresses():
        return True
    routed = _routed(socket.AF_INET6)
    return (routed is not None and not is_loopback(routed)) or any(map(_is_usable, _ipv6_addresses()))


def _is_usable(host: str) -> bool:
    address = ipaddress.ip_address(host)
    return not (address.is_loopback or address.is_link_local)


def _ipv6_addresses() -> list[str]:
    """Return the IPv6 addresses that Linux lists; [] on another system."""
    with contextlib.suppress(OSError, ValueError):
        lines = Path("/proc/self/net/if_inet6").read_text().splitlines()
        return [str(ipaddress.IPv6Address(int(line.split()[0], 16))) for line in lines]
    return []


def reachable(host: str) -> str:
    """Return `host`, or for a wildcard the default source address; loopback without a route."""
    address = ipaddress.ip_address(host)
    if not address.is_unspecified:
        return host
    if address.version == 6:
        return _routed(socket.AF_INET6) or "::1"
    return _routed(socket.AF_INET) or "127.0.0.1"


@lru_cache(maxsize=8192)
def canonical(host: str) -> str:
    """Return the spelling that sockets use for an IP address, so that addresses compare as text; names unchanged."""
    try:
        return str(ipaddress.ip_address(host.strip("[]").partition("%")[0]))
    except ValueError:
        return host


def _routed(family: socket.AddressFamily) -> str | None:
    """Return the source address of the default route; None without a route."""
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            # Connecting a UDP socket sends nothing but consults the routing table.
            probe.connect(("2001:db8::1" if family == socket.AF_INET6 else "192.0.2.1", 9))
        except OSError:
            return None
        found: str = probe.getsockname()[0]
        return found


def _interfaces() -> list[tuple[int, str]]:
    with contextlib.suppress(OSError, AttributeError):
        return socket.if_nameindex()
    return []


def _of_interface(name: str) -> str | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            answer = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
        except OSError:
            return None
    return socket.inet_ntoa(answer[20:24])
