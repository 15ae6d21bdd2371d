"""SIP over TCP and TLS: connections of both directions, one framer each (RFC 3261 18)."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Mapping
from typing import Any, Protocol, cast

from gateway.handshakes import Handshakes
from gateway.net.connections import Connections
from gateway.net.dialer import Dialer
from gateway.net.names import covers
from gateway.net.tls import Tls
from gateway.net.udp import mark
from gateway.sip.errors import SipSyntaxError
from gateway.sip.flow import Flow
from gateway.sip.message.framing import Broken, StreamFramer
from gateway.sip.message.message import Request, Response
from gateway.sip.message.parser import KeepAlive, Limits

logger = logging.getLogger(__name__)


class Receiver(Protocol):
    """Receiver of the messages of streams."""

    def message(self, message: Request | Response, flow: Flow, size: int) -> None:
        """Process a complete message."""

    def broken(self, error: SipSyntaxError, flow: Flow, data: bytes) -> None:
        """Process an unusable message, given its octets; answer it where `error` carries a status."""


class StreamConnection(asyncio.Protocol):
    """A TCP or TLS connection."""

    def __init__(
        self,
        connections: Connections,
        receiver: Receiver,
        limits: Limits,
        kind: str,
        *,
        incoming: bool,
        peer: Flow | None = None,
        ready: Callable[[StreamConnection], None] | None = None,
        wanted: str = "",
        wildcards: bool = False,
    ) -> None:
        """`wanted` is the name required in the certificate of a TLS peer, with `wildcards` also a wildcard; "" skips
        the check.
        """
        self._connections = connections
        self._receiver = receiver
        self._framer = StreamFramer(limits)
        self._kind = kind
        self._ready = ready
        self._peer = peer
        self._wanted = wanted
        self._wildcards = wildcards
        self._certificate: Mapping[str, Any] = {}
        self._transport: asyncio.Transport | None = None
        self._now = asyncio.get_running_loop().time
        self.heard = self._now()
        self.flow_timer = 0.0
        self.has_ponged = False
        self._has_pinged = False
        self._begun: float | None = None
        self.incoming = incoming
        self.flow = Flow(kind, "", 0)
        self.bound: tuple[str, int] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        name = transport.get_extra_info("peername")
        if name is None:
            self._transport.abort()
            return
        host, port = name[0].partition("%")[0], name[1]
        if self.incoming and not self._connections.may_add(host):
            self._transport.abort()
            return
        self._certificate = transport.get_extra_info("peercert") or {}
        if self._wanted and not self.serves(self._wanted):
            self._transport.abort()
            return
        self.flow = Flow(self._kind, host, port, self._connections.name(), self._wanted, dialled=not self.incoming)
        if self.incoming:
            self.bound = transport.get_extra_info("sockname")[:2]
        self._transport.set_write_buffer_limits(high=self._connections.limits.backlog)
        mark(transport.get_extra_info("socket"), self._connections.limits.dscp)
        self._connections.add(self)
        if self._ready is not None:
            self._ready(self)

    def data_received(self, data: bytes) -> None:
        self.heard = self._now()
        self._connections.heard(self.flow)
        for frame in self._framer.feed(data):
            if isinstance(frame, KeepAlive):
                if frame is KeepAlive.PING:
                    self._has_pinged = True
                    self.send(KeepAlive.PONG.value)
            elif isinstance(frame, Broken):
                self._receiver.broken(frame.error, self.flow, frame.data)
                if frame.closes:
                    self.close()
            else:
                self._receiver.message(frame, self.flow, len(frame.body) + 512)
        if not self._framer.unfinished:
            self._begun = None
        elif self._begun is None:
            self._begun = self.heard

    def pause_writing(self) -> None:
        """Abort the connection of a slow reader: its backlog would only grow. Its transactions get the failure."""
        logger.info("slow reader on %s is cut off", self.flow)
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.remove(self)

    def send(self, data: bytes) -> None:
        """Write one message."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def serves(self, host: str) -> bool:
        """Return True if the peer's certificate is trusted and valid for `host` (RFC 5922)."""
        return covers(self._certificate, host, wildcards=self._wildcards)

    def mistaken(self, host: str) -> ssl.SSLCertVerificationError:
        """Return the error for a peer whose certificate is not valid for `host`."""
        is_wildcard = covers(self._certificate, host, wildcards=True)
        error = ssl.SSLCertVerificationError()
        error.verify_message = f"the certificate is not of {host}" + (
            ", but by a wildcard (sip.tls.wildcards)" if is_wildcard else ""
        )
        return error

    def ping(self) -> None:
        """Send a keep-alive (RFC 5626 4.4.1)."""
        self.stop_waiting()
        self._framer.expect_pong()
        self.send(KeepAlive.PING.value)

    def stop_waiting(self) -> None:
        """Stop counting received data as a pong of an earlier keep-alive."""
        self.has_ponged |= self._framer.take_pong()

    def proved(self) -> None:
        """Do nothing: no resource depends on the peer's authentication."""

    def close(self) -> None:
        """Close the connection after pending data is written."""
        if self._transport is not None:
            self._transport.close()

    def drop(self) -> None:
        """Close the connection at once and discard pending data."""
        if self._transport is not None:
            self._transport.abort()

    def overdue(self, now: float, limits: object) -> bool:
        """Return True if the connection has been idle, inside a message, or without keep-alives for too long."""
        bounds = self._connections.limits
        if self._begun is not None and now - self._begun > bounds.message:
            return True
        if self.flow_timer and self._has_pinged and now - self.heard > self.flow_timer + bounds.late:
            return True
        return now - self.heard > bounds.idle


