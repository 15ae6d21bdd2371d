"""Passive ICE-TCP candidates (RFC 6544), for browsers whose network lets no UDP out; frames as in RFC 4571."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Protocol, cast

from gateway.media.embedded.plane.stun import StunError, parse_binding_request
from gateway.media.embedded.plane.values import NOWHERE, Address, Host
from gateway.media.embedded.webrtc.config import WebRtcConfig
from gateway.media.embedded.webrtc.tunnel import Tunnel
from gateway.media.engine import MediaError, PortTakenError
from gateway.sources import source_of

WINDOW = 0.1
"""Seconds over which frames are counted."""
_LENGTH = 2
"""Octets before each frame (RFC 4571 section 2)."""


class TcpHost(Protocol):
    """What connections need of the browsers' port."""

    @property
    def config(self) -> WebRtcConfig: ...

    def key_of(self, ufrag: str) -> bytes | None:
        """The integrity key behind one of our ufrags."""

    def open_tunnel(self, family: int, remote: Address, deliver: Callable[[bytes], None]) -> Tunnel:
        """A way to the plane for a far end, on a socket of this IP version where there is one; raises OSError."""

    def close_tunnel(self, tunnel: Tunnel) -> None: ...

    def held_addresses(self) -> set[Address]:
        """Addresses, as the plane sees them, that a leg has heard a check from."""

    def count(self, reason: str) -> None: ...


class TcpConnection(asyncio.Protocol):
    """One connection of a browser; nothing of it is believed before its first frame is an authentic check."""

    def __init__(self, listener: TcpListener, host: TcpHost) -> None:
        self._listener = listener
        self._host = host
        self._transport: asyncio.Transport
        self._buffer = bytearray()
        self._tunnel: Tunnel | None = None
        self._ufrag = ""
        """Of the check that it was proved by."""
        self._heard = False
        self._timer: asyncio.TimerHandle | None = None
        self._frames = 0
        self._window: asyncio.TimerHandle | None = None
        self.source = NOWHERE

    @property
    def proved(self) -> bool:
        """Whether an authentic check has come."""
        return self._tunnel is not None

    def is_of_use(self, held: set[Address]) -> bool:
        """Whether there is a leg for what it brings; `held` are the host's `held_addresses`."""
        if self._tunnel is None:
            return False
        return self._tunnel.address in held or self._host.key_of(self._ufrag) is not None

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes.
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self.source = (Host(peer[0].partition("%")[0]), peer[1]) if peer else NOWHERE
        self._keep_the_kernels_queue_short()
        if not peer or not self._listener.admit(self):
            self.abort("tcp_full")
            return
        self._watch(self._host.config.tcp_first_check)

    def _keep_the_kernels_queue_short(self) -> None:
        """Let media wait here, where its bound is: a kernel takes megabytes, which are seconds of late sound."""
        option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
        if option is not None:
            ours = self._transport.get_extra_info("socket")
            ours.setsockopt(socket.IPPROTO_TCP, option, self._host.config.tcp_max_queued)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        position, buffer = 0, self._buffer
        while len(buffer) - position >= _LENGTH and not self._transport.is_closing():
            length = int.from_bytes(buffer[position : position + _LENGTH])
            if length > self._host.config.tcp_max_frame:
                self.abort("tcp_frame")
                return
            end = position + _LENGTH + length
            if end > len(buffer):
                break
            self._frames += 1
            if length:
                self._frame(bytes(buffer[position + _LENGTH : end]))
            position = end
        del buffer[:position]
        self._slow_down()

    def _slow_down(self) -> None:
        """Leave who sends too fast to TCP's own flow control, for as long as the window lasts."""
        if self._transport.is_closing():
            return
        if self._window is None:
            self._window = asyncio.get_running_loop().call_later(WINDOW, self._next_window)
        if self._frames > self._host.config.tcp_max_frames_per_second * WINDOW:
            self._transport.pause_reading()

    def _next_window(self) -> None:
        self._frames, self._window = 0, None
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self._end()

    # Frames

    def _frame(self, frame: bytes) -> None:
        self._heard = self._heard or self.proved
        if self._tunnel is None and not self._prove(frame):
            return
        if self._tunnel is not None:
            self._tunnel.take(frame)

    def _prove(self, frame: bytes) -> bool:
        """Whether the first frame is a check that one of our legs' passwords was needed for."""
        try:
            request = parse_binding_request(frame, self._host.config.max_stun_bytes)
        except StunError:
            self.abort("tcp_not_a_check")
            return False
        key = self._host.key_of(request.local_ufrag or "")
        if key is None or not request.authentic(key):
            self.abort("tcp_not_authentic")
            return False
        try:
            self._tunnel = self._host.open_tunnel(ip_address(self.source[0]).version, self.source, self._send)
        except OSError:
            self.abort("tcp_no_socket")
            return False
        self._ufrag = request.local_ufrag or ""
        self._watch(self._host.config.liveness_timeout)
        return True

    def _send(self, data: bytes) -> None:
        """One datagram of the plane. Who reads slowly loses some: late media is worthless, and memory has a bound."""
        if self._transport.get_write_buffer_size() > self._host.config.tcp_max_queued:
            self._host.count("tcp_slow_reader")
            return
        self._transport.write(len(data).to_bytes(_LENGTH) + data)

    # Life

    def _watch(self, seconds: float) -> None:
        """Close the connection unless something comes in every so many seconds, and there is a leg for it."""
        if self._timer is not None:
            self._timer.cancel()
        self._heard = False
        self._timer = asyncio.get_running_loop().call_later(seconds, self._on_timer, seconds)

    def _on_timer(self, seconds: float) -> None:
        if not self._heard:
            self.abort("tcp_silent")
        elif not self.is_of_use(self._host.held_addresses()):
            self.abort("tcp_no_leg")
        else:
            self._watch(seconds)

    def abort(self, reason: str) -> None:
        """Close at once, and count why."""
        self._host.count(reason)
        self._end()
        self._transport.abort()

    def _end(self) -> None:
        self._listener.forget(self)
        for timer in (self._timer, self._window):
            if timer is not None:
                timer.cancel()
        if self._tunnel is not None:
            self._host.close_tunnel(self._tunnel)


