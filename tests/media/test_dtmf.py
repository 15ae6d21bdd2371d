"""Telephone-events: parsed, reported once, renumbered for another clock, made on a running stream."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.media.embedded.plane.packet import RtpError, RtpPacket, timestamp_delta
from gateway.media.embedded.plane.values import Action, MediaPacket, Route
from gateway.media.embedded.sources.digits import DIGITS, DigitSender, EventHandler, TelephoneEvent
from tests.media.plane_support import TARGET, Direction, forward, injected
from tests.rows import by_row


class Digits:
    """A direction with audio (payload type 0) and events (101), which are read and passed on."""

    def __init__(self, clock_in: int = 8000, payload_type: int | None = 99, clock_out: int = 8000) -> None:
        self.digits: list[tuple[str, int]] = []
        copied = payload_type is not None and clock_in == clock_out
        event = Route(action=Action.COPY, payload_type=payload_type or 0) if copied else Route(action=Action.PUNT)
        self.path = Direction({0: forward(8000, 0), 101: event}, sequence_number=100)
        self.handler = EventHandler(
            clock_in, self.report, payload_type=None if copied else payload_type, clock_out=clock_out
        )
        self.number = 0

    def report(self, digit: str, duration_ms: int) -> None:
        self.digits.append((digit, duration_ms))

    def receive(
        self, payload: bytes, timestamp: int, *, payload_type: int = 101, marker: bool = False, late: int = 0
    ) -> None:
        self.number += 0 if late else 1
        number = late or self.number
        self.path.receive(number, timestamp, payload=payload, payload_type=payload_type, marker=marker)
        for _, packet in self.path.handler.packets:
            for made in self.handler.handle(packet, self.path.clock.now):
                injected(self.path.plane, made)
        self.path.handler.packets.clear()

    def press(self, code: int, timestamp: int, *, packets: int = 4, step: int = 160, ends: int = 3) -> None:
        for index in range(packets):
            event = TelephoneEvent(code, False, 10, (index + 1) * step)
            self.receive(bytes(event), timestamp, marker=index == 0)
        for _ in range(ends):
            self.receive(bytes(TelephoneEvent(code, True, 10, (packets + 1) * step)), timestamp)

    @property
    def sent(self) -> list[RtpPacket]:
        return self.path.sent


@given(st.integers(0, 255), st.booleans(), st.integers(0, 63), st.integers(0, 0xFFFF))
def test_an_event_round_trips(code: int, end: bool, volume: int, duration: int) -> None:
    """RFC 4733 section 2.3."""
    event = TelephoneEvent(code, end, volume, duration)
    assert TelephoneEvent.parse(bytes(event)) == event


@given(st.binary(max_size=12))
def test_a_strangers_payload_raises_rtp_error_only(payload: bytes) -> None:
    """Four octets make an event, fewer are refused."""
    if len(payload) >= 4:
        TelephoneEvent.parse(payload)
    else:
        with pytest.raises(RtpError):
            TelephoneEvent.parse(payload)


@by_row("code", range(16))
def test_each_digit_is_reported_once_with_its_duration(code: int) -> None:
    """Three end packets are one digit."""
    path = Digits()
    path.press(code, 4000)
    assert path.digits == [(DIGITS[code], 100)]


def test_a_digit_whose_end_is_lost_is_reported_by_the_next() -> None:
    """Another timestamp means another event."""
    path = Digits()
    path.press(1, 4000, ends=0)
    assert path.digits == []
    path.press(1, 9000)
    assert path.digits == [("1", 80), ("1", 100)]


def test_events_that_are_no_digits_end_here() -> None:
    """Code 16 is a flash: neither reported nor passed on."""
    path = Digits()
    path.press(16, 4000)
    assert path.digits == []
    assert path.sent == []


def test_an_event_keeps_its_marker_and_one_timestamp() -> None:
    """Some receivers want the marker."""
    path = Digits()
    path.receive(b"v", 3840, payload_type=0)
    path.press(5, 4000)
    events = [packet for packet in path.sent if packet.payload_type == 99]
    assert [packet.marker for packet in events] == [True] + [False] * 6
    assert len({packet.timestamp for packet in events}) == 1
    assert timestamp_delta(events[0].timestamp, path.sent[0].timestamp) == 160


def test_a_peer_without_events_gets_none_but_the_digit_is_reported() -> None:
    """The call sends it by signalling then; audio goes on without a gap."""
    path = Digits(payload_type=None)
    path.receive(b"v", 3840, payload_type=0)
    path.press(5, 4000)
    path.receive(b"v", 4000 + 8 * 160, payload_type=0)
    assert path.digits == [("5", 100)]
    first, second = path.sent
    assert (second.sequence_number - first.sequence_number) & 0xFFFF == 1


def test_a_malformed_event_is_no_digit() -> None:
    """Too short for an event; the next is read."""
    path = Digits()
    path.receive(b"\x01", 4000)
    assert path.digits == []
    path.press(5, 8000)
    assert path.digits == [("5", 100)]


@pytest.mark.parametrize(("clock_in", "clock_out"), [(48000, 8000), (8000, 48000)])
def test_durations_are_converted_between_clocks(clock_in: int, clock_out: int) -> None:
    """100 ms stay 100 ms; the event keeps one timestamp, where the audio was."""
    path = Digits(clock_in, 99, clock_out)
    path.receive(b"v", 3840, payload_type=0)
    path.press(7, 70000, step=clock_in // 50)
    events = [packet for packet in path.sent if packet.payload_type == 99]
    assert TelephoneEvent.parse(events[-1].payload).duration == clock_out // 10
    assert len({packet.timestamp for packet in events}) == 1
    assert events[0].marker
    assert not any(packet.marker for packet in events[1:])
    assert path.digits == [("7", 100)]


@pytest.mark.parametrize("lost", [frozenset(), frozenset(range(60, 75))])
def test_a_converted_event_longer_than_its_field_goes_on_in_segments(lost: frozenset[int]) -> None:
    """3 s at 48 kHz need three (RFC 4733 section 2.5.1.3), without a gap, also where packets were lost between them."""
    path = Digits(8000, 99, 48000)
    path.path.plane.start_stream(TARGET, 0xABCD, 100, 0, 48000)
    for frame in range(1, 151):
        if frame not in lost:
            path.receive(bytes(TelephoneEvent(1, frame == 150, 10, 160 * frame)), 4000, marker=frame == 1)
    events = [packet for packet in path.sent if packet.payload_type == 99]
    parsed = [TelephoneEvent.parse(packet.payload) for packet in events]
    assert [packet.marker for packet in events] == [True] + [False] * (len(events) - 1)
    ends = [
        timestamp_delta(one.timestamp, events[0].timestamp) + of.duration
        for one, of in zip(events, parsed, strict=True)
    ]
    assert ends == [960 * frame for frame in range(1, 151) if frame not in lost]
    assert len({packet.timestamp for packet in events}) == 3
    assert sum(of.duration == 0xFFFF for of in parsed) == 0
    reader = Digits(48000, None)
    for packet in events:
        reader.receive(packet.payload, packet.timestamp)
    assert reader.digits == [("1", 3000)]


@pytest.mark.parametrize(("ended", "digits"), [(False, [("5", 80)]), (True, [("5", 40), ("5", 80)])])
def test_a_digit_goes_on_in_another_run(ended: bool, digits: list[tuple[str, int]]) -> None:
    """Said once, and converted as one event, unless it had ended."""
    path = Digits(8000, 99, 48000)
    for number, stamp, duration, end in ((1, 4000, 320, ended), (2, 90_000, 480, False), (3, 90_000, 640, True)):
        packet = MediaPacket(
            payload_type=101,
            marker=number == 1,
            sequence_number=number,
            timestamp=stamp,
            payload=bytes(TelephoneEvent(5, end, 10, duration)),
            in_order=True,
            generation=1 + (stamp == 90_000),
        )
        for made in path.handler.handle(packet, 0.02 * number):
            injected(path.path.plane, made)
    assert path.digits == digits
    assert len({packet.timestamp for packet in path.sent}) == len(digits)


def test_a_first_duration_that_does_not_fit_is_held_at_the_most() -> None:
    """65535 units of 8 kHz are more than 16 bits of 48 kHz."""
    path = Digits(8000, 99, 48000)
    path.receive(bytes(TelephoneEvent(1, True, 10, 60000)), 4000)
    assert TelephoneEvent.parse(path.sent[0].payload).duration == 0xFFFF


def sent_by(sender: DigitSender, path: Direction) -> None:
    """Play a digit to its end, with audio that comes meanwhile."""
    going, number = True, 1
    path.plane.set_muted(TARGET, True)
    while going:
        packet, going = sender.tick()
        path.clock.advance(0.02)
        injected(path.plane, packet)
        number += 1
        path.receive(number, payload=b"during", after=0.0)
    path.plane.set_muted(TARGET, False)
    path.receive(number + 1, payload=b"after")


def test_a_digit_of_ours_has_a_marker_rising_durations_and_three_ends() -> None:
    """RFC 4733 section 2.5.1; audio that comes meanwhile is left out, then goes on without a gap."""
    path = Direction(sequence_number=100)
    path.receive(1)
    sent_by(DigitSender(101, 8000, 8000, "#", 100), path)
    events = [packet for packet in path.sent if packet.payload_type == 101]
    parsed = [TelephoneEvent.parse(packet.payload) for packet in events]
    assert [event.duration for event in parsed] == [160, 320, 480, 640, 800, 800, 800]
    assert [event.end for event in parsed] == [False] * 4 + [True] * 3
    assert {event.event for event in parsed} == {11}
    assert [packet.marker for packet in events] == [True] + [False] * 6
    assert len({packet.timestamp for packet in events}) == 1
    numbers = [packet.sequence_number for packet in path.sent]
    assert numbers == list(range(100, 100 + len(numbers)))
    assert [packet.payload for packet in path.sent if packet.payload_type == 0] == [b"v", b"after"]


def test_a_digit_longer_than_its_field_goes_on_in_segments() -> None:
    """5 s at 48 kHz need four (RFC 4733 section 2.5.1.3), and a reader takes them for one digit."""
    path = Direction()
    path.plane.start_stream(TARGET, 0xABCD, 0, 0, 48000)
    sent_by(DigitSender(101, 48000, 48000, "1", 5000), path)
    events = [packet for packet in path.sent if packet.payload_type == 101]
    starts = list(dict.fromkeys(packet.timestamp for packet in events))
    assert len(starts) == 4
    last = TelephoneEvent.parse(events[-1].payload)
    assert last.end
    assert timestamp_delta(starts[-1], starts[0]) + last.duration == 240_000
    assert len(events) == 250 + 2
    reader = Digits(48000, None)
    for packet in events:
        reader.receive(packet.payload, packet.timestamp)
    assert reader.digits == [("1", 5000)]


@by_row("digit", ["", "12", "x", "é", "\r\n"])
def test_what_is_no_digit_is_refused(digit: str) -> None:
    """Before anything is sent."""
    with pytest.raises(RtpError):
        DigitSender(101, 8000, 8000, digit, 100)


def test_a_digit_whose_end_never_comes_is_reported_after_a_while() -> None:
    """Half a second without a packet of it, not before, and once."""
    path = Digits()
    path.press(3, 4000, ends=0)
    now = path.path.clock.now
    path.handler.flush(now + 0.4)
    assert path.digits == []
    path.handler.flush(now + 0.6)
    path.handler.flush(now + 0.7)
    assert path.digits == [("3", 80)]


def test_a_late_end_of_the_digit_before_is_no_digit() -> None:
    """1 and 2 with an end of 1 that comes late read 12, not 1212."""
    path = Digits()
    path.press(1, 4000, ends=2)
    late = path.number
    path.number += 1
    path.press(2, 9000, packets=2, ends=0)
    path.receive(bytes(TelephoneEvent(1, True, 10, 800)), 4000, late=late + 1)
    path.press(2, 9000, packets=1, ends=3)
    assert [digit for digit, _ in path.digits] == ["1", "2"]
