"""SIP, SIPS and TEL URIs (RFC 3261 19.1, RFC 3966); any other scheme is kept as opaque text."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from urllib.parse import quote as _percent_quote
from urllib.parse import unquote_to_bytes

from gateway.sip.errors import SipBuildError, SipSyntaxError
from gateway.sip.message.grammar import Params, drop_param, find_param, write_params

MAX_URI_LENGTH = 4096
_KNOWN, _KNOWN_LENGTH = 4096, 256
"""Cached URIs and longest cached URI in characters: about 4 MB at most."""

_UNRESERVED = r"A-Za-z0-9\-_.!~*'()"
_USER = rf"[{_UNRESERVED}%&=+$,;?/#]"
_PASSWORD = rf"[{_UNRESERVED}%&=+$,]"
_HOST = r"\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_](?:[A-Za-z0-9_.\-]*+)"
_SIP = re.compile(
    rf"(?:({_USER}*+)(?::({_PASSWORD}*+))?+@)?"
    rf"({_HOST})(?::([0-9]{{1,5}}))?+"
    r"((?:;[^;?]*+)*+)"
    r"(?:\?(.*))?"
)
_PARAM = re.compile(rf"([{_UNRESERVED}\[\]/:&+$%]++)(?:=([{_UNRESERVED}\[\]/:&+$%=@]*+))?+")
_HEADER = re.compile(rf"([{_UNRESERVED}\[\]/?:+$%]++)=([{_UNRESERVED}\[\]/?:+$%@=;,]*+)")
_TEL = re.compile(r"(\+?[0-9A-Fa-f*#\-.()]++)((?:;[^;?]*+)*+)")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*+):")
_OPAQUE = re.compile(r"[!#-;=?-\[\]_a-z~]++", re.IGNORECASE)
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
_UNWRITABLE = re.compile(r"[^!#-;=?-~]")
_SAFE_IN_USER = "-_.!~*'()&=+$,;?/"
_SAFE_IN_HEADER = "-_.!~*'()[]/?:+$"
_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.!~*'()")
_NEVER_DEFAULTED = frozenset(("user", "ttl", "method", "maddr", "transport"))


def unescape(text: str) -> str:
    """Return `text` with %HH escapes decoded as UTF-8 (invalid bytes become U+FFFD)."""
    return unquote_to_bytes(text).decode("utf-8", "replace") if "%" in text else text


def _comparable(text: str) -> str:
    """Return `text` with unreserved characters unescaped and other escapes in upper case (RFC 3261 19.1.4)."""

    def one(match: re.Match[str]) -> str:
        character = chr(int(match[0][1:], 16))
        return character if character in _PLAIN else match[0].upper()

    return _ESCAPE.sub(one, text) if "%" in text else text


@dataclass(frozen=True, slots=True)
class Uri:
    """URI with its parts as written (escapes kept); `str()` returns the original text.

    Use `Uri.of` to build a URI from foreign text, with escaping, and `Uri.parse` to parse one.
    """

    scheme: str
    """Lower case: "sip", "sips", "tel" or another."""
    user: str | None = None
    """User part as written, None without "@"; the number of a tel URI."""
    host: str = ""
    """Host name, IPv4 address or "[IPv6]"; "" for schemes other than sip and sips."""
    port: int | None = None
    params: Params = ()
    headers: tuple[tuple[str, str], ...] = ()
    """URI headers (the part after "?"), names and values as written."""
    password: str | None = None
    opaque: str = ""
    """Text after the colon for schemes other than sip, sips and tel."""

    @classmethod
    def parse(cls, text: str) -> Uri:
        """Parse a URI without surrounding white space; raise SipSyntaxError (414 for a too long URI)."""
        # The URIs of caller and callee recur in every message of a call.
        return _known_uri(text) if len(text) <= _KNOWN_LENGTH else cls._read(text)

    @classmethod
    def _read(cls, text: str) -> Uri:
        if len(text) > MAX_URI_LENGTH:
            raise SipSyntaxError("URI is too long", status=414)
        if text.startswith("sip:"):
            scheme, rest = "sip", text[4:]
        else:
            match = _SCHEME.match(text)
            if match is None:
                raise SipSyntaxError("URI has no scheme")
            scheme, rest = match[1].lower(), text[match.end() :]
        if "%" in rest and scheme in ("sip", "sips", "tel") and _BAD_ESCAPE.search(rest):
            raise SipSyntaxError("URI has a broken escape")
        if scheme in ("sip", "sips"):
            return cls._parse_sip(scheme, rest)
        if scheme == "tel":
            match = _TEL.fullmatch(rest)
            if match is None:
                raise SipSyntaxError("tel URI is malformed")
            return cls(scheme, match[1], params=_read_params(match[2]))
        if _OPAQUE.fullmatch(rest) is None:
            raise SipSyntaxError("URI holds characters that must be escaped")
        return cls(scheme, opaque=rest)

    @classmethod
    def _parse_sip(cls, scheme: str, rest: str) -> Uri:
        match = _SIP.fullmatch(rest)
        if match is None:
            raise SipSyntaxError("SIP URI is malformed")
        user, password, host, port_text, params, headers = match.groups()
        port = None
        if port_text is not None:
            port = int(port_text)
            if port > 65535:
                raise SipSyntaxError("port of the URI is out of range")
        return cls(
            scheme,
            user or None,  # phones without an account write "sip:@host" for the host
            host,
            port,
            _read_params(params) if params else (),
            () if headers is None else _read_headers(headers),
            password if user else None,
        )

    @classmethod
    def of(
        cls,
        user: str | None,
        host: str,
        port: int | None = None,
        *,
        scheme: str = "sip",
        params: Params = (),
    ) -> Uri:
        """Return a SIP URI from unescaped parts, e.g. a web user's name; raise SipBuildError for an unusable host."""
        if ":" in host and not host.startswith("["):
            host = f"[{host}]"
        if re.fullmatch(_HOST, host) is None:
            raise SipBuildError("host of the URI is malformed")
        if port is not None and not 0 <= port <= 65535:
            raise SipBuildError("port of the URI is out of range")
        made = cls(scheme, None if user is None else _percent_quote(user, safe=_SAFE_IN_USER), host, port)
        for name, value in params:
            made = made.with_param(name, value)
        return made

    def __str__(self) -> str:
        if self.opaque:
            return f"{self.scheme}:{self.opaque}"
        text = f"{self.scheme}:{self.host}"
        if self.user is not None:
            secret = "" if self.password is None else f":{self.password}"
            text = f"{self.scheme}:{self.user}{secret}{'@' if self.host else ''}{self.host}"
        if self.port is not None:
            text = f"{text}:{self.port}"
        if self.params:
            text += write_params(self.params)
        if self.headers:
            text += "?" + "&".join([f"{name}={value}" for name, value in self.headers])
        return text

    @property
    def is_sip(self) -> bool:
        """Return True for the schemes sip and sips."""
        return self.scheme in ("sip", "sips")

    @property
    def username(self) -> str:
        """Return the unescaped user part, "" if absent; may contain control characters."""
        return unescape(self.user) if self.user else ""

    def param(self, name: str) -> str | None:
        """Return the unescaped value of a URI parameter; "" for a flag, None if absent."""
        value = find_param(self.params, name)
        return unescape(value) if value else value

    @property
    def transport(self) -> str | None:
        """Return the transport parameter in lower case, None if absent."""
        value = find_param(self.params, "transport")
        return value.lower() if value else None

    @property
    def is_loose_router(self) -> bool:
        """Return True if the `lr` parameter is present (RFC 3261 19.1.1)."""
        return find_param(self.params, "lr") is not None

    def header(self, name: str) -> str | None:
        """Return the unescaped value of a URI header, None if absent."""
        name = name.lower()
        for key, value in self.headers:
            if unescape(key).lower() == name:
                return unescape(value)
        return None

    def with_param(self, name: str, value: str | None = None) -> Uri:
        """Return a copy with one parameter set, its value escaped as needed."""
        if not name or _PARAM.fullmatch(name) is None:
            raise SipBuildError("URI parameter name is malformed")
        kept = drop_param(self.params, name)
        escaped = None if value is None else _percent_quote(value, safe=_SAFE_IN_HEADER + "&")
        return replace(self, params=(*kept, (name, escaped)))

    def without_param(self, name: str) -> Uri:
        """Return a copy without one parameter."""
        return replace(self, params=drop_param(self.params, name))

    def with_header(self, name: str, value: str) -> Uri:
        """Return a copy with a URI header added, escaped (Replaces in a Refer-To)."""
        escaped = (_percent_quote(name, safe=_SAFE_IN_HEADER), _percent_quote(value, safe=_SAFE_IN_HEADER))
        return replace(self, headers=(*self.headers, escaped))

    def without_headers(self) -> Uri:
        """Return a copy without URI headers and `method`, as required of a Request-URI (RFC 3261 19.1.1)."""
        if not self.headers and find_param(self.params, "method") is None:
            return self
        return replace(self, headers=(), params=drop_param(self.params, "method"))

    @property
    def aor(self) -> str:
        """Return the canonical address of record (RFC 3261 10.3 step 5).

        "sip:user@domain" with the host in lower case and no port, parameters or needless escapes; a tel URI without
        visual separators; other schemes unchanged.
        """
        if self.scheme == "tel":
            return "tel:" + re.sub(r"[\-.()]", "", self.user or "")
        if not self.is_sip:
            return str(self)
        host = self.host.lower()
        if not self.user:
            return f"sip:{host}"
        return f"sip:{_percent_quote(unquote_to_bytes(self.user), safe=_SAFE_IN_USER)}@{host}"

    def matches(self, other: Uri) -> bool:
        """Return True if the URIs are equivalent by RFC 3261 19.1.4 (not transitive, hence not `==`)."""
        if self.scheme != other.scheme:
            return False
        if not self.is_sip:
            return self.aor.lower() == other.aor.lower() if self.scheme == "tel" else str(self) == str(other)
        if self.port != other.port or self.host.lower() != other.host.lower():
            return False
        if self.user is None or other.user is None:
            if self.user is not other.user:
                return False
        elif _comparable(self.user) != _comparable(other.user):
            return False
        if _comparable(self.password or "") != _comparable(other.password or ""):
            return False
        return _same_params(self.params, other.params) and _same_headers(self.headers, other.headers)


