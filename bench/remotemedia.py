"""The figures of the RemoteMedia guide, held against ours: peer set-up, sessions, sending, memory of a peer.

Run as `python -m bench.remotemedia`. Signalling is a whole gateway's; both ends of every peer live in this process.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from bench.table import Result, report
from gateway.app import GatewayApp
from gateway.demo.runner import demo_config
from gateway.remotemedia import WebRtcTransport, WebRtcTransportConfig

PEERS = 20
ROUNDS = 2_000


def _percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def _rss_kb() -> int:
    return int(next(line for line in Path("/proc/self/status").read_text().splitlines() if "VmRSS" in line).split()[1])


async def _measure(url: str) -> list[Result]:
    server = WebRtcTransport(WebRtcTransportConfig(signaling_url=url, peer_id="bench-server", max_peers=100))
    await server.start()
    peers: list[WebRtcTransport] = []
    set_up: list[float] = []
    before = _rss_kb()
    for number in range(PEERS):
        peer = WebRtcTransport(WebRtcTransportConfig(signaling_url=url, peer_id=f"bench-{number}"))
        await peer.start()
        peers.append(peer)
        begun = time.perf_counter()
        await server.connect_peer(f"bench-{number}")
        set_up.append((time.perf_counter() - begun) * 1_000)
    memory = (_rss_kb() - before) / PEERS / 2
    sessions, sends, casts = [], [], []
    samples = np.zeros(960, np.float32)
    for number in range(ROUNDS):
        begun = time.perf_counter()
        await server.create_session(f"s{number}")
        sessions.append((time.perf_counter() - begun) * 1_000)
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        await server.send_audio("bench-0", samples)
        sends.append((time.perf_counter() - begun) * 1e6)
    for _ in range(200):
        begun = time.perf_counter()
        await server.broadcast_audio(samples)
        casts.append((time.perf_counter() - begun) * 1e6)
    for transport in (server, *peers):
        await transport.stop()
    return [
        Result("peer set-up, average", statistics.mean(set_up), "ms", "value <= 500"),
        Result("peer set-up, 90th percentile", _percentile(set_up, 0.9), "ms", "value <= 800"),
        Result("create_session, average", statistics.mean(sessions), "ms", "value <= 1"),
        Result("send_audio, average", statistics.mean(sends), "µs", "value <= 100"),
        Result("send_audio, 90th percentile", _percentile(sends, 0.9), "µs", "value <= 150"),
        Result(f"broadcast_audio to {PEERS}, average", statistics.mean(casts), "µs"),
        Result("memory of a peer", memory, "kB", "value <= 2500"),
    ]


async def _run() -> list[Result]:
    with tempfile.TemporaryDirectory() as folder:
        app = GatewayApp(demo_config(folder, GATEWAY_WEB__GUESTS_MAY_CALL='["*"]'))
        await app.start()
        try:
            return await _measure(app.page_url.replace("http", "ws", 1))
        finally:
            await app.stop()


def main() -> bool:
    """Measure, print, and say whether every figure is met."""
    return report("remotemedia", asyncio.run(_run()))


if __name__ == "__main__":
    raise SystemExit(0 if main() else 1)
