"""The leg against aiortc over loopback: an independent ICE, DTLS and SRTP implementation."""

from __future__ import annotations

import asyncio

import pytest
import uvloop
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack

from gateway.media.embedded.plane.values import MediaPacket
from gateway.media.embedded.webrtc.leg import WebRtcLeg
from gateway.media.embedded.webrtc.port import WebRtcPort
from gateway.media.embedded.webrtc.states import LegState
from tests.media.webrtc_support import LiveBench, RecordingSink, answer_for, remote_of, rtp


class FirstPackets(RecordingSink):
    """A sink that tells when `wanted` RTP packets have come."""

    def __init__(self, wanted: int) -> None:
        super().__init__()
        self.wanted = wanted
        self.enough = asyncio.Event()

    def media(self, packet: MediaPacket) -> None:
        super().media(packet)
        if len(self.rtp) >= self.wanted:
            self.enough.set()


Reached = dict[LegState, asyncio.Event]


async def open_call() -> tuple[LiveBench, WebRtcLeg, Reached]:
    """A port on loopback with one leg, and its states as they come."""
    bench = await LiveBench.start()
    reached = {state: asyncio.Event() for state in LegState}
    return bench, bench.open_leg(lambda state, reason: reached[state].set()), reached


async def offer_from_aiortc(port: WebRtcPort, leg: WebRtcLeg, setup: str) -> RTCPeerConnection:
    """An aiortc peer connection that has offered to the leg and been answered."""
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    peer.addTrack(AudioStreamTrack())
    await peer.setLocalDescription(await peer.createOffer())
    offer = peer.localDescription.sdp
    leg.set_remote(*remote_of(offer), setup)
    await peer.setRemoteDescription(RTCSessionDescription(answer_for(offer, port, leg, setup), "answer"))
    return peer


@pytest.mark.parametrize("setup", ["passive", "active"])
async def test_aiortc_connects_and_media_flows_both_ways(setup: str) -> None:
    """In either DTLS role, aiortc's audio arrives decrypted and ours is counted by aiortc."""
    bench, leg, reached = await open_call()
    peer = await offer_from_aiortc(bench.port, leg, setup)
    try:
        sink = FirstPackets(10)
        bench.listen(leg, sink)
        await asyncio.wait_for(reached[LegState.CONNECTED].wait(), 10)
        await asyncio.wait_for(sink.enough.wait(), 10)
        assert {packet[1] & 0x7F for packet in sink.rtp} == {0}
        assert leg.ready
        received = 0
        async with asyncio.timeout(10):
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
        await asyncio.wait_for(sink.enough.wait(), 10)
        await peer.close()
        await asyncio.wait_for(reached[LegState.FAILED].wait(), 5)
        assert not leg.ready
    finally:
        bench.close()
