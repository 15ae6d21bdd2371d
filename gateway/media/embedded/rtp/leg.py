"""A phone's media: RTP and RTCP over UDP, plain or SDES-SRTP, behind `MediaTransport`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from gateway.media.embedded.plane.packet import HEADER_SIZE, MAXIMUM_SIZE, is_rtcp, is_well_formed
from gateway.media.embedded.plane.srtp import SrtpKey, SrtpSession
from gateway.media.embedded.rtp.latching import Address, Latch, LatchRules, may_send_to
from gateway.media.embedded.rtp.ports import PortPair, PortPool
from gateway.media.embedded.transport import PacketSink
from gateway.media.engine import MediaError

logger = logging.getLogger("gateway.media.rtp")

SHORTEST_RTCP = 8
INTERNAL_ERRORS_LOGGED = 20


class _Socket(asyncio.DatagramProtocol):
    """One of a leg's two sockets."""

    def __init__(self, receive: Callable[[bytes, Address], None], failed: Callable[[], None]) -> None:
        self._receive = receive
        self._failed = failed

    def datagram_received(self, data: bytes, addr: Address | tuple[str | Any, int]) -> None:
        try:
            self._receive(data, addr)
        except Exception:
            # An exception that reached the event loop here could close the socket under the call.
            self._failed()

    def error_received(self, exc: Exception) -> None:
        """ICMP errors say nothing that the media timer does not."""


