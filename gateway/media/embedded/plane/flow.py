"""One peer of the Python plane: its keys, its incoming and its outgoing stream, and the path a packet takes.

The packet lies in the workspace from the socket that received it to the socket that sends it; nothing is
awaited, nothing queued, and no object made for it but what has to leave the plane.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from functools import partial

from gateway.media.embedded.plane.around import Bundled, FlowHost
from gateway.media.embedded.plane.arrivals import Arrivals
from gateway.media.embedded.plane.event import is_digit
from gateway.media.embedded.plane.feeding import Feed, place
from gateway.media.embedded.plane.figures import figures
from gateway.media.embedded.plane.inbound import Inbound
from gateway.media.embedded.plane.packet import HEADER, HEADER_SIZE, MARKER, RtpError, octet_extension, payload_bounds
from gateway.media.embedded.plane.receive_keys import ReceiveKeys
from gateway.media.embedded.plane.routes import COPY, DROP, EMPTY, FORWARD, NO_ROUTE, PUNT, UNWRAP, RouteTable
from gateway.media.embedded.plane.send_half import SendHalf
from gateway.media.embedded.plane.srtp import WORKSPACE, SrtpKey
from gateway.media.embedded.plane.values import NEVER, Address, FlowConfig, FlowSnapshot, MediaPacket, Silence

SHORTEST_RTCP = 8
DTLS_PER_SECOND = 200
"""Datagrams of the peer's address that the engine is given, for each flow: as many as the native plane gives it."""
_UNPACK = HEADER.unpack_from
_DATA = WORKSPACE.data


