"""The packet path with a clock turned by hand: renumbering, runs, holds, losses."""

from __future__ import annotations

import itertools
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.media.embedded.plane.packet import RtpPacket, timestamp_delta
from gateway.media.embedded.plane.values import Action, FlowConfig, Route, Silence
from tests.media.plane_support import LISTENER, OUT_SSRC, ROUTES, SOURCE, TARGET, Direction, forward
from tests.media.webrtc_support import finished


def test_a_packet_is_renumbered_and_its_payload_kept() -> None:
    """Payload type, SSRC, sequence number and timestamp are ours; payload and marker are theirs."""
    path = Direction()
    path.receive(10, payload_type=111, payload=b"opus", marker=True)
    path.receive(11, payload_type=111, payload=b"more", timestamp=10 * 160 + 960)
    first, second = path.sent
    assert (first.payload_type, first.ssrc, first.sequence_number, first.timestamp) == (96, OUT_SSRC, 5000, 777)
    assert (first.payload, first.marker) == (b"opus", True)
    assert (second.sequence_number, second.timestamp, second.marker) == (5001, 777 + 960, False)


def test_extension_csrc_and_padding_stay_behind() -> None:
    """Phones get the twelve octets and the payload."""
    path = Direction()
    header = bytes(RtpPacket(0, 1, 160, 1))
    packet = bytes([0xB1]) + header[1:] + b"\x00\x00\x00\x09" + b"\xbe\xde\x00\x01abcd" + b"voice" + b"\x00\x00\x03"
    path.clock.advance(0.02)
    path.deliver(packet)
    assert path.raw[0][0] == 0x80
    assert path.sent[0].payload == b"voice"


def test_a_loss_stays_a_loss() -> None:
    """The listener conceals it; no number is invented."""
    path = Direction()
    for number in (1, 2, 5, 6):
        path.receive(number)
    assert path.numbers() == [0, 1, 4, 5]
    assert path.heard.lost == 2


def test_a_late_packet_finds_its_place_and_a_repeated_one_is_dropped() -> None:
    """Reordering is passed on, duplicates are not: SRTP must never send one index twice."""
    path = Direction()
    for number in (1, 3, 2, 2, 3, 4):
        path.receive(number)
    assert path.numbers() == [0, 2, 1, 3]
    assert path.dropped == 2


def test_a_packet_repeated_after_a_loss_is_dropped() -> None:
    """What came before the gap is remembered."""
    path = Direction()
    for number in (1, 2, 5, 2, 4, 4):
        path.receive(number)
    assert path.numbers() == [0, 1, 4, 3]


def test_numbers_wrap_together() -> None:
    """Sequence numbers over 65535 and timestamps over 2**32 on both sides."""
    path = Direction(sequence_number=65534)
    start = 0xFFFFFF00
    for step in range(5):
        path.receive(65533 + step, start + 160 * step)
    assert path.numbers() == [0, 1, 2, 3, 4]
    gaps = [
        timestamp_delta(after.timestamp, before.timestamp)
        for before, after in zip(path.sent, path.sent[1:], strict=False)
    ]
    assert gaps == [160] * 4


def test_a_new_source_goes_on_where_the_old_one_ended() -> None:
    """Another SSRC after a silence: same outgoing SSRC, next number, later timestamp, marker."""
    path = Direction()
    path.receive(1)
    path.receive(2)
    path.receive(30000, 5, ssrc=2, after=0.5)
    path.receive(30001, 165, ssrc=2)
    path.receive(30002, 325, ssrc=2)
    assert path.numbers() == [0, 1, 2, 3]
    assert {packet.ssrc for packet in path.sent} == {OUT_SSRC}
    assert path.sent[2].marker
    assert timestamp_delta(path.sent[2].timestamp, path.sent[1].timestamp) == round(0.52 * 8000)
    assert len(path.handler.runs) == 2


