"""STUN Binding requests and the answers to them (RFC 8489): bytes in, values out, and back."""

from __future__ import annotations

import hmac
import socket
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

MAGIC_COOKIE = 0x2112A442
_COOKIE = MAGIC_COOKIE.to_bytes(4)
BINDING_REQUEST = 0x0001
BINDING_SUCCESS = 0x0101
BINDING_ERROR = 0x0111
FINGERPRINT_XOR = 0x5354554E
FINGERPRINT_HEADER = b"\x80\x28\x00\x04"

USERNAME, MESSAGE_INTEGRITY, XOR_MAPPED_ADDRESS = 0x0006, 0x0008, 0x0020
PRIORITY, USE_CANDIDATE, FINGERPRINT = 0x0024, 0x0025, 0x8028
ICE_CONTROLLED, ICE_CONTROLLING = 0x8029, 0x802A
_UNDERSTOOD = frozenset({USERNAME, MESSAGE_INTEGRITY, PRIORITY, USE_CANDIDATE})
"""Comprehension-required attributes that a Binding request may have here."""
_SIZES = {MESSAGE_INTEGRITY: 20, PRIORITY: 4, USE_CANDIDATE: 0, ICE_CONTROLLED: 8, ICE_CONTROLLING: 8, FINGERPRINT: 4}
LONGEST_USERNAME = 513
"""Octets (RFC 8489 section 14.3)."""
_HEADER = struct.Struct("!HHI12s")
_ATTRIBUTE = struct.Struct("!HH")

REASONS = {400: "Bad Request", 401: "Unauthenticated", 420: "Unknown Attribute", 487: "Role Conflict"}


def is_stun(data: bytes) -> bool:
    """Whether a datagram begins as every STUN message does (RFC 8489 section 5)."""
    return len(data) >= 20 and data[0] < 4 and data[4:8] == _COOKIE


class StunError(Exception):
    """A datagram that looks like STUN and is not a well-formed Binding request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BindingRequest:
    """A well-formed Binding request whose FINGERPRINT is right and whose integrity is yet unknown."""

    transaction_id: bytes
    username: str | None
    unknown: tuple[int, ...]
    """Comprehension-required attribute types that are not understood (RFC 8489 section 6.3.1)."""
    use_candidate: bool
    controlled: bool
    """Whether the sender believes it is the controlled agent."""
    signed: bool
    """Whether a MESSAGE-INTEGRITY is there at all."""
    covered: bytes
    """What MESSAGE-INTEGRITY covers."""
    integrity: bytes

    @property
    def local_ufrag(self) -> str | None:
        """The receiver's half of USERNAME, which comes first (RFC 8445 section 7.2.2)."""
        return None if self.username is None else self.username.partition(":")[0]

    @property
    def remote_ufrag(self) -> str:
        """The sender's half of USERNAME."""
        return "" if self.username is None else self.username.partition(":")[2]

    def authentic(self, key: bytes) -> bool:
        """Whether MESSAGE-INTEGRITY was made with `key`."""
        return self.signed and hmac.compare_digest(hmac.digest(key, self.covered, "sha1"), self.integrity)


def parse_binding_request(data: bytes, limit: int = 1280) -> BindingRequest:
    """Read one datagram of at most `limit` bytes; raises StunError and nothing else."""
    if len(data) < 20 or len(data) > limit or len(data) % 4:
        raise StunError("the length is not one a STUN message may have")
    kind, length, cookie, transaction_id = _HEADER.unpack_from(data)
    if kind != BINDING_REQUEST or cookie != MAGIC_COOKIE or length != len(data) - 20:
        raise StunError("not a Binding request")
    if data[-8:-4] != FINGERPRINT_HEADER:
        raise StunError("FINGERPRINT is not the last attribute")
    if int.from_bytes(data[-4:], "big") != zlib.crc32(data[:-8]) ^ FINGERPRINT_XOR:
        raise StunError("the FINGERPRINT is wrong")
    values, unknown, signed_at = _attributes(data)
    username = values.get(USERNAME)
    try:
        name = None if username is None else username.decode()
    except UnicodeDecodeError:
        raise StunError("the USERNAME is not UTF-8") from None
    covered = b""
    if signed_at is not None:
        # The length counts as if the message ended with this attribute (RFC 8489 section 14.5).
        covered = data[:2] + struct.pack("!H", signed_at + 4) + data[4:signed_at]
    return BindingRequest(
        transaction_id=transaction_id,
        username=name,
        unknown=unknown,
        use_candidate=USE_CANDIDATE in values,
        controlled=ICE_CONTROLLED in values,
        signed=signed_at is not None,
        covered=covered,
        integrity=values.get(MESSAGE_INTEGRITY, b""),
    )


