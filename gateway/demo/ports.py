"""Free ports for a gateway that lives only as long as a demonstration or a test."""

from __future__ import annotations

import socket

RANGE = 100
"""Ports from the last one on that `free_ports` keeps clear of its others."""


def free_ports(count: int) -> list[int]:
    """Ports free for UDP and TCP on loopback at the moment.

    The last is even, and neither it nor the 99 likely free ones above it are among the others: a range for RTP.
    """
    held: list[socket.socket] = []
    ports: list[int] = []
    try:
        while len(ports) < count:
            port = _free_port(held)
            if len(ports) == count - 1:
                port -= port % 2
                if any(port <= other < port + RANGE for other in ports):
                    continue
            if port + RANGE <= 65_536:
                ports.append(port)
    finally:
        for sock in held:
            sock.close()
    return ports


def _free_port(held: list[socket.socket]) -> int:
    """A port nobody has; its sockets stay in `held`, so that the next one is another."""
    while True:
        tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        held.append(tcp)
        tcp.bind(("127.0.0.1", 0))
        port = int(tcp.getsockname()[1])
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        held.append(udp)
        try:
            udp.bind(("127.0.0.1", port))
        except OSError:
            continue
        return port
