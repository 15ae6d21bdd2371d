"""What a Homer collector makes of a HEP3 datagram."""

from __future__ import annotations

import struct


def chunks(datagram: bytes) -> dict[int, bytes]:
    """Every chunk by its type; fails on anything that is not HEP3."""
    assert datagram[:4] == b"HEP3"
    (length,) = struct.unpack_from("!H", datagram, 4)
    assert length == len(datagram)
    found, at = {}, 6
    while at < length:
        vendor, number, size = struct.unpack_from("!HHH", datagram, at)
        assert vendor == 0
        assert number not in found
        found[number] = datagram[at + 6 : at + size]
        at += size
    assert at == length
    return found
