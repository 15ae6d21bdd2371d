"""What the tests of the RTP side share: a clock turned by hand, a transport that remembers."""

from __future__ import annotations

from gateway.media.embedded.plane.packet import RtpPacket
from gateway.media.embedded.transport import PacketSink


class ManualClock:
    """Seconds that pass only when told."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> float:
        self.now += seconds
        return self.now


class Recorder:
    """A `MediaTransport` and a `PacketSink` that keep what they are given."""

    def __init__(self) -> None:
        self.sink: PacketSink | None = None
        self.ready = True
        self.rtp: list[bytes] = []
        self.rtcp: list[bytes] = []
        self.closed = False

    def send_rtp(self, packet: bytes) -> None:
        self.rtp.append(packet)

    def send_rtcp(self, packet: bytes) -> None:
        self.rtcp.append(packet)

    def receive_rtp(self, packet: bytes, now: float) -> None:
        self.rtp.append(packet)

    def receive_rtcp(self, packet: bytes, now: float) -> None:
        self.rtcp.append(packet)

    def close(self) -> None:
        self.closed = True

    @property
    def sent(self) -> list[RtpPacket]:
        return [RtpPacket.parse(packet) for packet in self.rtp]
