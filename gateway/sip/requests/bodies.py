"""Session description of a message, plain or in a multipart (RFC 3261 8.2.3, RFC 5621)."""

from __future__ import annotations

from gateway.sip.errors import SipSyntaxError
from gateway.sip.message.message import Message
from gateway.sip.message.multipart import find_part

SDP = "application/sdp"
_ROLE = b"a=setup:"
"""Line with the DTLS role: actpass in an offer, another role in the answer of an unchanged session (RFC 5763 section
5)."""


def description_of(message: Message) -> bytes:
    """Return the session description of a message, also from a multipart; b"" if absent. Raise SipSyntaxError."""
    if not message.body:
        return b""
    kind = message.content_type
    if kind is None or kind.essence == SDP:
        return message.body
    return find_part(message, SDP) or b"" if kind.type == "multipart" else b""


def is_same_session(one: bytes, other: bytes) -> bool:
    """Return True for descriptions that differ at most in the DTLS role, which an offer leaves open."""
    return one == other or _without_role(one) == _without_role(other)


def _without_role(description: bytes) -> list[bytes]:
    return [line for line in description.splitlines() if not line.startswith(_ROLE)]


def description_or_nothing(message: Message) -> bytes:
    """Return the description, b"" for a broken body: responses and ACK cannot be rejected."""
    try:
        return description_of(message)
    except SipSyntaxError:
        return b""
