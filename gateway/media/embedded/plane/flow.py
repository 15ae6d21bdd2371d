"""One peer of the Python plane: its keys, its incoming and its outgoing stream, and the path a packet takes.

The packet lies in the workspace from the socket that received it to the socket that sends it; nothing is
awaited, nothing queued, and no object made for it but what has to leave the plane.
"""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from gateway.media.embedded.plane.around import Bundled, FlowHost
from gateway.media.embedded.plane.feeding import Feed, place
from gateway.media.embedded.plane.figures import figures
from gateway.media.embedded.plane.inbound import Inbound
from gateway.media.embedded.plane.kept import Kept, resend
from gateway.media.embedded.plane.outgoing import OutgoingStream
from gateway.media.embedded.plane.packet import HEADER, HEADER_SIZE, MARKER, RtpError, payload_bounds, put_packet
from gateway.media.embedded.plane.routes import COPY, DROP, EMPTY, FORWARD, NO_ROUTE, PUNT, UNWRAP, RouteTable, is_digit
from gateway.media.embedded.plane.srtp import MAX_SEND_KEYS, WORKSPACE, ReceiveContext, SendContext, SrtpKey
from gateway.media.embedded.plane.values import NEVER, Address, FlowConfig, FlowSnapshot, MediaPacket, Silence

SHORTEST_RTCP = 8
_WRAP = 0xFFFFFFFF
_UNPACK = HEADER.unpack_from
_PACK_INTO = HEADER.pack_into
_DATA = WORKSPACE.data


