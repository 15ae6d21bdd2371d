"""Free ports for a gateway that lives only as long as a demonstration or a test."""

from __future__ import annotations

import socket


def free_ports(count: int) -> list[int]:
    """Ports free for UDP and TCP on loopback at the moment, the last with 99 likely free ones above it."""
    held: list[socket.socket] = []
    ports: list[int] = []
    try:
        while len(ports) < count:
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
            if port < 65000:
                ports.append(port - port % 2 if len(ports) == count - 1 else port)
    finally:
        for sock in held:
            sock.close()
    return ports
