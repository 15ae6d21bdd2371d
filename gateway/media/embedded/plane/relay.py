"""The packet path of one direction: what one party sends, renumbered for the other.

Payload type, SSRC, sequence number and timestamp are rewritten; the outgoing stream keeps one
SSRC and stays monotonic across new sources, holds and packets of our own, so a peer's jitter
buffer and its SRTP replay window never see a break (complaint C8). No await, no task, no
queue, and no object per packet but the one that is sent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from gateway.media.embedded.plane.inbound import Inbound
from gateway.media.embedded.plane.packet import HEADER, HEADER_SIZE, MARKER, payload_bounds, timestamp_delta
from gateway.media.embedded.transport import MediaTransport

BACKWARD_LIMIT = 3
"""Seconds a timestamp may go back before its source is taken to have begun a new timeline."""
_WRAP = 0xFFFFFFFF
_ANCHOR_SPAN = 1 << 24
_FLOOR_REACH = 1000

UNKNOWN = -1
_UNPACK = HEADER.unpack_from
_PACK = HEADER.pack


class Handler(Protocol):
    """Takes the packets of one payload type that are not simply forwarded."""

    def handle(
        self, relay: Relay, packet: bytes, marker: int, sequence_number: int, timestamp: int, now: float
    ) -> None:
        """One admitted packet; whatever comes of it is sent through `relay`. `marker` is 0 or 0x80."""


@dataclass(frozen=True, slots=True)
class Route:
    """What becomes of one incoming payload type."""

    clock_rate: int
    """RTP clock it comes with in Hz; 0 for digits and comfort noise, which do not set the pace."""
    payload_type: int = UNKNOWN
    """Outgoing payload type of packets that are forwarded; -1 where `handler` takes them."""
    handler: Handler | None = None
    rate_out: int = 0
    """RTP clock of what it becomes, Hz; 0: `clock_rate`."""


def _ignore_rtcp(packet: bytes, now: float) -> None:
    """Nobody asks for it."""


def _ignore_run(now: float) -> None:
    """Nobody asks for it."""


class Relay:
    """One direction: the `PacketSink` of the party that sends, and the outgoing stream to the one that listens.

    Where a packet has no place in the outgoing stream (on hold, a digit of ours is on its way,
    a payload type the peer does not know), it leaves no gap in the sequence numbers.
    """

    __slots__ = (
        "_active",
        "_anchor_in",
        "_anchor_out",
        "_clock",
        "_floor",
        "_forward",
        "_fresh",
        "_generation",
        "_handlers",
        "_media",
        "_muted",
        "_offset",
        "_open",
        "_rates_out",
        "_resume",
        "_sent_any",
        "_sequence_offset",
        "inbound",
        "last_sent",
        "last_sequence_number",
        "last_timestamp",
        "octets",
        "on_rtcp",
        "on_run",
        "packets",
        "rate_in",
        "rate_out",
        "ssrc",
        "target",
    )

    def __init__(
        self,
        inbound: Inbound,
        target: MediaTransport,
        ssrc: int,
        sequence_number: int,
        timestamp: int,
    ) -> None:
        """`ssrc`, first `sequence_number` and `timestamp` are random (RFC 3550 section 5.1)."""
        self.inbound = inbound
        self.target = target
        self.ssrc = ssrc
        self.last_sequence_number = (sequence_number - 1) & 0xFFFF
        self.last_timestamp = timestamp & _WRAP
        self.last_sent = float("-inf")
        self.packets = 0
        self.octets = 0
        """Octets of the packets sent, headers included."""
        self.rate_in = self.rate_out = 8000
        """RTP clocks of the audio that comes and of the audio that goes, Hz."""
        self.on_rtcp: Callable[[bytes, float], None] = _ignore_rtcp
        """Gets the source's RTCP."""
        self.on_run: Callable[[float], None] = _ignore_run
        """Told when a new run of packets begins."""
        self._active = self._muted = self._open = False
        self._forward = [UNKNOWN] * 128
        self._clock = [UNKNOWN] * 128
        self._rates_out = [0] * 128
        self._handlers: dict[int, Handler] = {}
        self._media = UNKNOWN
        self._generation = inbound.generation
        self._fresh = True
        self._resume = False
        self._sent_any = False
        self._sequence_offset = 0
        self._offset = 0
        self._anchor_in = self._anchor_out = 0
        self._floor = 0

    # What signalling brings

    def route(self, routes: dict[int, Route], rate_out: int) -> None:
        """Take the outcome of a negotiation: a route for each payload type that may come, keyed by its number.

        `rate_out`: RTP clock of what is sent while nothing has come yet, Hz.
        """
        self._forward = [UNKNOWN] * 128
        self._clock = [UNKNOWN] * 128
        self._rates_out = [0] * 128
        self._handlers = {}
        for payload_type, route in routes.items():
            self._clock[payload_type] = route.clock_rate
            self._forward[payload_type] = route.payload_type
            self._rates_out[payload_type] = route.rate_out or route.clock_rate
            if route.handler is not None:
                self._handlers[payload_type] = route.handler
        self._media = UNKNOWN
        if not self._sent_any:
            self.rate_out = rate_out

    def set_source(self, inbound: Inbound) -> None:
        """Go on with what another party sends."""
        self.inbound = inbound
        self._generation = inbound.generation
        self._fresh = True

    @property
    def active(self) -> bool:
        """Whether the peer wants to hear this direction."""
        return self._active

    @active.setter
    def active(self, value: bool) -> None:
        self._active = value
        self._open = value and not self._muted

    @property
    def muted(self) -> bool:
        """Whether packets of ours have the stream to themselves; what comes in meanwhile is dropped."""
        return self._muted

    @muted.setter
    def muted(self, value: bool) -> None:
        self._muted = value
        self._open = self._active and not value

    @property
    def media_payload_type(self) -> int:
        """Incoming payload type of the last audio packet; -1: none yet."""
        return self._media

    @property
    def payload_octets(self) -> int:
        """Octets of payload sent, as sender reports count them."""
        return self.octets - HEADER_SIZE * self.packets

    @property
    def open(self) -> bool:
        """Whether what comes in goes out."""
        return self._open

    # What the network brings

    def receive_rtp(self, packet: bytes, now: float) -> None:
        """The packet path."""
        first, second, sequence_number, timestamp, ssrc = _UNPACK(packet)
        payload_type = second & 0x7F
        clock = self._clock[payload_type]
        inbound = self.inbound
        if clock < 0:
            inbound.discarded += 1
            self._resume = True
            return
        if not inbound.admit(ssrc, sequence_number, timestamp, len(packet), clock, now):
            return
        if inbound.generation != self._generation:
            self._generation = inbound.generation
            self._fresh = True
            self.on_run(now)
        if clock and payload_type != self._media:
            self._switch(payload_type, clock)
        payload_type_out = self._forward[payload_type]
        if payload_type_out < 0:
            self._handlers[payload_type].handle(self, packet, second & MARKER, sequence_number, timestamp, now)
            return
        if not self._open:
            self._resume = True
            return
        if first == 0x80:
            payload = packet[HEADER_SIZE:]
        else:
            start, end = payload_bounds(packet)
            payload = packet[start:end]
        self.pass_on(payload_type_out | second & MARKER, payload, sequence_number, timestamp, now)

    def receive_rtcp(self, packet: bytes, now: float) -> None:
        """RTCP ends here: what it says is for us, what the peer gets is our own."""
        self.on_rtcp(packet, now)

    # The outgoing stream

    def pass_on(self, second: int, payload: bytes, sequence_number: int, timestamp: int, now: float) -> None:
        """Send a packet in the place of an incoming one, so that losses and late packets stay what they are.

        `second` is the outgoing marker and payload type; `sequence_number` and `timestamp` are the incoming ones.
        """
        if self._fresh or self._resume:
            if self._fresh:
                second |= MARKER
            self._anchor(sequence_number, timestamp, now)
        elif sequence_number != self.inbound.highest and self._before_floor(sequence_number):
            self.inbound.discarded += 1
            return
        out = (sequence_number + self._sequence_offset) & 0xFFFF
        when = self.map_timestamp(timestamp)
        if self.rate_out * BACKWARD_LIMIT < (self.last_timestamp - when) & _WRAP < 0x80000000:
            self._fresh = True
            self._anchor(sequence_number, timestamp, now)
            out = (sequence_number + self._sequence_offset) & 0xFFFF
            when = self.map_timestamp(timestamp)
        if (out - self.last_sequence_number) & 0xFFFF < 0x8000:
            self.last_sequence_number = out
            self.last_timestamp = when
            self.last_sent = now
        self._send(_PACK(0x80, second, out, when, self.ssrc) + payload)

    def emit(self, second: int, payload: bytes, timestamp: int, now: float) -> None:
        """Send a packet of our own after all others; `timestamp` is an outgoing one."""
        self.last_sequence_number = out = (self.last_sequence_number + 1) & 0xFFFF
        self.last_timestamp = timestamp & _WRAP
        self.last_sent = now
        self._resume = True
        self._send(_PACK(0x80, second, out, self.last_timestamp, self.ssrc) + payload)

    def join(self, sequence_number: int, timestamp: int, now: float) -> int:
        """The outgoing timestamp of an incoming packet that will be sent by `emit`, in one or more parts."""
        if self._fresh:
            self._anchor(sequence_number, timestamp, now)
        return self.map_timestamp(timestamp)

    def skip(self) -> None:
        """An incoming packet has nothing to go out for it: let it leave no gap."""
        self._resume = True

    def timestamp_at(self, now: float) -> int:
        """The outgoing timestamp that stands for `now`, by the wall clock since the last packet."""
        if not self._sent_any:
            return self.last_timestamp
        return (self.last_timestamp + self._elapsed(now)) & _WRAP

    def map_timestamp(self, timestamp: int) -> int:
        """The outgoing timestamp of an incoming one."""
        if self.rate_in == self.rate_out:
            return (timestamp + self._offset) & _WRAP
        delta = timestamp_delta(timestamp, self._anchor_in)
        if not -_ANCHOR_SPAN < delta < _ANCHOR_SPAN:
            # Whole seconds of both clocks, so that the anchor moves without rounding.
            seconds = delta // self.rate_in
            self._anchor_in = (self._anchor_in + seconds * self.rate_in) & _WRAP
            self._anchor_out = (self._anchor_out + seconds * self.rate_out) & _WRAP
            delta -= seconds * self.rate_in
        return (self._anchor_out + delta * self.rate_out // self.rate_in) & _WRAP

    def _send(self, packet: bytes) -> None:
        self._sent_any = True
        self.packets += 1
        self.octets += len(packet)
        self.target.send_rtp(packet)

    def _switch(self, payload_type: int, clock: int) -> None:
        """The source changed its codec: with other clocks the timelines must be joined afresh."""
        rate_out = self._rates_out[payload_type]
        if (clock, rate_out) != (self.rate_in, self.rate_out):
            self.rate_in, self.rate_out = clock, rate_out
            self._fresh = True
        self._media = payload_type

    def _anchor(self, sequence_number: int, timestamp: int, now: float) -> None:
        """Join the incoming numbers to the outgoing ones after the last packet sent."""
        self._sequence_offset = self.last_sequence_number + 1 - sequence_number
        self._floor = sequence_number
        fresh, self._fresh, self._resume = self._fresh, False, False
        if not fresh and 0 < (self.map_timestamp(timestamp) - self.last_timestamp) & _WRAP < 0x80000000:
            return
        self._anchor_in = timestamp
        self._anchor_out = self.last_timestamp
        if self._sent_any:
            self._anchor_out = (self.last_timestamp + max(1, self._elapsed(now))) & _WRAP
        self._offset = self._anchor_out - self._anchor_in

    def _elapsed(self, now: float) -> int:
        """Ticks of the outgoing clock since the last packet sent."""
        return min(0x40000000, max(0, round((now - self.last_sent) * self.rate_out)))

    def _before_floor(self, sequence_number: int) -> bool:
        """Whether a late packet belongs before the point where the numbers were joined."""
        highest = self.inbound.highest
        passed = (highest - self._floor) & 0xFFFF
        if passed > _FLOOR_REACH:
            self._floor = (highest - _FLOOR_REACH) & 0xFFFF
        return passed < (highest - sequence_number) & 0xFFFF