def test_a_second_source_beside_a_live_one_is_not_heard() -> None:
    """Injected packets of another SSRC change nothing, however many and however well numbered."""
    path = Direction()
    for number in range(1, 50):
        path.receive(number)
        path.receive(number, ssrc=666, payload=b"x", after=0.0)
    assert all(packet.payload == b"v" for packet in path.sent)
    assert path.numbers() == list(range(49))


def test_a_new_description_lets_a_new_source_in_at_once() -> None:
    """After a re-INVITE nobody waits for silence."""
    path = Direction()
    path.receive(1)
    path.plane.resync(SOURCE)
    path.receive(500, ssrc=2)
    assert path.numbers() == [0, 1]


def test_a_source_that_says_bye_makes_room() -> None:
    """RFC 3550 section 6.6."""
    path = Direction()
    path.receive(1)
    path.plane.resync(SOURCE, 1)
    path.receive(500, ssrc=2)
    assert path.numbers() == [0, 1]


def test_a_wild_jump_counts_only_when_the_next_packet_agrees() -> None:
    """RFC 3550 appendix A.1: one stray packet moves nothing, two in a row are a restart."""
    path = Direction()
    path.receive(1)
    path.receive(40000)
    path.receive(2)
    assert path.numbers() == [0, 1]
    path.receive(40000)
    path.receive(40001)
    path.receive(40002)
    assert path.numbers() == [0, 1, 2, 3]


def test_a_hold_leaves_no_gap_and_time_goes_on() -> None:
    """Eleven minutes of hold: next number, timestamp by the wall clock, marker not needed."""
    path = Direction()
    path.receive(1)
    path.plane.set_open(TARGET, False)
    for number in range(2, 100):
        path.receive(number)
    path.plane.set_open(TARGET, True)
    path.receive(100, 100 * 160)
    assert path.numbers() == [0, 1]
    assert timestamp_delta(path.sent[1].timestamp, path.sent[0].timestamp) == 99 * 160


def test_a_timeline_that_restarts_behind_is_joined_after_what_was_sent() -> None:
    """The same source and numbering, but its clock fell back: ours never does."""
    path = Direction()
    path.receive(1, 1_000_000)
    path.receive(2, 1_000_160)
    path.receive(3, 400)
    path.receive(4, 560)
    stamps = [packet.timestamp for packet in path.sent]
    assert stamps == sorted(stamps)
    assert timestamp_delta(stamps[2], stamps[1]) == 160
    assert timestamp_delta(stamps[3], stamps[2]) == 160


def test_a_late_packet_from_before_a_packet_of_ours_is_dropped() -> None:
    """Its number has been given to another packet by now."""
    path = Direction()
    path.receive(1)
    path.receive(3)
    path.ours()
    path.receive(4)
    path.receive(2)
    assert path.numbers() == [0, 2, 3, 4]
    numbers = [packet.sequence_number for packet in path.sent]
    assert len(set(numbers)) == len(numbers)


def test_packets_of_ours_take_numbers_and_the_source_goes_on_after_them() -> None:
    """The peer sees one stream."""
    path = Direction()
    path.receive(1)
    for _ in range(3):
        path.clock.advance(0.02)
        path.ours()
    path.receive(2, 5 * 160)
    assert path.numbers() == [0, 1, 2, 3, 4]
    assert timestamp_delta(path.sent[-1].timestamp, path.sent[0].timestamp) == 640


def test_an_unknown_payload_type_is_dropped_without_a_gap() -> None:
    """And it cannot become the source."""
    path = Direction()
    path.receive(1)
    path.receive(2, payload_type=77)
    path.receive(3)
    assert path.numbers() == [0, 1]
    assert path.dropped == 1


def test_comfort_noise_passes_and_leaves_jitter_alone() -> None:
    """Payload type 13 where both know it (RFC 3389)."""
    path = Direction()
    path.receive(1)
    path.receive(2, payload_type=13)
    path.receive(3)
    assert [packet.payload_type for packet in path.sent] == [0, 13, 0]


