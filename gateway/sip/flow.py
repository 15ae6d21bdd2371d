"""Source or destination of a message: transport, far end, and local socket or connection."""

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
    """Path between the gateway and a peer.

    `str()` gives "udp:192.0.2.7:5060"; `parse` reads the text back. UDP appends a slash and the local socket, so that
    calls leave from the address of registration. A TCP or TLS peer may reconnect: the far end identifies its flow.
    WebSocket flows need our connection name.
    """

    transport: str
    """Lower case: "udp", "tcp", "tls", "ws", "wss"."""
    host: str
    """IP address of the far end, IPv6 without brackets."""
    port: int
    """Port of the far end; 0 for a WebSocket behind a web proxy that hides the port."""
    local: str = ""
    """Local socket or connection; "" leaves the choice to the endpoint."""
    name: str = field(default="", compare=False)
    """Domain of the URI that led to the flow, required in a TLS peer's certificate (RFC 5922 4); not compared."""

    dialled: bool = field(default=False, compare=False)
    """True for a connection opened by us; not compared."""

    @property
    def reliable(self) -> bool:
        """Return True if the transport retransmits by itself (RFC 3261 section 17)."""
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
        """Parse "udp:192.0.2.7:5060", "udp:[2001:db8::1]:5060" or the result of `str`; raise SipSyntaxError."""
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
    """Return True for an IPv4 address, or an IPv6 address with or without brackets."""
    bare = host.removeprefix("[").removesuffix("]")
    if ":" in bare:
        return True
    parts = bare.split(".")
    return len(parts) == 4 and all(part.isascii() and part.isdigit() and int(part) < 256 for part in parts)
