"""Ancillary data of received datagrams (ip(7), socket(7), RFC 3542).

Local address of arrival, also the source address for answers from a wildcard socket, and time of arrival.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import struct

from gateway.sip.errors import SipSyntaxError
from gateway.sip.flow import Flow

_IP_PKTINFO = 8
"""Linux only, and absent from the socket module before Python 3.14."""
_IPV4, _IPV6 = struct.Struct("=I4s4s"), struct.Struct("=16sI")
"""in_pktinfo: interface, local address, destination; in6_pktinfo: address, interface."""
_TIMESTAMP, _OVERFLOW = 35, 40
"""SO_TIMESTAMPNS and SO_RXQ_OVFL: Linux only, and absent from the socket module."""
_TIME, _COUNT = struct.Struct("@ll"), struct.Struct("=I")
"""timespec of the system's clock; count of datagrams dropped for lack of buffer since the socket was made."""
BUFFER = 128
"""Octets of ancillary data to read with a datagram."""

Ancillary = list[tuple[int, int, bytes]]


def ask(sock: socket.socket) -> None:
    """Enable reporting of the local address of each datagram."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)


def ask_when(sock: socket.socket) -> None:
    """Enable reporting of the time of arrival and of dropped datagrams, where the kernel supports both."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, _TIMESTAMP, 1)
        sock.setsockopt(socket.SOL_SOCKET, _OVERFLOW, 1)


def came_at(ancillary: Ancillary) -> tuple[float | None, int]:
    """Return the time of arrival in Unix seconds (None if not reported) and the count of dropped datagrams."""
    when, lost = None, 0
    for level, kind, value in ancillary:
        if level == socket.SOL_SOCKET and kind == _TIMESTAMP and len(value) == _TIME.size:
            seconds, nanoseconds = _TIME.unpack(value)
            when = seconds + nanoseconds / 1e9
        elif level == socket.SOL_SOCKET and kind == _OVERFLOW and len(value) == _COUNT.size:
            [lost] = _COUNT.unpack(value)
    return when, lost


def local_address(ancillary: Ancillary) -> bytes:
    """Return the local address of a datagram in 4 or 16 octets; b"" if not reported."""
    for level, kind, value in ancillary:
        if (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO) and len(value) == _IPV4.size:
            local: bytes = _IPV4.unpack(value)[1]
            return local
        if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO) and len(value) == _IPV6.size:
            address: bytes = _IPV6.unpack(value)[0]
            return b"" if _is_elsewhere(address) else address
    return b""


def from_address(local: str) -> Ancillary | None:
    """Return ancillary data that makes a datagram leave from the address in a `Flow.local`; None for any address."""
    try:
        address = ipaddress.ip_address(Flow.parse(local).host)
    except (SipSyntaxError, ValueError):
        return None
    if address.is_unspecified:
        return None
    if address.version == 6:
        return [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, _IPV6.pack(address.packed, 0))]
    return [(socket.IPPROTO_IP, _IP_PKTINFO, _IPV4.pack(0, address.packed, bytes(4)))]


def _is_elsewhere(address: bytes) -> bool:
    """Return True for link-local addresses (unusable without an interface) and multicast addresses (no sender's
    address).
    """
    return address[0] == 0xFF or (address[0] == 0xFE and address[1] & 0xC0 == 0x80)
