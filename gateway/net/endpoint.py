"""All sockets as one endpoint: the listener for each flow, and the local address announced on a flow."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import secrets
import socket
from collections.abc import Callable, Sequence
from typing import Protocol

from gateway.errors import ConfigError
from gateway.net.config import UserAgentConfig
from gateway.net.connections import Connections
from gateway.net.dialer import Dialer
from gateway.net.stream import Receiver, StreamTransport
from gateway.net.tls import Tls
from gateway.net.udp import WILDCARDS, UdpListener, open_udp
from gateway.net.ws import WebSocketDialer
from gateway.sip.errors import SipSyntaxError
from gateway.sip.flow import Flow
from gateway.sip.message.parser import KeepAlive

logger = logging.getLogger(__name__)

Bound = tuple[str, str, int]
"""Transport, host and port of a bound socket."""


MAX_ROUTES = 4096
"""Peers with a cached local address."""


class Inbox(Receiver, Protocol):
    """Receiver of all incoming data."""

    def datagram(self, data: bytes, flow: Flow) -> None:
        """Process one datagram or one WebSocket message."""

    def unreachable(self, data: bytes, flow: Flow) -> None:
        """Process the beginning of a datagram to `flow` that came back with an ICMP error."""


class Endpoint:
    """All transports behind one `send`; messages go to `inbox`, failed flows to `send_failed`."""

    def __init__(self, config: UserAgentConfig, inbox: Inbox, send_failed: Callable[[Flow], None]) -> None:
        self._config = config
        self._inbox = inbox
        self._send_failed = send_failed
        self._udp: list[UdpListener] = []
        self._by_local: dict[str, UdpListener] = {}
        self._routes: dict[str, str] = {}
        self._sweeper: asyncio.TimerHandle | None = None
        self.connections = Connections(config.streams, send_failed, secrets.token_hex(8) + ".")
        self.tls = Tls(config.tls)
        self._streams = {"tcp": self._stream("tcp"), "tls": self._stream("tls", self.tls)}
        largest = config.stack.parser.message
        websockets = WebSocketDialer(self.connections, inbox.datagram, send_failed, self.tls, largest)
        self._dialers: dict[str, Dialer] = {**self._streams, "ws": websockets, "wss": websockets}

    def _stream(self, kind: str, tls: Tls | None = None) -> StreamTransport:
        return StreamTransport(
            kind,
            self.connections,
            self._inbox,
            self._config.stack.parser,
            tls=tls,
            failed=self._send_failed,
        )

    async def open(self) -> None:
        """Bind every configured address.

        Raises OSError for an address that cannot be bound and closes the bound sockets; raises ConfigError for an
        unusable certificate.
        """
        config = self._config
        self.tls.load()
        if config.listen_tls and self.tls.server is None:
            raise ConfigError("sip.tls", "tls needs cert and key")
        try:
            for host, port in config.listen:
                listener = await open_udp(host, port, self._inbox.datagram, self._inbox.unreachable, config.udp)
                self._udp.append(listener)
                self._by_local[listener.local] = listener
            for kind, addresses in (("tcp", config.listen_tcp), ("tls", config.listen_tls)):
                for host, port in addresses:
                    await self._streams[kind].open(host, port)
        except OSError:
            await self.close()
            raise
        self._sweep()

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        self.connections.sweep(loop.time())
        self._routes.clear()  # local addresses may have changed
        self._sweeper = loop.call_later(1.0, self._sweep)

    @property
    def listening(self) -> tuple[Bound, ...]:
        """Bound sockets with real ports."""
        udp = [("udp", listener.host, listener.port) for listener in self._udp]
        streams = [(kind, host, port) for kind, one in self._streams.items() for host, port in one.listening]
        return (*udp, *streams)

    @property
    def dropped(self) -> int:
        """Datagrams lost to a full write buffer or a send error."""
        return sum(listener.dropped for listener in self._udp)

    def waited(self) -> float:
        """Return the longest time (s) that a datagram waited to be read since the last call."""
        return max((listener.waited() for listener in self._udp), default=0.0)

    def send(self, data: bytes, flow: Flow) -> None:
        """Send to a flow. Without `local`, use the first listener of the address family or a new connection."""
        transport = flow.transport
        if transport == "udp":
            listener = self._by_local.get(flow.local) or self._choose(flow)
            if listener is None:
                self._send_failed(flow)
            else:
                listener.send(data, flow)
        else:
            self._dialers[transport].send(data, flow)

    async def is_alive(self, flow: Flow) -> bool:
        """Return True if the peer answers a double CRLF in time; else close the connection (RFC 5626 4.4.1)."""
        connection = self.connections.find(flow)
        if connection is None:
            return False
        heard = connection.heard
        connection.ping()
        await asyncio.sleep(self._config.streams.pong)
        connection.stop_waiting()
        if connection.heard == heard:
            logger.info("no keep-alive comes back on %s", connection.flow)
            connection.drop()
        return connection.heard != heard

    async def keep_alive(self, flows: Sequence[Flow]) -> None:
        """Send a double CRLF to the far ends of these flows, on existing connections (RFC 5626 4.4.1).

        Waits for pongs. A connection is closed if its peer answered earlier keep-alives but not the current one.
        """
        asked = [
            (one, one.heard) for flow in flows if flow.reliable and (one := self.connections.find(flow)) is not None
        ]
        datagrams = [flow for flow in flows if not flow.reliable]
        for flow in datagrams or (() if asked else flows[:1]):
            self.send(KeepAlive.PING.value, flow)
        for connection, _ in asked:
            connection.ping()
        if datagrams and not asked:
            return
        await asyncio.sleep(self._config.streams.pong)
        for connection, heard in asked:
            connection.stop_waiting()
            if connection.has_ponged and connection.heard == heard:
                logger.info("no keep-alive comes back on %s", connection.flow)
                connection.drop()

    def drop_silent(self, flows: Sequence[Flow], since: float) -> None:
        """Close outgoing connections of these flows without received data since `since` (loop time, seconds)."""
        for flow in flows:
            connection = self.connections.find(flow) if flow.reliable else None
            if connection is not None and not connection.incoming and connection.heard < since:
                logger.info("nothing comes by %s any more", connection.flow)
                connection.drop()

    def _choose(self, flow: Flow, *, any_transport: bool = False) -> UdpListener | None:
        if flow.transport != "udp" and not any_transport:
            return None
        six = ":" in flow.host
        candidates = [listener for listener in self._udp if (":" in listener.host) == six]
        if flow.local:
            # `local` is an address of a wildcard listener, or of a listener since removed from the configuration.
            port = flow.local.rpartition(":")[2]
            at_port = [one for one in candidates if str(one.port) == port and one.host in WILDCARDS]
            candidates = at_port or candidates
        if len(candidates) < 2:
            return candidates[0] if candidates else None
        # A socket bound to loopback cannot reach other hosts, nor a socket bound elsewhere reach loopback.
        near = _is_loopback(flow.host)
        return next((one for one in candidates if _is_loopback(one.host) == near), candidates[0])

    def sent_by(self, flow: Flow) -> tuple[str, int | None]:
        """Return (host, port) announced to a peer on `flow`: the advertised address, else the listener's own.

        An advertised address of the wrong IP version is skipped.
        """
        host, port = self._listener_of(flow)
        advertised = self._config.advertised
        if advertised is not None and not _is_loopback(flow.host) and _suits(advertised[0], flow.host):
            # The advertised port is for UDP; streams have their own ports.
            return advertised[0], (advertised[1] or port) if flow.transport == "udp" else port
        if host in WILDCARDS:
            host = self._written_to(flow) or self._own_address(flow.host, host)
        return host, port

    def _listener_of(self, flow: Flow) -> tuple[str, int | None]:
        if flow.transport != "udp":
            here = self.connections.bound(flow)
            if here is not None:
                return here
        if flow.transport in self._streams:
            listening = self._streams[flow.transport].listening
            if listening:
                six = ":" in flow.host
                return next((place for place in listening if (":" in place[0]) == six), listening[0])
        listener = self._by_local.get(flow.local) or self._choose(flow, any_transport=True)
        if listener is None:
            return "127.0.0.1", None
        return listener.host, listener.port if flow.transport == "udp" else None

    def _written_to(self, flow: Flow) -> str:
        """Return the local address to which a UDP peer writes; "" if unknown or no longer an address of this
        machine.
        """
        if flow.transport != "udp" or not flow.local:
            return ""
        known = self._routes.get(flow.local)
        if known is None:
            if len(self._routes) >= MAX_ROUTES:
                self._routes.clear()
            known = self._routes[flow.local] = _still_ours(flow.local)
        return known

    def _own_address(self, peer: str, bound: str) -> str:
        """Return the local address on the kernel's route to `peer`; the look-up sends nothing."""
        known = self._routes.get(peer)
        if known is None:
            if len(self._routes) >= MAX_ROUTES:
                self._routes.clear()
            known = self._routes[peer] = local_address_for(peer, bound)
        return known

    async def close(self) -> None:
        """Close all sockets."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for listener in self._udp:
            listener.close()
        for dialer in self._dialers.values():
            await dialer.close()
        self.connections.close()
        self._udp.clear()
        self._by_local.clear()


def local_address_for(peer: str, bound: str) -> str:
    """Return the local address on the route to `peer`, for a socket bound to the wildcard `bound`.

    An unresolved host name counts as a public address on the default route.
    """
    six = bound == "::"
    unknown = "2001:db8::1" if six else "192.0.2.1"
    try:
        is_six = ipaddress.ip_address(peer).version == 6
    except ValueError:
        peer, is_six = ("::1" if six else "127.0.0.1") if peer == "localhost" else unknown, six
    family = socket.AF_INET6 if is_six else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((peer, 9))
            address: str = probe.getsockname()[0]
        except OSError:
            return "::1" if six else "127.0.0.1"
    return address


def _still_ours(local: str) -> str:
    """Return the host of a `Flow.local` if this machine still has the address, else ""."""
    try:
        host = Flow.parse(local).host
        if host in WILDCARDS:
            return ""
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((host, 0))
    except (SipSyntaxError, OSError):
        return ""
    return host


def _suits(advertised: str, peer: str) -> bool:
    """Return True if `advertised` is a name or has the IP version of `peer`."""
    try:
        return ipaddress.ip_address(advertised).version == ipaddress.ip_address(peer).version
    except ValueError:
        return True


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
