"""SIP over UDP: one asyncio datagram endpoint a listening address, nothing awaited between socket and core."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from gateway.sip.flow import Flow

logger = logging.getLogger(__name__)

Receive = Callable[[bytes, Flow], None]
SendFailed = Callable[[Flow], None]


@dataclass(frozen=True, slots=True)
class UdpLimits:
    """Sizes of the kernel's and our own buffers, in bytes."""

    receive_buffer: int = 4 * 1024 * 1024
    """Asked of the kernel (SO_RCVBUF); it may give less."""
    write_buffer: int = 1024 * 1024
    """Datagrams that the kernel would not take yet; beyond this they are dropped, as the network would."""


class UdpListener(asyncio.DatagramProtocol):
    """One bound socket; made by `open_udp`."""

    def __init__(self, receive: Receive, send_failed: SendFailed, limits: UdpLimits) -> None:
        self._receive = receive
        self._send_failed = send_failed
        self._limits = limits
        self._transport: asyncio.DatagramTransport | None = None
        self._flows: dict[tuple[str, int], Flow] = {}
        self._names: dict[tuple[str, int], str] = {}
        self.host = ""
        self.port = 0
        self.local = ""
        self.dropped = 0
        """Datagrams not sent because the write buffer was full or the kernel refused."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # asyncio's own selector transport is no subclass of DatagramTransport, nor is uvloop's.
        self._transport = cast(asyncio.DatagramTransport, transport)
        self.host, self.port = transport.get_extra_info("sockname")[:2]
        self.local = str(Flow("udp", self.host, self.port))

    def datagram_received(self, data: bytes, addr: tuple[str, int] | tuple[str, int, int, int]) -> None:
        host, port = addr[0], addr[1]
        flow = self._flows.get((host, port))
        if flow is None:
            flow = self._remember(host, port)
        self._receive(data, flow)

    def _remember(self, host: str, port: int) -> Flow:
        """The flow of a peer, kept so that its next datagram costs no new object; the memory is bounded."""
        if len(self._flows) >= 4096:
            self._flows.clear()
        flow = Flow("udp", host.partition("%")[0], port, self.local)
        self._flows[host, port] = flow
        return flow

    def error_received(self, exc: Exception) -> None:
        # ICMP errors name no peer here and can be forged; the transaction timers notice a dead peer.
        logger.debug("udp error on %s: %s", self.local, type(exc).__name__)

    def send(self, data: bytes, flow: Flow) -> None:
        """Send one datagram; failures are reported to the core, never raised."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if _queued(transport) > self._limits.write_buffer:
            self.dropped += 1
            return
        try:
            transport.sendto(data, (flow.host, flow.port))
        except (OSError, ValueError):
            self.dropped += 1
            self._send_failed(flow)

    def close(self) -> None:
        """Close the socket."""
        if self._transport is not None:
            self._transport.close()


def _queued(transport: asyncio.DatagramTransport) -> int:
    """Bytes that wait for the kernel, 0 where the event loop does not say (the type stubs do not know it)."""
    size: int = getattr(transport, "get_write_buffer_size", int)()
    return size


async def open_udp(
    host: str, port: int, receive: Receive, send_failed: SendFailed, limits: UdpLimits | None = None
) -> UdpListener:
    """Bind `host`:`port` (0 for any free port); raises OSError when that is not possible."""
    limits = limits or UdpLimits()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, limits.receive_buffer)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
        _, listener = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: UdpListener(receive, send_failed, limits), sock=sock
        )
    except BaseException:
        sock.close()
        raise
    return listener
