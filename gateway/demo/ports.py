"""Free ports for a gateway that lives only as long as a demonstration or a test.

A port found by binding 0 and closed again may be handed to somebody else's client before it is used. These are only
ever asked for by number: they lie above the default of rtp.ports, and below those that Linux and others hand out.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from itertools import cycle

RANGE = 100
"""Ports for RTP, from the last one of `free_ports` on."""


class FreePorts:
    """The ports of 127.0.0.1 in a range, from place `start` on: none a second time before all were asked for."""

    def __init__(self, among: range, start: int) -> None:
        ports = [*among]
        place = start % len(ports)
        self._ports: Iterator[int] = cycle(ports[place:] + ports[:place])

    def one(self) -> int:
        """A port that nobody has, for UDP and TCP."""
        return next(port for port in self._ports if _free(port))

    def several(self, count: int) -> list[int]:
        """`count` different ones; the last is even and begins `RANGE` free ones, for RTP."""
        others = [self.one() for _ in range(count - 1)]
        run: list[int] = []
        while len(run) <= RANGE:
            port = next(self._ports)
            if not _free(port) or port in others:
                run = []
            elif run and port != run[-1] + 1:
                run = [port]
            else:
                run.append(port)
        return [*others, run[0] + run[0] % 2]


def _free(port: int) -> bool:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True


_PORTS = FreePorts(range(29_000, 32_700), random.randrange(3_700))


def free_ports(count: int) -> list[int]:
    """Ports free for UDP and TCP on loopback at the moment, that were not given to this process before.

    The last is even, and neither it nor the 99 free ones above it are among the others: a range for RTP.
    """
    return _PORTS.several(count)
