"""Connections over TCP, TLS and WebSocket: found by flow, bounded in number, idle time and backlog."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from gateway.sip.flow import SECURE, Flow
from gateway.sources import source_of


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLimits:
    """Limits on connections; sizes in bytes, times in seconds."""

    connections: int = 2048
    """Incoming and outgoing connections at once. At the limit, the unproven connection with the longest silence is
    closed.
    """
    reserved: int = 64
    """Part of `connections` reserved for outgoing connections."""
    per_host: int = 64
    """Incoming connections of one IPv4 address or one /64 of IPv6; several phones may share an address."""
    idle: float = 1800.0
    """Time without received data after which a connection is closed."""
    message: float = 10.0
    """Time for a begun message to be completed."""
    backlog: int = 256 * 1024
    """Bytes that a slow reader may leave unread before its connection is aborted."""
    connect: float = 5.0
    """Time to set up an outgoing connection, TLS handshake included."""
    late: float = 10.0
    """Tolerated delay of a peer's keep-alive beyond the requested interval (RFC 5626 section 5.4)."""
    dscp: int = 0
    """DSCP of packets sent by TCP and TLS (RFC 2474)."""
    pong: float = 10.0
    """Time for a peer to answer a keep-alive of ours, once it has answered one (RFC 5626 4.4.1)."""


class Connection(Protocol):
    """An open connection."""

    flow: Flow
    incoming: bool
    bound: tuple[str, int] | None
    """Local host and port where peers reach the gateway; None for an outgoing connection."""
    heard: float
    """Time of the last received data, on the event loop's clock."""
    flow_timer: float
    """Requested keep-alive interval of the peer in seconds; 0 for none."""
    has_ponged: bool
    """True once the peer has answered a keep-alive (double CRLF)."""

    def send(self, data: bytes) -> None:
        """Write one message; a connection with too large a backlog closes itself."""

    def serves(self, host: str) -> bool:
        """Return True if the peer's certificate is valid for `host`."""

    def ping(self) -> None:
        """Send a keep-alive and expect a pong."""

    def stop_waiting(self) -> None:
        """Stop counting received data as a pong of an earlier keep-alive."""

    def proved(self) -> None:
        """Note that the peer has authenticated."""

    def close(self) -> None:
        """Close the connection after sending pending data where possible."""

    def drop(self) -> None:
        """Close the connection at once and discard unsent data: a peer without reading must not keep a
        descriptor open.
        """

    def overdue(self, now: float, limits: StreamLimits) -> bool:
        """Return True if the connection has been idle, or inside a message, for too long."""


Place = tuple[str, str, int]
"""Transport, host and port of a far end."""


def _place(flow: Flow) -> Place:
    return flow.transport, flow.host, flow.port


