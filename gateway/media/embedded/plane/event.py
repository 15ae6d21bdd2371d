"""Telephone-events on an outgoing stream (RFC 4733): every packet of one event has the timestamp of its start."""

from __future__ import annotations

_SIZE, _DIGITS, _END = 4, 16, 0x80
"""Octets of a telephone-event, codes of digits, and the end flag (RFC 4733 sections 2.3 and 3.2)."""
_END_PACKETS = 3
"""Packets that end an event (RFC 4733 section 2.5.1.4)."""
_LONGEST_PAUSE, _BESIDE_AUDIO, _AFTER_END = 3.0, 0.2, 0.1
"""Seconds without a packet after which an event is over: its end lost, the source's audio coming, its end begun."""


def is_digit(payload: memoryview) -> bool:
    """Return whether a telephone-event is a digit; other events are dropped."""
    return len(payload) >= _SIZE and payload[0] < _DIGITS


def has_end(payload: bytes | memoryview) -> bool:
    """Return whether a telephone-event has the end flag."""
    return len(payload) >= _SIZE and payload[1] & _END != 0


class Event:
    """The newest event of an outgoing stream."""

    __slots__ = ("_end_packets", "_heard", "_parted", "_released", "_said", "incoming", "timestamp")

    def __init__(self, timestamp: int, incoming: int | None, now: float) -> None:
        """`timestamp` of its start as it goes out; `incoming` of the same as it came, None for an injected event."""
        self.timestamp = timestamp
        self.incoming = incoming
        self._heard = now
        self._end_packets = 0
        self._released = False
        self._said = b""
        """Payload of the incoming packet that came last."""
        self._parted = False
        """True once another run has begun."""

    @classmethod
    def none(cls) -> Event:
        """Return what stands for the event where there was none yet: over, with a timestamp that no packet has."""
        event = cls(-1, None, 0.0)
        event.release()
        return event

    def note(self, now: float, *, ends: bool) -> None:
        """Note a packet of the event."""
        self._heard = now
        self._end_packets += ends

    def keep(self, payload: bytes) -> None:
        """Keep what an incoming packet of the event says."""
        self._said = payload[:_SIZE]

    def rejoin(self, incoming: int, payload: bytes, now: float) -> bool:
        """Take a packet of another run for the event where its digit goes on: of another SSRC, or of a new start."""
        said = self._said
        is_longer = said[:1] == payload[:1] and said[2:] < payload[2:_SIZE]
        goes_on = self._parted and is_longer and not self._end_packets and now - self._heard <= _LONGEST_PAUSE
        if goes_on:
            self.incoming, self._released, self._parted = incoming, False, False
        return goes_on

    def holds(self, now: float) -> bool:
        """Return whether the event has the stream to itself."""
        limit = _AFTER_END if self._end_packets else _LONGEST_PAUSE
        return not self._released and self._end_packets < _END_PACKETS and now - self._heard <= limit

    def hear(self, clock_rate: int, now: float) -> None:
        """Note a packet of the source: audio, which has a clock, shows that an event without packets is over."""
        if clock_rate and (self._end_packets or now - self._heard >= _BESIDE_AUDIO):
            self._released = True

    def release(self) -> None:
        """Give the stream back to audio; packets that still come keep the timestamp."""
        self._released = True

    def part(self) -> None:
        """Forget the source's timestamps, as another run begins."""
        self.incoming = None
        self._released = self._parted = True