_known_uri = lru_cache(_KNOWN)(Uri._read)


def check_writable(text: str) -> str:
    """Return the URI `text` unless it contains a character that ends a URI on the wire; raise SipBuildError."""
    if _UNWRITABLE.search(text) is not None:
        raise SipBuildError("URI holds a character that must be escaped")
    return text


def _read_params(text: str) -> Params:
    found: list[tuple[str, str | None]] = []
    for part in text.split(";")[1:]:
        match = _PARAM.fullmatch(part)
        if match is None:
            raise SipSyntaxError("URI parameter is malformed")
        found.append((match[1], match[2]))
    return tuple(found)


def _read_headers(text: str) -> tuple[tuple[str, str], ...]:
    found: list[tuple[str, str]] = []
    for part in text.split("&"):
        match = _HEADER.fullmatch(part)
        if match is None:
            raise SipSyntaxError("header of the URI is malformed")
        found.append((match[1], match[2]))
    return tuple(found)


def _same_params(ours: Params, theirs: Params) -> bool:
    left = {name.lower(): _comparable(value or "").lower() for name, value in ours}
    right = {name.lower(): _comparable(value or "").lower() for name, value in theirs}
    if any(name in right and right[name] != value for name, value in left.items()):
        return False
    return not any((name in left) != (name in right) for name in _NEVER_DEFAULTED)


def _same_headers(ours: tuple[tuple[str, str], ...], theirs: tuple[tuple[str, str], ...]) -> bool:
    if not ours and not theirs:
        return True
    left = sorted((unescape(name).lower(), _comparable(value).lower()) for name, value in ours)
    return left == sorted((unescape(name).lower(), _comparable(value).lower()) for name, value in theirs)
