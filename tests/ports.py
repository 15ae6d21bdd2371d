"""Ports for the gateways and peers of tests: a share for each worker, no two workers of one run have the same."""

from __future__ import annotations

import os
from typing import Any

from gateway.demo.ports import RANGE, FreePorts

FIRST, LAST = 20_000, 29_000
"""Above the default of rtp.ports and the highest port that browsers refuse, below those of the demo and the lessons."""


def _share() -> range:
    """The ports of this worker; where in them it begins differs from run to run, for runs beside each other."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    place = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    size = (LAST - FIRST) // workers
    return range(FIRST + place * size, FIRST + (place + 1) * size)


OTHERS, _SHARE = _share()[:400], _share()[400:]
"""OTHERS are for the RTP of a peer that finds those free among them by itself, as rtpengine does."""
_ports = FreePorts(_SHARE, os.getpid() * RANGE)


def free_port() -> int:
    """A port that nobody has, for UDP and TCP, and that no test of this worker had lately."""
    return _ports.one()


def free_ports(count: int) -> list[int]:
    """`count` different ports; the last is even and begins `RANGE` free ones, for RTP."""
    return _ports.several(count)


def listening() -> dict[str, Any]:
    """Where a gateway process of a test listens, as keys for `bench.process.environment`: also after a restart."""
    web, sip, webrtc = (free_port() for _ in range(3))
    return {
        "WEB__LISTEN": f"127.0.0.1:{web}",
        "SIP__LISTEN": [f"udp:127.0.0.1:{sip}"],
        "WEBRTC__LISTEN": f"127.0.0.1:{webrtc}",
    }
