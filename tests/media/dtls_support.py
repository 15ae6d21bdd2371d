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


def fragments(hello: bytes, *cuts: int) -> list[bytes]:
    """The datagram of a ClientHello as one datagram a fragment, cut at these octets (RFC 6347 section 4.2.3)."""
    record, message, body = hello[:11], hello[13:19], hello[25:]
    parts = [(at, body[at:end]) for at, end in zip((0, *cuts), (*cuts, len(body)), strict=True)]
    made = [message + at.to_bytes(3) + len(part).to_bytes(3) + part for at, part in parts]
    return [record + len(each).to_bytes(2) + each for each in made]
