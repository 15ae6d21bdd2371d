"""Header values for routing and dialogs: name-addr, Via, CSeq (RFC 3261 section 20)."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass, field, replace
from functools import lru_cache

from gateway.sip.errors import SipBuildError, SipSyntaxError
from gateway.sip.message.grammar import (
    QUOTED,
    TOKEN_CHARS,
    Params,
    drop_param,
    expect_end,
    find_param,
    number,
    quote,
    read_params,
    require_token,
    set_param,
    unquote,
    write_params,
)
from gateway.sip.message.uri import Uri, check_writable

MAX_LIST = 128
"""Values allowed in one comma list, or in all fields of one name together."""
MAX_TAG = 256
_KNOWN, _KNOWN_LENGTH = 4096, 256
"""Cached addresses and longest cached address in characters: about 4 MB at most."""
MAX_BRANCH = 512

# The grammar allows tokens as unquoted display name; any unambiguous text is accepted ("AT&T <sip:...>"), and written
# in quotes.
_NAME_ADDR = re.compile(rf"[ \t]*+(?:({QUOTED})[ \t]*+|((?:[^\s\"<>,;:\\]++[ \t]*+)*+))<([^<>]*+)>[ \t]*+")
_UNQUOTED = re.compile(r"([^<>]*+)<([^<>]*+)>[ \t]*+")
"""Address with an unquoted name that needs quotes (`Doe, John <sip:...>`) or a doubly quoted name."""
_ADDR_SPEC = re.compile(r'[ \t]*+([^\s<>",;?]++)[ \t]*+')
_COMMA = re.compile(r"[ \t]*+,[ \t]*+")
_VIA = re.compile(
    rf"[ \t]*+([{TOKEN_CHARS}]++)[ \t]*+/[ \t]*+([{TOKEN_CHARS}]++)[ \t]*+/[ \t]*+([{TOKEN_CHARS}]++)[ \t]++"
    r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_][A-Za-z0-9_.\-]*+)(?:[ \t]*+:[ \t]*+([0-9]{1,5}))?+[ \t]*+"
)
_REG_ID = re.compile(r"[0-9]{1,10}")
_CSEQ = re.compile(rf"[ \t]*+([0-9]++)[ \t]++([{TOKEN_CHARS}]++)[ \t]*+")
_QVALUE = re.compile(r"[0-9]{1,8}(?:\.[0-9]{0,16})?|\.[0-9]{1,16}")
"""Wider than RFC 3261 25.1: phones write ".5" and "1.0000"."""


@dataclass(frozen=True, slots=True)
class NameAddr:
    """Address with display name and header parameters: From, To, Contact, Route, Refer-To and the like."""

    uri: Uri
    display_name: str = ""
    """Display name without quotes."""
    params: Params = ()
    """Header parameters (after the ">"), values raw."""
    _written: str | None = field(default=None, init=False, repr=False, compare=False)
    """Cached text, as a dialog writes its addresses many times."""

    @classmethod
    def parse(cls, text: str) -> NameAddr:
        """Parse exactly one address; raise SipSyntaxError."""
        # All messages of a dialog repeat From and To, so most addresses are cached.
        return _known_address(text) if len(text) <= _KNOWN_LENGTH else _read_address(text)

    @classmethod
    def parse_list(cls, text: str, limit: int = MAX_LIST) -> list[NameAddr]:
        """Parse a comma list of addresses; raise SipSyntaxError, also beyond `limit` values."""
        if "," not in text and len(text) <= _KNOWN_LENGTH:
            return [_known_address(text)]
        try:
            return cls._read_list(text, limit)
        except SipSyntaxError as error:
            # RFC 4475 3.1.2.15: "Doe, John <sip:...>" is a single address, not a list starting with "Doe".
            one = _unquoted(text)
            if one is None:
                raise error from None
            return [one]

    @classmethod
    def _read_list(cls, text: str, limit: int) -> list[NameAddr]:
        found: list[NameAddr] = []
        position = 0
        while True:
            value, position = cls.read(text, position)
            found.append(value)
            if len(found) > limit:
                raise SipSyntaxError("too many addresses in one header")
            match = _COMMA.match(text, position)
            if match is None:
                break
            position = match.end()
        expect_end(text, position, "address")
        return found

    @classmethod
    def parse_each(cls, text: str, limit: int = MAX_LIST) -> list[NameAddr]:
        """Parse the readable addresses of a comma list; raise SipSyntaxError if none is readable."""
        try:
            return cls.parse_list(text, limit)
        except SipSyntaxError:
            found: list[NameAddr] = []
        position = 0
        for _ in range(limit):
            end = position
            with contextlib.suppress(SipSyntaxError):
                value, end = cls.read(text, position)
                if end == len(text) or text[end] == ",":
                    found.append(value)
            position = text.find(",", end) + 1
            if not position:
                break
        if not found:
            raise SipSyntaxError("no address can be read")
        return found

    @classmethod
    def read(cls, text: str, position: int) -> tuple[NameAddr, int]:
        """Parse an address from `position`; return the address and its end position."""
        match = _NAME_ADDR.match(text, position)
        if match is not None:
            quoted, plain, uri_text = match.groups()
            display = unquote(quoted) if quoted else (plain or "").strip(" \t")
        else:
            match = _ADDR_SPEC.match(text, position)
            if match is None:
                raise SipSyntaxError("address is malformed")
            uri_text, display = match[1], ""
        uri = Uri.parse(uri_text)
        params, end = read_params(text, match.end())
        return cls(uri, display, params), end

    def __str__(self) -> str:
        if self._written is not None:
            return self._written
        uri = check_writable(str(self.uri))
        params = write_params(self.params) if self.params else ""
        text = f"{quote(self.display_name)} <{uri}>{params}" if self.display_name else f"<{uri}>{params}"
        object.__setattr__(self, "_written", text)
        return text

    @property
    def tag(self) -> str | None:
        """Return the tag parameter, None if absent or empty."""
        return find_param(self.params, "tag") or None

    def param(self, name: str) -> str | None:
        """Return the unquoted value of a header parameter; "" for a flag, None if absent."""
        return find_param(self.params, name)

    def with_param(self, name: str, value: str | None = None) -> NameAddr:
        """Return a copy with one header parameter set, quoted as needed."""
        return replace(self, params=set_param(self.params, name, value))

    def without_param(self, name: str) -> NameAddr:
        """Return a copy without one header parameter."""
        return replace(self, params=drop_param(self.params, name))

    def with_tag(self, tag: str | None) -> NameAddr:
        """Return a copy with the tag set, or removed for None."""
        return self.without_param("tag") if tag is None else self.with_param("tag", require_token(tag, "tag"))

    @property
    def q(self) -> float:
        """Return the preference of a Contact, 0.0 to 1.0; 1.0 if absent or malformed (RFC 3261 20.10)."""
        text = find_param(self.params, "q")
        if text is None or _QVALUE.fullmatch(text) is None:
            return 1.0
        return min(float(text), 1.0)

    @property
    def expires(self) -> int | None:
        """Return the expires parameter in seconds, None if absent or empty.

        A malformed value counts as 3600 (RFC 3261 10.3).
        """
        text = find_param(self.params, "expires")
        if not text:
            return None
        if not (text.isascii() and text.isdigit()):
            return 3600
        return min(int(text), 0xFFFFFFFF) if len(text) < 20 else 0xFFFFFFFF

    @property
    def instance(self) -> str | None:
        """Return +sip.instance without angle brackets (RFC 5626 4.1)."""
        text = find_param(self.params, "+sip.instance")
        return text.removeprefix("<").removesuffix(">") if text else None

    @property
    def reg_id(self) -> int | None:
        """Return reg-id, 1 to 2**31 - 1 (RFC 5626 4.2), None if absent or malformed."""
        text = find_param(self.params, "reg-id")
        if text is None or _REG_ID.fullmatch(text) is None:
            return None
        value = int(text)
        return value if 0 < value <= 0x7FFFFFFF else None


def _read_address(text: str) -> NameAddr:
    try:
        value, position = NameAddr.read(text, 0)
        expect_end(text, position, "address")
    except SipSyntaxError as error:
        one = _unquoted(text)
        if one is None:
            raise error from None
        return one
    return value


def _unquoted(text: str) -> NameAddr | None:
    """Return the address of a line with a single "<URI>" and any text before as name; None for other lines."""
    match = _UNQUOTED.match(text)
    if match is None or ";" in match[1] or ":" in match[1]:
        return None
    try:
        uri = Uri.parse(match[2])
        params, end = read_params(text, match.end())
        expect_end(text, end, "address")
    except SipSyntaxError:
        return None
    return NameAddr(uri, match[1].replace('"', "").replace("\\", "").strip(" \t"), params)


_known_address = lru_cache(_KNOWN)(_read_address)


@dataclass(frozen=True, slots=True)
class Via:
    """Via hop of a message's path back (RFC 3261 20.42)."""

    transport: str
    """Upper case: "UDP", "TCP", "TLS", "WS", "WSS" or another."""
    host: str
    """sent-by host: name, IPv4 address or "[IPv6]"."""
    port: int | None = None
    params: Params = ()
    protocol: str = "SIP/2.0"

    @classmethod
    def parse(cls, text: str) -> Via:
        """Parse exactly one Via value; raise SipSyntaxError."""
        value, position = cls.read(text, 0)
        expect_end(text, position, "Via")
        return value

    @classmethod
    def parse_list(cls, text: str, limit: int = MAX_LIST) -> list[Via]:
        """Parse a comma list of Via values; raise SipSyntaxError, also beyond `limit` values."""
        value, position = cls.read(text, 0)
        found = [value]
        while (match := _COMMA.match(text, position)) is not None:
            value, position = cls.read(text, match.end())
            found.append(value)
            if len(found) > limit:
                raise SipSyntaxError("too many Via values")
        expect_end(text, position, "Via")
        return found

    @classmethod
    def read(cls, text: str, position: int) -> tuple[Via, int]:
        """Parse a Via value from `position`; return the value and its end position."""
        match = _VIA.match(text, position)
        if match is None:
            raise SipSyntaxError("Via is malformed")
        name, version, transport, host, port_text = match.groups()
        port = None
        if port_text is not None:
            port = int(port_text)
            if port > 65535:
                raise SipSyntaxError("port of the Via is out of range")
        params, end = read_params(text, match.end())
        return cls(transport.upper(), host, port, params, f"{name}/{version}".upper()), end

    def __str__(self) -> str:
        port = "" if self.port is None else f":{self.port}"
        return f"{self.protocol}/{self.transport} {self.host}{port}{write_params(self.params)}"

    def param(self, name: str) -> str | None:
        """Return the unquoted value of a parameter; "" for a flag, None if absent."""
        return find_param(self.params, name)

    def with_param(self, name: str, value: str | None = None) -> Via:
        """Return a copy with one parameter set."""
        return replace(self, params=set_param(self.params, name, value))

    @property
    def branch(self) -> str | None:
        """Return the transaction's branch, None if absent or empty."""
        return find_param(self.params, "branch") or None

    @property
    def received(self) -> str | None:
        """Return the source address seen by the server, IPv6 without brackets; None if absent."""
        text = find_param(self.params, "received")
        return text.strip("[]") if text else None

    @property
    def maddr(self) -> str | None:
        """Return the multicast or override address, None if absent."""
        return find_param(self.params, "maddr") or None

    @property
    def wants_rport(self) -> bool:
        """Return True if `rport` is present, with or without value (RFC 3581 3)."""
        return find_param(self.params, "rport") is not None

    @property
    def rport(self) -> int | None:
        """Return the source port seen by the server, None if absent, empty or malformed."""
        text = find_param(self.params, "rport")
        if not text or not (text.isascii() and text.isdigit()) or len(text) > 5:
            return None
        port = int(text)
        return port if 0 < port <= 65535 else None


@dataclass(frozen=True, slots=True)
class CSeq:
    """Sequence number (below 2**31) and method (RFC 3261 20.16, 8.1.1.5)."""

    number: int
    method: str

    @classmethod
    def parse(cls, text: str) -> CSeq:
        """Parse a CSeq value; raise SipSyntaxError."""
        match = _CSEQ.fullmatch(text)
        if match is None:
            raise SipSyntaxError("CSeq is malformed")
        return cls(number(match[1], "CSeq", 0x7FFFFFFF), match[2])

    def __str__(self) -> str:
        if not 0 <= self.number <= 0x7FFFFFFF:
            raise SipBuildError("CSeq is out of range")
        return f"{self.number} {require_token(self.method, 'method')}"
