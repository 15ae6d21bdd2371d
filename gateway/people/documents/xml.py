"""XML for and from phones: escaped text, and bounded parsing of documents."""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element, ParseError, fromstring
from xml.sax.saxutils import escape, quoteattr

from gateway.errors import GatewayError

DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'
_NO_CHARACTER = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_MAX_DOCUMENT = 65_536


class DocumentError(GatewayError):
    """Raised for an unreadable document."""


def text(value: str) -> str:
    """Return `value` escaped for element content, with characters outside XML replaced."""
    return escape(_NO_CHARACTER.sub("\ufffd", value))


def attribute(value: str) -> str:
    """Return `value` quoted for an attribute."""
    return quoteattr(_NO_CHARACTER.sub("\ufffd", value))


def read(document: bytes) -> Element:
    """Return the root element; raises DocumentError. Entities and encodings except UTF-8 are refused before parsing."""
    if len(document) > _MAX_DOCUMENT:
        raise DocumentError("the document is too long")
    try:
        decoded = document.decode("utf-8")
    except UnicodeDecodeError:
        raise DocumentError("the document is not UTF-8") from None
    if "<!" in re.sub(r"<!--.*?-->|<!\[CDATA\[", "", decoded, flags=re.DOTALL):
        raise DocumentError("the document declares types or entities")
    try:
        # Re-encoded as UTF-8, so that the encoding in the declaration has no effect.
        return fromstring(re.sub(r"^\ufeff?<\?xml[^>]*\?>", "", decoded.lstrip(), count=1).encode())
    except (ParseError, ValueError) as error:
        raise DocumentError(f"the document is no XML: {error}") from None
