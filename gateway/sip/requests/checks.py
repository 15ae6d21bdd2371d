"""First checks of a user agent server on a request, in the order of RFC 3261 8.2."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.sip.message.build import Refusal
from gateway.sip.message.message import Request

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
"""Registered methods; a registered but unsupported method is answered 405, any other 501."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Capabilities of a user agent; names as written, media types in lower case."""

    methods: tuple[str, ...] = ("INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "INFO", "UPDATE")
    extensions: tuple[str, ...] = ()
    """Option tags for Require and Supported."""
    schemes: tuple[str, ...] = ("sip", "sips")
    content_types: tuple[str, ...] = ("application/sdp",)
    """Body types of INVITE, UPDATE and ACK."""
    other_content_types: tuple[str, ...] = (
        "application/dtmf-relay",
        "application/dtmf",
        "application/trickle-ice-sdpfrag",
    )
    """Body types of other requests (INFO)."""

    def headers(self) -> tuple[tuple[str, object], ...]:
        """Return Allow, Accept and Supported for an OPTIONS response or an INVITE (RFC 3261 11.2, 13.2.1)."""
        fields: list[tuple[str, object]] = [
            ("Allow", ", ".join(self.methods)),
            ("Accept", ", ".join(self.content_types)),
        ]
        if self.extensions:
            fields.append(("Supported", ", ".join(self.extensions)))
        return tuple(fields)


def inspect(request: Request, can: Capabilities) -> Refusal | None:
    """Return the refusal of an unsupported request, None for an acceptable one.

    Not for ACK and CANCEL, which have rules of their own. Raise SipSyntaxError for a malformed header read here.
    """
    if request.method not in can.methods:
        allow = (("Allow", ", ".join(can.methods)),)
        return Refusal(405 if request.method in KNOWN_METHODS else 501, headers=allow)
    if request.uri.scheme not in can.schemes:
        return Refusal(416)
    missing = [tag for tag in request.require if tag.lower() not in {known.lower() for known in can.extensions}]
    if missing:
        return Refusal(420, headers=(("Unsupported", ", ".join(missing)),))
    return _inspect_body(request, can) or _inspect_accept(request, can)


def _inspect_body(request: Request, can: Capabilities) -> Refusal | None:
    if not request.body:
        return None
    disposition = request.content_disposition
    if disposition is not None and (disposition.param("handling") or "").lower() == "optional":
        return None
    takes = can.content_types if request.method in ("INVITE", "UPDATE", "PRACK") else can.other_content_types
    kind = request.content_type
    if any(coding.lower() != "identity" for coding in request.content_encoding):
        return Refusal(415, headers=(("Accept-Encoding", "identity"),))
    if request.method not in ("INVITE", "UPDATE", "PRACK", "INFO"):
        return None
    if request.method == "INFO" and "Info-Package" in request.headers:
        # The package defines its body type; an unknown package is answered 469 (RFC 6086 4.2.2).
        return None
    if kind is None or (kind.essence not in takes and kind.type != "multipart"):
        return Refusal(415, headers=(("Accept", ", ".join(takes)),))
    return None


def _inspect_accept(request: Request, can: Capabilities) -> Refusal | None:
    # Without Accept the answer to an INVITE is application/sdp (RFC 3261 20.1); an Accept without SDP leaves no
    # possible answer. An empty Accept is ignored: an offer implies support for SDP.
    ranges = request.accept if request.method in ("INVITE", "UPDATE") else ()
    if not ranges or any(one.accepts(essence) for one in ranges for essence in can.content_types):
        return None
    return Refusal(406)