class StreamTransport(Dialer):
    """Listener and dialer of TCP ("tcp") or TLS ("tls") connections."""

    def __init__(
        self,
        kind: str,
        connections: Connections,
        receiver: Receiver,
        limits: Limits,
        *,
        tls: Tls | None = None,
        failed: Callable[[Flow], None],
    ) -> None:
        super().__init__(connections, failed)
        self._kind = kind
        self._receiver = receiver
        self._limits = limits
        self._tls = tls
        self._servers: list[asyncio.Server] = []
        self._bounds = connections.limits
        self._handshakes: Handshakes | None = None

    async def open(self, host: str, port: int) -> None:
        """Bind one more address; raises OSError."""
        if self._tls is not None and self._tls.server is not None and self._handshakes is None:
            bounds = self._bounds
            self._handshakes = Handshakes(self._tls.server, bounds.connections, bounds.per_host, bounds.connect)
        server = await asyncio.get_running_loop().create_server(self._accepted, host, port)
        self._servers.append(server)

    def _accepted(self) -> asyncio.Protocol:
        if self._handshakes is None:
            return self._connection(incoming=True)
        return self._handshakes.incoming(lambda: self._connection(incoming=True))

    def _connection(self, *, incoming: bool, wanted: str = "") -> StreamConnection:
        return StreamConnection(
            self._connections,
            self._receiver,
            self._limits,
            self._kind,
            incoming=incoming,
            wanted=wanted,
            wildcards=self._tls is not None and self._tls.wildcards,
        )

    @property
    def listening(self) -> list[tuple[str, int]]:
        """Host and port of each bound socket."""
        return [server.sockets[0].getsockname()[:2] for server in self._servers if server.sockets]

    async def connect(self, flow: Flow) -> StreamConnection:
        context = self._tls.sip_client if self._tls is not None else None
        name = (flow.name or flow.host) if context is not None else ""
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: self._connection(incoming=False, wanted=name),
            flow.host,
            flow.port,
            ssl=context,
            server_hostname=name or None,
        )
        if name and not connection.serves(name):
            raise connection.mistaken(name)
        return connection

    async def close(self) -> None:
        """Stop listening and connecting."""
        for server in self._servers:
            server.close()
        if self._handshakes is not None:
            self._handshakes.close()
        await super().close()
        self._servers.clear()