class TcpListener:
    """The TCP sockets beside the browsers' UDP port, and a bound on what strangers may open."""

    def __init__(self, host: TcpHost) -> None:
        self._host = host
        self._servers: list[asyncio.Server] = []
        self._connections: dict[TcpConnection, str] = {}
        self._sources: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._connections)

    @property
    def addresses(self) -> tuple[Address, ...]:
        """The (address, port) pairs that are bound."""
        return tuple([one.getsockname()[:2] for server in self._servers for one in server.sockets])

    async def start(self, addresses: Sequence[tuple[str, int]]) -> None:
        """Listen on each; raises MediaError 503 that names the one that would not."""
        loop = asyncio.get_running_loop()
        for host, port in addresses:
            try:
                server = await loop.create_server(lambda: TcpConnection(self, self._host), host, port)
            except OSError as error:
                self.close()
                kind = PortTakenError if error.errno == errno.EADDRINUSE else MediaError
                raise kind(f"cannot listen on {host} port {port}/tcp: {error.strerror or error}", 503) from None
            self._servers.append(server)

    def admit(self, connection: TcpConnection) -> bool:
        """Make room for a connection: where all is taken, who waits longest without having proved anything goes.

        After those goes who proved something to a leg that is gone.
        """
        config, source = self._host.config, source_of(connection.source[0])
        if self._sources[source] >= config.tcp_max_connections_per_source:
            return False
        if len(self._connections) >= config.tcp_max_connections:
            idle = next((one for one in self._connections if not one.proved), None) or self._useless()
            if idle is None:
                return False
            idle.abort("tcp_full")
        self._connections[connection] = source
        self._sources[source] += 1
        return True

    def _useless(self) -> TcpConnection | None:
        held = self._host.held_addresses()
        return next((one for one in self._connections if not one.is_of_use(held)), None)

    def forget(self, connection: TcpConnection) -> None:
        """It has ended; idempotent."""
        source = self._connections.pop(connection, None)
        if source is not None:
            self._sources[source] -= 1
            if not self._sources[source]:
                del self._sources[source]

    def drop(self) -> None:
        """End every connection and go on listening."""
        for connection in tuple(self._connections):
            connection.abort("tcp_dropped")

    def close(self) -> None:
        """Stop listening and end every connection; idempotent."""
        for server in self._servers:
            server.close()
        self._servers.clear()
        self.drop()


def tcp_candidate(index: int, address: str, port: int) -> str:
    """The value of one `a=candidate` for a passive TCP address (RFC 6544 sections 4.2 and 4.5).

    Type preference 90, below UDP's 126; direction preference 4 (host, passive); `index` is the rank among our own.
    """
    priority = (90 << 24) + ((4 << 13) + (8191 - index) << 8) + 255
    return f"t{index + 1} 1 tcp {priority} {address} {port} typ host tcptype passive"
