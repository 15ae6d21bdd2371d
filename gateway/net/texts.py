"""URIs and addresses that may be given as texts; both functions raise SipSyntaxError for one that is none."""

from __future__ import annotations

from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.uri import Uri


def uri_of(text: Uri | str) -> Uri:
    """A URI as a value."""
    return text if isinstance(text, Uri) else Uri.parse(text)


def address_of(text: NameAddr | str) -> NameAddr:
    """An address with or without a display name as a value."""
    return text if isinstance(text, NameAddr) else NameAddr.parse(text)
