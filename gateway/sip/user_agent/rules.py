"""What a user agent server checks of a request before anything else (RFC 3261 8.2.1 to 8.2.3)."""

from __future__ import annotations

from gateway.sip import build
from gateway.sip.message import Request
from gateway.sip.user_agent.config import CoreConfig
from gateway.sip.user_agent.events import Refused

KNOWN_METHODS = frozenset(
    (
        "ACK",
        "BYE",
        "CANCEL",
        "INFO",
        "INVITE",
        "MESSAGE",
        "NOTIFY",
        "OPTIONS",
        "PRACK",
        "PUBLISH",
        "REFER",
        "REGISTER",
        "SUBSCRIBE",
        "UPDATE",
    )
)
"""Methods that the RFCs define: those we do not serve get 405, others 501."""

BODY_TYPES = {"INVITE": ("application/sdp",), "UPDATE": ("application/sdp",), "PRACK": ("application/sdp",)}
"""Which bodies the core understands itself; other methods take what the application makes of them."""


def check(request: Request, config: CoreConfig) -> Refused | None:
    """The refusal that a request earns by its form alone, None when it may be looked at; raises SipSyntaxError."""
    if request.method not in config.allow:
        status = 405 if request.method in KNOWN_METHODS else 501
        return Refused(status, headers=(("Allow", ", ".join(config.allow)),))
    if request.uri.scheme not in ("sip", "sips", "tel"):
        return Refused(416)
    unknown = [tag for tag in request.require if tag.lower() not in config.supported]
    if unknown:
        return Refused(420, headers=(("Unsupported", ", ".join(unknown)),))
    if request.method == "INVITE" and request.max_forwards == 0:
        return Refused(483)
    return _check_body(request)


def _check_body(request: Request) -> Refused | None:
    types = BODY_TYPES.get(request.method)
    if types is None:
        return None
    accept = (("Accept", ", ".join(types)),)
    if request.body:
        kind = request.content_type
        disposition = request.content_disposition
        optional = disposition is not None and (disposition.param("handling") or "").lower() == "optional"
        if (kind is None or kind.essence not in types) and not optional:
            return Refused(415, headers=accept)
        if any(coding.lower() != "identity" for coding in request.content_encoding):
            return Refused(415, headers=(*accept, ("Accept-Encoding", "identity")))
    ranges = request.accept
    if ranges and not any(one.accepts(essence) for one in ranges for essence in types):
        return Refused(406)
    return None


def capabilities(config: CoreConfig) -> build.Fields:
    """The fields that say what we can do (RFC 3261 11.2)."""
    return (
        ("Allow", ", ".join(config.allow)),
        ("Accept", "application/sdp"),
        ("Supported", ", ".join(config.supported)),
    )
