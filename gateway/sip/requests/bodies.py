"""What the core asks of every request and body before a session sees it (RFC 3261 8.2, RFC 5621)."""

from __future__ import annotations

from gateway.sip.config import CoreConfig
from gateway.sip.errors import SipSyntaxError
from gateway.sip.invite.events import Refused
from gateway.sip.message.message import Message, Request
from gateway.sip.message.multipart import find_part
from gateway.sip.requests import checks as uas

SDP = "application/sdp"


def capabilities_of(config: CoreConfig) -> uas.Capabilities:
    """What we take, in the terms of the general checks."""
    return uas.Capabilities(methods=config.allow, extensions=config.supported, schemes=("sip", "sips", "tel"))


def check(request: Request, can: uas.Capabilities) -> Refused | None:
    """The refusal that a request earns by its form alone, None when it may go on; raises SipSyntaxError."""
    refusal = uas.inspect(request, can)
    if refusal is not None:
        headers = tuple((name, str(value)) for name, value in refusal.headers)
        return Refused(refusal.status, refusal.reason or None, headers)
    # We are where the request was going, so 0 is enough for us; but a call goes on from here, and this is what
    # ends a loop of gateways.
    if request.method == "INVITE" and request.max_forwards == 0 and request.to_tag is None:
        return Refused(483)
    return None


def description_of(message: Message) -> bytes:
    """The session description of a message, also out of a multipart; b"" without one. Raises SipSyntaxError."""
    if not message.body:
        return b""
    kind = message.content_type
    if kind is None or kind.essence == SDP:
        return message.body
    return find_part(message, SDP) or b"" if kind.type == "multipart" else b""


def description_or_nothing(message: Message) -> bytes:
    """The same for messages that nobody can refuse (responses, ACK): a broken body counts as none."""
    try:
        return description_of(message)
    except SipSyntaxError:
        return b""
