"""Value types of configuration keys: addresses, port ranges, plain text."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    InstanceOf,
    PlainSerializer,
    SecretStr,
    model_validator,
)

SIP_TRANSPORTS = ("udp", "tcp", "tls", "ws", "wss")
"""Transports of listen addresses."""

_HOST_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?(?:\.[A-Za-z0-9_-]{1,63})*\.?")

_SIP_URI = re.compile(r"sips?:(?:[^\s<>\"@]+@)?[^\s<>\"@]+", re.IGNORECASE)


class Section(BaseModel):
    """Section of the file: frozen, unknown keys rejected; an empty section means its defaults."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _empty_is_default(cls, data: Any) -> Any:
        return without_empty(data)


def without_empty(data: Any) -> Any:
    """Return the section without empty keys: a section with all keys commented out is None in YAML, and means the
    defaults."""
    if data is None:
        return {}
    if isinstance(data, dict):
        return {key: value for key, value in data.items() if value is not None}
    return data


def host(text: str) -> str:
    """Return an IP address or a host name in canonical form; raise ValueError."""
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        # A name of only digits and dots is a mistyped address.
        if bare != text or not _HOST_NAME.fullmatch(text) or re.fullmatch(r"[\d.]+", text):
            raise ValueError(f"{text!r} is neither an IP address nor a host name") from None
        return text.lower()


def ip_version(text: str) -> int:
    """Return 4 or 6; 0 for a host name."""
    try:
        return ipaddress.ip_address(text).version
    except ValueError:
        return 0


def is_loopback(host: str) -> bool:
    """Return True if only this machine reaches the address or name."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def network(text: str) -> str:
    """Return an IP address or network as a network; raise ValueError."""
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        raise ValueError(f"{text!r} is not an IP address or network, as in 192.0.2.0/24") from None


def local_address(text: str) -> str:
    """Return an IP address to listen on ("localhost" is 127.0.0.1); raise ValueError."""
    if text == "localhost":
        return "127.0.0.1"
    try:
        return str(ipaddress.ip_address(text.strip("[]")))
    except ValueError:
        raise ValueError(f"{text!r} is not an IP address to listen on") from None


def port(text: str) -> int:
    """Return a port number from 1 to 65535; raise ValueError."""
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
        raise ValueError(f"{text!r} is not a port number from 1 to 65535")
    return int(text)


def _split(text: str) -> tuple[str, str | None]:
    """Return host and port text of "host", "host:port", "[v6]:port" or a bare IPv6 address."""
    if text.startswith("["):
        address, bracket, rest = text.partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError(f"{text!r} is not written as [address]:port")
        return address[1:], rest[1:] if rest else None
    if text.count(":") > 1:
        return text, None
    name, colon, number = text.partition(":")
    return name, number if colon else None


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


@dataclass(frozen=True, slots=True)
class HostPort:
    """Address to listen on, written "127.0.0.1:8080" or "[::1]:8080"."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> HostPort:
        """Raise ValueError with a sentence for the user."""
        address, number = _split(text)
        if number is None:
            raise ValueError(f"{text!r} lacks the port, as in 127.0.0.1:8080")
        return cls(local_address(address), port(number))

    def __str__(self) -> str:
        return f"{_bracketed(self.host)}:{self.port}"


@dataclass(frozen=True, slots=True)
class SipListen:
    """SIP transport with its listen address, written "udp:127.0.0.1:5060"."""

    transport: str
    """Transport out of SIP_TRANSPORTS."""
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> SipListen:
        """Raise ValueError with a sentence for the user."""
        transport, colon, rest = text.partition(":")
        if not colon or transport.lower() not in SIP_TRANSPORTS:
            raise ValueError(f"{text!r} must begin with one of {', '.join(SIP_TRANSPORTS)}, as in udp:127.0.0.1:5060")
        address = HostPort.parse(rest)
        return cls(transport.lower(), address.host, address.port)

    def __str__(self) -> str:
        return f"{self.transport}:{_bracketed(self.host)}:{self.port}"


@dataclass(frozen=True, slots=True)
class Advertised:
    """Address for peers, written "host" or "host:port"; without port the listening one."""

    host: str
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> Advertised:
        """Raise ValueError with a sentence for the user."""
        name, number = _split(text)
        return cls(host(name), None if number is None else port(number))

    def __str__(self) -> str:
        return _bracketed(self.host) if self.port is None else f"{_bracketed(self.host)}:{self.port}"


@dataclass(frozen=True, slots=True)
class PortRange:
    """Ports from `first` to `last`, both included, written "10000-19999"."""

    first: int
    last: int

    @classmethod
    def parse(cls, text: str) -> PortRange:
        """Raise ValueError with a sentence for the user."""
        low, dash, high = text.partition("-")
        if not dash:
            raise ValueError(f"{text!r} is not a range, as in 10000-19999")
        span = cls(port(low.strip()), port(high.strip()))
        # An even port for RTP and the next odd port for RTCP (RFC 3550 section 11).
        if span.last < span.first + 1:
            raise ValueError(f"{text!r} must hold at least two ports, the lower first")
        return span

    def __contains__(self, number: object) -> bool:
        return isinstance(number, int) and self.first <= number <= self.last

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"


def _parsed(parse: Callable[[str], Any]) -> BeforeValidator:
    def validate(value: Any) -> Any:
        return parse(value.strip()) if isinstance(value, str) else value

    return BeforeValidator(validate)


def _text(value: Any) -> Any:
    # YAML reads an unquoted 1001 as a number, but extensions and ids are text.
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, str) and any(ord(char) < 32 or ord(char) == 127 for char in value):
        raise ValueError("must not contain control characters")
    return value


Text = Annotated[str, BeforeValidator(_text)]
"""Text without control characters; a bare number in the file becomes its digits."""

REDIS = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")
"""Schemes of Redis URLs: a single server, a server found by Sentinels, a Redis Cluster."""

Secret = Annotated[SecretStr, BeforeValidator(_text)]
"""Text that is never shown."""


def sip_uri(uri: str) -> str:
    """Return `uri` if it has the form of a SIP URI; raise ValueError."""
    if not _SIP_URI.fullmatch(uri):
        raise ValueError(f"{uri!r} is not a SIP URI, as in sip:pbx.example.com:5060")
    return uri


def loose_route(proxy: str) -> str:
    """Return the Route value for a proxy given by URI (RFC 3261 8.1.1.1)."""
    return f"<{proxy}>" if re.search(r";lr\b", proxy) else f"<{proxy};lr>"


def _switch(value: Any) -> Any:
    text = str(value).lower()
    return {"true": "on", "yes": "on", "false": "off", "no": "off"}.get(text, text)


SwitchValue = Annotated[Literal["auto", "on", "off"], BeforeValidator(_switch)]
"""on, off, or the gateway's safe choice; true and false mean on and off."""

HostPortValue = Annotated[InstanceOf[HostPort], _parsed(HostPort.parse), PlainSerializer(str)]
SipListenValue = Annotated[InstanceOf[SipListen], _parsed(SipListen.parse), PlainSerializer(str)]
AdvertisedValue = Annotated[InstanceOf[Advertised], _parsed(Advertised.parse), PlainSerializer(str)]
PortRangeValue = Annotated[InstanceOf[PortRange], _parsed(PortRange.parse), PlainSerializer(str)]
LocalAddress = Annotated[str, _parsed(local_address)]
NetworkValue = Annotated[str, _parsed(network)]
HostValue = Annotated[str, _parsed(host)]
SipUriValue = Annotated[str, BeforeValidator(_text), AfterValidator(sip_uri)]
