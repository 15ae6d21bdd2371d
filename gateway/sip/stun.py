"""STUN Binding requests on a SIP port, sent by phones to keep a NAT binding open (RFC 5626 3.5.2, RFC 8489)."""

from __future__ import annotations

from ipaddress import ip_address
from struct import Struct

from gateway.sip.flow import Flow

_HEADER = Struct("!HHI12s")
_ATTRIBUTE = Struct("!HHBBH")
_COOKIE = 0x2112A442
_REQUEST, _SUCCESS = 0x0001, 0x0101
_XOR_MAPPED_ADDRESS = 0x0020
_LARGEST = 128
"""Largest keep-alive in bytes; little more than its header."""


def is_binding_request(data: bytes) -> bool:
    """Return True for a STUN Binding request; no SIP message begins with a NUL."""
    if not _HEADER.size <= len(data) <= _LARGEST or data[0]:
        return False
    kind, length, cookie, _ = _HEADER.unpack_from(data)
    return bool(kind == _REQUEST and cookie == _COOKIE and length == len(data) - _HEADER.size)


def binding_response(request: bytes, source: Flow) -> bytes:
    """Return the success response with the request's source address (RFC 8489 section 14.2)."""
    *_, cookie, transaction = _HEADER.unpack_from(request)
    address = ip_address(source.host)
    mask = cookie.to_bytes(4, "big") + transaction
    octets = bytes(one ^ other for one, other in zip(address.packed, mask, strict=False))
    family = 1 if address.version == 4 else 2
    port = source.port ^ (cookie >> 16)
    attribute = _ATTRIBUTE.pack(_XOR_MAPPED_ADDRESS, 4 + len(octets), 0, family, port) + octets
    return _HEADER.pack(_SUCCESS, len(attribute), cookie, transaction) + attribute