class Connections:
    """Open connections by local name and by far end."""

    def __init__(self, limits: StreamLimits, lost: Callable[[Flow], None], token: str = "") -> None:
        """`token` is unique to this process, so that connection names never repeat after a restart."""
        self.limits = limits
        self.refused = 0
        """Incoming connections refused because of a limit."""
        self._lost = lost
        self._token = token
        self._count = 0
        self._by_local: dict[str, Connection] = {}
        self._by_peer: dict[Place, list[Connection]] = {}
        """Connections to one far end, the latest last; over TLS several domains may share a far end."""
        self._aliases: dict[str, Place] = {}
        self._sources: Counter[str] = Counter()
        self._strangers: OrderedDict[str, Connection] = OrderedDict()
        """Incoming connections of unauthenticated peers, the longest silent first."""
        self.evicted = 0
        """Unauthenticated connections closed to make room."""

    def __len__(self) -> int:
        return len(self._by_local)

    def __iter__(self) -> Iterator[Connection]:
        return iter(self._by_local.values())

    def name(self) -> str:
        """Return a fresh `Flow.local`."""
        self._count += 1
        return f"{self._token}{self._count}"

    def may_add(self, host: str) -> bool:
        """Return True if limits allow an incoming connection from `host`; an unproven connection may be
        closed for it.
        """
        limits = self.limits
        if self._sources[source_of(host)] < limits.per_host and self._has_room(limits.connections - limits.reserved):
            return True
        self.refused += 1
        return False

    def may_dial(self) -> bool:
        """Return True if limits allow an outgoing connection; an unproven connection may be closed for it."""
        return self._has_room(self.limits.connections)

    def _has_room(self, places: int) -> bool:
        while len(self._by_local) >= places and self._strangers:
            _, stranger = self._strangers.popitem(last=False)
            self.evicted += 1
            self.remove(stranger)
            stranger.drop()
        return len(self._by_local) < places

    def proven(self, flow: Flow) -> None:
        """Exempt the connection of an authenticated peer from eviction."""
        stranger = self._strangers.pop(flow.local, None)
        if stranger is not None:
            stranger.proved()

    def heard(self, flow: Flow) -> None:
        """Move a connection with received data to the end of the eviction order."""
        if flow.local in self._strangers:
            self._strangers.move_to_end(flow.local)

    def add(self, connection: Connection) -> None:
        """Register an open connection."""
        flow = connection.flow
        self._by_local[flow.local] = connection
        self._by_peer.setdefault(_place(flow), []).append(connection)
        if connection.incoming:
            self._sources[source_of(flow.host)] += 1
            self._strangers[flow.local] = connection

    def remove(self, connection: Connection) -> None:
        """Forget a closed connection and notify its transactions."""
        flow = connection.flow
        if self._by_local.pop(flow.local, None) is None:
            return
        self._strangers.pop(flow.local, None)
        for place in (_place(flow), self._aliases.pop(flow.local, None)):
            there = self._by_peer.get(place, []) if place is not None else []
            if connection in there:
                there.remove(connection)
            if place is not None and not there:
                self._by_peer.pop(place, None)
        if connection.incoming:
            source = source_of(flow.host)
            self._sources[source] -= 1
            if not self._sources[source]:
                del self._sources[source]
        self._lost(flow)

    def find(self, flow: Flow) -> Connection | None:
        """Return the connection of a flow, or one to the same far end where the flow has no `local`.

        A TLS connection is reused only if its certificate is valid for the domain of the flow.
        """
        if flow.local:
            return self._by_local.get(flow.local)
        wanted = flow.name if flow.transport in SECURE else ""
        there = reversed(self._by_peer.get(_place(flow), ()))
        return next((one for one in there if not wanted or one.serves(wanted)), None)

    def alias(self, flow: Flow, host: str, port: int) -> None:
        """Reuse an incoming connection for requests to `port` of its peer (RFC 5923 section 5).

        Only over TLS, only with a certificate valid for `host` (the sent-by of the peer's Via), and once a connection.
        """
        connection = self._by_local.get(flow.local)
        if connection is None or not connection.incoming or flow.transport != "tls" or flow.local in self._aliases:
            return
        if connection.serves(host):
            place = self._aliases[flow.local] = ("tls", flow.host, port)
            self._by_peer.setdefault(place, []).append(connection)

    def bound(self, flow: Flow) -> tuple[str, int] | None:
        """Return the local address of an incoming connection; None for an outgoing or unknown one."""
        connection = self.find(flow)
        return connection.bound if connection is not None else None

    def expect(self, flow: Flow, seconds: float) -> None:
        """Set the keep-alive interval requested of the peer."""
        connection = self.find(flow)
        if connection is not None:
            connection.flow_timer = seconds

    def sweep(self, now: float) -> None:
        """Close overdue connections."""
        for connection in list(self._by_local.values()):
            if connection.overdue(now, self.limits):
                connection.drop()

    def close(self) -> None:
        """Close all connections."""
        for connection in list(self._by_local.values()):
            connection.close()