class Flow(ABC):
    """What both kinds of port have in common."""

    __slots__ = (
        "_address",
        "_generation",
        "_host",
        "_in_second",
        "_open",
        "_rtcp_address",
        "_rtcp_socket",
        "_second",
        "_senders",
        "_socket",
        "_table",
        "bundled",
        "config",
        "discarded",
        "feeds",
        "flowing",
        "heard",
        "idle_told",
        "inbound",
        "kept",
        "media",
        "muted",
        "number",
        "octets_received",
        "packets_received",
        "quiet_since",
        "receiver",
        "sender",
        "silence",
        "silent_at",
        "since",
        "stream",
        "target",
        "unsent",
    )

    def __init__(self, number: int, config: FlowConfig, host: FlowHost) -> None:
        self.number = number
        self.config = config
        self.heard = NEVER
        """Last authentic packet or check."""
        self.since = host.clock()
        """When it was last configured: idleness counts from then."""
        self.idle_told = NEVER
        """What was heard last when idleness was told."""
        self.discarded: dict[str, int] = {}
        self.unsent: dict[str, int] = {}
        self.packets_received = self.octets_received = 0
        self.inbound = Inbound()
        self.bundled: tuple[Bundled, ...] = ()
        """Those that share its transport."""
        self.stream: OutgoingStream | None = None
        self.target: Flow | None = None
        self.feeds: tuple[Feed, ...] = ()
        self.receiver: ReceiveContext | None = None
        self.sender: SendContext | None = None
        self.kept: Kept | None = None
        """What may be sent again."""
        self.silence: Silence | None = None
        self.quiet_since = NEVER
        """When silence was asked for."""
        self.silent_at = NEVER
        """When silence was sent last."""
        self.flowing = False
        """Whether relayed packets go out: open, not muted, and there is somewhere to send to."""
        self._host = host
        self._senders: dict[SrtpKey, SendContext] = {}
        self._table: RouteTable = EMPTY
        self.media = -1
        self._generation = 0
        self._open = self.muted = False
        self._socket: socket.socket | None = None
        self._rtcp_socket: socket.socket | None = None
        self._address: Any = None
        self._rtcp_address: Any = None
        self._second = NEVER
        self._in_second = 0

    # What the engine brings

    def configure(self, config: FlowConfig) -> None:
        self.config = config
        self.update()

    def set_receive_key(self, key: SrtpKey, mki: bytes) -> None:
        if self.receiver is None or self.receiver.key != key:
            self.receiver = ReceiveContext(key, self.discarded)
        self.receiver.mki = mki

    def set_send_key(self, key: SrtpKey) -> None:
        """A key that was used before goes on counting where it was: no index is ever used twice.

        One beyond `MAX_SEND_KEYS` is refused, and nothing leaves while it would be in use.
        """
        known = self._senders.get(key)
        if known is None and len(self._senders) < MAX_SEND_KEYS:
            known = self._senders[key] = SendContext(key, self.unsent)
        self.sender = known
        self.update()

    def drop_keys(self) -> None:
        self.receiver = self.sender = None
        self.update()

    def rtcp_contexts(self) -> tuple[ReceiveContext | None, SendContext | None]:
        """What opens and what protects RTCP."""
        return self.receiver, self.sender

    def start_stream(
        self, ssrc: int, sequence_number: int, timestamp: int, clock_rate: int, *, ends_frames: bool = False
    ) -> None:
        if self.stream is None or self.stream.ssrc != ssrc:
            self.stream = OutgoingStream(ssrc, sequence_number, timestamp, clock_rate, ends_frames=ends_frames)
        else:
            self.stream.set_clock(clock_rate)
        self.update()

    def route(self, target: Flow | None, table: RouteTable) -> None:
        if target is not self.target and target is not None and target.stream is not None:
            target.stream.begin()
        self.target = target
        self._table = table
        self.media = -1

    def set_open(self, value: bool) -> None:
        self._open = value
        self.update()

    def set_muted(self, value: bool) -> None:
        self.muted = value
        self.update()

    @property
    def ready(self) -> bool:
        """Whether anything that is sent would leave."""
        return self._address is not None and (self.sender is not None or not (self.config.secure or self._senders))

    def update(self) -> None:
        """Something that `flowing` depends on has changed."""
        self.flowing = self._open and not self.muted and self.stream is not None and self.ready
        for each in self.bundled:
            each.update()

    def close(self) -> None:
        """Send and take nothing more."""
        self._address = self._rtcp_address = self.target = self.silence = None
        self.feeds = ()
        self.update()

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

    def receive(self, size: int, now: float) -> bool:
        """One RTP packet of the source in the workspace, SRTP where there is a key; whether it was authentic."""
        first, second, sequence_number, timestamp, ssrc = _UNPACK(_DATA)
        receiver = self.receiver
        if receiver is not None:
            size = receiver.open(size, ssrc)
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
        if self.feeds:
            self._feed(second, sequence_number, timestamp, start, end, now)
        if action == FORWARD:
            if target is None or stream is None:
                return
            if not target.flowing:
                stream.skip()
                return
            target.forward(
                table.payload_type[payload_type] | second & MARKER,
                sequence_number, timestamp, inbound.highest, start, end, now,
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
        if self.feeds:
            self._feed(second, sequence_number, timestamp, start + 2, end, now)
        if target is not None and target.flowing:
            second = self._table.payload_type[second & 0x7F] | second & MARKER
            target.forward(second, sequence_number, timestamp, self.inbound.highest, start + 2, end, now)

    def _feed(self, second: int, sequence_number: int, timestamp: int, start: int, end: int, now: float) -> None:
        payload, told = bytes(_DATA[start:end]), partial(self._host.fed, source=self, now=now)
        for feed in self.feeds:
            feed.take(second, sequence_number, timestamp, self.inbound.highest, payload, now, told)
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
            second = self._table.payload_type[payload_type] | second & MARKER
            target.forward(second, sequence_number, timestamp, self.inbound.highest, start, end, now)
        elif stream is not None:
            stream.skip()
        if action in (COPY, PUNT):
            self._host.handler.media(self.number, packet, now)

    def receive_rtcp(self, size: int, path: int, source: Address, now: float) -> None:
        """One RTCP datagram of at least the shortest length in the workspace."""
        receiver = self.rtcp_contexts()[0]
        if receiver is not None:
            size = receiver.open_rtcp(size)
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
        if receiver is not None:
            self.heard = now
        self._host.handler.rtcp(self.number, path, source, bytes(_DATA[:size]), now)

    # What goes out

    def forward(
        self, second: int, sequence_number: int, timestamp: int, highest: int, start: int, end: int, now: float
    ) -> None:
        """Send the payload in the workspace in the place of the incoming packet; only while `flowing`."""
        stream = self.stream
        if stream is None:
            return
        when = (timestamp + stream.offset) & _WRAP
        if (
            stream.steady
            and sequence_number == highest
            and (when - stream.last_timestamp) & _WRAP <= stream.leap
        ):  # fmt: skip
            # What `place` would find, without the call.
            out = (sequence_number + stream.sequence_offset) & 0xFFFF
            stream.last_sequence_number = out
            stream.last_timestamp = when
            stream.last_sent = now
        else:
            placed = stream.place(sequence_number, timestamp, highest, now)
            if placed is None:
                self.count_unsent("late")
                return
            out, when, marker = placed
            second |= marker
        if self.kept is not None:
            self.kept.keep(out, second, when, bytes(_DATA[start:end]))
        base = start - HEADER_SIZE
        _PACK_INTO(_DATA, base, 0x80, second, out, when, stream.ssrc)
        size = end - base
        if self.sender is not None:
            size = self.sender.seal(base, size)
            if not size:
                return
        try:
            self._socket.sendto(_DATA[base : base + size], self._address)  # type: ignore[union-attr]  # flowing
        except OSError:
            self.count_unsent("socket")
        else:
            stream.packets += 1
            stream.octets += end - start

    def inject(self, payload_type: int, marker: bool, payload: bytes, advance: int | None, now: float) -> bool:
        """Send a packet of our own after all others."""
        stream = self.stream
        if stream is None or not self.ready:
            self.count_unsent("not_ready")
            return False
        out, when, _ = stream.inject(advance, now)
        self.emit(payload_type | (MARKER if marker else 0), out, when, payload, stream)
        return True

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

    def emit(self, second: int, out: int, when: int, payload: bytes, stream: OutgoingStream) -> None:
        if HEADER_SIZE + len(payload) > len(_DATA):
            self.count_unsent("too_long")
            return
        size = put_packet(_DATA, second, out, when, stream.ssrc, payload)
        if self.sender is not None:
            size = self.sender.seal(0, size)
            if not size:
                return
        if self._send(self._socket, size, self._address):
            stream.sent(len(payload))

    def resend(self, sequence_numbers: Sequence[int], now: float) -> list[int]:
        """Send these packets of the stream again; the incoming numbers of those that never came here."""
        return resend(self, sequence_numbers, now)

    def repeat(self, second: int, number: int, timestamp: int, ssrc: int, payload: bytes) -> None:
        """Send a retransmission, which is none of the stream's packets."""
        size = put_packet(_DATA, second, number, timestamp, ssrc, payload)
        if self.sender is not None:
            size = self.sender.seal(0, size)
        if size:
            self._send(self._socket, size, self._address)

    def send_rtcp(self, packet: bytes) -> None:
        """One compound packet in the clear, protected where there is a key."""
        if self._rtcp_address is None or not self.ready:
            self.count_unsent("not_ready")
            return
        size, sender = WORKSPACE.put(packet), self.rtcp_contexts()[1]
        if sender is not None:
            size = sender.seal_rtcp(size)
            if not size:
                return
        self._send(self._rtcp_socket, size, self._rtcp_address)

    def _send(self, bound: socket.socket | None, size: int, address: Any) -> bool:
        if bound is None:
            return False
        try:
            bound.sendto(_DATA[:size], address)
        except OSError:
            self.count_unsent("socket")
            return False
        return True

    # Accounting

    def discard(self, reason: str) -> None:
        """Count one received packet that was dropped."""
        self.discarded[reason] = self.discarded.get(reason, 0) + 1

    def count_unsent(self, reason: str) -> None:
        self.unsent[reason] = self.unsent.get(reason, 0) + 1

    @abstractmethod
    def addresses(self) -> tuple[Address | None, Address | None, Mapping[tuple[int, Address], float]]:
        """Source, destination and pairs as they stand."""

    def snapshot(self, now: float) -> FlowSnapshot:
        """The counters as they stand."""
        return figures(self, now)
