"""The RTP fixed header (RFC 3550 section 5.1): the few reads and differences that the packet path needs."""

from __future__ import annotations

import struct
from dataclasses import dataclass

HEADER = struct.Struct("!BBHII")
"""First octet (V, P, X, CC), second octet (M, PT), sequence number, timestamp, SSRC."""
HEADER_SIZE = 12
MARKER = 0x80
MAXIMUM_SIZE = 1500
"""Octets; a larger datagram is no RTP packet that a phone or a browser sends."""


class RtpError(ValueError):
    """A datagram that is not the RTP or RTCP packet it should be."""


@dataclass(frozen=True, slots=True)
class RtpPacket:
    """One packet as a value, for tests and for the slow paths; `parse` and `bytes` round-trip.

    Header extension and padding are not kept: what is written has neither.
    """

    payload_type: int
    sequence_number: int
    timestamp: int
    ssrc: int
    payload: bytes = b""
    marker: bool = False
    csrc: tuple[int, ...] = ()

    @classmethod
    def parse(cls, packet: bytes) -> RtpPacket:
        """Read one packet; raises RtpError."""
        start, end = payload_bounds(packet)
        first, second, sequence_number, timestamp, ssrc = HEADER.unpack_from(packet)
        csrc = struct.unpack_from(f"!{first & 0x0F}I", packet, HEADER_SIZE)
        payload = packet[start:end]
        return cls(second & 0x7F, sequence_number, timestamp, ssrc, payload, bool(second & MARKER), csrc)

    def __bytes__(self) -> bytes:
        header = HEADER.pack(
            0x80 | len(self.csrc),
            self.payload_type | (MARKER if self.marker else 0),
            self.sequence_number,
            self.timestamp,
            self.ssrc,
        )
        return header + struct.pack(f"!{len(self.csrc)}I", *self.csrc) + self.payload


def put_packet(data: memoryview, second: int, sequence_number: int, timestamp: int, ssrc: int, payload: bytes) -> int:
    """Write a packet to the beginning of `data`, which has room for it; its size."""
    size = HEADER_SIZE + len(payload)
    HEADER.pack_into(data, 0, 0x80, second, sequence_number, timestamp, ssrc)
    data[HEADER_SIZE:size] = payload
    return size


def payload_bounds(packet: bytes | memoryview) -> tuple[int, int]:
    """Where the payload starts and ends, without CSRC list, header extension and padding.

    Raises RtpError where the version is not 2 or a length points outside the packet.
    """
    size = len(packet)
    if size < HEADER_SIZE:
        raise RtpError("shorter than an RTP header")
    first = packet[0]
    if first >> 6 != 2:
        raise RtpError("not RTP version 2")
    start = HEADER_SIZE + 4 * (first & 0x0F)
    if first & 0x10:
        if start + 4 > size:
            raise RtpError("header extension outside the packet")
        start += 4 + 4 * int.from_bytes(packet[start + 2 : start + 4], "big")
    end = size
    if first & 0x20:
        padding = packet[-1]
        if padding == 0:
            raise RtpError("padding of no octets")
        end -= padding
    if start > end:
        raise RtpError("lengths outside the packet")
    return start, end


def is_well_formed(packet: bytes) -> bool:
    """Whether every length in the header fits in the packet."""
    try:
        payload_bounds(packet)
    except RtpError:
        return False
    return True


def is_rtcp(packet: bytes) -> bool:
    """Whether a datagram on a muxed port is RTCP: second octet 192 to 223 (RFC 5761 section 4)."""
    return len(packet) > 1 and 192 <= packet[1] <= 223


def sequence_delta(newer: int, older: int) -> int:
    """`newer - older` as a signed 16-bit difference."""
    return ((newer - older + 0x8000) & 0xFFFF) - 0x8000


def timestamp_delta(newer: int, older: int) -> int:
    """`newer - older` as a signed 32-bit difference."""
    return ((newer - older + 0x80000000) & 0xFFFFFFFF) - 0x80000000
