"""UDP sockets as a plane binds them."""

from __future__ import annotations

import errno
import socket

from gateway.media.embedded.plane.protocol import PlaneError

_BUSY = frozenset({errno.EADDRINUSE, errno.EACCES})
_FULL = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS})
_MARK = {
    socket.AF_INET: (socket.IPPROTO_IP, socket.IP_TOS),
    socket.AF_INET6: (socket.IPPROTO_IPV6, socket.IPV6_TCLASS),
}
ATTEMPTS = 64
"""Ports tried where any will do."""


def bind(host: str, number: int, *, receive_buffer: int = 0, send_buffer: int = 0, dscp: int = 0) -> socket.socket:
    """A non-blocking UDP socket on an IP address, buffers in bytes (0: the system's); raises PlaneError.

    What it sends is marked with `dscp` (RFC 2474), where that is not 0.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound: socket.socket | None = None
    try:
        bound = socket.socket(family, socket.SOCK_DGRAM)
        bound.setblocking(False)
        for option, size in ((socket.SO_RCVBUF, receive_buffer), (socket.SO_SNDBUF, send_buffer)):
            if size:
                bound.setsockopt(socket.SOL_SOCKET, option, size)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if dscp:
            bound.setsockopt(*_MARK[family], dscp << 2)
        bound.bind((host, number))
    except OSError as error:
        if bound is not None:
            bound.close()
        code = "busy" if error.errno in _BUSY else "full" if error.errno in _FULL else "refused"
        raise PlaneError(code, f"{host} port {number}/udp: {error.strerror or error}") from None
    return bound


def bind_pair(host: str, number: int, dscp: int = 0) -> tuple[socket.socket, socket.socket]:
    """Sockets on an even port and the next (0: any that are free); raises PlaneError."""
    if number:
        return _bind_two(host, number, dscp)
    for attempt in range(ATTEMPTS):
        with bind(host, 0) as probe:
            found: int = probe.getsockname()[1] & ~1
        try:
            return _bind_two(host, found, dscp)
        except PlaneError as error:
            if error.code != "busy" or attempt == ATTEMPTS - 1:
                raise
    raise PlaneError("busy", f"no two neighbouring ports are free on {host}")


def _bind_two(host: str, number: int, dscp: int) -> tuple[socket.socket, socket.socket]:
    first = bind(host, number, dscp=dscp)
    try:
        return first, bind(host, number + 1, dscp=dscp)
    except PlaneError:
        first.close()
        raise
