"""Registered contacts of a user (reginfo, RFC 3680 section 5)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from gateway.identity.model import Binding
from gateway.people.documents.xml import DECLARATION, attribute, text

CONTENT_TYPE = "application/reginfo+xml"

_NAMESPACE = "urn:ietf:params:xml:ns:reginfo"


def write(aor: str, bindings: Sequence[Binding], version: int) -> bytes:
    """Return the full state of an address of record."""
    state = "active" if bindings else "terminated"
    contacts = "".join(
        f'<contact id="{_name(one.contact)}" state="active" event="registered" callid={attribute(one.call_id)}'
        f' cseq="{one.cseq}" q="{one.q:g}"><uri>{text(one.contact)}</uri></contact>\n'
        for one in bindings
    )
    return (
        f'{DECLARATION}<reginfo xmlns="{_NAMESPACE}" version="{version}" state="full">\n'
        f'<registration aor={attribute(aor)} id="{_name(aor)}" state="{state}">\n'
        f"{contacts}</registration>\n</reginfo>\n"
    ).encode()


def _name(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
