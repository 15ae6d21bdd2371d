"""Feedback about video: key frames (RFC 5104) and a receiver's limit (draft-alvestrand-rmcat-remb-03)."""

from __future__ import annotations

import struct

from gateway.media.embedded.plane.rtcp import FIR, PSFB, Feedback

AFB = 15
"""Payload-specific feedback of an application (RFC 4585 section 6.4)."""
_REMB = b"REMB"
_ENTRY = struct.Struct("!IB3x")


def fir_entry(ssrc: int, number: int) -> bytes:
    """The control information of one Full Intra Request; `number` counts the requests (RFC 5104 section 4.3.1.1)."""
    return _ENTRY.pack(ssrc, number & 0xFF)


def fir_sources(message: Feedback) -> tuple[int, ...]:
    """The sources that a Full Intra Request names; () for any other message."""
    if (message.packet_type, message.format) != (PSFB, FIR):
        return ()
    whole = len(message.control) // _ENTRY.size * _ENTRY.size
    return tuple([ssrc for ssrc, _ in _ENTRY.iter_unpack(message.control[:whole])])


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
