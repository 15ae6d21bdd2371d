"""STUN as a client speaks it (RFC 8489): what a server answers, read; requests to it, written."""

from __future__ import annotations

import hashlib
import hmac
import socket
import struct
from dataclasses import dataclass, field

from gateway.media.embedded.plane.stun import (
    BINDING_REQUEST,
    FINGERPRINT,
    ICE_CONTROLLED,
    ICE_CONTROLLING,
    MAGIC_COOKIE,
    MESSAGE_INTEGRITY,
    PRIORITY,
    USE_CANDIDATE,
    USERNAME,
    XOR_MAPPED_ADDRESS,
    StunError,
    is_stun,
    message,
)
from gateway.media.embedded.plane.values import Address, Host

ERROR_CODE, REALM, NONCE = 0x0009, 0x0014, 0x0015
LONGEST = 65_535
"""Octets."""
MAX_ATTRIBUTES = 64
_ATTRIBUTE = struct.Struct("!HH")


@dataclass(frozen=True, slots=True)
class Message:
    """One message whose attributes are well-formed; of attributes that come twice the first counts."""

    kind: int
    transaction_id: bytes
    attributes: dict[int, bytes]
    covered: bytes = field(default=b"", repr=False)
    """What MESSAGE-INTEGRITY covers; b"" where there is none."""

    def authentic(self, key: bytes) -> bool:
        """Whether MESSAGE-INTEGRITY was made with `key`."""
        given = self.attributes.get(MESSAGE_INTEGRITY, b"")
        return bool(self.covered) and hmac.compare_digest(hmac.digest(key, self.covered, "sha1"), given)

    def address(self, kind: int) -> Address | None:
        """An attribute of the form of XOR-MAPPED-ADDRESS (section 14.2), None where there is none of use."""
        value = self.attributes.get(kind, b"")
        size = {1: 4, 2: 16}.get(value[1]) if len(value) >= 4 else None
        if size is None or len(value) != 4 + size:
            return None
        mask = MAGIC_COOKIE.to_bytes(4) + self.transaction_id
        packed = bytes([a ^ b for a, b in zip(value[4:], mask, strict=False)])
        host = socket.inet_ntop(socket.AF_INET if size == 4 else socket.AF_INET6, packed)
        port = int.from_bytes(value[2:4]) ^ (MAGIC_COOKIE >> 16)
        return (Host(host), port) if port else None

    @property
    def error_code(self) -> int:
        """Of an error response (section 14.8), 0 where there is none."""
        value = self.attributes.get(ERROR_CODE, b"")
        return (value[2] & 7) * 100 + value[3] if len(value) >= 4 else 0


def parse(data: bytes) -> Message:
    """Read one message; raises StunError and nothing else."""
    if not is_stun(data) or len(data) > LONGEST or int.from_bytes(data[2:4]) != len(data) - 20:
        raise StunError("not a STUN message")
    attributes: dict[int, bytes] = {}
    covered = b""
    position = 20
    while position < len(data):
        if len(data) - position < 4 or len(attributes) >= MAX_ATTRIBUTES:
            raise StunError("malformed STUN attributes")
        kind, length = _ATTRIBUTE.unpack_from(data, position)
        end = position + 4 + length
        if end + -length % 4 > len(data):
            raise StunError("malformed STUN attributes")
        if kind == MESSAGE_INTEGRITY and not covered:
            covered = data[:2] + struct.pack("!H", position + 4) + data[4:position]
        elif covered and kind != FINGERPRINT:
            # What follows MESSAGE-INTEGRITY is nobody's word (section 14.5).
            position = end + -length % 4
            continue
        attributes.setdefault(kind, data[position + 4 : end])
        position = end + -length % 4
    return Message(int.from_bytes(data[:2]), data[8:20], attributes, covered)


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded."""
    return _ATTRIBUTE.pack(kind, len(value)) + value + bytes(-len(value) % 4)


def xor_address(kind: int, address: Address, transaction_id: bytes) -> bytes:
    """An attribute of the form of XOR-MAPPED-ADDRESS."""
    host, port = address
    family, packed = (
        (2, socket.inet_pton(socket.AF_INET6, host)) if ":" in host else (1, socket.inet_pton(socket.AF_INET, host))
    )
    mask = MAGIC_COOKIE.to_bytes(4) + transaction_id
    xored = bytes([a ^ b for a, b in zip(packed, mask, strict=False)])
    return attribute(kind, struct.pack("!BBH", 0, family, port ^ (MAGIC_COOKIE >> 16)) + xored)


def mapped_address(response: Message) -> Address | None:
    """What a STUN server says of where a Binding request came from."""
    return response.address(XOR_MAPPED_ADDRESS)


def binding(transaction_id: bytes) -> bytes:
    """A Binding request to a STUN server."""
    return message(BINDING_REQUEST, transaction_id, b"", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A connectivity check (RFC 8445 section 7.1), but for its transaction id.

    Each role has the tie-breaker with which it wins (section 7.3.1.1): an agent that claims our role takes the other.
    """

    username: str
    password: str = field(repr=False)
    controls: bool = False
    nominates: bool = False
    """True to have the peer use the pair (USE-CANDIDATE)."""

    def write(self, transaction_id: bytes, priority: int) -> bytes:
        """The Binding request."""
        role = attribute(ICE_CONTROLLING, bytes([255] * 8)) if self.controls else attribute(ICE_CONTROLLED, bytes(8))
        attributes = (
            attribute(USERNAME, self.username.encode())
            + attribute(PRIORITY, priority.to_bytes(4))
            + role
            + (attribute(USE_CANDIDATE, b"") if self.nominates else b"")
        )
        return message(BINDING_REQUEST, transaction_id, attributes, self.password.encode())


def long_term_key(username: str, realm: str, password: str) -> bytes:
    """The key of the long-term credential (RFC 8489 section 9.2.2)."""
    return hashlib.md5(f"{username}:{realm}:{password}".encode(), usedforsecurity=False).digest()
