"""XML for and from phones: text made safe, and documents of strangers read within bounds."""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element, ParseError, fromstring
from xml.sax.saxutils import escape, quoteattr

from gateway.errors import GatewayError

DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'
_NO_CHARACTER = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_MAX_DOCUMENT = 65_536


class DocumentError(GatewayError):
    """A document that cannot be read."""


def text(value: str) -> str:
    """`value` between tags; what is no character of XML is replaced."""
    return escape(_NO_CHARACTER.sub("\ufffd", value))


def attribute(value: str) -> str:
    """`value` in quotes."""
    return quoteattr(_NO_CHARACTER.sub("\ufffd", value))


def read(document: bytes) -> Element:
    """The root element; raises DocumentError. Entities and other encodings than UTF-8 are refused unread."""
    if len(document) > _MAX_DOCUMENT:
        raise DocumentError("the document is too long")
    try:
        decoded = document.decode("utf-8")
    except UnicodeDecodeError:
        raise DocumentError("the document is not UTF-8") from None
    if "<!" in re.sub(r"<!--.*?-->|<!\[CDATA\[", "", decoded, flags=re.DOTALL):
        raise DocumentError("the document declares types or entities")
    try:
        # As octets in UTF-8: what the declaration says of another encoding counts for nothing.
        return fromstring(re.sub(r"^\ufeff?<\?xml[^>]*\?>", "", decoded.lstrip(), count=1).encode())
    except (ParseError, ValueError) as error:
        raise DocumentError(f"the document is no XML: {error}") from None
