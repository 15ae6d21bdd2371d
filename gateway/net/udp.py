"""SIP over UDP: one socket for each listening address, no await between socket and core."""

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
"""Takes the beginning of an undeliverable datagram and its destination."""

MAX_DATAGRAM = 65_535
BATCH = 64
"""Datagrams read in a row before other work of the event loop gets its turn."""
REMEMBERED_FLOWS = 4096
_REPEATED = 0.5
"""Seconds before a lost request is retransmitted (T1, RFC 3261 17.1.1.2)."""
_BACKLOG = 0.06
"""Waiting time in seconds above which an overflow of the receive buffer is taken as a sign of a late event loop."""

# Linux only and absent from the socket module: IP_RECVERR and IPV6_RECVERR queue ICMP errors with their destination.
_RECVERR = {socket.AF_INET: (socket.IPPROTO_IP, 11), socket.AF_INET6: (socket.IPPROTO_IPV6, 25)}
_EXTENDED_ERROR = struct.Struct("=IBBBBII")
"""sock_extended_err: errno, origin, type, code, pad, info, data."""
_HOPELESS = frozenset((errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EACCES))
"""Errors that mean an unreachable peer; EMSGSIZE, for example, says nothing about the peer."""

Address = tuple[str, int] | tuple[str, int, int, int]
Came = Any
"""Source of a datagram; on a wildcard socket, a pair of source and the octets of the local address."""
WILDCARDS = ("0.0.0.0", "::")


@dataclass(frozen=True, slots=True, kw_only=True)
class UdpLimits:
    """Sizes of the kernel's and our own buffers, in bytes."""

    receive_buffer: int = 4 * 1024 * 1024
    """SO_RCVBUF requested from the kernel, which may grant less."""
    write_buffer: int = 1024 * 1024
    """Datagrams refused by the kernel for now, in bytes; beyond the limit, datagrams are dropped."""
    dscp: int = 0
    """DSCP of sent packets (RFC 2474)."""


def mark(sock: socket.socket, dscp: int) -> None:
    """Set the DSCP of packets sent by the socket; 0 leaves the default."""
    if dscp:
        kind = (socket.IPPROTO_IP, socket.IP_TOS)
        if sock.family == socket.AF_INET6:
            kind = (socket.IPPROTO_IPV6, socket.IPV6_TCLASS)
        sock.setsockopt(*kind, dscp << 2)


class UdpListener:
    """A bound socket; made by `open_udp`.

    asyncio's datagram transport is not used: an ICMP error about one peer makes it lose a datagram to a second peer,
    and the error lacks the destination.
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
        """Ancillary data that sets the source address, by `Flow.local`."""
        self._waiting: deque[tuple[bytes, Flow]] = deque()
        self._waiting_size = 0
        self._closed = False
        self.host, self.port = sock.getsockname()[:2]
        self.local = str(Flow("udp", self.host, self.port))
        self.dropped = 0
        """Datagrams lost to a full write buffer or a send error."""
        self._waited = 0.0
        self._lost = 0
        self._listens_again = False
        self._is_wildcard = self.host in WILDCARDS
        self._take = self._take_with_info if self._is_wildcard else partial(sock.recvfrom, MAX_DATAGRAM)
        self._loop.add_reader(sock, self._readable)

    # ---- receiving

    def _readable(self) -> None:
        receive, take = self._receive, self._take
        for number in range(BATCH):
            try:
                data, came = take() if number else self._take_first()
            except (BlockingIOError, InterruptedError):
                if number:
                    return  # a pending error would have been raised in place of the last datagram
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
        """Return the oldest waiting datagram with its source, and note its waiting time."""
        data, ancillary, _, address = self._sock.recvmsg(MAX_DATAGRAM, packet_info.BUFFER)
        when, lost = packet_info.came_at(ancillary)
        waited = time.time() - when if when is not None else 0.0
        if lost != self._lost:
            # A flood of junk also overflows the buffer, but a punctual loop empties it at once.
            self._lost, waited = lost, max(waited, _REPEATED) if waited >= _BACKLOG else waited
        self._waited = max(self._waited, waited)
        return data, (address, packet_info.local_address(ancillary)) if self._is_wildcard else address

    def waited(self) -> float:
        """Return the longest time (s) that a datagram waited to be read since the last call.

        Dropped datagrams count with the time to their retransmission, if the next datagram read was late as well.
        """
        waited, self._waited = self._waited, 0.0
        return waited

    def _take_with_info(self) -> tuple[bytes, Came]:
        """Return a datagram with its source and the local address, which becomes the source of answers (RFC 3581 4)."""
        data, ancillary, _, address = self._sock.recvmsg(MAX_DATAGRAM, packet_info.BUFFER)
        return data, (address, packet_info.local_address(ancillary))

    def _remember(self, came: Came) -> Flow:
        """Return the flow of a peer from a bounded cache, so that further datagrams allocate no flow."""
        if len(self._flows) >= REMEMBERED_FLOWS:
            self._flows.clear()
        flow = self._flows[came] = self._flow_of(*came) if self._is_wildcard else self._flow_of(came)
        return flow

    def _flow_of(self, address: Address, local: bytes = b"") -> Flow:
        here = str(Flow("udp", str(ip_address(local)), self.port)) if local else self.local
        return Flow("udp", address[0].partition("%")[0], address[1], here)

    def _read_errors(self) -> None:
        """Process queued ICMP errors; reading the queue also clears the socket's pending error."""
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
        """Register the socket with the loop again: libuv stops watching a socket after an error.

        A send may already have taken the error between the loop's poll and its callback.
        """
        if not self._listens_again and not self._closed:
            self._listens_again = True
            self._loop.call_soon(self._watch)

    def _watch(self) -> None:
        self._listens_again = False
        if not self._closed:
            self._loop.remove_reader(self._sock)
            self._loop.add_reader(self._sock, self._readable)

    # ---- sending

    def send(self, data: bytes, flow: Flow) -> None:
        """Send one datagram; a failure is reported to the core for its own destination (RFC 3261 18.4), never
        raised.
        """
        if self._closed:
            return
        if self._waiting:
            self._queue(data, flow)
        elif not self._send_now(data, flow):
            self._queue(data, flow)
            self._loop.add_writer(self._sock, self._writable)

    def _send_now(self, data: bytes, flow: Flow) -> bool:
        """Pass a datagram to the kernel; return False if the kernel's buffer is full."""
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
            # The error may be an ICMP error of a different peer, or mean a lost local address: read the error queue and
            # retry.
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
        """Return the ancillary data that sends from the address to which the peer has written."""
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
        """Close the socket after one last attempt to send queued datagrams."""
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
    """Bind `host`:`port` (0 for any free port); raises OSError."""
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