def test_a_change_of_codec_to_another_clock_keeps_time_going_forward() -> None:
    """From Opus at 48 kHz to PCMU at 8 kHz in one stream."""
    path = Direction()
    path.receive(1, 3_000_000, payload_type=111)
    path.receive(2, 3_000_960, payload_type=111)
    path.receive(3, 500_000, payload_type=0)
    path.receive(4, 500_160, payload_type=0)
    stamps = [packet.timestamp for packet in path.sent]
    assert timestamp_delta(stamps[2], stamps[1]) == 160
    assert timestamp_delta(stamps[3], stamps[2]) == 160
    assert path.numbers() == [0, 1, 2, 3]


def test_jitter_follows_rfc_3550() -> None:
    """A packet that is 16 ms late moves the estimate by a sixteenth of that."""
    path = Direction()
    path.receive(1)
    path.receive(2)
    assert path.heard.jitter == pytest.approx(0.0, abs=1e-9)
    path.receive(3, after=0.036)
    assert path.heard.jitter == pytest.approx(0.001)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["next", "lose", "late", "repeat", "jump", "source", "hold", "resume", "ours", "rewind"]),
        st.integers(1, 60),
    ),
    max_size=60,
)


@given(STEPS, st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF))
def test_the_outgoing_stream_never_repeats_a_number(steps: list[tuple[str, int]], first: int, clock: int) -> None:
    """Whatever a source does, no sequence number goes out twice, and progress is in small steps."""
    path = Direction(sequence_number=first)
    number, stamp, ssrc = first, clock, 1
    path.receive(number, stamp)
    for step, amount in steps:
        if step in ("hold", "resume"):
            path.plane.set_open(TARGET, step == "resume")
            continue
        if step == "ours":
            path.ours()
            continue
        if step in ("late", "repeat"):
            path.receive(number - (amount if step == "late" else 0), stamp - 160 * amount, ssrc=ssrc)
            continue
        number += {"lose": amount, "jump": 20000}.get(step, 1)
        stamp += -16000 * amount if step == "rewind" else 160
        if step == "source":
            ssrc, number = ssrc + 1, amount * 1000
        path.receive(number, stamp, ssrc=ssrc, after=0.2 if step == "source" else 0.02)
    numbers = [packet.sequence_number for packet in path.sent]
    assert len(set(numbers)) == len(numbers)
    assert max(path.numbers()) <= 61 * len(numbers)


@given(st.lists(st.binary(min_size=12, max_size=60), max_size=20))
def test_no_packet_that_is_well_formed_breaks_the_relay(packets: list[bytes]) -> None:
    """Header octets as they come, behind a well-formed first octet."""
    path = Direction()
    for data in packets:
        path.clock.advance(0.02)
        path.deliver(b"\x80" + data[1:])
    assert all(packet.ssrc == OUT_SSRC for packet in path.sent)


# Faults that were


def test_an_event_with_noise_between_its_packets_keeps_its_timestamp() -> None:
    """A skipped packet within a telephone-event must not make it another event: 5 came as 555."""
    path = Direction({**ROUTES, 101: forward(0, 101), 77: Route(action=Action.DROP)})
    path.receive(1)
    for number in range(2, 8):
        path.receive(number, 320, payload_type=101)
        path.receive(number + 100, 320, payload_type=77, ssrc=1) if number == 3 else None
    events = [packet.timestamp for packet in path.sent if packet.payload_type == 101]
    assert len(events) >= 4
    assert len(set(events)) == 1


def test_a_dropped_type_within_an_event_leaves_one_event() -> None:
    """The same with an unknown payload type, in the order of the numbers."""
    path = Direction({**ROUTES, 101: forward(0, 101)})
    path.receive(1)
    for number in range(2, 10):
        path.receive(number, 320, payload_type=101 if number % 2 else 99)
    events = [packet for packet in path.sent if packet.payload_type == 101]
    assert len({packet.timestamp for packet in events}) == 1
    assert path.numbers() == list(range(len(path.sent)))


