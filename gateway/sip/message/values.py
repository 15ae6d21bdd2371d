"""Typed header values: content type, authentication, session timer, events, replacement, reasons."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from gateway.sip.errors import SipSyntaxError
from gateway.sip.message.grammar import (
    QUOTED,
    TOKEN_CHARS,
    Params,
    delta_seconds,
    expect_end,
    find_param,
    number,
    param_value,
    quote,
    read_params,
    require_token,
    unquote,
    write_params,
)

_MEDIA_TYPE = re.compile(rf"[ \t]*+([{TOKEN_CHARS}]++)[ \t]*+/[ \t]*+([{TOKEN_CHARS}]++)[ \t]*+")
_LEADING_TOKEN = re.compile(rf"[ \t]*+([{TOKEN_CHARS}]++)[ \t]*+")
_DIGITS = re.compile(r"[ \t]*+([0-9]++)[ \t]*+")
_AUTH_PARAM = re.compile(rf'[ \t]*+([{TOKEN_CHARS}]++)[ \t]*+=[ \t]*+({QUOTED}|[^\s",]*+)[ \t]*+(?:,|$)')
_RACK = re.compile(rf"[ \t]*+([0-9]++)[ \t]++([0-9]++)[ \t]++([{TOKEN_CHARS}]++)[ \t]*+")
_CALL_ID = re.compile(r"[^\s;,]++")
MAX_AUTH_PARAMS = 32


T = TypeVar("T")


def _read_list(text: str, read: Callable[[str, int], tuple[T, int]], limit: int, what: str) -> list[T]:
    """Parse a comma list of 1 to `limit` values with `read`."""
    value, end = read(text, 0)
    found = [value]
    while end < len(text) and text[end] == ",":
        value, end = read(text, end + 1)
        found.append(value)
        if len(found) > limit:
            raise SipSyntaxError(f"too many of {what} in one header")
    expect_end(text, end, what)
    return found


@dataclass(frozen=True, slots=True)
class MediaType:
    """Content-Type or one Accept range (RFC 3261 20.15); type and subtype in lower case."""

    type: str
    subtype: str
    params: Params = ()

    @classmethod
    def parse(cls, text: str) -> MediaType:
        """Parse one media type; raise SipSyntaxError."""
        value, end = cls._read(text, 0)
        expect_end(text, end, "media type")
        return value

    @classmethod
    def parse_list(cls, text: str, limit: int = 128) -> list[MediaType]:
        """Parse a comma list; an empty list is legal (RFC 3261 20.1). Raise SipSyntaxError, also beyond `limit`."""
        if not text:
            return []
        return _read_list(text, cls._read, limit, "media type")

    @classmethod
    def _read(cls, text: str, position: int) -> tuple[MediaType, int]:
        match = _MEDIA_TYPE.match(text, position)
        if match is None:
            raise SipSyntaxError("media type is malformed")
        params, end = read_params(text, match.end())
        return cls(match[1].lower(), match[2].lower(), params), end

    def __str__(self) -> str:
        return f"{self.type}/{self.subtype}{write_params(self.params)}"

    @property
    def essence(self) -> str:
        """Return "type/subtype" without parameters."""
        return f"{self.type}/{self.subtype}"

    def param(self, name: str) -> str | None:
        """Return the unquoted value of a parameter, None if absent."""
        return find_param(self.params, name)

    def accepts(self, essence: str) -> bool:
        """Return True if the Accept range covers "type/subtype"."""
        kind, _, subtype = essence.partition("/")
        return self.type in ("*", kind) and self.subtype in ("*", subtype)


@dataclass(frozen=True, slots=True)
class AuthValue:
    """Challenge or credentials: a scheme and its parameters (RFC 3261 25.1, RFC 7616)."""

    scheme: str
    params: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """(name in lower case, unquoted value) pairs."""
    quoted: frozenset[str] = field(default=frozenset(), repr=False)
    """Names of parameters written in quotes."""

    @classmethod
    def parse(cls, text: str) -> AuthValue:
        """Parse one value; unknown schemes keep no parameters. Raise SipSyntaxError, also for a repeated parameter."""
        match = _LEADING_TOKEN.match(text)
        if match is None:
            raise SipSyntaxError("authentication scheme is missing")
        if match[1].lower() != "digest":
            return cls(match[1])
        position = match.end()
        found: dict[str, str] = {}
        quoted: set[str] = set()
        while position < len(text):
            one = _AUTH_PARAM.match(text, position)
            if one is None or len(found) >= MAX_AUTH_PARAMS:
                raise SipSyntaxError("authentication parameters are malformed")
            name = one[1].lower()
            if name in found:
                raise SipSyntaxError("an authentication parameter is repeated")
            found[name] = unquote(one[2])
            if one[2].startswith('"'):
                quoted.add(name)
            position = one.end()
        return cls(match[1], tuple(found.items()), frozenset(quoted))

    def __str__(self) -> str:
        require_token(self.scheme, "authentication scheme")
        parts = [
            f"{require_token(name, 'parameter name')}={quote(value) if name in self.quoted else param_value(value)}"
            for name, value in self.params
        ]
        return f"{self.scheme} {', '.join(parts)}" if parts else self.scheme

    def get(self, name: str) -> str | None:
        """Return the unquoted value of a parameter, None if absent."""
        for key, value in self.params:
            if key == name:
                return value
        return None


@dataclass(frozen=True, slots=True)
class SessionExpires:
    """Session-Expires and Min-SE (RFC 4028 4, 5)."""

    seconds: int
    refresher: str | None = None
    """Refresher: "uac", "uas" or None."""

    @classmethod
    def parse(cls, text: str) -> SessionExpires:
        """Parse a value; an unknown refresher counts as absent. Raise SipSyntaxError."""
        match = _DIGITS.match(text)
        if match is None:
            raise SipSyntaxError("session interval is not a number of seconds")
        params, end = read_params(text, match.end())
        expect_end(text, end, "session interval")
        refresher = (find_param(params, "refresher") or "").lower()
        return cls(delta_seconds(match[1], "session interval"), refresher if refresher in ("uac", "uas") else None)

    def __str__(self) -> str:
        return f"{self.seconds};refresher={self.refresher}" if self.refresher else str(self.seconds)


@dataclass(frozen=True, slots=True)
class RAck:
    """Identification of the response acknowledged by a PRACK (RFC 3262 7.2)."""

    rseq: int
    cseq: int
    method: str

    @classmethod
    def parse(cls, text: str) -> RAck:
        """Parse a value; raise SipSyntaxError."""
        match = _RACK.fullmatch(text)
        if match is None:
            raise SipSyntaxError("RAck is malformed")
        return cls(number(match[1], "RAck", 0xFFFFFFFF), number(match[2], "RAck", 0x7FFFFFFF), match[3])

    def __str__(self) -> str:
        return f"{self.rseq} {self.cseq} {self.method}"


@dataclass(frozen=True, slots=True)
class TokenParams:
    """Token with parameters: Event, Subscription-State, Content-Disposition, one Reason (RFC 3326)."""

    value: str
    params: Params = ()

    @classmethod
    def parse(cls, text: str) -> TokenParams:
        """Parse one value; raise SipSyntaxError."""
        value, end = cls._read(text, 0)
        expect_end(text, end, "header value")
        return value

    @classmethod
    def parse_list(cls, text: str, limit: int = 32) -> list[TokenParams]:
        """Parse a comma list; raise SipSyntaxError, also beyond `limit` values."""
        return _read_list(text, cls._read, limit, "header value")

    @classmethod
    def _read(cls, text: str, position: int) -> tuple[TokenParams, int]:
        match = _LEADING_TOKEN.match(text, position)
        if match is None:
            raise SipSyntaxError("header value is not a token")
        params, end = read_params(text, match.end())
        return cls(match[1], params), end

    def __str__(self) -> str:
        return f"{require_token(self.value, 'header value')}{write_params(self.params)}"

    def param(self, name: str) -> str | None:
        """Return the unquoted value of a parameter, None if absent."""
        return find_param(self.params, name)

    @property
    def cause(self) -> int | None:
        """Return the cause of a Reason (a SIP status or a Q.850 code), None if absent or not a number."""
        text = self.param("cause")
        return int(text) if text and text.isascii() and text.isdigit() and len(text) < 5 else None


@dataclass(frozen=True, slots=True)
class Replaces:
    """Dialog replaced by an INVITE (RFC 3891 6.1)."""

    call_id: str
    to_tag: str
    from_tag: str
    early_only: bool = False

    @classmethod
    def parse(cls, text: str) -> Replaces:
        """Parse a value, unescaped if taken from a URI header; raise SipSyntaxError."""
        text = text.strip(" \t")
        match = _CALL_ID.match(text)
        if match is None:
            raise SipSyntaxError("Replaces has no Call-ID")
        params, end = read_params(text, match.end())
        expect_end(text, end, "Replaces")
        to_tag, from_tag = find_param(params, "to-tag"), find_param(params, "from-tag")
        if not to_tag or not from_tag:
            raise SipSyntaxError("Replaces needs to-tag and from-tag")
        return cls(match[0], to_tag, from_tag, find_param(params, "early-only") is not None)

    def __str__(self) -> str:
        early = ";early-only" if self.early_only else ""
        tags = f";to-tag={require_token(self.to_tag, 'tag')};from-tag={require_token(self.from_tag, 'tag')}"
        return f"{self.call_id}{tags}{early}"


def retry_after(text: str) -> int:
    """Return the seconds of a Retry-After value; comment and parameters are ignored (RFC 3261 20.33)."""
    match = _DIGITS.match(text)
    if match is None:
        raise SipSyntaxError("Retry-After is not a number of seconds")
    return delta_seconds(match[1], "Retry-After")
