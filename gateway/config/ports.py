"""Checks of listening addresses, and their advertised counterparts."""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Iterator

from gateway.config.settings import Config
from gateway.config.values import Advertised, HostPort
from gateway.errors import AwayError, ConfigError

WILDCARDS = ("0.0.0.0", "::")


def advertised(listen_host: str, listen_port: int, configured: Advertised | None = None) -> HostPort:
    """Return the address for peers: the configured one, else the listen address, else for a wildcard (0.0.0.0, ::)
    the address of the interface with the default route."""
    host = configured.host if configured is not None else listen_host
    port = configured.port if configured is not None and configured.port is not None else listen_port
    return HostPort(default_route_address(host) if host in WILDCARDS else host, port)


def default_route_address(wildcard: str = "0.0.0.0") -> str:
    """Return our address on the default route, or loopback on a machine without network."""
    v6 = ":" in wildcard
    with socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Connecting a UDP socket sends nothing; the kernel only chooses a route (RFC 5737, RFC 3849 addresses).
            probe.connect(("2001:db8::1" if v6 else "192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return "::1" if v6 else "127.0.0.1"


def is_own_address(host: str) -> bool:
    """Return True if the machine has the IP address now; link-local addresses do not count."""
    if ipaddress.ip_address(host).is_link_local:
        return False
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            # Nothing is sent: the kernel only chooses its own address as the source for reaching itself.
            probe.connect((host, 9))
            return bool(probe.getsockname()[0] == host)
    except OSError:
        return False


def check_ports(config: Config, *, media: bool = True) -> None:
    """Try every listening address, with `media` also those of media; raise the first error of `taken_ports`."""
    for mistake in taken_ports(config, media=media):
        raise mistake


def taken_ports(config: Config, *, media: bool = True) -> Iterator[ConfigError]:
    """Yield a ConfigError naming the key for each unusable address, AwayError for a port in use."""
    for key, host, port, kind in _wanted(config, media=media):
        mistake = _tried(key, host, port, kind)
        if mistake is not None:
            yield mistake


def _wanted(config: Config, *, media: bool) -> Iterator[tuple[str, str, int, socket.SocketKind]]:
    for index, listen in enumerate(config.sip.listen):
        kind = socket.SOCK_DGRAM if listen.transport == "udp" else socket.SOCK_STREAM
        yield f"sip.listen.{index}", listen.host, listen.port, kind
    for key, address in config.web.listeners:
        yield key, address.host, address.port, socket.SOCK_STREAM
    if config.media.rtpengines or not media:
        # Media ports then belong to rtpengine, perhaps on another machine.
        return
    yield "webrtc.listen", config.webrtc.listen.host, config.webrtc.listen.port, socket.SOCK_DGRAM
    # Ports of the range are bound per call and busy ports skipped, so only the address is tried.
    for host in config.rtp.listen:
        yield "rtp.listen", host, 0, socket.SOCK_DGRAM


def _tried(key: str, host: str, port: int, kind: socket.SocketKind) -> ConfigError | None:
    family = socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET
    name = "UDP" if kind == socket.SOCK_DGRAM else "TCP"
    try:
        with socket.socket(family, kind) as probe:
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if kind == socket.SOCK_STREAM:
                # As in asyncio's servers: connections in TIME_WAIT do not count as a port in use.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            if kind == socket.SOCK_STREAM:
                probe.listen(1)
    except OSError as error:
        wrong = AwayError if error.errno == errno.EADDRINUSE else ConfigError
        return wrong(key, _reason(error, f"{name} {HostPort(host, port)}", host))
    return None


def _reason(error: OSError, what: str, host: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"{what} is already in use by another program"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is not an address of this machine"
    if error.errno == errno.EACCES:
        return f"{what} may not be opened by this user (ports below 1024 need rights)"
    return f"{what} cannot be opened: {error.strerror}"
