"""An allocation at a TURN server kept alive over UDP, TCP or TLS, and the tunnels of the peers behind it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Protocol, cast

from gateway.media.embedded.plane.stun import StunError, is_stun, parse_binding_request
from gateway.media.embedded.plane.values import Address, Host
from gateway.media.embedded.webrtc.tunnel import Tunnel
from gateway.media.embedded.webrtc.turn import TurnClient, TurnState

logger = logging.getLogger("gateway.media")

TICK = 0.25
"""Seconds between two looks at what a client wants to do."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds before the next attempt where a server could not be reached, or gave the allocation up."""
SETUP_TIMEOUT = 20.0
"""Seconds for connection and allocation together."""
MAX_QUEUED = 128 * 1024
"""Octets that wait for a TCP connection to the server, before packets for it are dropped."""
MAX_TUNNELS = 2000
"""Peers behind one relay at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnServer:
    """One TURN URL (RFC 7065), taken apart, with what it wants to see."""

    host: str
    port: int
    transport: str
    """ "udp", "tcp" or "tls"."""
    username: str
    password: str = field(repr=False)

    def __str__(self) -> str:
        return f"{self.host}:{self.port}/{self.transport}"


class RelayHost(Protocol):
    """What a relay needs of the browsers' port."""

    def clock(self) -> float: ...

    def key_of(self, ufrag: str) -> bytes | None: ...

    def open_tunnel(self, family: int, remote: Address, deliver: Callable[[bytes], None]) -> Tunnel: ...

    def close_tunnel(self, tunnel: Tunnel) -> None: ...

    def count(self, reason: str) -> None: ...


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    def datagram_received(self, data: bytes, address: object) -> None:
        self._relay.take(data)

    def error_received(self, error: Exception) -> None:
        """The next request finds out."""

    def connection_lost(self, error: Exception | None) -> None:
        self._relay.lost.set()


