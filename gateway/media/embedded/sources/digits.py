"""DTMF digits as telephone-events (RFC 4733): read, renumbered for another clock, and made."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from gateway.media.embedded.plane.packet import HEADER_SIZE, MARKER, RtpError, payload_bounds
from gateway.media.embedded.plane.relay import Relay

DIGITS = "0123456789*#ABCD"
"""Digit by event code (RFC 4733 section 3.2)."""
VOLUME = 10
"""dBm0 below zero of the digits we make."""
END_PACKETS = 3
"""The last packet of an event is sent so often (RFC 4733 section 2.5.1.4)."""
SHORTEST_MS, LONGEST_MS = 40, 5000
_EVENT = struct.Struct("!BBH")
_END = 0x80
LOST_AFTER = 0.5
"""Seconds without a packet of an event after which its end is taken to be lost."""
_LONGEST_UNITS = 0xFFFF


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


class DigitDetector:
    """Says each digit once, however many packets of it come, come late or are lost."""

    __slots__ = ("_clock_rate", "_duration", "_event", "_on_digit", "_reported", "_timestamp")

    def __init__(self, clock_rate: int, on_digit: Callable[[str, int], None]) -> None:
        """`on_digit` gets the digit and its duration in ms when it has ended."""
        self._clock_rate = clock_rate
        self._on_digit = on_digit
        self._timestamp: int | None = None
        self._event = 0
        self._duration = 0
        self._reported = True

    def receive(self, event: TelephoneEvent, timestamp: int) -> None:
        """One packet with its RTP timestamp, which names the event."""
        if timestamp != self._timestamp or event.event != self._event:
            self.finish()
            self._timestamp, self._event = timestamp, event.event
            self._duration, self._reported = 0, False
        self._duration = max(self._duration, event.duration)
        if event.end:
            self.finish()

    def finish(self) -> None:
        """The event is over, also when its end was lost: another began, or audio goes on."""
        if self._reported:
            return
        self._reported = True
        if self._event < len(DIGITS):
            self._on_digit(DIGITS[self._event], self._duration * 1000 // self._clock_rate)


class EventHandler:
    """Routes telephone-events of one incoming payload type; a `relay.Handler`."""

    __slots__ = ("_clock_in", "_clock_out", "_detector", "_heard", "_payload_type", "_start_in", "_start_out")

    def __init__(
        self, clock_in: int, payload_type: int | None, clock_out: int, on_digit: Callable[[str, int], None]
    ) -> None:
        """`payload_type` is the outgoing one, None where the peer takes no events; clocks in Hz."""
        self._clock_in = clock_in
        self._clock_out = clock_out
        self._payload_type = payload_type
        self._detector = DigitDetector(clock_in, on_digit)
        self._heard = 0.0
        self._start_in: int | None = None
        self._start_out = 0

    def handle(
        self, relay: Relay, packet: bytes, marker: int, sequence_number: int, timestamp: int, now: float
    ) -> None:
        """Report the digit, and pass the event on with its marker, its start and its duration."""
        try:
            start, end = payload_bounds(packet) if packet[0] != 0x80 else (HEADER_SIZE, len(packet))
            event = TelephoneEvent.parse(packet[start:end])
        except RtpError:
            relay.inbound.discarded += 1
            relay.skip()
            return
        self._heard = now
        self._detector.receive(event, timestamp)
        if self._payload_type is None or not relay.open:
            relay.skip()
            return
        payload = bytes(packet[start : start + _EVENT.size])
        if self._clock_in != self._clock_out:
            duration = min(_LONGEST_UNITS, event.duration * self._clock_out // self._clock_in)
            payload = bytes(TelephoneEvent(event.event, event.end, event.volume, duration))
        if self._clock_in == relay.rate_in:
            relay.pass_on(self._payload_type | marker, payload, sequence_number, timestamp, now)
            return
        if timestamp != self._start_in:
            # The event counts time in another clock than the audio it interrupts: place it by arrival.
            self._start_in, self._start_out = timestamp, relay.timestamp_at(now)
            marker = MARKER
        relay.emit(self._payload_type | marker, payload, self._start_out, now)

    def flush(self, now: float) -> None:
        """Report a digit whose end never came."""
        if now - self._heard >= LOST_AFTER:
            self._detector.finish()


class DigitSender:
    """One digit being sent on a relay's outgoing stream, a packet a tick; audio waits meanwhile."""

    __slots__ = (
        "_clock_rate",
        "_code",
        "_duration",
        "_ends",
        "_payload_type",
        "_relay",
        "_sent",
        "_step",
        "_timestamp",
    )

    def __init__(
        self, relay: Relay, payload_type: int, clock_rate: int, digit: str, duration_ms: int, tick_ms: int = 20
    ) -> None:
        """Raises RtpError for what is no digit. The duration is kept within 40 ms and 5 s."""
        code = DIGITS.find(digit.upper()) if len(digit) == 1 else -1
        if code < 0:
            raise RtpError("not a DTMF digit")
        self._relay = relay
        self._payload_type = payload_type
        self._clock_rate = clock_rate
        self._code = code
        self._duration = min(max(duration_ms, SHORTEST_MS), LONGEST_MS) * clock_rate // 1000
        self._step = tick_ms * clock_rate // 1000
        self._timestamp = 0
        self._sent = 0
        self._ends = 0

    def tick(self, now: float) -> bool:
        """Send the next packet; False when the digit is over and audio may go on."""
        relay = self._relay
        marker = 0
        if not self._sent:
            relay.muted = True
            self._timestamp = relay.timestamp_at(now)
            marker = MARKER
        self._sent += 1
        elapsed = min(self._duration, self._sent * self._step)
        if elapsed > _LONGEST_UNITS:
            self._new_segment()
            elapsed = min(self._duration, self._step)
        end = elapsed >= self._duration
        event = TelephoneEvent(self._code, end, VOLUME, elapsed)
        relay.emit(self._payload_type | marker, bytes(event), self._timestamp, now)
        if not end:
            return True
        self._ends += 1
        if self._ends < END_PACKETS:
            return True
        relay.muted = False
        return False

    def _new_segment(self) -> None:
        """A duration of 16 bits is full: the event goes on in a new segment (RFC 4733 section 2.5.1.3)."""
        full = (self._sent - 1) * self._step
        self._timestamp = (self._timestamp + full) & 0xFFFFFFFF
        self._duration -= full
        self._sent = 1
