"""The leg against aiortc over loopback: an independent ICE, DTLS and SRTP implementation."""

from __future__ import annotations

import asyncio

import pytest
import uvloop

from gateway.media.embedded.webrtc.states import LegState
from tests.media.aiortc_support import FirstPackets, offer_from_aiortc, open_call
from tests.media.webrtc_support import rtp


@pytest.mark.parametrize("setup", ["passive", "active"])
async def test_aiortc_connects_and_media_flows_both_ways(setup: str) -> None:
    """In either DTLS role, aiortc's audio arrives decrypted and ours is counted by aiortc."""
    bench, leg, reached = await open_call()
    peer = await offer_from_aiortc(bench.port, leg, setup)
    try:
        sink = FirstPackets(10)
        bench.listen(leg, sink)
        await asyncio.wait_for(reached[LegState.CONNECTED].wait(), 30)
        await asyncio.wait_for(sink.enough.wait(), 30)
        assert {packet[1] & 0x7F for packet in sink.rtp} == {0}
        assert leg.ready
        received = 0
        async with asyncio.timeout(30):
            for sequence in range(1, 500):
                bench.send(leg, rtp(sequence))
                await asyncio.sleep(0.02)
                stats = await peer.getStats()
                received = next((s.packetsReceived for s in stats.values() if s.type == "inbound-rtp"), 0)
                if received >= 10:
                    break
        assert received >= 10
        assert leg.connected_after_ms is not None
    finally:
        await peer.close()
        leg.close()
        bench.close()


def test_the_same_holds_on_uvloop() -> None:
    """The gateway runs on uvloop; sockets, timers and shutdown behave there too."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(test_aiortc_connects_and_media_flows_both_ways("passive"))


async def test_a_peer_that_closes_ends_the_leg_at_once() -> None:
    """aiortc's close_notify reaches the leg as a failure, long before the liveness timer."""
    bench, leg, reached = await open_call()
    peer = await offer_from_aiortc(bench.port, leg, "passive")
    try:
        sink = FirstPackets(1)
        bench.listen(leg, sink)
        await asyncio.wait_for(sink.enough.wait(), 30)
        await peer.close()
        await asyncio.wait_for(reached[LegState.FAILED].wait(), 30)
        assert not leg.ready
    finally:
        bench.close()
