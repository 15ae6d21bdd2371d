"""RTCP packets (RFC 3550 section 6, RFC 4585): compound in, values out, and back, with every length checked."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from gateway.media.embedded.plane.packet import RtpError

SR, RR, SDES, BYE, APP, RTPFB, PSFB = 200, 201, 202, 203, 204, 205, 206
NACK, PLI, FIR = 1, 1, 4
TMMBR, TMMBN = 3, 4
"""Formats of RTPFB for temporary limits (RFC 5104 section 4.2)."""
MAXIMUM_PACKETS = 32
"""Packets read of one compound packet."""
_HEADER = struct.Struct("!BBH")
_BLOCK = struct.Struct("!IIIIII")
_SENDER = struct.Struct("!IIIIII")


@dataclass(frozen=True, slots=True)
class ReportBlock:
    """What a receiver says of one source (RFC 3550 section 6.4.1)."""

    ssrc: int
    fraction_lost: int
    """In 256ths since the last report."""
    lost: int
    """Packets, cumulative, may be negative."""
    highest: int
    """Extended highest sequence number."""
    jitter: int
    """Timestamp units."""
    last_sr: int
    """Middle 32 bits of the NTP time of the last sender report; 0: none yet."""
    delay: int
    """Since that report came, in 65536ths of a second."""

    @classmethod
    def parse(cls, data: bytes, offset: int) -> ReportBlock:
        ssrc, loss, highest, jitter, last_sr, delay = _BLOCK.unpack_from(data, offset)
        lost = loss & 0xFFFFFF
        return cls(ssrc, loss >> 24, lost - 0x1000000 if lost & 0x800000 else lost, highest, jitter, last_sr, delay)

    def __bytes__(self) -> bytes:
        lost = max(-0x800000, min(0x7FFFFF, self.lost)) & 0xFFFFFF
        return _BLOCK.pack(
            self.ssrc, self.fraction_lost << 24 | lost, self.highest, self.jitter, self.last_sr, self.delay
        )


@dataclass(frozen=True, slots=True)
class SenderReport:
    """What a sender says of itself, and of those it hears."""

    ssrc: int
    ntp: int
    """64 bits: seconds and 2**-32 seconds."""
    rtp_timestamp: int
    packets: int
    octets: int
    blocks: tuple[ReportBlock, ...] = ()

    def __bytes__(self) -> bytes:
        body = _SENDER.pack(
            self.ssrc, self.ntp >> 32, self.ntp & 0xFFFFFFFF, self.rtp_timestamp, self.packets, self.octets
        )
        return _packet(SR, len(self.blocks), body + b"".join(map(bytes, self.blocks)))


@dataclass(frozen=True, slots=True)
class ReceiverReport:
    """What somebody who does not send says of those it hears."""

    ssrc: int
    blocks: tuple[ReportBlock, ...] = ()

    def __bytes__(self) -> bytes:
        return _packet(RR, len(self.blocks), struct.pack("!I", self.ssrc) + b"".join(map(bytes, self.blocks)))


@dataclass(frozen=True, slots=True)
class SourceDescription:
    """The CNAME of one source (RFC 3550 section 6.5); other items are not kept."""

    ssrc: int
    cname: str

    def __bytes__(self) -> bytes:
        name = self.cname.encode()[:255]
        item = struct.pack("!IBB", self.ssrc, 1, len(name)) + name + b"\0"
        return _packet(SDES, 1, item + b"\0" * (-len(item) % 4))


@dataclass(frozen=True, slots=True)
class Bye:
    """Sources that have left (RFC 3550 section 6.6)."""

    ssrcs: tuple[int, ...]

    def __bytes__(self) -> bytes:
        return _packet(BYE, len(self.ssrcs), struct.pack(f"!{len(self.ssrcs)}I", *self.ssrcs))


@dataclass(frozen=True, slots=True)
class Feedback:
    """A transport-layer (205) or payload-specific (206) feedback message (RFC 4585 section 6.1)."""

    packet_type: int
    format: int
    sender_ssrc: int
    media_ssrc: int
    control: bytes = b""

    @property
    def asks_for_key_frame(self) -> bool:
        """PLI or FIR (RFC 4585 section 6.3.1, RFC 5104 section 4.3.1)."""
        return self.packet_type == PSFB and self.format in (PLI, FIR)

    @property
    def asks_for_retransmission(self) -> bool:
        """Generic NACK (RFC 4585 section 6.2.1)."""
        return self.packet_type == RTPFB and self.format == NACK

    def __bytes__(self) -> bytes:
        return _packet(
            self.packet_type, self.format, struct.pack("!II", self.sender_ssrc, self.media_ssrc) + self.control
        )


RtcpPacket = SenderReport | ReceiverReport | SourceDescription | Bye | Feedback


def _packet(packet_type: int, count: int, body: bytes) -> bytes:
    return _HEADER.pack(0x80 | count, packet_type, len(body) // 4) + body


def parse_compound(data: bytes) -> list[RtcpPacket]:
    """The packets of one compound packet that mean something here; raises RtpError where a length lies."""
    packets: list[RtcpPacket] = []
    offset = 0
    for _ in range(MAXIMUM_PACKETS):
        if offset == len(data):
            return packets
        if len(data) - offset < _HEADER.size:
            raise RtpError("RTCP header outside the packet")
        first, packet_type, words = _HEADER.unpack_from(data, offset)
        end = offset + 4 + 4 * words
        if first >> 6 != 2 or end > len(data):
            raise RtpError("RTCP length outside the packet")
        body = data[offset + 4 : end]
        if first & 0x20:
            padding = body[-1] if body else 0
            if padding == 0 or padding % 4 or padding > len(body):
                raise RtpError("RTCP padding outside the packet")
            body = body[:-padding]
        read = _parse_one(first & 0x1F, packet_type, body)
        if read is not None:
            packets.append(read)
        offset = end
    raise RtpError("too many RTCP packets in one")


def _parse_one(count: int, packet_type: int, body: bytes) -> RtcpPacket | None:
    if packet_type == SR:
        _need(body, _SENDER.size + count * _BLOCK.size)
        ssrc, seconds, fraction, timestamp, packets, octets = _SENDER.unpack_from(body)
        blocks = _blocks(body, _SENDER.size, count)
        return SenderReport(ssrc, seconds << 32 | fraction, timestamp, packets, octets, blocks)
    if packet_type == RR:
        _need(body, 4 + count * _BLOCK.size)
        return ReceiverReport(int.from_bytes(body[:4], "big"), _blocks(body, 4, count))
    if packet_type == BYE:
        _need(body, 4 * count)
        return Bye(struct.unpack_from(f"!{count}I", body))
    if packet_type in (RTPFB, PSFB):
        _need(body, 8)
        sender, media = struct.unpack_from("!II", body)
        return Feedback(packet_type, count, sender, media, body[8:])
    if packet_type == SDES and count:
        return _source_description(body)
    return None


def _source_description(body: bytes) -> SourceDescription | None:
    """The first CNAME of the first chunk."""
    _need(body, 4)
    ssrc = int.from_bytes(body[:4], "big")
    offset = 4
    while offset < len(body) and body[offset]:
        _need(body, offset + 2)
        length = body[offset + 1]
        _need(body, offset + 2 + length)
        if body[offset] == 1:
            name = body[offset + 2 : offset + 2 + length].decode("utf-8", "replace")
            return SourceDescription(ssrc, name)
        offset += 2 + length
    return None


def _blocks(body: bytes, offset: int, count: int) -> tuple[ReportBlock, ...]:
    return tuple([ReportBlock.parse(body, offset + index * _BLOCK.size) for index in range(count)])


def _need(body: bytes, size: int) -> None:
    if len(body) < size:
        raise RtpError("RTCP packet shorter than its count says")
