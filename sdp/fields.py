"""Typed lines other than a=: m=, o=, c=, b=, t=, r=, z=, k= (RFC 8866 section 5)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Protocol, Self, final

from sdp.errors import SdpSyntaxError
from sdp.frozen import filled_at_once
from sdp.grammar import ADDRESS, Grammar, remember
from sdp.hosts import IpAddress, ip_of


class Field(Protocol):
    """Line other than a= as a value; `parse` and `str` handle the text after "=" and round-trip."""

    @classmethod
    def parse(cls, value: str) -> Self:
        """Parse the value; raise SdpSyntaxError (line 0) for malformed text."""
        ...


_TOKEN: Final = r"[!#-'*+\-.0-9A-Z^-~]+"
_A_TOKEN: Final = re.compile(_TOKEN)
_PROTOCOL: Final = re.compile(rf"{_TOKEN}(?:/{_TOKEN})+|udptl")
_MEDIA: Final = Grammar(
    ("a media type", rf"(?P<kind>{_TOKEN})"),
    ("a space and a port", r" (?P<port>[0-9]{1,5})"),
    ("a port count", r"(?:/(?P<count>[0-9]{1,5}))?"),
    ("a space and a protocol", rf" (?P<protocol>{_TOKEN}(?:/{_TOKEN})*)"),
    ("a space and formats", r"(?P<formats>(?: +[^ ]+)*+) *"),
)


UNKNOWN: Final = "unknown"
"""Media type of a rejected section without a readable one."""
_KINDS: Final = frozenset({"audio", "video", "text", "application", "message", "image"})
"""Media types written in lower case, whatever the spelling received."""
_IN_CAPITALS: Final = re.compile(r"(?:UDP/TLS/)?RTP/S?AVPF?|(?:(?:UDP|TCP)/)?DTLS/SCTP")


@final
@filled_at_once
@dataclass(frozen=True, slots=True)
class MediaLine:
    """m= (RFC 8866 section 5.14). A line without format is accepted, as seen in rejected sections."""

    kind: str
    """audio, video, text, application, message, image: in lower case, whatever the spelling received."""
    port: int
    """0 to 65535; 0 rejects or disables the section (RFC 3264 section 6)."""
    protocol: str
    """Protocol, e.g. "UDP/TLS/RTP/SAVPF"; RTP and SCTP protocols in upper case, whatever the spelling received."""
    formats: tuple[str, ...] = ()
    """Payload types, or other formats of the protocol, as text."""
    port_count: int = 1

    @classmethod
    def parse(cls, value: str) -> MediaLine:
        """Parse the text after m=; raise SdpSyntaxError (line 0)."""
        return _read_media_line(value)

    @classmethod
    def refused(cls, value: str) -> MediaLine:
        """Parse a malformed value as a section with port 0, from its recognizable parts; `UNKNOWN` without a kind."""
        kind, *rest = value.split() or [""]
        if not _A_TOKEN.fullmatch(kind) or kind.isdigit():
            kind = UNKNOWN
        place = next((place for place, part in enumerate(rest) if _PROTOCOL.fullmatch(part)), len(rest))
        protocol = rest[place] if place < len(rest) else "RTP/AVP"
        return cls(kind, 0, protocol, tuple(rest[place + 1 :]) or ("0",))

    def __str__(self) -> str:
        count = f"/{self.port_count}" if self.port_count != 1 else ""
        return " ".join((self.kind, f"{self.port}{count}", self.protocol, *self.formats))


@remember
def _read_media_line(value: str) -> MediaLine:
    match = _MEDIA.match(value)
    port = int(match["port"])
    if port > 65535:
        raise SdpSyntaxError(0, match.start("port") + 1, "a port of at most 65535")
    formats = tuple(match["formats"].split())
    protocol = match["protocol"]
    capitals = protocol.upper()
    if _IN_CAPITALS.fullmatch(capitals):
        protocol = capitals
    kind = match["kind"]
    if (small := kind.lower()) in _KINDS:
        kind = small
    return MediaLine(kind, port, protocol, formats, int(match["count"] or 1))


@filled_at_once
@dataclass(frozen=True, slots=True)
class Origin:
    """o= (RFC 8866 section 5.2)."""

    username: str
    session_id: str
    """Digits of up to 64 bits; kept as text, as leading zeros are significant."""
    session_version: int
    address: str
    address_type: str = "IP4"
    network_type: str = "IN"

    @classmethod
    def parse(cls, value: str) -> Self:
        """Parse the text after o=; raise SdpSyntaxError (line 0)."""
        match = _ORIGIN.match(value)
        return cls(
            match["username"],
            match["session_id"],
            int(match["version"]),
            match["address"],
            match["type"],
            match["network"],
        )

    def __str__(self) -> str:
        return (
            f"{self.username} {self.session_id} {self.session_version} "
            f"{self.network_type} {self.address_type} {self.address}"
        )


_ORIGIN: Final = Grammar(
    ("a username", r"(?P<username>[^ ]+)"),
    ("a space and a session id", r" (?P<session_id>[0-9]{1,40})"),
    ("a space and a session version", r" (?P<version>[0-9]{1,40})"),
    ("a space and a network type", rf" (?P<network>{_TOKEN})"),
    ("a space and an address type", rf" (?P<type>{_TOKEN})"),
    ("a space and an address", rf" (?P<address>[^ ]{ADDRESS}) *"),
)


@final
@filled_at_once
@dataclass(frozen=True, slots=True)
class Connection:
    """c= (RFC 8866 section 5.7)."""

    address: str
    """IP address or host name, as written."""
    address_type: str = "IP4"
    network_type: str = "IN"
    ttl: int | None = None
    """Hop limit of an IPv4 multicast address."""
    address_count: int = 1
    """Number of contiguous multicast addresses."""

    @classmethod
    def parse(cls, value: str) -> Connection:
        """Parse the text after c=; raise SdpSyntaxError (line 0)."""
        return _read_connection(value)

    @property
    def ip(self) -> IpAddress | None:
        """Return the IP address; None for a host name."""
        return ip_of(self.address)

    def __str__(self) -> str:
        ttl = f"/{self.ttl}" if self.ttl is not None else ""
        count = f"/{self.address_count}" if self.address_count != 1 else ""
        return f"{self.network_type} {self.address_type} {self.address}{ttl}{count}"


_CONNECTION: Final = Grammar(
    ("a network type", rf"(?P<network>{_TOKEN})"),
    ("a space and an address type", rf" (?P<type>{_TOKEN})"),
    ("a space and an address", rf" (?P<address>[^ /]{ADDRESS})"),
    ("TTL or address count", r"(?P<numbers>(?:/[0-9]{1,5}){0,2}) *"),
)


@remember
def _read_connection(value: str) -> Connection:
    match = _CONNECTION.match(value)
    numbers = [int(number) for number in match["numbers"].split("/")[1:]]
    ttl = numbers.pop(0) if numbers and match["type"] != "IP6" else None
    count = numbers.pop(0) if numbers else 1
    if numbers:
        raise SdpSyntaxError(0, match.start("numbers") + 1, "at most one more number after the address")
    return Connection(match["address"], match["type"], match["network"], ttl, count)


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """b= (RFC 8866 section 5.8; RFC 3556 RS and RR; RFC 3890 TIAS)."""

    type: str
    value: int
    """Kilobits per second for CT and AS, bits per second for TIAS, RS and RR."""

    @classmethod
    def parse(cls, value: str) -> Self:
        """Parse the text after b=; raise SdpSyntaxError (line 0)."""
        match = _BANDWIDTH.match(value)
        return cls(match["type"], int(match["value"]))

    def __str__(self) -> str:
        return f"{self.type}:{self.value}"


_BANDWIDTH: Final = Grammar(
    ("a bandwidth type", rf"(?P<type>{_TOKEN})"),
    ("a colon and a number", r":(?P<value>[0-9]{1,18}) *"),
)


@dataclass(frozen=True, slots=True)
class Timing:
    """t= (RFC 8866 section 5.9): seconds since 1900, 0 0 for an unbounded session."""

    start: int = 0
    stop: int = 0

    @classmethod
    def parse(cls, value: str) -> Self:
        """Parse the text after t=; raise SdpSyntaxError (line 0)."""
        match = _TIMING.match(value)
        return cls(int(match["start"]), int(match["stop"]))

    def __str__(self) -> str:
        return f"{self.start} {self.stop}"


_TIMING: Final = Grammar(
    ("a start time", r"(?P<start>[0-9]{1,20})"),
    ("a space and a stop time", r" (?P<stop>[0-9]{1,20}) *"),
)


@dataclass(frozen=True, slots=True)
class Repeat:
    """r= (RFC 8866 section 5.10): repetition of a session of t=, in seconds."""

    interval: int
    duration: int
    offsets: tuple[int, ...]

    @classmethod
    def parse(cls, value: str) -> Self:
        """Parse the text after r=, with units d, h, m and s; raise SdpSyntaxError (line 0)."""
        match = _REPEAT.match(value)
        offsets = tuple(_seconds(text) for text in match["offsets"].split())
        return cls(_seconds(match["interval"]), _seconds(match["duration"]), offsets)

    def __str__(self) -> str:
        return " ".join(map(str, (self.interval, self.duration, *self.offsets)))


_TIME: Final = r"-?[0-9]{1,20}[dhms]?"
_UNITS: Final = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_REPEAT: Final = Grammar(
    ("a repeat interval", rf"(?P<interval>{_TIME})"),
    ("a space and a duration", rf" (?P<duration>{_TIME})"),
    ("a space and offsets", rf"(?P<offsets>(?: {_TIME})++) *"),
)


def _seconds(text: str) -> int:
    return int(text[:-1]) * _UNITS[text[-1]] if text[-1] in _UNITS else int(text)


@dataclass(frozen=True, slots=True)
class Zones:
    """z= (RFC 8866 section 5.11): changes of the time zone's offset."""

    adjustments: tuple[tuple[int, int], ...]
    """Pairs of a time (seconds since 1900) and the offset from then on (seconds)."""

    @classmethod
    def parse(cls, value: str) -> Self:
        """Parse the text after z=; raise SdpSyntaxError (line 0)."""
        _ZONES.match(value)
        parts = value.split()
        times, offsets = map(int, parts[::2]), map(_seconds, parts[1::2])
        return cls(tuple(zip(times, offsets, strict=True)))

    def __str__(self) -> str:
        return " ".join(f"{time} {offset}" for time, offset in self.adjustments)


_ZONES: Final = Grammar(
    ("a time and an offset", rf"[0-9]{{1,20}} {_TIME}"),
    ("more times and offsets", rf"(?: [0-9]{{1,20}} {_TIME})*+ *"),
)


@dataclass(frozen=True, slots=True)
class Key:
    """k= (RFC 8866 section 5.12): obsolete, parsed but never used."""

    method: str
    """prompt, clear, base64 or uri."""
    key: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, value: str) -> Self:
        """Parse the text after k=; raise SdpSyntaxError (line 0)."""
        match = _KEY.match(value)
        return cls(match["method"], match["key"])

    def __str__(self) -> str:
        return self.method if self.key is None else f"{self.method}:{self.key}"


_KEY: Final = Grammar(
    ("a method", rf"(?P<method>{_TOKEN})"),
    ("a colon and a key", r"(?::(?P<key>.*))?"),
)

FIELDS: Final[Mapping[str, type[Field]]] = MappingProxyType(
    {
        "m": MediaLine,
        "o": Origin,
        "c": Connection,
        "b": Bandwidth,
        "t": Timing,
        "r": Repeat,
        "z": Zones,
        "k": Key,
    }
)
"""Typed lines by letter."""