class RtpLeg:
    """One phone's transport; a `MediaTransport`. Strict about sources, see `latching`.

    The path from `datagram_received` to the sink is synchronous, and so is sending.
    """

    def __init__(
        self,
        pool: PortPool,
        *,
        clock: Callable[[], float],
        rules: LatchRules | None = None,
        secure: bool = False,
        max_packets_per_second: int = 500,
    ) -> None:
        """`secure`: nothing flows before `set_keys`. Raises MediaError 503 when no port is left."""
        self.sink: PacketSink | None = None
        self.discarded: dict[str, int] = {}
        """Packets dropped, by reason."""
        self.secure = secure
        self._pool = pool
        self._pair: PortPair | None = pool.acquire()
        self.port = self._pair.port
        """Our RTP port; RTCP is on the next."""
        self._clock = clock
        self._latch = Latch(rules or LatchRules())
        self._private_source: str | None = None
        self._srtp: SrtpSession | None = None
        self._mux = False
        self._rtcp_named: Address | None = None
        self._rtcp_learned: Address | None = None
        self._accepts: frozenset[int] = frozenset()
        self._limit = max_packets_per_second
        self._second = float("-inf")
        self._in_second = 0
        self._transports: list[asyncio.DatagramTransport] = []

    async def open(self) -> None:
        """Start to read both sockets."""
        loop = asyncio.get_running_loop()
        pair = self._pair
        if pair is None:
            raise MediaError("the RTP leg is closed", 500)
        for bound, receive in ((pair.rtp, self._receive), (pair.rtcp, self._receive_rtcp)):
            transport, _ = await loop.create_datagram_endpoint(
                lambda receive=receive: _Socket(receive, self._internal_error),  # type: ignore[misc]  # mypy cannot infer the lambda
                sock=bound,
            )
            self._transports.append(transport)

    # What signalling brings

    def set_remote(
        self,
        rtp: Address | None,
        rtcp: Address | None,
        *,
        mux: bool = False,
        private_source: str | None = None,
        accepts: frozenset[int] = frozenset(),
    ) -> None:
        """Take what a new description says of the peer.

        `rtp` and `rtcp` are where it receives, None where it is on hold by 0.0.0.0; `mux`: RTCP comes on the
        RTP port; `private_source`: the address its signalling came from; `accepts`: payload types that may
        arrive, no other can teach us an address.
        """
        if rtp is not None:
            self._latch.expect(rtp, private_source, self._clock())
        self._rtcp_named = rtcp
        self._rtcp_learned = None
        self._private_source = private_source
        self._mux = mux
        self._accepts = accepts

    def set_keys(self, send: SrtpKey, receive: SrtpKey) -> None:
        """Protect everything from here on; what a key that stays has counted is not forgotten."""
        if self._srtp is None:
            self._srtp = SrtpSession(send, receive)
        else:
            self._srtp.rekey(send, receive)
        self.secure = True

    @property
    def remote_address(self) -> Address | None:
        """Where media goes."""
        return self._latch.destination

    @property
    def all_discarded(self) -> dict[str, int]:
        """`discarded` with what SRTP refused."""
        counts = dict(self.discarded)
        for reason, count in (self._srtp.discarded if self._srtp is not None else {}).items():
            counts[reason] = counts.get(reason, 0) + count
        return counts

    @property
    def learned(self) -> bool:
        """Whether media goes to another address than the description named."""
        return self._latch.learned

    # What the relay sees

    @property
    def ready(self) -> bool:
        """Whether `send_rtp` would send now."""
        return self._pair is not None and self._latch.destination is not None and not (self.secure and not self._srtp)

    def send_rtp(self, packet: bytes) -> None:
        """Protect if need be and send at once; dropped and counted when there is nowhere to send to."""
        pair = self._pair
        address = self._latch.source or self._latch.destination
        if pair is None or address is None:
            self._discard("not_ready")
            return
        if self._srtp is not None:
            protected = self._srtp.protect(packet)
            if protected is None:
                return
            packet = protected
        elif self.secure:
            self._discard("not_ready")
            return
        try:
            pair.rtp.sendto(packet, address)
        except OSError:
            self._discard("socket")

    def send_rtcp(self, packet: bytes) -> None:
        """Protect if need be and send one compound RTCP packet at once."""
        pair = self._pair
        address = self._rtcp_destination()
        if pair is None or address is None or (self.secure and self._srtp is None):
            self._discard("not_ready")
            return
        if self._srtp is not None:
            protected = self._srtp.protect_rtcp(packet)
            if protected is None:
                return
            packet = protected
        try:
            (pair.rtp if self._mux else pair.rtcp).sendto(packet, address)
        except OSError:
            self._discard("socket")

    def close(self) -> None:
        """Close both sockets, forget the keys, let the ports rest; idempotent."""
        pair, self._pair = self._pair, None
        if pair is None:
            return
        self._srtp = None
        self.sink = None
        for transport in self._transports:
            transport.close()
        for bound in (pair.rtp, pair.rtcp)[len(self._transports) :]:
            bound.close()
        self._transports.clear()
        self._pool.release(pair)

    # What the network brings

    def _receive(self, data: bytes, address: Address) -> None:
        """The packet path: no await, no task, no queue."""
        size = len(data)
        if size < HEADER_SIZE or size > MAXIMUM_SIZE or data[0] >> 6 != 2:
            if self._mux and is_rtcp(data):
                self._receive_rtcp(data, address)
                return
            self._discard("malformed")
            return
        if 192 <= data[1] <= 223:
            if self._mux:
                self._receive_rtcp(data, address)
            else:
                self._discard("unexpected_rtcp")
            return
        now = self._clock()
        latch = self._latch
        if address != latch.source:
            packet = self._newcomer(data, address, now)
        elif not self._within_rate(now):
            return
        else:
            packet = self._srtp.unprotect(data) if self._srtp is not None else None if self.secure else data
        if packet is None:
            return
        if packet[0] != 0x80 and not is_well_formed(packet):
            self._discard("malformed")
            return
        latch.heard = now
        sink = self.sink
        if sink is None:
            self._discard("no_sink")
            return
        sink.receive_rtp(packet, now)

    def _newcomer(self, data: bytes, address: Address, now: float) -> bytes | None:
        """A packet from an address that is not the source: the packet in the clear if that changes now."""
        latch = self._latch
        if self._srtp is not None:
            if not latch.may_learn(address, now) or not self._within_rate(now):
                self._discard("wrong_source")
                return None
            packet = self._srtp.unprotect(data)
            if packet is None or not latch.admit(address, now, authentic=True):
                return None
            return packet
        acceptable = not self.secure and (not self._accepts or data[1] & 0x7F in self._accepts)
        if not acceptable or not is_well_formed(data) or not latch.admit(address, now):
            self._discard("wrong_source")
            return None
        return data

    def _receive_rtcp(self, data: bytes, address: Address) -> None:
        if not SHORTEST_RTCP <= len(data) <= MAXIMUM_SIZE or data[0] >> 6 != 2 or not is_rtcp(data):
            self._discard("malformed")
            return
        if not self._is_rtcp_source(address):
            self._discard("wrong_source")
            return
        now = self._clock()
        if not self._within_rate(now):
            return
        packet: bytes | None = data
        if self._srtp is not None:
            packet = self._srtp.unprotect_rtcp(data)
        elif self.secure:
            packet = None
        if packet is None:
            return
        if len(packet) < SHORTEST_RTCP:
            self._discard("malformed")
            return
        if self._latch.learned:
            self._rtcp_learned = address
        if self.sink is None:
            self._discard("no_sink")
            return
        self.sink.receive_rtcp(packet, now)

    def _is_rtcp_source(self, address: Address) -> bool:
        """RTCP comes from where the description says, or from beside a learned RTP source."""
        source = self._latch.source
        if self._mux:
            return address == source
        if source is None or not self._latch.learned:
            return address[:2] == self._rtcp_named
        return address[0] == source[0] and self._rtcp_learned in (None, address)

    def _rtcp_destination(self) -> Address | None:
        source = self._latch.source
        if self._mux:
            return source or self._latch.destination
        if source is not None and self._latch.learned:
            return self._rtcp_learned or (source[0], source[1] + 1)
        named = self._rtcp_named
        return named if named is not None and may_send_to(named[0], self._private_source) else None

    def _within_rate(self, now: float) -> bool:
        if now - self._second >= 1.0:
            self._second = now
            self._in_second = 0
        self._in_second += 1
        if self._in_second > self._limit:
            self._discard("rate")
            return False
        return True

    def _discard(self, reason: str) -> None:
        self.discarded[reason] = self.discarded.get(reason, 0) + 1

    def _internal_error(self) -> None:
        self._discard("internal_error")
        if self.discarded["internal_error"] <= INTERNAL_ERRORS_LOGGED:
            logger.exception("a packet met an error of our own")
