"""DTLS records as a stranger or a peer sends them first."""

from __future__ import annotations

FATAL_ALERT = bytes.fromhex("15fefd00000000000000000002") + b"\x02\x28"


CLOSE_NOTIFY = bytes.fromhex("15fefd00000000000000000002") + b"\x01\x00"


PROTOCOL_VERSION_ALERT = bytes.fromhex("15feff00000000000000000002") + b"\x02\x46"


def client_hello(suite: bytes, version: bytes = b"\xfe\xfd") -> bytes:
    """A ClientHello that offers one cipher suite (RFC 6347 section 4.2.1)."""
    body = version + bytes(32) + b"\0" + b"\0" + b"\0\2" + suite + b"\1\0"
    handshake = b"\1" + len(body).to_bytes(3) + bytes(2) + bytes(3) + len(body).to_bytes(3) + body
    return b"\x16\xfe\xfd" + bytes(8) + len(handshake).to_bytes(2) + handshake


CLIENT_HELLO_NULL_CIPHER = client_hello(b"\0\0")
CLIENT_HELLO_1_0 = client_hello(b"\xc0\x13", b"\xfe\xff")