class Flow(SendHalf):
    """What both kinds of port have in common."""

    __slots__ = (
        "_dtls_in_second",
        "_dtls_second",
        "_generation",
        "_host",
        "_in_second",
        "_second",
        "_table",
        "arrivals",
        "bundled",
        "discarded",
        "feeds",
        "heard",
        "idle_told",
        "inbound",
        "media",
        "octets_received",
        "packets_received",
        "quiet_since",
        "receive_keys",
        "routed_by",
        "silence",
        "silent_at",
        "since",
        "target",
    )

    def __init__(self, number: int, config: FlowConfig, host: FlowHost) -> None:
        super().__init__(number, config)
        self.heard = NEVER
        """Last authentic packet or check."""
        self.since = host.clock()
        """When it was last configured: idleness counts from then."""
        self.idle_told = NEVER
        """From when on the silence counted that was told of last."""
        self.discarded: dict[str, int] = {}
        self.packets_received = self.octets_received = 0
        self.inbound = Inbound()
        self.bundled: tuple[Bundled, ...] = ()
        """Those that share its transport."""
        self.arrivals: Arrivals | None = None
        self.target: Flow | None = None
        self.routed_by: Flow | None = None  # whose target it is, and nobody else's
        self.feeds: tuple[Feed, ...] = ()
        self.receive_keys = ReceiveKeys(self.discarded)
        self.silence: Silence | None = None
        self.quiet_since = NEVER
        """When silence was asked for."""
        self.silent_at = NEVER
        """When silence was sent last."""
        self._host = host
        self._table: RouteTable = EMPTY
        self.media = -1
        self._generation = self._in_second = 0
        self._second = NEVER
        self._dtls_in_second, self._dtls_second = 0, NEVER

    # What the engine brings

    def configure(self, config: FlowConfig) -> None:
        self.config = config
        self.update()

    def set_receive_key(self, key: SrtpKey, mki: bytes) -> None:
        self.receive_keys.set(key, mki, self._host.clock())

    def drop_keys(self) -> None:
        self.receive_keys.drop()
        self.sender = None
        self.update()

    @property
    def rtcp_keys(self) -> ReceiveKeys:
        """Keys that open RTCP."""
        return self.receive_keys

    def route(self, target: Flow | None, table: RouteTable) -> None:
        if target is not self.target:
            if target is not None and target.routed_by is not None:
                target.routed_by.route(None, EMPTY)
            if target is not None and target.stream is not None:
                target.stream.begin()
            self._aim(target)
        self._table = table
        self.media = -1

    def _aim(self, target: Flow | None) -> None:
        if self.target is not None:
            self.target.routed_by = None
        self.target = target
        if target is not None:
            target.routed_by = self

    @property
    def is_probed(self) -> bool:
        """Whether padding alone is sent to the peer, by which a browser tries what the network bears: to no phone."""
        return True

    def update(self) -> None:
        super().update()
        for each in self.bundled:
            each.update()

    def close(self) -> None:
        """Send and take nothing more."""
        self.end_routes()
        self._address = self._rtcp_address = self.silence = None
        self.feeds = ()
        self.update()

    def end_routes(self) -> None:
        """Nothing is forwarded from or to here any more."""
        self._aim(None)
        if self.routed_by is not None:
            self.routed_by._aim(None)

    # What the network brings

    def within_rate(self, now: float) -> bool:
        """Count an authentic packet of the source; False for what is above the rate."""
        if now - self._second >= 1.0:
            self._second = now
            self._in_second = 0
        self._in_second += 1
        if self._in_second > self.config.max_packets_per_second:
            self.discard("rate")
            return False
        return True

    def receive(self, size: int, now: float, *, is_source: bool = True) -> bool:
        """One RTP packet in the workspace, SRTP where there is a key; whether it was authentic.

        A sender that is not the source yet must know the newest key: an earlier one may have been another peer's.
        """
        first, second, sequence_number, timestamp, ssrc = _UNPACK(_DATA)
        keys = self.receive_keys
        receiver = keys.current
        if receiver is not None:
            if keys.overlaps and is_source:
                size = keys.open_by_either(size, ssrc, sequence_number, now)
            else:
                size = receiver.open(size, ssrc, sequence_number)
            if not size:
                return False
        elif self.config.secure:
            self.discard("not_ready")
            return False
        start, end = HEADER_SIZE, size
        if first != 0x80:
            try:
                start, end = payload_bounds(_DATA[:size])
            except RtpError:
                self.discard("malformed")
                return False
        if now - self._second >= 1.0 or self._in_second >= self.config.max_packets_per_second:
            if not self.within_rate(now):
                return True
        else:
            self._in_second += 1
        self.heard = now
        self.packets_received += 1
        self.octets_received += size
        if first & 0x10 and self.arrivals is not None and self.arrivals.take(_DATA[:size], ssrc, now):
            self._host.expect_telling(self.number, self.arrivals)
        self._take(second, sequence_number, timestamp, ssrc, start, end, now)
        return True

    def _take(
        self, second: int, sequence_number: int, timestamp: int, ssrc: int, start: int, end: int, now: float
    ) -> None:
        """A packet that is authentic and well-formed; its payload lies between `start` and `end`."""
        payload_type = second & 0x7F
        table = self._table
        action = table.action[payload_type]
        inbound, target = self.inbound, self.target
        stream = target.stream if target is not None else None
        if action in (NO_ROUTE, UNWRAP):
            self._take_other(second, sequence_number, timestamp, ssrc, start, end, now)
            return
        clock = table.clock_rate[payload_type]
        if not inbound.admit(ssrc, sequence_number, timestamp, end, clock, now):
            self.discard("misordered")
            return
        if inbound.generation != self._generation:
            self._generation = inbound.generation
            for fed in (self.target, *[feed.target for feed in self.feeds]):
                if fed is not None and fed.stream is not None:
                    fed.stream.begin()
            # Whoever is told may use the workspace.
            packet = bytes(_DATA[:end])
            self._host.handler.run_began(self.number, ssrc, inbound.generation, now)
            _DATA[:end] = packet
        if clock and payload_type != self.media:
            self.media = payload_type
            if stream is not None:
                stream.switch(clock, table.rate_out[payload_type])
        turned = self._turned(start) if self.orientation else None
        if self.feeds:
            self._feed(second, sequence_number, timestamp, start, end, now, turned)
        if action == FORWARD:
            if target is None or stream is None:
                return
            if not target.flowing:
                stream.skip()
                return
            target.forward(
                table.payload_type[payload_type] | second & MARKER,
                sequence_number, timestamp, inbound.highest, start, end, now, turned,
            )  # fmt: skip
            return
        self._punt(action, second, sequence_number, timestamp, start, end, now)

    def _take_other(
        self, second: int, sequence_number: int, timestamp: int, ssrc: int, start: int, end: int, now: float
    ) -> None:
        """A packet that is not of this stream's numbers: of another stream, a retransmission, or nobody's."""
        if self._table.action[second & 0x7F] == UNWRAP:
            self._unwrap(second, timestamp, start, end, now)
            return
        for each in self.bundled:
            if each.routes(second & 0x7F):
                each.take(second, sequence_number, timestamp, ssrc, start, end, now)
                return
        self.discard("no_route")
        if self.target is not None and self.target.stream is not None:
            self.target.stream.skip()

    def _unwrap(self, second: int, timestamp: int, start: int, end: int, now: float) -> None:
        """Forward what a retransmission repeats: its number is before its payload (RFC 4588 section 4)."""
        if end - start < 3:
            return  # padding, by which a sender tries what the network bears
        sequence_number = int.from_bytes(_DATA[start : start + 2], "big")
        target = self.target
        if not self.inbound.fill(sequence_number):
            return
        turned = self._turned(start) if self.orientation else None
        if self.feeds:
            self._feed(second, sequence_number, timestamp, start + 2, end, now, turned)
        if target is not None and target.flowing:
            second = self._table.payload_type[second & 0x7F] | second & MARKER
            target.forward(second, sequence_number, timestamp, self.inbound.highest, start + 2, end, now, turned)

    def _turned(self, start: int) -> int | None:
        """How the picture lies of the packet whose payload begins at `start`, where it says so."""
        return octet_extension(_DATA[:start], self.orientation)

    def _feed(
        self,
        second: int,
        sequence_number: int,
        timestamp: int,
        start: int,
        end: int,
        now: float,
        turned: int | None,
    ) -> None:
        payload, told = bytes(_DATA[start:end]), partial(self._host.fed, source=self, now=now)
        for feed in self.feeds:
            feed.take(second, sequence_number, timestamp, self.inbound.highest, payload, now, told, turned)
        _DATA[start:end] = payload

    def _punt(
        self, action: int, second: int, sequence_number: int, timestamp: int, start: int, end: int, now: float
    ) -> None:
        """What is not simply forwarded."""
        target, payload_type = self.target, second & 0x7F
        stream = target.stream if target is not None else None
        if action == COPY and not self._table.clock_rate[payload_type] and not is_digit(_DATA[start:end]):
            action = DROP
        packet = MediaPacket(
            payload_type=payload_type,
            marker=second >= MARKER,
            sequence_number=sequence_number,
            timestamp=timestamp,
            payload=bytes(_DATA[start:end]),
            in_order=sequence_number == self.inbound.highest,
            generation=self.inbound.generation,
        )
        if action == COPY and target is not None and target.flowing:
            _forward_copied(self, target, packet, (start, end), now)
        elif stream is not None:
            stream.skip()
            stream.event.hear(self._table.clock_rate[payload_type] * (action == PUNT), now)
        if action in (COPY, PUNT):
            self._host.handler.media(self.number, packet, now)

    def receive_rtcp(self, size: int, path: int, source: Address, now: float) -> None:
        """One RTCP datagram of at least the shortest length in the workspace."""
        keys = self.rtcp_keys
        if keys.current is not None:
            size = keys.open_rtcp(size, now)
            if not size:
                return
        elif self.config.secure:
            self.discard("not_ready")
            return
        if size < SHORTEST_RTCP or _DATA[0] >> 6 != 2:
            self.discard("malformed")
            return
        if not self.within_rate(now):
            return
        if keys.current is not None:
            self.heard = now
        self._host.handler.rtcp(self.number, path, source, bytes(_DATA[:size]), now)

    def receive_dtls(self, size: int, path: int, source: Address, now: float) -> None:
        """One DTLS datagram of an address that is the peer's, which anybody may forge; above the rate it is dropped."""
        if now - self._dtls_second >= 1.0:
            self._dtls_second, self._dtls_in_second = now, 0
        self._dtls_in_second += 1
        if self._dtls_in_second > DTLS_PER_SECOND:
            self.discard("rate")
        else:
            self._host.handler.dtls(self.number, path, source, bytes(_DATA[:size]), now)

    def relay(
        self, sequence_number: int, timestamp: int, second: int, payload: bytes, offset: int | None, now: float
    ) -> None:
        """Send on the target's stream what a punted packet of this flow became."""
        target = self.target
        if target is None or target.stream is None:
            return
        if offset is None:
            place(target, second, sequence_number, timestamp, self.inbound.highest, payload, now)
        elif not target.flowing:
            target.stream.skip()
        else:
            out, when, marker = target.stream.place_after(sequence_number, timestamp, offset, now)
            target.emit(second | marker, out, when, payload, target.stream)

    # Accounting

    def discard(self, reason: str) -> None:
        """Count one received packet that was dropped."""
        self.discarded[reason] = self.discarded.get(reason, 0) + 1

    @abstractmethod
    def addresses(self) -> tuple[Address | None, Address | None, Mapping[tuple[int, Address], float]]:
        """Source, destination and pairs as they stand."""

    def snapshot(self, now: float) -> FlowSnapshot:
        """The counters as they stand."""
        return figures(self, now)


def _forward_copied(source: Flow, target: Flow, packet: MediaPacket, bounds: tuple[int, int], now: float) -> None:
    """Forward audio, or a telephone-event, which has no clock of its own; the payload is in the workspace."""
    second = source._table.payload_type[packet.payload_type] | (MARKER if packet.marker else 0)
    number, timestamp, highest = packet.sequence_number, packet.timestamp, source.inbound.highest
    if source._table.clock_rate[packet.payload_type]:
        target.forward(second, number, timestamp, highest, *bounds, now)
    else:
        target.forward_event(second, number, timestamp, highest, packet.payload, now)
