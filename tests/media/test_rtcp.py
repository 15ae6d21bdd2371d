"""RTCP: round trips, bounds, and what our own reports say."""

from __future__ import annotations

import itertools
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.media.embedded.plane.inbound import Inbound
from gateway.media.embedded.plane.outgoing import OutgoingStream
from gateway.media.embedded.plane.packet import RtpError, RtpPacket
from gateway.media.embedded.plane.reports import Reporter, ntp_time
from gateway.media.embedded.plane.rtcp import (
    PSFB,
    RTPFB,
    Bye,
    Feedback,
    ReceiverReport,
    ReportBlock,
    RtcpPacket,
    SenderReport,
    SourceDescription,
    parse_compound,
)
from gateway.media.embedded.plane.values import FlowSnapshot
from tests.media.rtp_support import ManualClock
from tests.rows import by_row

U32 = st.integers(0, 0xFFFFFFFF)
BLOCKS = st.lists(
    st.builds(ReportBlock, U32, st.integers(0, 255), st.integers(-0x800000, 0x7FFFFF), U32, U32, U32, U32), max_size=31
).map(tuple)
PACKETS: st.SearchStrategy[RtcpPacket] = st.one_of(
    st.builds(SenderReport, U32, st.integers(0, (1 << 64) - 1), U32, U32, U32, BLOCKS),
    st.builds(ReceiverReport, U32, BLOCKS),
    st.builds(SourceDescription, U32, st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=60)),
    st.builds(Bye, st.lists(U32, max_size=31).map(tuple)),
    st.builds(
        Feedback,
        st.sampled_from([RTPFB, PSFB]),
        st.integers(0, 31),
        U32,
        U32,
        st.binary(max_size=20).map(lambda data: data[: len(data) // 4 * 4]),
    ),
)


@given(st.lists(PACKETS, max_size=6))
def test_a_compound_packet_round_trips(packets: list[RtcpPacket]) -> None:
    """Each kind, alone and together."""
    assert parse_compound(b"".join(map(bytes, packets))) == packets


@given(st.binary(max_size=200))
def test_a_strangers_bytes_raise_rtp_error_only(data: bytes) -> None:
    """CVE-2021-43804 and its kin: counts and lengths that lie."""
    try:
        parse_compound(data)
    except RtpError:
        pass


@given(PACKETS, st.integers(1, 30), st.integers(0, 31))
def test_a_cut_packet_or_a_false_count_raises_rtp_error_only(packet: RtcpPacket, cut: int, count: int) -> None:
    """The header promises more than there is."""
    data = bytes(packet)
    for lie in (data[:-cut], bytes([0x80 | count]) + data[1:], b"\xa0" + data[1:]):
        try:
            parse_compound(lie)
        except RtpError:
            pass


@by_row(
    "data",
    [
        b"\x81\xcb\x00\x00",
        b"\x9f\xc9\x00\x01" + bytes(4),
        b"\x80\xc8\x00\x01" + bytes(4),
        b"\x80\xc9\x00\x02" + bytes(4),
        b"\x40\xc9\x00\x01" + bytes(4),
        b"\xa0\xc9\x00\x01" + bytes(3) + b"\x08",
        b"\x80\xcc\x00\x00" * 33,
    ],
    ids=["bye-count", "rr-count", "sr-short", "length", "version", "padding", "many"],
)
def test_a_packet_that_lies_is_refused(data: bytes) -> None:
    """One by one."""
    with pytest.raises(RtpError):
        parse_compound(data)


def test_feedback_says_what_it_asks_for() -> None:
    """PLI and FIR want a key frame, a NACK wants packets again."""
    assert Feedback(PSFB, 1, 1, 2).asks_for_key_frame
    assert Feedback(PSFB, 4, 1, 2).asks_for_key_frame
    assert not Feedback(PSFB, 15, 1, 2).asks_for_key_frame
    assert Feedback(RTPFB, 1, 1, 2).asks_for_retransmission
    assert not Feedback(RTPFB, 15, 1, 2).asks_for_retransmission


class Side:
    """One party's reporter with a source and an outgoing stream."""

    def __init__(self, ssrc: int, clock: ManualClock, random: Random | None = None) -> None:
        self.clock = clock
        self.inbound = Inbound()
        self.out = OutgoingStream(ssrc, 0, 0, 8000)
        self.reporter = Reporter(ssrc, "nobody", random or Random(1), 5.0)

    def send(self, payload: bytes, timestamp: int) -> None:
        self.out.last_timestamp = timestamp
        self.out.inject(0, self.clock.now)
        self.out.packets += 1
        self.out.octets += len(payload)

    def report(self) -> bytes:
        inbound, out = self.inbound, self.out
        snapshot = FlowSnapshot(
            taken=self.clock.now, ssrc=inbound.ssrc, generation=inbound.generation, expected=inbound.expected,
            run_received=inbound.run_received, lost=inbound.lost, extended_highest=inbound.extended_highest,
            jitter=inbound.jitter, clock_rate=inbound.clock_rate, out_ssrc=out.ssrc, sent=out.packets,
            sent_octets=out.octets, timestamp=out.last_timestamp, sent_at=out.last_sent, rate_out=out.rate_out,
        )  # fmt: skip
        return self.reporter.report(snapshot)

    def receive(self, data: bytes) -> tuple[int, ...]:
        return self.reporter.receive(data, self.clock.now, self.out.rate_out)


def test_reports_come_every_two_and_a_half_to_seven_and_a_half_seconds() -> None:
    """RFC 3550 section 6.2: randomised, about five seconds."""
    clock = ManualClock()
    side = Side(1, clock, Random(4))
    times = []
    for _ in range(2000):
        clock.advance(0.1)
        if side.reporter.is_due(clock.now):
            times.append(clock.now)
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert 2.4 <= min(gaps) < max(gaps) <= 7.7
    assert 4.0 < sum(gaps) / len(gaps) < 6.0


def test_a_party_that_sends_gets_a_sender_report_and_one_that_does_not_a_receiver_report() -> None:
    """RFC 3550 section 6.4."""
    side = Side(1, ManualClock())
    first = parse_compound(side.report())
    assert first == [ReceiverReport(1), SourceDescription(1, "nobody")]
    side.send(bytes(160), 4000)
    clock_later = side.clock.advance(1.0)
    sender = parse_compound(side.report())[0]
    assert isinstance(sender, SenderReport)
    assert (sender.packets, sender.octets, sender.rtp_timestamp) == (1, 160, 4000 + 8000)
    assert sender.ntp == ntp_time(clock_later)
    assert isinstance(parse_compound(side.report())[0], ReceiverReport)


def test_figures_older_than_the_last_sender_report_make_a_report_without_delay() -> None:
    """The plane's snapshot was taken before that report was read, as on a busy machine: no negative delay."""
    clock, ahead = ManualClock(), ManualClock()
    side, other = Side(1, clock), Side(77, ahead)
    side.inbound.admit(77, 1, 160, 172, 8000, clock.advance(0.02))
    other.send(bytes(160), 160)
    side.reporter.receive(other.report(), clock.now + 0.5, 8000)
    report = parse_compound(side.report())[0]
    assert isinstance(report, ReceiverReport)
    assert report.blocks[0].last_sr != 0
    assert report.blocks[0].delay == 0


def test_a_report_says_what_was_lost() -> None:
    """One packet of ten: a fraction of 25/256, and cumulative one."""
    side = Side(1, ManualClock())
    for number in [1, 2, 3, 4, 6, 7, 8, 9, 10]:
        packet = RtpPacket(0, number, number * 160, 77)
        side.inbound.admit(77, number, packet.timestamp, 172, 8000, side.clock.advance(0.02))
    report = parse_compound(side.report())[0]
    assert isinstance(report, ReceiverReport)
    block = report.blocks[0]
    assert (block.ssrc, block.lost, block.fraction_lost, block.highest) == (77, 1, 25, 10)
    again = parse_compound(side.report())[0]
    assert isinstance(again, ReceiverReport)
    assert (again.blocks[0].lost, again.blocks[0].fraction_lost) == (1, 0)


def test_the_round_trip_is_measured() -> None:
    """Sender report there, receiver report back 300 ms later, of which the peer kept it 200 ms."""
    clock = ManualClock()
    ours, theirs = Side(1, clock), Side(2, clock)
    ours.send(b"v", 0)
    sent = ours.report()
    clock.advance(0.05)
    theirs.inbound.admit(1, 1, 160, 172, 8000, clock.now)
    theirs.receive(sent)
    clock.advance(0.2)
    back = theirs.report()
    clock.advance(0.05)
    ours.receive(back)
    assert ours.reporter.rtt == pytest.approx(0.1, abs=0.001)
    assert ours.reporter.lost == 0


def test_a_block_about_somebody_else_says_nothing_of_us() -> None:
    """Only our own SSRC counts."""
    side = Side(1, ManualClock())
    side.receive(bytes(ReceiverReport(9, (ReportBlock(5, 0, 99, 0, 0, 0, 0),))))
    assert side.reporter.lost is None


def test_a_malformed_report_is_counted_and_changes_nothing() -> None:
    """The call goes on."""
    side = Side(1, ManualClock())
    side.receive(b"\x9f\xc9\x00\x01" + bytes(4))
    assert side.reporter.malformed == 1
    assert side.reporter.rtt is None


def test_a_bye_lets_another_source_in() -> None:
    """And it is never passed on."""
    clock = ManualClock()
    side = Side(1, clock)
    side.inbound.admit(7, 1, 160, 172, 8000, clock.now)
    [left] = side.receive(bytes(Bye((7,))))
    side.inbound.expect_new_source(clock.now, left)
    assert side.inbound.admit(8, 900, 160, 172, 8000, clock.now)


def test_the_goodbye_ends_with_bye() -> None:
    """RFC 3550 section 6.6."""
    side = Side(1, ManualClock())
    assert parse_compound(side.reporter.goodbye())[-1] == Bye((1,))
