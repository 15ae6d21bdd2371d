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


def put_packet(
    data: memoryview,
    second: int,
    sequence_number: int,
    timestamp: int,
    ssrc: int,
    payload: bytes,
    extension: bytes = b"",
) -> int:
    """Write a packet to the beginning of `data`, which has room for it; its size. `extension` is a whole one."""
    start = HEADER_SIZE + len(extension)
    size = start + len(payload)
    HEADER.pack_into(data, 0, 0x90 if extension else 0x80, second, sequence_number, timestamp, ssrc)
    data[HEADER_SIZE:start] = extension
    data[start:size] = payload
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


def extension(packet: bytes | memoryview, identifier: int) -> bytes | None:
    """The element of that identifier in the header extension, in its one- or two-octet form (RFC 8285 section 4).

    `packet` is well-formed, as `payload_bounds` has found. None where there is none, or its length points outside.
    """
    place = HEADER_SIZE + 4 * (packet[0] & 0x0F)
    if not packet[0] & 0x10:
        return None
    form, place = packet[place] << 8 | packet[place + 1], place + 4
    end = place + 4 * (packet[place - 2] << 8 | packet[place - 1])
    if form != 0xBEDE and form >> 4 != 0x100:
        return None
    while place < end:
        first = packet[place]
        place += 1
        if not first:
            continue
        if form == 0xBEDE:
            found, length = first >> 4, (first & 0x0F) + 1
            if found == 15:  # nothing after it is read (section 4.2)
                return None
        elif place < end:
            found, length = first, packet[place]
            place += 1
        else:
            return None
        if place + length > end:
            return None
        if found == identifier:
            return bytes(packet[place : place + length])
        place += length
    return None


def octet_extension(packet: bytes | memoryview, identifier: int) -> int | None:
    """The element of that identifier, likewise, where it is one octet."""
    element = extension(packet, identifier)
    return element[0] if element is not None and len(element) == 1 else None


def one_octet_extension(identifier: int, octet: int) -> bytes:
    """A header extension of one element of one octet, in the form that its identifier has (RFC 8285 section 4)."""
    if identifier < 15:
        return bytes((0xBE, 0xDE, 0, 1, identifier << 4, octet, 0, 0))
    return bytes((0x10, 0, 0, 1, identifier, 1, octet, 0))


def sequence_delta(newer: int, older: int) -> int:
    """`newer - older` as a signed 16-bit difference."""
    return ((newer - older + 0x8000) & 0xFFFF) - 0x8000


def timestamp_delta(newer: int, older: int) -> int:
    """`newer - older` as a signed 32-bit difference."""
    return ((newer - older + 0x80000000) & 0xFFFFFFFF) - 0x80000000
