"""URIs and addresses given as text; both functions raise SipSyntaxError for malformed text."""

from __future__ import annotations

from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.uri import Uri


def uri_of(text: Uri | str) -> Uri:
    """Return a URI as a value."""
    return text if isinstance(text, Uri) else Uri.parse(text)


def address_of(text: NameAddr | str) -> NameAddr:
    """Return an address, with or without display name, as a value."""
    return text if isinstance(text, NameAddr) else NameAddr.parse(text)
