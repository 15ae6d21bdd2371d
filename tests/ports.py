"""Ports for the gateways and peers of tests: below those that the system hands out, and a share for each worker.

A port found by binding 0 and closed again may be handed to somebody else's client before it is used. These are only
ever asked for by number, and no two workers of one run have the same.
"""

from __future__ import annotations

import os
import socket
from itertools import cycle, islice
from typing import Any

FIRST, LAST = 20_000, 32_000
"""Above the default of rtp.ports and the highest port that browsers refuse, below Linux's ephemeral ones."""
RANGE = 100
"""Ports for RTP, from the last one of `free_ports` on."""


def _share() -> range:
    """The ports of this worker; where in them it begins differs from run to run, for runs beside each other."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    place = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    size = (LAST - FIRST) // workers
    return range(FIRST + place * size, FIRST + (place + 1) * size)


OTHERS, _SHARE = _share()[:400], _share()[400:]
"""OTHERS are for the RTP of a peer that finds those free among them by itself, as rtpengine does."""
_ports = cycle(_SHARE)
for _ in range(os.getpid() * RANGE % len(_SHARE)):
    next(_ports)


def _free(port: int) -> bool:
    """Whether nobody has it, for UDP or TCP."""
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True


def free_port() -> int:
    """A port that nobody has, for UDP and TCP, and that no test of this worker had lately."""
    return next(port for port in _ports if _free(port))


def free_ports(count: int) -> list[int]:
    """`count` different ports; the last is even and begins `RANGE` free ones, for RTP."""
    others = [free_port() for _ in range(count - 1)]
    while True:
        ports = list(islice(_ports, RANGE + 1))
        if ports[-1] - ports[0] == RANGE and all(map(_free, ports)) and not set(ports) & set(others):
            return [*others, ports[0] + ports[0] % 2]


def listening() -> dict[str, Any]:
    """Where a gateway process of a test listens, as keys for `bench.process.environment`: also after a restart."""
    web, sip, webrtc = (free_port() for _ in range(3))
    return {
        "WEB__LISTEN": f"127.0.0.1:{web}",
        "SIP__LISTEN": [f"udp:127.0.0.1:{sip}"],
        "WEBRTC__LISTEN": f"127.0.0.1:{webrtc}",
    }
