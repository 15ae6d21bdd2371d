"""SIP over UDP: one socket a listening address, nothing awaited between socket and core."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import struct
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from typing import Any

from gateway.net import packet_info
from gateway.sip.flow import Flow

logger = logging.getLogger(__name__)

Receive = Callable[[bytes, Flow], None]
Unreachable = Callable[[bytes, Flow], None]
"""Told the beginning of a datagram of ours that came back or was not taken, and where it was to go."""

MAX_DATAGRAM = 65_535
BATCH = 64
"""Datagrams read before other work of the loop has its turn."""
REMEMBERED_FLOWS = 4096
_REPEATED = 0.5
"""Seconds after which a request is sent again that was lost (T1, RFC 3261 17.1.1.2)."""
_BACKLOG = 0.06
"""Seconds that a full buffer takes to be read at least, from which on datagrams without room say that we are late."""

# Linux only and not in the socket module: have ICMP errors of an unconnected socket queued with their destination.
_RECVERR = {socket.AF_INET: (socket.IPPROTO_IP, 11), socket.AF_INET6: (socket.IPPROTO_IPV6, 25)}
_EXTENDED_ERROR = struct.Struct("=IBBBBII")
"""sock_extended_err: errno, origin, type, code, pad, info, data."""
_HOPELESS = frozenset((errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EACCES))
"""What says that nobody listens there; a datagram that was too large, for one, says nothing of the peer."""

Address = tuple[str, int] | tuple[str, int, int, int]
Came = Any
"""Where a datagram came from; at a wildcard a pair of that and the octets of our address that it came to."""
WILDCARDS = ("0.0.0.0", "::")


@dataclass(frozen=True, slots=True, kw_only=True)
class UdpLimits:
    """Sizes of the kernel's and our own buffers, in bytes."""

    receive_buffer: int = 4 * 1024 * 1024
    """Asked of the kernel (SO_RCVBUF); it may give less."""
    write_buffer: int = 1024 * 1024
    """Datagrams that the kernel would not take yet; beyond this they are dropped, as the network would."""
    dscp: int = 0
    """Marks what is sent (RFC 2474)."""


def mark(sock: socket.socket, dscp: int) -> None:
    """Have what the socket sends marked, unless with 0."""
    if dscp:
        kind = (socket.IPPROTO_IP, socket.IP_TOS)
        if sock.family == socket.AF_INET6:
            kind = (socket.IPPROTO_IPV6, socket.IPV6_TCLASS)
        sock.setsockopt(*kind, dscp << 2)