def _attributes(data: bytes) -> tuple[dict[int, bytes], tuple[int, ...], int | None]:
    """First value of each attribute, unknown types, and where MESSAGE-INTEGRITY is; what follows that is ignored."""
    values: dict[int, bytes] = {}
    unknown: list[int] = []
    position = 20
    while position < len(data):
        kind, length = _ATTRIBUTE.unpack_from(data, position)
        end = position + 4 + length
        fits = end <= len(data) and _SIZES.get(kind, length) == length
        if not fits or (kind == USERNAME and length > LONGEST_USERNAME) or (kind == XOR_MAPPED_ADDRESS and length < 8):
            raise StunError("malformed STUN attributes")
        values.setdefault(kind, data[position + 4 : end])
        if kind == MESSAGE_INTEGRITY:
            return values, tuple(unknown[:8]), position
        if kind < 0x8000 and kind not in _UNDERSTOOD:
            unknown.append(kind)
        position = end + -length % 4
    return values, tuple(unknown[:8]), None


def message(kind: int, transaction_id: bytes, attributes: bytes, key: bytes | None) -> bytes:
    """Assemble a STUN message with MESSAGE-INTEGRITY (when keyed) and FINGERPRINT."""

    def header(extra: int) -> bytes:
        return _HEADER.pack(kind, len(attributes) + extra, MAGIC_COOKIE, transaction_id)

    if key is not None:
        digest = hmac.digest(key, header(24) + attributes, "sha1")
        attributes += _ATTRIBUTE.pack(MESSAGE_INTEGRITY, 20) + digest
    body = header(8) + attributes
    return body + struct.pack("!HHI", FINGERPRINT, 4, zlib.crc32(body) ^ FINGERPRINT_XOR)


def success_response(transaction_id: bytes, source: tuple[str, int], key: bytes) -> bytes:
    """A Binding success response with the source in XOR-MAPPED-ADDRESS (RFC 8489 section 14.2)."""
    mask = struct.pack("!I", MAGIC_COOKIE) + transaction_id
    host = source[0].partition("%")[0]
    family, packed = (
        (2, socket.inet_pton(socket.AF_INET6, host)) if ":" in host else (1, socket.inet_pton(socket.AF_INET, host))
    )
    xored = bytes(a ^ b for a, b in zip(packed, mask, strict=False))
    value = struct.pack("!BBH", 0, family, source[1] ^ (MAGIC_COOKIE >> 16)) + xored
    return message(BINDING_SUCCESS, transaction_id, _ATTRIBUTE.pack(XOR_MAPPED_ADDRESS, len(value)) + value, key)


def error_response(request: BindingRequest, code: int, key: bytes | None = None) -> bytes:
    """A Binding error response; signed only when the request was authentic."""
    reason = REASONS[code].encode()
    value = struct.pack("!HBB", 0, code // 100, code % 100) + reason
    attributes = struct.pack("!HH", 0x0009, len(value)) + value + bytes(-len(value) % 4)
    if code == 420:
        types = b"".join(struct.pack("!H", kind) for kind in request.unknown)
        attributes += struct.pack("!HH", 0x000A, len(types)) + types + bytes(-len(types) % 4)
    return message(BINDING_ERROR, request.transaction_id, attributes, key)


def plain_check(
    data: bytes, key_for: Callable[[str], bytes | None], *, selected: bool, limit: int
) -> tuple[bytes, bytes] | None:
    """(transaction id, key) of an authentic check that asks for nothing but an answer; None for all others."""
    try:
        request = parse_binding_request(data, limit)
    except StunError:
        return None
    ufrag = request.local_ufrag
    key = None if ufrag is None else key_for(ufrag)
    if key is None or not request.authentic(key) or request.unknown or request.controlled:
        return None
    if request.use_candidate and not selected:
        return None
    return request.transaction_id, key