def test_a_resync_lapses_where_the_source_goes_on() -> None:
    """A minute after a re-offer a stray source does not take over."""
    path = Direction()
    for number in range(1, 10):
        path.receive(number)
    path.plane.resync(SOURCE)
    for number in range(10, 110):
        path.receive(number)
    path.receive(7, ssrc=666, payload=b"x", after=0.0)
    path.receive(110)
    assert all(packet.payload == b"v" for packet in path.sent)
    assert path.numbers() == list(range(110))


def test_a_packet_that_the_socket_refused_is_not_counted_as_sent() -> None:
    """Sender reports say what left."""
    path = Direction()
    path.receive(1)
    path.sockets[2].refusing = True
    path.receive(2)
    path.sockets[2].refusing = False
    path.receive(3)
    assert (path.told.sent, path.told.sent_octets, dict(path.told.unsent)) == (2, 2, {"socket": 1})


def test_a_timestamp_that_leaps_ahead_is_joined_by_the_clock() -> None:
    """An hour ahead from one packet to the next is another timeline, not an hour of silence."""
    path = Direction()
    path.receive(1, 1000)
    path.receive(2, 1160)
    path.receive(3, 1160 + 3600 * 8000)
    path.receive(4, 1320 + 3600 * 8000)
    stamps = [packet.timestamp for packet in path.sent]
    assert [timestamp_delta(b, a) for a, b in itertools.pairwise(stamps)] == [160, 160, 160]
    assert path.sent[2].marker


def test_a_long_pause_of_the_source_is_kept_as_long_as_it_was() -> None:
    """Discontinuous transmission: the timestamp and the clock on the wall agree."""
    path = Direction()
    path.receive(1, 1000)
    path.receive(2, 1000 + 60 * 8000, after=60.0)
    assert timestamp_delta(path.sent[1].timestamp, path.sent[0].timestamp) == 60 * 8000
    assert not path.sent[1].marker


def test_repacketised_audio_after_our_own_packets_never_runs_backwards() -> None:
    """Silence went on by the clock while the source's timeline stood still."""
    path = Direction({0: Route(action=Action.PUNT, clock_rate=8000)})
    for number in (1, 2):
        path.receive(number)
        path.plane.relay(SOURCE, number, number * 160, 0, False, b"a", 0)
    for _ in range(50):
        path.clock.advance(0.02)
        path.ours()
    path.receive(3)
    path.plane.relay(SOURCE, 3, 480, 0, False, b"a", 0)
    stamps = [packet.timestamp for packet in path.sent]
    assert all(timestamp_delta(b, a) > 0 for a, b in itertools.pairwise(stamps))
    assert path.numbers() == list(range(len(path.sent)))


def test_silences_are_spread_over_their_interval() -> None:
    """A thousand calls that were put on hold together are no burst."""
    direction, flows = Direction(), range(10, 60)
    for flow in flows:
        finished(direction.plane.open_pair(flow, "192.0.2.1", 0))
        direction.plane.open_flow(flow, flow, FlowConfig())
        direction.plane.set_destination(flow, LISTENER, None)
        direction.plane.start_stream(flow, flow, 1, 1, 8000)
        direction.plane.set_silence(flow, Silence(payload_type=0, payload=b"-", ticks=160, after=1.0, interval=5.0))
    sockets, first = direction.sockets[4::2], dict[int, float]()
    for tick in range(70):
        direction.clock.advance(0.1)
        for flow, each in zip(flows, sockets, strict=True):
            if each.sent:
                first.setdefault(flow, tick / 10)
    times = sorted(first.values())
    assert len(times) == len(flows)
    assert times[0] >= 0.9
    assert times[-1] <= 6.0
    assert max(after - before for before, after in pairwise([0.9, *times, 6.0])) <= 0.4