class _Stream(asyncio.Protocol):
    """Messages on a stream: STUN, and ChannelData padded to four octets (RFC 8656 section 12.5)."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._buffer = bytearray()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        buffer, position = self._buffer, 0
        while len(buffer) - position >= 4:
            length = int.from_bytes(buffer[position + 2 : position + 4])
            size = 4 + length if buffer[position] >= 0x40 else 20 + length
            if len(buffer) - position < size + -size % 4:
                break
            self._relay.take(bytes(buffer[position : position + size]))
            position += size + -size % 4
        del buffer[:position]

    def connection_lost(self, error: Exception | None) -> None:
        self._relay.lost.set()


class Relay:
    """One server: `run` keeps an allocation there until it is cancelled."""

    def __init__(
        self,
        host: RelayHost,
        server: Callable[[], TurnServer],
        *,
        idle_after: float,
        tls: Callable[[], ssl.SSLContext],
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """`server` draws fresh credentials; a peer that sends nothing for `idle_after` seconds loses its tunnel."""
        self.lost = asyncio.Event()
        """The connection to the server has gone."""
        self.tried = asyncio.Event()
        """The first attempt is over, one way or the other."""
        self._host = host
        self._server = server
        self._idle_after = idle_after
        self._tls = tls
        self._random_bytes = random_bytes
        self._client: TurnClient | None = None
        self._transport: asyncio.BaseTransport | None = None
        self._stream = False
        self._tunnels: dict[Address, Tunnel] = {}
        self._heard: dict[Address, float] = {}

    @property
    def allocated(self) -> tuple[Address, Address] | None:
        """Our relayed address and where the server sees us, None while there is no allocation."""
        client = self._client
        if client is None or client.state is not TurnState.ALLOCATED or client.relayed is None:
            return None
        return client.relayed, client.mapped or (Host("0.0.0.0"), 9)

    async def run(self) -> None:
        """Hold an allocation; where it is lost, ask for another one."""
        pause = FIRST_PAUSE
        while True:
            server = self._server()
            try:
                await self._hold(server)
                pause = FIRST_PAUSE
            except (OSError, ValueError, OverflowError) as error:
                logger.warning("TURN server %s: %s", server, error or type(error).__name__)
            self.tried.set()
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _hold(self, server: TurnServer) -> None:
        """One allocation, for as long as it lasts; raises OSError or TimeoutError where it does not come to be."""
        client = TurnClient(
            server.username, server.password, reliable=server.transport != "udp", random_bytes=self._random_bytes
        )
        self.lost.clear()
        try:
            async with asyncio.timeout(SETUP_TIMEOUT) as limit:
                self._transport, self._stream = await self._connect(server), server.transport != "udp"
                self._client = client
                client.start(self._host.clock())
                while client.state is TurnState.ALLOCATING and not self.lost.is_set():
                    await self._tick(client)
                limit.reschedule(None)
            if client.state is not TurnState.ALLOCATED:
                raise ConnectionError(client.failure or "the connection was closed")
            logger.info("relayed address %s:%d at TURN server %s", *(client.relayed or ("", 0)), server)
            self.tried.set()
            while client.state is TurnState.ALLOCATED and not self.lost.is_set():
                await self._tick(client)
            logger.warning("TURN server %s: %s", server, client.failure or "the connection was closed")
        finally:
            self._drop(client)

    async def _connect(self, server: TurnServer) -> asyncio.BaseTransport:
        loop = asyncio.get_running_loop()
        if server.transport == "udp":
            made, _ = await loop.create_datagram_endpoint(
                lambda: _Datagrams(self), remote_addr=(server.host, server.port)
            )
            return made
        secure = self._tls() if server.transport == "tls" else None
        name = server.host if secure is not None else None
        stream, _ = await loop.create_connection(
            lambda: _Stream(self), server.host, server.port, ssl=secure, server_hostname=name
        )
        return stream

    async def _tick(self, client: TurnClient) -> None:
        client.handle_timer(self._host.clock())
        self._flush()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TICK):
                await self.lost.wait()
        self._forget_idle()

    def _drop(self, client: TurnClient) -> None:
        client.close(self._host.clock())
        self._flush()
        self._client = None
        if self._transport is not None:
            self._transport.close()
            self._transport = None
        for peer in tuple(self._tunnels):
            self._close_tunnel(peer)

    def permit(self, host: Host) -> None:
        """Let this address reach us by the relay."""
        if self._client is not None:
            self._client.permit(host, self._host.clock())
            self._flush()

    # Packets

    def take(self, data: bytes) -> None:
        """One message of the server."""
        client = self._client
        if client is None:
            return
        found = client.receive(data, self._host.clock())
        if found is not None:
            self._from_peer(*found)
        self._flush()

    def _from_peer(self, peer: Address, data: bytes) -> None:
        tunnel = self._tunnels.get(peer) or self._prove(peer, data)
        if tunnel is not None:
            self._heard[peer] = self._host.clock()
            tunnel.take(data)

    def _prove(self, peer: Address, data: bytes) -> Tunnel | None:
        """A tunnel for who begins with an authentic check; others are not heard."""
        if not is_stun(data) or len(self._tunnels) >= MAX_TUNNELS:
            return None
        try:
            request = parse_binding_request(data)
        except StunError:
            return None
        key = self._host.key_of(request.local_ufrag or "")
        if key is None or not request.authentic(key):
            self._host.count("relay_not_authentic")
            return None
        try:
            tunnel = self._host.open_tunnel(ip_address(peer[0]).version, peer, lambda out: self._to_peer(peer, out))
        except OSError:
            self._host.count("relay_no_socket")
            return None
        self._tunnels[peer] = tunnel
        return tunnel

    def _to_peer(self, peer: Address, data: bytes) -> None:
        if self._client is not None:
            self._client.send(peer, data, self._host.clock(), bind=not is_stun(data))
            self._flush()

    def _flush(self) -> None:
        transport, client = self._transport, self._client
        if client is None or transport is None or transport.is_closing():
            return
        for data in client.messages_to_send():
            if not self._stream:
                cast(asyncio.DatagramTransport, transport).sendto(data)
            elif cast(asyncio.Transport, transport).get_write_buffer_size() > MAX_QUEUED:
                self._host.count("relay_slow")
            else:
                cast(asyncio.Transport, transport).write(data)

    def _forget_idle(self) -> None:
        horizon = self._host.clock() - self._idle_after
        for peer in [each for each, heard in self._heard.items() if heard < horizon]:
            self._close_tunnel(peer)

    def _close_tunnel(self, peer: Address) -> None:
        self._heard.pop(peer, None)
        tunnel = self._tunnels.pop(peer, None)
        if tunnel is not None:
            self._host.close_tunnel(tunnel)
