"""What the relay knows of a transport: packets in, packets out, nothing awaited."""

from __future__ import annotations

from typing import Protocol


class PacketSink(Protocol):
    """Where a transport puts what it has received, decrypted and authenticated."""

    def receive_rtp(self, packet: bytes, now: float) -> None:
        """One RTP packet (RFC 3550, header checked); `now` is the monotonic arrival time in s."""

    def receive_rtcp(self, packet: bytes, now: float) -> None:
        """One compound RTCP packet."""


class MediaTransport(Protocol):
    """One side of a call's media: WebRtcLeg or RtpLeg."""

    sink: PacketSink | None
    """Set by the engine; packets that arrive while it is None are counted and dropped."""

    @property
    def ready(self) -> bool:
        """Whether `send_rtp` would reach the peer now."""

    def send_rtp(self, packet: bytes) -> None:
        """Protect if need be and send at once; dropped and counted when not ready."""

    def send_rtcp(self, packet: bytes) -> None:
        """Protect if need be and send at once; dropped and counted when not ready."""

    def close(self) -> None:
        """Release sockets and keys; idempotent."""
