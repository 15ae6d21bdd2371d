"""DTMF digits as telephone-events (RFC 4733): read, renumbered for another clock, and made."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from gateway.media.embedded.plane.packet import RtpError, timestamp_delta
from gateway.media.embedded.plane.values import MediaPacket
from gateway.media.embedded.sources.packets import NOTHING, Injected, Packets

DIGITS = "0123456789*#ABCD"
"""Digit by event code (RFC 4733 section 3.2)."""
VOLUME = 10
"""dBm0 below zero of the digits we make."""
END_PACKETS = 3
"""The last packet of an event is sent so often (RFC 4733 section 2.5.1.4)."""
SHORTEST_MS, LONGEST_MS = 40, 5000
_EVENT = struct.Struct("!BBH")
_END = 0x80
_MOST_EVENTS = 10
"""Events of one packet (RFC 4733 section 2.5.1.5); a longer payload is audio."""
LOST_AFTER = 0.5
"""Seconds without a packet of an event after which its end is taken to be lost."""
_LONGEST_UNITS = 0xFFFF
_NEARLY_FULL = 0xE000
"""Units after which an event that goes on under another timestamp has begun a new segment."""
_REMEMBERED = 4
"""Events whose late packets are still known."""


@dataclass(frozen=True, slots=True)
class TelephoneEvent:
    """The payload of one packet (RFC 4733 section 2.3)."""

    event: int
    end: bool
    volume: int
    """dBm0 below zero, 0 to 63."""
    duration: int
    """In units of the RTP clock."""

    @classmethod
    def parse(cls, payload: bytes) -> TelephoneEvent:
        """Read the first event of a payload; raises RtpError."""
        if len(payload) < _EVENT.size:
            raise RtpError("shorter than a telephone-event")
        event, flags, duration = _EVENT.unpack_from(payload)
        return cls(event, bool(flags & _END), flags & 0x3F, duration)

    def __bytes__(self) -> bytes:
        return _EVENT.pack(self.event, (_END if self.end else 0) | self.volume, self.duration)

    @property
    def digit(self) -> str | None:
        """The DTMF digit, None for other events (flash, tones)."""
        return DIGITS[self.event] if self.event < len(DIGITS) else None


def _is_events(payload: bytes) -> bool:
    """Return whether a payload is made of whole events, and of no more than fit in one packet."""
    return len(payload) % _EVENT.size == 0 and _EVENT.size <= len(payload) <= _MOST_EVENTS * _EVENT.size


class DigitDetector:
    """Says each digit once, however many packets of it come, come late or are lost, or begin new segments."""

    __slots__ = (
        "_clock_rate",
        "_done",
        "_duration",
        "_ended",
        "_event",
        "_on_digit",
        "_reported",
        "_timestamp",
        "base",
    )

    def __init__(self, clock_rate: int, on_digit: Callable[[str, int], None]) -> None:
        """`on_digit` gets the digit and its duration in ms when it has ended."""
        self._clock_rate = clock_rate
        self._on_digit = on_digit
        self._timestamp: int | None = None
        self._event = 0
        self._duration = 0
        self.base = 0
        """Units in the segments before this one."""
        self._reported = self._ended = True
        """State of the newest event: its digit was reported, its end has come."""
        self._done: deque[tuple[int, int]] = deque(maxlen=_REMEMBERED)

    def receive(self, event: TelephoneEvent, timestamp: int, *, is_new_run: bool = False) -> bool:
        """Take one packet with its RTP timestamp, which names the event, or a segment of it.

        True where the event goes on in another run: the sender has another SSRC, or has begun again.
        """
        is_longer = event.event == self._event and event.duration > self._duration
        joins = is_new_run and is_longer and not self._ended and not self._reported
        if joins:
            self._timestamp = timestamp
        elif timestamp != self._timestamp or event.event != self._event:
            if (timestamp, event.event) in self._done:
                return False  # late, of an event before
            self._begin(event, timestamp)
        self._duration = max(self._duration, event.duration)
        if event.end:
            self.finish()
            self._ended = True
        return joins

    def _begin(self, event: TelephoneEvent, timestamp: int) -> None:
        """Another timestamp: a new event, or where it goes on without a gap the next segment of a long one."""
        last = self._timestamp
        goes_on = (
            last is not None
            and not self._ended
            and event.event == self._event
            and self._is_next_segment(timestamp_delta(timestamp, last))
        )
        if goes_on and last is not None:
            # RFC 4733 section 2.5.1.3. Packets of the segment that is full are late from now on.
            self._done.append((last, self._event))
            self.base += self._duration
        else:
            self.finish()
            self.base = 0
            self._event, self._reported, self._ended = event.event, False, False
        self._timestamp, self._duration = timestamp, 0

    def _is_next_segment(self, later: int) -> bool:
        """Whether a segment may end so many units after it began: when it is full, its last packets lost or not."""
        full = self._duration >= _NEARLY_FULL
        return 0 < self._duration <= later <= _LONGEST_UNITS and (full or later == self._duration)

    def finish(self) -> None:
        """The event is over, also when its end was lost: another began, or audio goes on."""
        if self._reported or self._timestamp is None:
            return
        self._reported = True
        self._done.append((self._timestamp, self._event))
        if self._event < len(DIGITS):
            units = self.base + self._duration
            self._on_digit(DIGITS[self._event], units * 1000 // self._clock_rate)


class EventHandler:
    """Reads the telephone-events of one incoming payload type, and converts their clock; a `PacketHandler`."""

    __slots__ = (
        "_clock_in",
        "_clock_out",
        "_detector",
        "_full",
        "_generation",
        "_heard",
        "_payload_type",
        "_rate_out",
        "_said",
        "_start_in",
        "misread",
    )

    def __init__(
        self,
        clock_in: int,
        on_digit: Callable[[str, int], None],
        *,
        payload_type: int | None = None,
        clock_out: int = 8000,
        rate_out: int | None = None,
    ) -> None:
        """Clocks in Hz. `payload_type` is the outgoing one where packets are given back in the clock `clock_out`;
        None where the plane forwards them or nobody takes them. `rate_out`: of the stream, None: `clock_out`."""
        self._clock_in = clock_in
        self._clock_out = clock_out
        self._rate_out = rate_out or clock_out
        self._full = self._said = 0
        """Outgoing units in the segments before this one, and the duration sent last in this one."""
        self._payload_type = payload_type
        self._detector = DigitDetector(clock_in, on_digit)
        self._heard = 0.0
        self._generation = 0
        self._start_in: int | None = None
        self.misread = False
        """True once a payload has come that is not made of events."""

    def handle(self, packet: MediaPacket, now: float) -> Packets:
        """Report the digit, and pass the event on with its marker, its start and its duration."""
        if not _is_events(packet.payload):
            self.misread = True
            return NOTHING
        event = TelephoneEvent.parse(packet.payload)
        self._heard = now
        if event.digit is None:
            return NOTHING  # flash, tones of modems: for nobody here
        is_new_run, self._generation = packet.generation != self._generation, packet.generation
        joins = self._detector.receive(event, packet.timestamp, is_new_run=is_new_run)
        if self._payload_type is None or not packet.in_order:
            return NOTHING
        segments = self._detector.base
        begins = packet.timestamp != self._start_in and not segments and not joins
        self._start_in = packet.timestamp
        units = (segments + event.duration) * self._clock_out // self._clock_in
        advance = None if begins else self._next_segment(units)
        if begins:
            self._full = 0
        self._said = min(_LONGEST_UNITS, max(0, units - self._full))
        payload = bytes(TelephoneEvent(event.event, event.end, event.volume, self._said))
        # The event may count time in another clock than the audio it interrupts: place it by arrival.
        return (Injected(self._payload_type, payload, advance, marker=begins, event=True),)

    def _next_segment(self, units: int) -> int:
        """Begin segments where 16 bits are full (RFC 4733 section 2.5.1.3); ticks after the start of the last one."""
        before = self._full
        while units - self._full > _LONGEST_UNITS:
            self._full, self._said = self._full + (self._said or _LONGEST_UNITS), 0
        return (self._full - before) * self._rate_out // self._clock_out

    def flush(self, now: float) -> None:
        """Report a digit whose end never came."""
        if now - self._heard >= LOST_AFTER:
            self._detector.finish()


class DigitSender:
    """One digit, a packet a tick; audio waits meanwhile."""

    __slots__ = ("_advance", "_code", "_duration", "_ends", "_payload_type", "_scale", "_sent", "_step")

    def __init__(
        self, payload_type: int, clock_rate: int, rate_out: int, digit: str, duration_ms: int, tick_ms: int = 20
    ) -> None:
        """`clock_rate` of the event, `rate_out` of the stream, Hz. Raises RtpError for what is no digit. The
        duration is kept within 40 ms and 5 s."""
        code = DIGITS.find(digit.upper()) if len(digit) == 1 else -1
        if code < 0:
            raise RtpError("not a DTMF digit")
        self._payload_type = payload_type
        self._code = code
        self._duration = min(max(duration_ms, SHORTEST_MS), LONGEST_MS) * clock_rate // 1000
        self._step = tick_ms * clock_rate // 1000
        self._scale = rate_out, clock_rate
        self._advance: int | None = None
        self._sent = 0
        self._ends = 0

    def tick(self) -> tuple[Injected, bool]:
        """The next packet, and whether more follow."""
        first = self._advance is None
        self._sent += 1
        elapsed = min(self._duration, self._sent * self._step)
        advance = None if first else 0
        if elapsed > _LONGEST_UNITS:
            advance = self._new_segment()
            elapsed = min(self._duration, self._step)
        end = elapsed >= self._duration
        event = TelephoneEvent(self._code, end, VOLUME, elapsed)
        self._advance = 0
        self._ends += end
        return Injected(self._payload_type, bytes(event), advance, first, event=True), self._ends < END_PACKETS

    def _new_segment(self) -> int:
        """A duration of 16 bits is full: the event goes on in a new segment (RFC 4733 section 2.5.1.3)."""
        full = (self._sent - 1) * self._step
        self._duration -= full
        self._sent = 1
        rate_out, clock_rate = self._scale
        return full * rate_out // clock_rate
