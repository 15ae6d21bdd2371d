"""Feedback about video: losses (RFC 4585), key frames and limits (RFC 5104), limits by REMB (its draft -03)."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from gateway.media.embedded.plane.rtcp import FIR, PSFB, RTPFB, TMMBR, Feedback

AFB = 15
"""Payload-specific feedback of an application (RFC 4585 section 6.4)."""
_REMB = b"REMB"
_ENTRY = struct.Struct("!IB3x")
_LOST = struct.Struct("!HH")
_LIMIT = struct.Struct("!II")
_MANTISSA = 17
"""Bits of a temporary limit beside its exponent."""


def fir_entry(ssrc: int, number: int) -> bytes:
    """The control information of one Full Intra Request; `number` counts the requests (RFC 5104 section 4.3.1.1)."""
    return _ENTRY.pack(ssrc, number & 0xFF)


def fir_sources(message: Feedback) -> tuple[int, ...]:
    """The sources that a Full Intra Request names; () for any other message."""
    if (message.packet_type, message.format) != (PSFB, FIR):
        return ()
    whole = len(message.control) // _ENTRY.size * _ENTRY.size
    return tuple([ssrc for ssrc, _ in _ENTRY.iter_unpack(message.control[:whole])])


def lost_numbers(message: Feedback) -> tuple[int, ...]:
    """The sequence numbers that a generic NACK names, each once (RFC 4585 section 6.2.1)."""
    numbers: dict[int, None] = {}
    whole = len(message.control) // _LOST.size * _LOST.size
    for first, following in _LOST.iter_unpack(message.control[:whole]):
        numbers[first] = None
        for bit in range(16):
            if following >> bit & 1:
                numbers[(first + bit + 1) & 0xFFFF] = None
    return tuple(numbers)


def lost_entries(sequence_numbers: Sequence[int]) -> bytes:
    """The control information of a NACK for these, given in their order."""
    entries: list[tuple[int, int]] = []
    for number in sequence_numbers:
        after = (number - entries[-1][0] - 1) & 0xFFFF if entries else 16
        if after < 16:
            entries[-1] = entries[-1][0], entries[-1][1] | 1 << after
        elif not entries or number != entries[-1][0]:
            entries.append((number, 0))
    return b"".join(_LOST.pack(*entry) for entry in entries)


def bit_rate_limit(sender: int, bits: int, sources: tuple[int, ...]) -> Feedback:
    """What a receiver can take of these sources together, in bits a second, rounded down to 18 bits and an exponent."""
    exponent = max(0, bits.bit_length() - 18)
    word = len(sources) << 24 | exponent << 18 | bits >> exponent
    return Feedback(PSFB, AFB, sender, 0, _REMB + struct.pack(f"!I{len(sources)}I", word, *sources))


def read_bit_rate_limit(message: Feedback) -> int | None:
    """Bits a second that the sender of this message can take; None where it says nothing of that."""
    control = message.control
    if (message.packet_type, message.format) != (PSFB, AFB) or control[:4] != _REMB or len(control) < 8:
        return None
    word = int.from_bytes(control[4:8], "big")
    return (word & 0x3FFFF) << (word >> 18 & 0x3F)


def temporary_limit(ssrc: int, bits: int, overhead: int = 0) -> bytes:
    """One entry of a TMMBR or a TMMBN: bits a second, rounded down, `overhead` octets a packet (RFC 5104 4.2.1.1)."""
    exponent = max(0, bits.bit_length() - _MANTISSA)
    return _LIMIT.pack(ssrc, exponent << 26 | (bits >> exponent) << 9 | overhead & 0x1FF)


def read_temporary_limit(message: Feedback, ssrc: int) -> tuple[int, int] | None:
    """Bits a second that a TMMBR allows the source, and octets of overhead a packet; None where it says nothing."""
    if (message.packet_type, message.format) != (RTPFB, TMMBR):
        return None
    whole = len(message.control) // _LIMIT.size * _LIMIT.size
    for source, word in _LIMIT.iter_unpack(message.control[:whole]):
        if source == ssrc:
            return (word >> 9 & 0x1FFFF) << (word >> 26), word & 0x1FF
    return None
