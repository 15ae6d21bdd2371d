"""Listening addresses: are they free, and what are peers told in their place."""

from __future__ import annotations

import errno
import ipaddress
import socket
from pathlib import Path

from gateway.config.settings import Config
from gateway.config.values import Advertised, HostPort
from gateway.errors import ConfigError


def advertised(listen_host: str, listen_port: int, configured: Advertised | None = None) -> HostPort:
    """What peers are told to send to: the configured address, else the one listened on, else for a
    wildcard (0.0.0.0, ::) the address of the interface that has the default route."""
    host = configured.host if configured is not None else listen_host
    port = configured.port if configured is not None and configured.port is not None else listen_port
    return HostPort(default_route_address(host) if host in ("0.0.0.0", "::") else host, port)


def default_route_address(wildcard: str = "0.0.0.0") -> str:
    """Our address on the default route, or loopback on a machine without network."""
    v6 = ":" in wildcard
    with socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Connecting a UDP socket sends nothing; the kernel only chooses a route (RFC 5737, RFC 3849 addresses).
            probe.connect(("2001:db8::1" if v6 else "192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return "::1" if v6 else "127.0.0.1"


def addresses_of(host: str) -> tuple[str, ...]:
    """Where a listener at `host` is reached now: for a wildcard every address of this machine of its IP version, that
    of the default route first, but those that are good on one link alone."""
    if host not in ("0.0.0.0", "::"):
        return (host,)
    found = [default_route_address(host), *(_local_v6() if host == "::" else _local_v4())]
    return tuple(dict.fromkeys(one for one in found if not ipaddress.ip_address(one).is_link_local))


def _local_v4() -> list[str]:
    """Of every table: each leaf that is followed by "/32 host LOCAL"; none where Linux does not say."""
    found, leaf = [], ""
    for line in _lines("/proc/net/fib_trie"):
        if line[:1] == ["|--"]:
            leaf = line[1]
        elif line == ["/32", "host", "LOCAL"]:
            found.append(leaf)
    return found


def _local_v6() -> list[str]:
    return [str(ipaddress.IPv6Address(int(line[0], 16))) for line in _lines("/proc/net/if_inet6")]


def _lines(path: str) -> list[list[str]]:
    try:
        return [line.split() for line in Path(path).read_text().splitlines() if line.strip()]
    except OSError:
        return []


def check_ports(config: Config, *, media: bool = True) -> None:
    """Try every listening address, but those of media where `media` is false; raises ConfigError that names the
    first key which cannot be bound."""
    for index, listen in enumerate(config.sip.listen):
        kind = socket.SOCK_DGRAM if listen.transport == "udp" else socket.SOCK_STREAM
        _try(f"sip.listen.{index}", listen.host, listen.port, kind)
    for key, address in config.web.listeners:
        _try(key, address.host, address.port, socket.SOCK_STREAM)
    if config.media.rtpengine is not None or not media:
        # Media ports are rtpengine's then, perhaps on another machine.
        return
    _try("webrtc.listen", config.webrtc.listen.host, config.webrtc.listen.port, socket.SOCK_DGRAM)
    # Ports of the range are taken call by call and a busy one is passed over, so only the address is tried.
    for host in config.rtp.listen:
        _try("rtp.listen", host, 0, socket.SOCK_DGRAM)


def _try(key: str, host: str, port: int, kind: socket.SocketKind) -> None:
    family = socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET
    name = "UDP" if kind == socket.SOCK_DGRAM else "TCP"
    try:
        with socket.socket(family, kind) as probe:
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if kind == socket.SOCK_STREAM:
                # As asyncio's servers do: connections in TIME_WAIT do not count as a port in use.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            if kind == socket.SOCK_STREAM:
                probe.listen(1)
    except OSError as error:
        raise ConfigError(key, _reason(error, f"{name} {HostPort(host, port)}", host)) from None


def _reason(error: OSError, what: str, host: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"{what} is already in use by another program"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is not an address of this machine"
    if error.errno == errno.EACCES:
        return f"{what} may not be opened by this user (ports below 1024 need rights)"
    return f"{what} cannot be opened: {error.strerror}"
