"""Header fields as an ordered, case-insensitive, immutable list (RFC 3261 7.3), and the known names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gateway.sip.errors import SipBuildError
from gateway.sip.message.grammar import is_token, require_clean

_LONG_NAMES = (
    "Accept",
    "Accept-Contact",
    "Accept-Encoding",
    "Accept-Language",
    "Alert-Info",
    "Allow",
    "Allow-Events",
    "Authentication-Info",
    "Authorization",
    "Call-ID",
    "Call-Info",
    "Contact",
    "Content-Disposition",
    "Content-Encoding",
    "Content-ID",
    "Content-Language",
    "Content-Length",
    "Content-Transfer-Encoding",
    "Content-Type",
    "CSeq",
    "Date",
    "Diversion",
    "Error-Info",
    "Event",
    "Expires",
    "Flow-Timer",
    "From",
    "Geolocation",
    "History-Info",
    "Identity",
    "In-Reply-To",
    "Info-Package",
    "Join",
    "Max-Breadth",
    "Max-Forwards",
    "MIME-Version",
    "Min-Expires",
    "Min-SE",
    "Organization",
    "P-Access-Network-Info",
    "P-Asserted-Identity",
    "P-Called-Party-ID",
    "P-Charging-Vector",
    "P-Early-Media",
    "P-Preferred-Identity",
    "Path",
    "Priority",
    "Privacy",
    "Proxy-Authenticate",
    "Proxy-Authorization",
    "Proxy-Require",
    "RAck",
    "Reason",
    "Record-Route",
    "Recv-Info",
    "Refer-Sub",
    "Refer-To",
    "Referred-By",
    "Reject-Contact",
    "Remote-Party-ID",
    "Replaces",
    "Reply-To",
    "Request-Disposition",
    "Require",
    "Retry-After",
    "Route",
    "RSeq",
    "Server",
    "Service-Route",
    "Session-Expires",
    "SIP-ETag",
    "SIP-If-Match",
    "Subject",
    "Subscription-State",
    "Supported",
    "Target-Dialog",
    "Timestamp",
    "To",
    "Unsupported",
    "User-Agent",
    "Via",
    "Warning",
    "WWW-Authenticate",
)

COMPACT_FORMS = {
    "a": "Accept-Contact",
    "b": "Referred-By",
    "c": "Content-Type",
    "d": "Request-Disposition",
    "e": "Content-Encoding",
    "f": "From",
    "i": "Call-ID",
    "j": "Reject-Contact",
    "k": "Supported",
    "l": "Content-Length",
    "m": "Contact",
    "o": "Event",
    "r": "Refer-To",
    "s": "Subject",
    "t": "To",
    "u": "Allow-Events",
    "v": "Via",
    "x": "Session-Expires",
    "y": "Identity",
}
"""Single-letter header names (RFC 3261 7.3.3 and later registrations)."""

Item = tuple[str, str, str]
"""(key, name, value): key is the long name in lower case, name the written form."""

_NAMES: dict[str, tuple[str, str]] = {}
for _name in _LONG_NAMES:
    for _spelling in (_name, _name.lower(), _name.upper()):
        _NAMES[_spelling] = (_name.lower(), _name)
for _letter, _name in COMPACT_FORMS.items():
    for _spelling in (_letter, _letter.upper()):
        _NAMES[_spelling] = (_name.lower(), _name)

known_spelling = _NAMES.get
"""Fast look-up for the parser: (key, canonical name) for a usual spelling of a known header, else None."""


Values = str | list[str]
"""Value of a header present once, or all values in order of a repeated header."""


def resolve_name(name: str) -> tuple[str, str]:
    """Return (key, name to write) for a header name; known names get their usual spelling."""
    known = _NAMES.get(name)
    if known is not None:
        return known
    lowered = name.lower()
    known = _NAMES.get(lowered)
    return known if known is not None else (lowered, name)


def _item(name: str, value: object) -> Item:
    known = _NAMES.get(name)
    if known is None:
        if not is_token(name):
            raise SipBuildError("header name is not a token")
        known = resolve_name(name)
    text = value if isinstance(value, str) else str(value)
    if not text.isprintable():
        require_clean(text, f"{known[1]} header")
    return known[0], known[1], text.strip(" \t")


def _index_with_repeats(items: Iterable[Item]) -> dict[str, Values]:
    index: dict[str, Values] = {}
    for key, _, value in items:
        known = index.get(key)
        if known is None:
            index[key] = value
        elif isinstance(known, list):
            known.append(value)
        else:
            index[key] = [known, value]
    return index


class Headers:
    """Ordered header fields; names compare without case, compact forms as their long names.

    Immutable: `with_`, `add`, `prepend`, `without` return new values that share strings. Every new value is checked;
    CR, LF, NUL and other control bytes raise SipBuildError.
    """

    __slots__ = ("index", "items")

    items: tuple[Item, ...]
    """All fields in order."""
    index: dict[str, Values]
    """Value or values by key, built at the first use; shared, never to be changed."""

    def __init__(self, fields: Iterable[tuple[str, object]] = ()) -> None:
        self.items = tuple([_item(name, value) for name, value in fields])

    @classmethod
    def from_items(cls, items: Iterable[Item]) -> Headers:
        """Return headers from items checked by the parser."""
        made = cls.__new__(cls)
        made.items = tuple(items)
        return made

    def __getattr__(self, name: str) -> dict[str, Values]:
        # Called only while the slot is empty, so that the index later costs no call.
        if name != "index":
            raise AttributeError(name)
        index: dict[str, Values] = {key: value for key, _, value in self.items}
        if len(index) != len(self.items):
            index = _index_with_repeats(self.items)
        self.index = index
        return index

    def get(self, name: str) -> str | None:
        """Return the first value of a header, None if absent."""
        values = self.index.get(resolve_name(name)[0])
        return values[0] if isinstance(values, list) else values

    def all(self, name: str) -> list[str]:
        """Return every value of a header in order, comma lists unsplit; [] if absent."""
        values = self.index.get(resolve_name(name)[0])
        if values is None:
            return []
        return [values] if isinstance(values, str) else list(values)

    def count(self, name: str) -> int:
        """Count the fields with a name."""
        return len(self.all(name))

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and resolve_name(name)[0] in self.index

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Iterate over (name, value) pairs in order."""
        return iter([(name, value) for _, name, value in self.items])

    def __len__(self) -> int:
        return len(self.items)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Headers):
            return NotImplemented
        return [(key, value) for key, _, value in self.items] == [(key, value) for key, _, value in other.items]

    def __hash__(self) -> int:
        return hash(tuple([(key, value) for key, _, value in self.items]))

    def __repr__(self) -> str:
        return f"Headers({', '.join(name for _, name, _ in self.items)})"

    def add(self, name: str, *values: object) -> Headers:
        """Return a copy with fields appended."""
        return Headers.from_items(self.items + tuple([_item(name, value) for value in values]))

    def prepend(self, name: str, *values: object) -> Headers:
        """Return a copy with fields put first (a new top Via)."""
        return Headers.from_items(tuple([_item(name, value) for value in values]) + self.items)

    def with_(self, name: str, *values: object) -> Headers:
        """Return a copy with `name` replaced by `values`, in its first position if present; no values remove the
        name."""
        key = resolve_name(name)[0]
        fresh = [_item(name, value) for value in values]
        result: list[Item] = []
        placed = False
        for item in self.items:
            if item[0] != key:
                result.append(item)
            elif not placed:
                result += fresh
                placed = True
        return Headers.from_items(result if placed else result + fresh)

    def without(self, *names: str) -> Headers:
        """Return a copy without all fields of the given names."""
        keys = {resolve_name(name)[0] for name in names}
        return Headers.from_items([item for item in self.items if item[0] not in keys])

    def only(self, *names: str) -> Headers:
        """Return only the fields of the given names, in order."""
        keys = {resolve_name(name)[0] for name in names}
        return Headers.from_items([item for item in self.items if item[0] in keys])

    def write(self) -> str:
        """Return the fields in wire form, each line ended by CRLF."""
        return "".join([f"{name}: {value}\r\n" for _, name, value in self.items])