class UdpListener:
    """One bound socket; made by `open_udp`.

    Not asyncio's own datagram transport, which loses a datagram to one peer for every ICMP error of another, and
    does not say whose error it was.
    """

    def __init__(
        self,
        sock: socket.socket,
        receive: Receive,
        unreachable: Unreachable,
        limits: UdpLimits,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._receive = receive
        self._unreachable = unreachable
        self._limits = limits
        self._flows: dict[Came, Flow] = {}
        self._leaving: dict[str, packet_info.Ancillary | None] = {}
        """What has a datagram leave from there, by `Flow.local`."""
        self._waiting: deque[tuple[bytes, Flow]] = deque()
        self._waiting_size = 0
        self._closed = False
        self.host, self.port = sock.getsockname()[:2]
        self.local = str(Flow("udp", self.host, self.port))
        self.dropped = 0
        """Datagrams not sent because the write buffer was full or the kernel refused."""
        self._waited = 0.0
        self._lost = 0
        self._listens_again = False
        self._is_wildcard = self.host in WILDCARDS
        self._take = self._take_with_info if self._is_wildcard else partial(sock.recvfrom, MAX_DATAGRAM)
        self._loop.add_reader(sock, self._readable)

    # ---- in

    def _readable(self) -> None:
        receive, take = self._receive, self._take
        for number in range(BATCH):
            try:
                data, came = take() if number else self._take_first()
            except (BlockingIOError, InterruptedError):
                if number:
                    return  # an error that waits would have been said in place of the last datagram
                self._listen_again()
                break
            except OSError as error:
                self._listen_again()
                logger.debug("udp error on %s: %s", self.local, type(error).__name__)
                break
            flow = self._flows.get(came)
            receive(data, flow if flow is not None else self._remember(came))
            if self._closed:
                return
        else:
            return
        self._read_errors()

    def _take_first(self) -> tuple[bytes, Came]:
        """The datagram that has waited longest, as `_take` gives one."""
        data, ancillary, _, address = self._sock.recvmsg(MAX_DATAGRAM, packet_info.BUFFER)
        when, lost = packet_info.came_at(ancillary)
        waited = time.time() - when if when is not None else 0.0
        if lost != self._lost:
            # A flood of junk overflows the buffer as well, but a loop that is in time empties it at once.
            self._lost, waited = lost, max(waited, _REPEATED) if waited >= _BACKLOG else waited
        self._waited = max(self._waited, waited)
        return data, (address, packet_info.local_address(ancillary)) if self._is_wildcard else address

    def waited(self) -> float:
        """Return the longest time (s) that a datagram has waited to be read since the last call.

        Datagrams without room count, with the time until their repetition, where the next one read was late as well.
        """
        waited, self._waited = self._waited, 0.0
        return waited

    def _take_with_info(self) -> tuple[bytes, Came]:
        """A datagram, from where it came, and to which of our addresses, from which the answers go (RFC 3581 4)."""
        data, ancillary, _, address = self._sock.recvmsg(MAX_DATAGRAM, packet_info.BUFFER)
        return data, (address, packet_info.local_address(ancillary))

    def _remember(self, came: Came) -> Flow:
        """The flow of a peer, kept so that its next datagram costs no new object; the memory is bounded."""
        if len(self._flows) >= REMEMBERED_FLOWS:
            self._flows.clear()
        flow = self._flows[came] = self._flow_of(*came) if self._is_wildcard else self._flow_of(came)
        return flow

    def _flow_of(self, address: Address, local: bytes = b"") -> Flow:
        here = str(Flow("udp", str(ip_address(local)), self.port)) if local else self.local
        return Flow("udp", address[0].partition("%")[0], address[1], here)

    def _read_errors(self) -> None:
        """Take the ICMP errors that have come; reading them clears the socket's pending error as well."""
        for _ in range(BATCH):
            try:
                data, ancillary, _, address = self._sock.recvmsg(MAX_DATAGRAM, 512, socket.MSG_ERRQUEUE)
            except OSError:
                return
            self._listen_again()
            for level, kind, value in ancillary:
                if (level, kind) == _RECVERR[self._sock.family] and _EXTENDED_ERROR.unpack_from(value)[0] in _HOPELESS:
                    self._unreachable(data, self._flow_of(address))
                    break

    def _listen_again(self) -> None:
        """Have the loop watch the socket anew, soon: libuv watches none any more once it has seen an error there.

        The error may have been taken by who sends, between the look of the loop and its call.
        """
        if not self._listens_again and not self._closed:
            self._listens_again = True
            self._loop.call_soon(self._watch)

    def _watch(self) -> None:
        self._listens_again = False
        if not self._closed:
            self._loop.remove_reader(self._sock)
            self._loop.add_reader(self._sock, self._readable)

    # ---- out

    def send(self, data: bytes, flow: Flow) -> None:
        """Send one datagram; failures are reported to the core, of this one alone (RFC 3261 18.4), never raised."""
        if self._closed:
            return
        if self._waiting:
            self._queue(data, flow)
        elif not self._send_now(data, flow):
            self._queue(data, flow)
            self._loop.add_writer(self._sock, self._writable)

    def _send_now(self, data: bytes, flow: Flow) -> bool:
        """Hand a datagram to the kernel; False where it is to be tried again later."""
        address = (flow.host, flow.port)
        source = self._source_of(flow) if self._is_wildcard else None
        try:
            if source is None:
                self._sock.sendto(data, address)
            else:
                self._sock.sendmsg((data,), source, 0, address)
        except (BlockingIOError, InterruptedError):
            return False
        except (OSError, ValueError, OverflowError):
            # It may have been another peer's ICMP error that was reported here, or an address that is not ours any
            # more: once more, after that was read.
            self._listen_again()
            self._read_errors()
            try:
                self._sock.sendto(data, address)
            except (OSError, ValueError, OverflowError) as error:
                logger.debug("nothing sent to %s: %s", flow, type(error).__name__)
                self.dropped += 1
                self._unreachable(data, flow)
        return True

    def _source_of(self, flow: Flow) -> packet_info.Ancillary | None:
        """What has a datagram leave from the address that the peer has written to."""
        if flow.local not in self._leaving:
            if len(self._leaving) >= REMEMBERED_FLOWS:
                self._leaving.clear()
            self._leaving[flow.local] = packet_info.from_address(flow.local)
        return self._leaving[flow.local]

    def _queue(self, data: bytes, flow: Flow) -> None:
        if self._waiting_size + len(data) > self._limits.write_buffer:
            self.dropped += 1
            return
        self._waiting.append((data, flow))
        self._waiting_size += len(data)

    def _writable(self) -> None:
        while self._waiting:
            data, flow = self._waiting[0]
            if not self._send_now(data, flow):
                return
            self._waiting.popleft()
            self._waiting_size -= len(data)
        self._loop.remove_writer(self._sock)

    def close(self) -> None:
        """Close the socket; what waits is tried once more."""
        if self._closed:
            return
        self._closed = True
        while self._waiting and self._send_now(*self._waiting.popleft()):
            pass
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        self._sock.close()


async def open_udp(
    host: str,
    port: int,
    receive: Receive,
    unreachable: Unreachable,
    limits: UdpLimits | None = None,
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
        sock.setsockopt(*_RECVERR[family], 1)
        packet_info.ask_when(sock)
        if host in WILDCARDS:
            packet_info.ask(sock)
        mark(sock, limits.dscp)
        sock.bind((host, port))
        return UdpListener(sock, receive, unreachable, limits)
    except BaseException:
        sock.close()
        raise
