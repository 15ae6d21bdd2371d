"""Connections of stream transports and WebSockets: found by flow, bounded in number, idle time and backlog."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from gateway.sip.flow import SECURE, Flow
from gateway.sources import source_of


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLimits:
    """What peers may hold of us; sizes in bytes, times in seconds."""

    connections: int = 2048
    """At once, incoming and outgoing together. At that number the one that has waited longest without its peer showing
    who it is makes room for the next."""
    reserved: int = 64
    """Of them, places that are kept for connections of ours."""
    per_host: int = 64
    """Incoming ones of one IPv4 address or one /64 of IPv6; several phones may sit behind it."""
    idle: float = 1800.0
    """A connection that brought nothing for so long is closed."""
    message: float = 10.0
    """A message that was begun has to be complete by then."""
    backlog: int = 256 * 1024
    """Bytes that a slow reader may leave unread; then it is cut off."""
    connect: float = 5.0
    """For a connection, and its TLS handshake, to come up."""
    late: float = 10.0
    """How much later than it was asked for a peer's keep-alive may come (RFC 5626 section 5.4)."""
    dscp: int = 0
    """Marks what is sent by TCP and TLS (RFC 2474)."""
    pong: float = 10.0
    """A keep-alive of ours is answered by then where the peer answers them at all (RFC 5626 4.4.1)."""


class Connection(Protocol):
    """One open connection."""

    flow: Flow
    incoming: bool
    bound: tuple[str, int] | None
    """Our own host and port where peers may reach us; None where no listener of ours is behind it."""
    heard: float
    """When anything came last, on the event loop's clock."""
    flow_timer: float
    """The longest pause between keep-alives that its peer was asked for, 0 for none asked."""
    has_ponged: bool
    """Whether a keep-alive of ours (double CRLF) has ever been answered."""

    def send(self, data: bytes) -> None:
        """Write one message; a connection that cannot take it closes itself."""

    def serves(self, host: str) -> bool:
        """Whether the peer has proved by its certificate that it is `host`."""

    def ping(self) -> None:
        """Send a keep-alive, and wait for its answer."""

    def stop_waiting(self) -> None:
        """What comes from now on answers no keep-alive that was sent before."""

    def proved(self) -> None:
        """Note that its peer has shown who it is."""

    def close(self) -> None:
        """Close it; what was written is still sent where that is possible."""

    def drop(self) -> None:
        """Close it at once, whatever its peer has not read: what waits for a reader holds no descriptor."""

    def overdue(self, now: float, limits: StreamLimits) -> bool:
        """Whether it has been idle, or in the middle of a message, for too long."""


Place = tuple[str, str, int]
"""Transport, host and port of a far end."""


def _place(flow: Flow) -> Place:
    return flow.transport, flow.host, flow.port


class Connections:
    """Every open connection, by our name for it and by the far end."""

    def __init__(self, limits: StreamLimits, lost: Callable[[Flow], None], token: str = "") -> None:
        """`token` is a word of this process alone: no name of a connection comes back in the next one."""
        self.limits = limits
        self.refused = 0
        """Connections that were over a limit."""
        self._lost = lost
        self._token = token
        self._count = 0
        self._by_local: dict[str, Connection] = {}
        self._by_peer: dict[Place, list[Connection]] = {}
        """Connections to one place, the latest last: over TLS several domains may live there."""
        self._aliases: dict[str, Place] = {}
        self._sources: Counter[str] = Counter()
        self._strangers: OrderedDict[str, Connection] = OrderedDict()
        """Incoming ones whose peer has not shown who it is, the longest silent first."""
        self.evicted = 0
        """Strangers that were closed to make room."""

    def __len__(self) -> int:
        return len(self._by_local)

    def __iter__(self) -> Iterator[Connection]:
        return iter(self._by_local.values())

    def name(self) -> str:
        """A `Flow.local` for the next connection."""
        self._count += 1
        return f"{self._token}{self._count}"

    def may_add(self, host: str) -> bool:
        """Whether one more incoming connection of this address is within the limits; a stranger may go for it."""
        limits = self.limits
        if self._sources[source_of(host)] < limits.per_host and self._has_room(limits.connections - limits.reserved):
            return True
        self.refused += 1
        return False

    def may_dial(self) -> bool:
        """Whether one more connection of ours is within the limits; a stranger may go for it."""
        return self._has_room(self.limits.connections)

    def _has_room(self, places: int) -> bool:
        while len(self._by_local) >= places and self._strangers:
            _, stranger = self._strangers.popitem(last=False)
            self.evicted += 1
            self.remove(stranger)
            stranger.drop()
        return len(self._by_local) < places

    def proven(self, flow: Flow) -> None:
        """The peer of a connection has shown who it is: it does not have to make room any more."""
        stranger = self._strangers.pop(flow.local, None)
        if stranger is not None:
            stranger.proved()

    def heard(self, flow: Flow) -> None:
        """Note that the peer of a connection has sent something."""
        if flow.local in self._strangers:
            self._strangers.move_to_end(flow.local)

    def add(self, connection: Connection) -> None:
        """Keep a connection that is up."""
        flow = connection.flow
        self._by_local[flow.local] = connection
        self._by_peer.setdefault(_place(flow), []).append(connection)
        if connection.incoming:
            self._sources[source_of(flow.host)] += 1
            self._strangers[flow.local] = connection

    def remove(self, connection: Connection) -> None:
        """Forget a connection that is gone, and tell the transactions that used it."""
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
        """The connection of a flow: the very one, or, for a flow without `local`, one to the same far end.

        What goes to a domain by TLS goes by a connection whose certificate is of that domain, not of another one there.
        """
        if flow.local:
            return self._by_local.get(flow.local)
        wanted = flow.name if flow.transport in SECURE else ""
        there = reversed(self._by_peer.get(_place(flow), ()))
        return next((one for one in there if not wanted or one.serves(wanted)), None)

    def alias(self, flow: Flow, host: str, port: int) -> None:
        """Have what goes to `port` of the peer of an incoming connection go by that (RFC 5923 section 5).

        Only over TLS, where the peer's certificate is of `host`, which it calls itself in its Via; once a connection.
        """
        connection = self._by_local.get(flow.local)
        if connection is None or not connection.incoming or flow.transport != "tls" or flow.local in self._aliases:
            return
        if connection.serves(host):
            place = self._aliases[flow.local] = ("tls", flow.host, port)
            self._by_peer.setdefault(place, []).append(connection)

    def bound(self, flow: Flow) -> tuple[str, int] | None:
        """Where the peer of a connection reached us; None without such a connection, or where we made it."""
        connection = self.find(flow)
        return connection.bound if connection is not None else None

    def expect(self, flow: Flow, seconds: float) -> None:
        """The peer of a connection was asked for keep-alives."""
        connection = self.find(flow)
        if connection is not None:
            connection.flow_timer = seconds

    def sweep(self, now: float) -> None:
        """Close what is overdue."""
        for connection in list(self._by_local.values()):
            if connection.overdue(now, self.limits):
                connection.drop()

    def close(self) -> None:
        """Close everything."""
        for connection in list(self._by_local.values()):
            connection.close()
