"""Where a message came from or goes to: transport, far end, and which socket or connection of ours."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.sip.errors import SipSyntaxError

RELIABLE = frozenset(("tcp", "tls", "ws", "wss"))
WEBSOCKET = frozenset(("ws", "wss"))
SECURE = frozenset(("tls", "wss"))
_NAMED = WEBSOCKET | {"udp"}
DEFAULT_PORTS = {"udp": 5060, "tcp": 5060, "tls": 5061, "ws": 80, "wss": 443}


@dataclass(frozen=True, slots=True)
class Flow:
    """One path between us and a peer.

    `str()` is "udp:192.0.2.7:5060", and for UDP with our own socket behind a slash
    ("udp:192.0.2.7:5060/udp:10.0.0.1:5062"), which `parse` reads back: a phone that registered at one of our addresses
    is called from that address. A TCP or TLS connection is known by its far end alone: whoever is there may connect
    again. A WebSocket is known by our name for it, for nobody can be reached by it once it is gone.
    """

    transport: str
    """Lower case: "udp", "tcp", "tls", "ws", "wss"."""
    host: str
    """IP address of the far end, IPv6 without brackets."""
    port: int
    """0 for a WebSocket whose port a web proxy keeps to itself."""
    local: str = ""
    """Which socket or connection of ours; "" leaves the choice to the endpoint."""
    name: str = field(default="", compare=False)
    """Domain of the URI that led here, which the certificate of a TLS peer has to name (RFC 5922 4); no part of what
    the flow is."""

    dialled: bool = field(default=False, compare=False)
    """Whether it is a connection that we have made; no part of what the flow is either."""

    @property
    def reliable(self) -> bool:
        """Whether the transport retransmits by itself (RFC 3261 section 17)."""
        return self.transport in RELIABLE

    @property
    def ip_version(self) -> int:
        """4 or 6."""
        return 6 if ":" in self.host else 4

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        local = f"/{self.local}" if self.local and self.transport in _NAMED else ""
        return f"{self.transport}:{host}:{self.port}{local}"

    @classmethod
    def parse(cls, text: str) -> Flow:
        """Read "udp:192.0.2.7:5060", "udp:[2001:db8::1]:5060" or what `str` gives; raises SipSyntaxError."""
        text, _, local = text.partition("/")
        transport, _, rest = text.partition(":")
        host, _, port = rest.rpartition(":")
        if transport not in DEFAULT_PORTS or not host or not (port.isascii() and port.isdigit()):
            raise SipSyntaxError("flow is not transport:host:port", status=None)
        number = int(port)
        if not (0 if transport in WEBSOCKET else 1) <= number < 65536:
            raise SipSyntaxError("port of the flow is out of range", status=None)
        return cls(transport, host.removeprefix("[").removesuffix("]"), number, local)


def is_ip_address(host: str) -> bool:
    """Whether `host` is an IPv4 address or an IPv6 address, with or without brackets."""
    bare = host.removeprefix("[").removesuffix("]")
    if ":" in bare:
        return True
    parts = bare.split(".")
    return len(parts) == 4 and all(part.isascii() and part.isdigit() and int(part) < 256 for part in parts)
