"""Payload types and packetization: rtpmap, fmtp, rtcp-fb, ptime, maxptime, framerate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Final, Self, final

from sdp.attributes.base import TOKEN, Decimal
from sdp.errors import SdpSyntaxError
from sdp.grammar import Grammar, remember


@final
@dataclass(frozen=True, slots=True)
class RtpMap:
    """a=rtpmap (RFC 8866 section 6.6)."""

    payload_type: int
    """0 to 127."""
    encoding: str
    """Encoding name as written; compared without case."""
    clock_rate: int
    """Clock rate in Hz."""
    parameters: str | None = None
    """Text after the clock rate: for audio the number of channels, None if omitted."""

    NAME: ClassVar[str] = "rtpmap"

    @classmethod
    def parse(cls, value: str) -> RtpMap:
        """Parse `pt encoding/rate[/parameters]`; raise SdpSyntaxError (line 0)."""
        return _read_rtpmap(value)

    @property
    def channels(self) -> int:
        """Return the audio channels, 1 if unstated."""
        return int(self.parameters) if self.parameters is not None and self.parameters.isdecimal() else 1

    def __str__(self) -> str:
        parameters = f"/{self.parameters}" if self.parameters is not None else ""
        return f"{self.payload_type} {self.encoding}/{self.clock_rate}{parameters}"


_RTPMAP: Final = Grammar(
    ("a payload type", r"(?P<payload_type>[0-9]{1,3})"),
    ("a space and an encoding name", r" +(?P<encoding>[^ /]+)"),
    ("a slash and a clock rate", r"/(?P<rate>[0-9]{1,9})"),
    ("a slash and encoding parameters", r"(?:/(?P<parameters>[^ ]{1,32}))? *"),
)


@remember
def _read_rtpmap(value: str) -> RtpMap:
    match = _RTPMAP.match(value)
    payload_type = int(match["payload_type"])
    if payload_type > 127:
        raise SdpSyntaxError(0, 1, "a payload type of at most 127")
    return RtpMap(payload_type, match["encoding"], int(match["rate"]), match["parameters"])


@final
@dataclass(frozen=True, slots=True)
class Fmtp:
    """a=fmtp (RFC 8866 section 6.15)."""

    format: str
    """Payload type or other format of the m= line."""
    text: str
    """Parameters as written."""

    NAME: ClassVar[str] = "fmtp"

    @classmethod
    def parse(cls, value: str) -> Fmtp:
        """Parse `format parameters`; raise SdpSyntaxError (line 0)."""
        return _read_fmtp(value)

    @classmethod
    def of(cls, format: str | int, parameters: Mapping[str, str | int | None]) -> Self:
        """Return a value from parameters in order; None as value writes the name alone."""
        parts = [name if value is None else f"{name}={value}" for name, value in parameters.items()]
        return cls(str(format), ";".join(parts))

    @property
    def parameters(self) -> Mapping[str, str | None]:
        """Return parameters by lower-case name, in order; None without "="; the last of a name counts."""
        return _read_parameters(self.text)

    def __str__(self) -> str:
        return f"{self.format} {self.text}" if self.text else self.format


_FMTP: Final = Grammar(
    ("a format", r"(?P<format>[^ ]+)"),
    ("a space and parameters", r"(?: +(?P<text>.*))?"),
)


@remember
def _read_fmtp(value: str) -> Fmtp:
    match = _FMTP.match(value)
    return Fmtp(match["format"], (match["text"] or "").rstrip(" "))


@remember
def _read_parameters(text: str) -> Mapping[str, str | None]:
    found: dict[str, str | None] = {}
    for part in text.split(";"):
        name, equals, value = part.partition("=")
        name = name.strip(" ").lower()
        if name:
            found[name] = value.strip(" ") if equals else None
    return MappingProxyType(found)


@final
@dataclass(frozen=True, slots=True)
class RtcpFb:
    """a=rtcp-fb (RFC 4585 section 4.2, RFC 5104 section 7.1)."""

    format: str
    """Payload type, or "*" for all."""
    type: str
    """ack, nack, ccm, trr-int, transport-cc, goog-remb."""
    parameters: str | None = None
    """Text after the type: "pli" for nack, "fir" for ccm, the milliseconds of trr-int."""

    NAME: ClassVar[str] = "rtcp-fb"

    @classmethod
    def parse(cls, value: str) -> RtcpFb:
        """Parse `format type [parameters]`; raise SdpSyntaxError (line 0)."""
        return _read_rtcp_fb(value)

    def __str__(self) -> str:
        parameters = f" {self.parameters}" if self.parameters is not None else ""
        return f"{self.format} {self.type}{parameters}"


_RTCP_FB: Final = Grammar(
    ('a payload type or "*"', r"(?P<format>\*|[0-9]{1,3})"),
    ("a space and a feedback type", rf" +(?P<type>{TOKEN})"),
    ("a space and parameters", r"(?: +(?P<parameters>.*))?"),
)


@remember
def _read_rtcp_fb(value: str) -> RtcpFb:
    match = _RTCP_FB.match(value)
    return RtcpFb(match["format"], match["type"], (match["parameters"] or "").rstrip(" ") or None)


@dataclass(frozen=True, slots=True)
class Ptime(Decimal):
    """a=ptime (RFC 8866 section 6.4): milliseconds of media in a packet."""

    NAME: ClassVar[str] = "ptime"


@dataclass(frozen=True, slots=True)
class MaxPtime(Decimal):
    """a=maxptime (RFC 8866 section 6.5): most milliseconds of media in a packet."""

    NAME: ClassVar[str] = "maxptime"


@dataclass(frozen=True, slots=True)
class FrameRate(Decimal):
    """a=framerate (RFC 8866 section 6.13): most video frames per second."""

    NAME: ClassVar[str] = "framerate"
