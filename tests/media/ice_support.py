"""STUN messages octet by octet."""

from __future__ import annotations

import struct
import zlib


def with_fingerprint(body: bytes) -> bytes:
    """`body` (header and attributes) with the length put right and a FINGERPRINT that fits."""
    body = body[:2] + struct.pack("!H", len(body) - 20 + 8) + body[4:]
    return body + struct.pack("!HHI", 0x8028, 4, zlib.crc32(body) ^ 0x5354554E)


HEADER = struct.pack("!HHI", 1, 0, 0x2112A442) + bytes(12)
