"""aiortc as the browser of a leg."""

from __future__ import annotations

import asyncio

from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack

from gateway.media.embedded.plane.values import MediaPacket
from gateway.media.embedded.webrtc.leg import WebRtcLeg
from gateway.media.embedded.webrtc.port import WebRtcPort
from gateway.media.embedded.webrtc.states import LegState
from tests.media.webrtc_support import LiveBench, RecordingSink, answer_for, remote_of


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
