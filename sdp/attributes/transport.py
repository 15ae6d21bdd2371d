"""Destinations of RTCP, SCTP and data channels: rtcp, rtcp-mux, sctp-port, sctpmap, dcmap, dcsa."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Final, Self

from sdp.attributes.base import TOKEN, Flag, Number
from sdp.errors import SdpSyntaxError
from sdp.grammar import ADDRESS, Grammar


@dataclass(frozen=True, slots=True)
class Rtcp:
    """a=rtcp (RFC 3605 section 2.1)."""

    port: int
    address: str | None = None
    """Address, None for the address of the c= line."""
    address_type: str = "IP4"
    network_type: str = "IN"

    NAME: ClassVar[str] = "rtcp"

    @classmethod
    def parse(cls, value: str) -> Self:
        """Parse `port [network type address]`; raise SdpSyntaxError (line 0)."""
        match = _RTCP.match(value)
        port = int(match["port"])
        if port > 65535:
            raise SdpSyntaxError(0, 1, "a port of at most 65535")
        if match["address"] is None:
            return cls(port)
        return cls(port, match["address"], match["type"], match["network"])

    def __str__(self) -> str:
        if self.address is None:
            return str(self.port)
        return f"{self.port} {self.network_type} {self.address_type} {self.address}"


_RTCP: Final = Grammar(
    ("a port", r"(?P<port>[0-9]{1,5})"),
    (
        "network type, address type and address",
        rf"(?: +(?P<network>{TOKEN}) +(?P<type>{TOKEN}) +(?P<address>[^ ]{ADDRESS}))? *",
    ),
)


@dataclass(frozen=True, slots=True)
class RtcpMux(Flag):
    """a=rtcp-mux (RFC 5761 section 5.1.1)."""

    NAME: ClassVar[str] = "rtcp-mux"


@dataclass(frozen=True, slots=True)
class RtcpMuxOnly(Flag):
    """a=rtcp-mux-only (RFC 8858 section 3)."""

    NAME: ClassVar[str] = "rtcp-mux-only"


@dataclass(frozen=True, slots=True)
class RtcpRsize(Flag):
    """a=rtcp-rsize (RFC 5506 section 5)."""

    NAME: ClassVar[str] = "rtcp-rsize"


@dataclass(frozen=True, slots=True)
class SctpPort(Number):
    """a=sctp-port (RFC 8841 section 5.1)."""

    MAXIMUM: ClassVar[int] = 65535
    NAME: ClassVar[str] = "sctp-port"


@dataclass(frozen=True, slots=True)
class MaxMessageSize(Number):
    """a=max-message-size (RFC 8841 section 6.1): octets, 0 for any size."""

    NAME: ClassVar[str] = "max-message-size"


@dataclass(frozen=True, slots=True)
class SctpMap:
    """a=sctpmap (drafts before RFC 8841, still sent by older browsers)."""

    port: int
    application: str
    streams: int | None = None

    NAME: ClassVar[str] = "sctpmap"

    @classmethod
    def parse(cls, value: str) -> Self:
        """Parse `port application [streams]`; raise SdpSyntaxError (line 0)."""
        match = _SCTPMAP.match(value)
        return cls(int(match["port"]), match["application"], int(match["streams"]) if match["streams"] else None)

    def __str__(self) -> str:
        streams = f" {self.streams}" if self.streams is not None else ""
        return f"{self.port} {self.application}{streams}"


_SCTPMAP: Final = Grammar(
    ("a port", r"(?P<port>[0-9]{1,5})"),
    ("a space and an application", rf" +(?P<application>{TOKEN})"),
    ("a space and a number of streams", r"(?: +(?P<streams>[0-9]{1,10}))? *"),
)


@dataclass(frozen=True, slots=True)
class DcMap:
    """a=dcmap (RFC 8864 section 5.1): a data channel."""

    stream_id: int
    """SCTP stream, 0 to 65535."""
    options: tuple[tuple[str, str], ...] = ()
    """Name and value pairs in order, label and subprotocol without quotes: label, subprotocol, ordered, max-retr,
    max-time, priority."""

    NAME: ClassVar[str] = "dcmap"

    @classmethod
    def parse(cls, value: str) -> Self:
        """Parse `stream [name=value;...]`; raise SdpSyntaxError (line 0)."""
        match = _DCMAP.match(value)
        stream_id = int(match["stream"])
        if stream_id > 65535:
            raise SdpSyntaxError(0, 1, "a stream id of at most 65535")
        return cls(stream_id, tuple(_dcmap_options(match["options"] or "", match.start("options"))))

    @property
    def parameters(self) -> Mapping[str, str]:
        """Return the options by name."""
        return MappingProxyType(dict(self.options))

    def __str__(self) -> str:
        parts = [f'{name}="{value}"' if name in _QUOTED else f"{name}={value}" for name, value in self.options]
        return f"{self.stream_id} {';'.join(parts)}" if parts else str(self.stream_id)


_QUOTED: Final = ("label", "subprotocol")
_DCMAP: Final = Grammar(
    ("a stream id", r"(?P<stream>[0-9]{1,5})"),
    ("a space and options", r"(?: +(?P<options>.*))?"),
)
_DCMAP_OPTION: Final = Grammar(
    ("an option name", rf"(?P<name>{TOKEN})"),
    ('"=" and a value', r'=(?P<value>"[^"]*"|[^";]*)'),
)


def _dcmap_options(text: str, column: int) -> list[tuple[str, str]]:
    if text.count('"') % 2:
        raise SdpSyntaxError(0, column + len(text) + 1, "a closing quotation mark")
    options = []
    for part in _split_unquoted(text):
        stripped = part.strip(" ")
        if stripped:
            try:
                match = _DCMAP_OPTION.match(stripped)
            except SdpSyntaxError as error:
                raise error.at(0, column) from None
            options.append((match["name"], match["value"].strip('"')))
        column += len(part) + 1
    return options


def _split_unquoted(text: str) -> list[str]:
    """Split at semicolons outside quotes."""
    parts = [""]
    for number, piece in enumerate(text.split('"')):
        if number % 2:
            parts[-1] += f'"{piece}"'
        else:
            first, *rest = piece.split(";")
            parts[-1] += first
            parts += rest
    return parts


@dataclass(frozen=True, slots=True)
class DcSa:
    """a=dcsa (RFC 8864 section 5.2): attribute of the subprotocol of a data channel."""

    stream_id: int
    attribute: str
    """Attribute in the form after a=, e.g. "fmtp:t140 cps=30" (RFC 8865)."""

    NAME: ClassVar[str] = "dcsa"

    @classmethod
    def parse(cls, value: str) -> Self:
        """Parse `stream attribute`; raise SdpSyntaxError (line 0)."""
        match = _DCSA.match(value)
        return cls(int(match["stream"]), match["attribute"])

    def __str__(self) -> str:
        return f"{self.stream_id} {self.attribute}"


_DCSA: Final = Grammar(
    ("a stream id", r"(?P<stream>[0-9]{1,5})"),
    ("a space and an attribute", r" +(?P<attribute>[^ ].*)"),
)
