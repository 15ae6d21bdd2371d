"""The stream that goes out: one SSRC, numbers without a break whatever feeds it.

It stays monotonic across new sources, holds and packets of our own, so a peer's jitter buffer and its SRTP
replay window never see a break. A packet that has no place in it leaves no gap.
"""

from __future__ import annotations

from gateway.media.embedded.plane.event import Event, has_end
from gateway.media.embedded.plane.packet import MARKER, timestamp_delta
from gateway.media.embedded.plane.values import NEVER

LEAP = 3
"""Seconds a timestamp may go back, or run ahead of the clock on the wall, before its source is taken to have
begun a new timeline."""
_WRAP = 0xFFFFFFFF
_HALF = 0x80000000
_ANCHOR_SPAN = 1 << 24
_FLOOR_REACH = 1000

Placed = tuple[int, int, int]
"""Outgoing sequence number, timestamp, and the marker to add (0 or 0x80)."""


class OutgoingStream:
    """Numbering of one outgoing RTP stream, and what has gone out on it."""

    __slots__ = (
        "_anchor_in",
        "_anchor_out",
        "_begins",
        "_floor",
        "_fresh",
        "_injected",
        "_resume",
        "_sent_any",
        "_stamped",
        "event",
        "last_sent",
        "last_sequence_number",
        "last_timestamp",
        "leap",
        "octets",
        "offset",
        "packets",
        "rate_in",
        "rate_out",
        "sequence_offset",
        "ssrc",
        "steady",
    )

    def __init__(
        self, ssrc: int, sequence_number: int, timestamp: int, clock_rate: int, *, ends_frames: bool = False
    ) -> None:
        """`ssrc` and the first numbers are random (RFC 3550 section 5.1); `clock_rate` in Hz.

        `ends_frames`: the marker is the source's own, since it ends a frame (RFC 6184 section 5.1).
        """
        self._begins = 0 if ends_frames else MARKER
        self.ssrc = ssrc
        self.last_sequence_number = (sequence_number - 1) & 0xFFFF
        self.last_timestamp = timestamp & _WRAP
        self.last_sent = NEVER
        self.packets = 0
        self.octets = 0
        """Octets of payload that the socket took, as sender reports count them."""
        self.rate_in = self.rate_out = clock_rate
        """RTP clocks of the audio that comes and of the audio that goes, Hz."""
        self.steady = False
        """Whether the next packet in order only adds `sequence_offset` and `offset`, as `place` would find."""
        self.sequence_offset = self.offset = 0
        self.leap = LEAP * clock_rate
        """`LEAP` in ticks."""
        self._fresh = True
        self._resume = self._injected = self._sent_any = False
        self._anchor_in = self._anchor_out = 0
        self._floor = 0
        self.event = Event.none()
        """The newest event on the stream."""
        self._stamped = timestamp, NEVER
        """A timestamp that several packets may share, and when the first of them was sent."""

    # What becomes known

    def set_clock(self, clock_rate: int) -> None:
        """The RTP clock of what will be sent, while nothing has been."""
        if not self._sent_any:
            self.rate_out = clock_rate
            self.leap = LEAP * clock_rate

    def begin(self) -> None:
        """Another run of packets begins: join it after the last packet sent, by the clock on the wall."""
        self._fresh = True
        self.steady = False
        self.event.part()

    def skip(self) -> None:
        """An incoming packet has nothing to go out for it: let it leave no gap."""
        self._resume = True
        self.steady = False

    def switch(self, clock_rate: int, rate_out: int) -> None:
        """The source changed its codec: with other clocks the timelines must be joined afresh."""
        if (clock_rate, rate_out) != (self.rate_in, self.rate_out):
            self.rate_in, self.rate_out = clock_rate, rate_out
            self.leap = LEAP * rate_out
            self.begin()

    def incoming(self, sequence_number: int, kept: int) -> int | None:
        """The incoming number of an outgoing one of this run, among the last `kept` that there are; else None."""
        if self._fresh or self._resume:
            return None
        if (self.last_sequence_number - sequence_number) & 0xFFFF >= min(kept, _FLOOR_REACH):
            return None
        incoming = (sequence_number - self.sequence_offset) & 0xFFFF
        return incoming if (incoming - self._floor) & 0xFFFF < 0x8000 else None

    def quiet_since(self, now: float) -> float:
        """Return when the newest packet was sent, `now` within an event."""
        return now if self.event.holds(now) else self.last_sent

    @property
    def stamped(self) -> float:
        """Time at which `last_timestamp` was first sent: packets of an event share one."""
        timestamp, when = self._stamped
        return when if timestamp == self.last_timestamp else self.last_sent

    # Where packets go

    def place(self, sequence_number: int, timestamp: int, highest: int, now: float) -> Placed | None:
        """Numbers for a packet in the place of an incoming one; losses and late packets stay what they are.

        `highest` is the newest incoming sequence number. None for a late packet whose number is gone.
        """
        marker = 0
        if self._fresh or self._resume:
            marker = self._begins if self._fresh else 0
            self._anchor(sequence_number, timestamp, now)
        elif sequence_number != highest and self._before_floor(sequence_number, highest):
            return None
        out = (sequence_number + self.sequence_offset) & 0xFFFF
        when = self.map_timestamp(timestamp)
        if (out - self.last_sequence_number) & 0xFFFF < 0x8000:
            if self._leaps(when, now):
                self._fresh = True
                self._anchor(sequence_number, timestamp, now)
                marker = self._begins
                out, when = (sequence_number + self.sequence_offset) & 0xFFFF, self.map_timestamp(timestamp)
            self._went(out, when, now)
        return out, when, marker

    def place_event(
        self, sequence_number: int, timestamp: int, highest: int, now: float, payload: bytes
    ) -> Placed | None:
        """Numbers for an incoming packet of a telephone-event, as `place`."""
        event, ends = self.event, has_end(payload)
        if event.rejoin(timestamp, payload, now):
            self._anchor(sequence_number, timestamp, now)
        if timestamp != event.incoming:
            placed = self.place(sequence_number, timestamp, highest, now)
            if placed is not None and sequence_number == highest:
                event = Event(placed[1], timestamp, now)
                event.keep(payload)
                self._note_event(event, ends=ends, now=now)
            return placed
        if self._fresh or self._resume:
            self._join(sequence_number)
            # After a packet of ours the next audio is to be joined by its time as well.
            self._resume = self._injected
        elif sequence_number != highest and self._before_floor(sequence_number, highest):
            return None
        out = (sequence_number + self.sequence_offset) & 0xFFFF
        if (out - self.last_sequence_number) & 0xFFFF < 0x8000:
            self.last_sequence_number, self.last_sent = out, now
        event.keep(payload)
        self._note_event(event, ends=ends, now=now)
        return out, event.timestamp, 0

    def place_after(self, sequence_number: int, timestamp: int, offset: int, now: float) -> Placed:
        """Numbers for a packet that is no incoming one's equal: the next number, `offset` ticks after where
        `timestamp` belongs."""
        marker = self._begins if self._fresh else 0
        if self._fresh:
            self._anchor(sequence_number, timestamp, now)
        when = (self.map_timestamp(timestamp) + offset) & _WRAP
        behind = self._injected and not 0 < (when - self.last_timestamp) & _WRAP < _HALF
        if behind or self._leaps(when, now):
            # Packets of our own have gone past the place that this timeline had.
            self._fresh = True
            self._anchor(sequence_number, timestamp, now)
            when = (self.map_timestamp(timestamp) + offset) & _WRAP
        self._injected = False
        return self._next(when, marker, now)

    def inject(self, advance: int | None, now: float) -> Placed:
        """Numbers for a packet of our own, `advance` ticks after the last; None: by the clock on the wall, as after an
        event.
        """
        self.event.release()
        after_event = self.event.timestamp == self.last_timestamp
        by_clock = advance is None or after_event
        when = self.timestamp_at(now) if by_clock else (self.last_timestamp + (advance or 0)) & _WRAP
        self._injected = True
        return self._next(when, 0, now)

    def inject_event(self, advance: int | None, now: float, *, ends: bool) -> Placed:
        """Numbers for a packet of an event, `advance` ticks after the start of the one before; None: another begins."""
        event = self.event
        if advance == 0 and event.timestamp >= 0:
            self.last_sequence_number, self.last_sent = (self.last_sequence_number + 1) & 0xFFFF, now
            placed = self.last_sequence_number, event.timestamp, 0
            self._resume, self.steady = True, False
        else:
            if advance is not None and event.timestamp >= 0:
                when = (event.timestamp + advance) & _WRAP
            else:
                when = self.timestamp_at(now)
                when = (when + (event.timestamp == when)) & _WRAP
            placed, event = self._next(when, 0, now), Event(when, None, now)
        self._injected = True
        self._note_event(event, ends=ends, now=now)
        return placed

    def sent(self, octets: int) -> None:
        """The socket took a packet with so many octets of payload."""
        self.packets += 1
        self.octets += octets

    def timestamp_at(self, now: float) -> int:
        """The outgoing timestamp that stands for `now`, by the clock on the wall since the last one was first sent."""
        if not self._sent_any:
            return self.last_timestamp
        return (self.last_timestamp + self._elapsed(now)) & _WRAP

    def map_timestamp(self, timestamp: int) -> int:
        """The outgoing timestamp of an incoming one."""
        if self.rate_in == self.rate_out:
            return (timestamp + self.offset) & _WRAP
        delta = timestamp_delta(timestamp, self._anchor_in)
        if not -_ANCHOR_SPAN < delta < _ANCHOR_SPAN:
            # Whole seconds of both clocks, so that the anchor moves without rounding.
            seconds = delta // self.rate_in
            self._anchor_in = (self._anchor_in + seconds * self.rate_in) & _WRAP
            self._anchor_out = (self._anchor_out + seconds * self.rate_out) & _WRAP
            delta -= seconds * self.rate_in
        return (self._anchor_out + delta * self.rate_out // self.rate_in) & _WRAP

    def _next(self, when: int, marker: int, now: float) -> Placed:
        out = (self.last_sequence_number + 1) & 0xFFFF
        self._went(out, when, now)
        self._resume = True
        self.steady = False
        return out, when, marker

    def _note_event(self, event: Event, *, ends: bool, now: float) -> None:
        event.note(now, ends=ends)
        self.event = event

    def _went(self, sequence_number: int, timestamp: int, now: float) -> None:
        if timestamp != self.last_timestamp or not self._sent_any:
            self._stamped = timestamp, now
        elif timestamp != self._stamped[0]:
            self._stamped = timestamp, self.last_sent
        self.last_sequence_number, self.last_timestamp, self.last_sent = sequence_number, timestamp, now
        self._sent_any = True

    def _leaps(self, when: int, now: float) -> bool:
        """Whether an outgoing timestamp is too far from the last one to be of the same timeline."""
        ahead = (when - self.last_timestamp) & _WRAP
        if ahead < _HALF:
            return self._sent_any and ahead > self.leap + self._elapsed(now)
        return _WRAP + 1 - ahead > self.leap

    def _join(self, sequence_number: int) -> None:
        """Join the incoming sequence numbers to the outgoing ones after the last packet sent."""
        self.sequence_offset = self.last_sequence_number + 1 - sequence_number
        self._floor = sequence_number

    def _anchor(self, sequence_number: int, timestamp: int, now: float) -> None:
        """Join the incoming numbers to the outgoing ones after the last packet sent."""
        self._join(sequence_number)
        fresh, injected = self._fresh, self._injected
        self._fresh = self._resume = self._injected = False
        self.steady = self.rate_in == self.rate_out
        if not fresh:
            # The packets of one event share a timestamp; one of ours in between may not be followed by its equal.
            ahead = (self.map_timestamp(timestamp) - self.last_timestamp) & _WRAP
            if ahead < _HALF and (ahead or not injected):
                return
        self._anchor_in = timestamp
        self._anchor_out = self.last_timestamp
        if self._sent_any:
            self._anchor_out = (self.last_timestamp + max(1, self._elapsed(now))) & _WRAP
        self.offset = self._anchor_out - self._anchor_in

    def _elapsed(self, now: float) -> int:
        """Ticks of the outgoing clock since the last timestamp was first sent."""
        return min(0x40000000, max(0, round((now - self.stamped) * self.rate_out))) if self._sent_any else 0

    def _before_floor(self, sequence_number: int, highest: int) -> bool:
        """Whether a late packet belongs before the point where the numbers were joined."""
        passed = (highest - self._floor) & 0xFFFF
        if passed > _FLOOR_REACH:
            self._floor = (highest - _FLOOR_REACH) & 0xFFFF
        return passed < (highest - sequence_number) & 0xFFFF
