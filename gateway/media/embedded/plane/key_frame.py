"""Where a whole picture begins in a stream of video."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum


class Format(IntEnum):
    """How a payload says that it is the first of a key frame."""

    ANY = 0
    """It does not: any packet will do."""
    VP8 = 1
    H264 = 2
    VP9 = 3
    AV1 = 4


def begins_key_frame(form: int, payload: bytes) -> bool:
    """Whether a packet with this payload is the first of a key frame; what is cut off is none."""
    try:
        return _FORMS[form](payload)
    except IndexError:
        return False


def _vp8(payload: bytes) -> bool:
    """RFC 7741 sections 4.2 and 4.3: the start of partition 0, whose first octet says P = 0."""
    first = payload[0]
    if first & 0x17 != 0x10:
        return False
    at = 1
    if first & 0x80:
        extended = payload[at]
        at += 1
        if extended & 0x80:
            at += 2 if payload[at] & 0x80 else 1
        at += bool(extended & 0x40) + bool(extended & 0x30)
    return not payload[at] & 1


_IDR, _SPS, _STAP_A, _FU_A = 5, 7, 24, 28
_MOST_UNITS = 8
"""Units of a STAP-A that are looked at."""


def _h264(payload: bytes) -> bool:
    """RFC 6184: a sequence parameter set, alone or in a STAP-A, or an IDR slice or its first fragment."""
    kind = payload[0] & 0x1F
    if kind == _STAP_A:
        at = 1
        for _ in range(_MOST_UNITS):
            if payload[at + 2] & 0x1F in (_SPS, _IDR):
                return True
            at += 2 + int.from_bytes(payload[at : at + 2], "big")
        return False
    if kind == _FU_A:
        return payload[1] & 0x9F == 0x80 | _IDR
    return kind in (_IDR, _SPS)


def _vp9(payload: bytes) -> bool:
    """RFC 9628 section 4.2: P = 0 and B, in the lowest spatial layer."""
    first = payload[0]
    if first & 0x48 != 0x08:
        return False
    at = 1
    if first & 0x80:
        at += 2 if payload[at] & 0x80 else 1
    return not first & 0x20 or not payload[at] & 0x0E


def _av1(payload: bytes) -> bool:
    """N: the packet begins a coded video sequence (RTP payload format for AV1, section 4.4)."""
    return bool(payload[0] & 0x08)


_FORMS: tuple[Callable[[bytes], bool], ...] = (lambda payload: True, _vp8, _h264, _vp9, _av1)
