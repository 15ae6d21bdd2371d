"""What is said about video by RTCP: key frames, limits, and how much a peer is to send."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.media.embedded.describe import codec_policy
from gateway.media.embedded.plane.feedback import (
    bit_rate_limit,
    fir_entry,
    fir_sources,
    read_bit_rate_limit,
    read_temporary_limit,
    temporary_limit,
)
from gateway.media.embedded.plane.rate import LOWEST, LostNumbers, ReceiveLimit, SendRate
from gateway.media.embedded.plane.rtcp import FIR, PLI, PSFB, RTPFB, TMMBN, TMMBR, Feedback, parse_compound
from gateway.media.embedded.settings import EmbeddedConfig, VideoConfig
from gateway.media.engine import Kind, Party
from tests.rows import by_row


@given(bits=st.integers(0, 2**62), sources=st.lists(st.integers(0, 2**32 - 1), max_size=8))
def test_a_limit_is_read_as_it_was_written(bits: int, sources: list[int]) -> None:
    """Eighteen bits of it, rounded down."""
    [message] = parse_compound(bytes(bit_rate_limit(7, bits, tuple(sources))))
    assert isinstance(message, Feedback)
    limit = read_bit_rate_limit(message)
    assert limit is not None
    assert 0 <= bits - limit <= bits / 2**17


def test_the_limit_on_the_wire_is_that_of_the_draft() -> None:
    """draft-alvestrand-rmcat-remb-03 section 2.2: 1 Mbit/s for one source."""
    told = bytes(bit_rate_limit(1, 1_000_000, (2,))).hex()
    assert told == "8fce0005" + "00000001" + "00000000" + b"REMB".hex() + "010bd090" + "00000002"


@given(kind=st.sampled_from([205, 206]), form=st.integers(0, 31), control=st.binary(max_size=64))
def test_no_control_information_makes_reading_raise(kind: int, form: int, control: bytes) -> None:
    """Short, long, of another message."""
    message = Feedback(kind, form, 1, 2, control)
    read_bit_rate_limit(message)
    assert len(fir_sources(message)) <= len(control) // 8


def test_a_full_intra_request_names_its_sources() -> None:
    """RFC 5104 section 4.3.1; a picture loss indication has none."""
    request = Feedback(PSFB, FIR, 1, 0, fir_entry(8, 3) + fir_entry(9, 256))
    assert fir_sources(request) == (8, 9)
    assert fir_sources(Feedback(PSFB, PLI, 1, 8)) == ()


@by_row(("lost", "bits"), [(0.0, 1_000_000), (0.05, 1_000_000), (0.2, 900_000), (1.0, 500_000)])
def test_heavy_loss_takes_half_its_share(lost: float, bits: int) -> None:
    """Over a tenth; below that nothing goes."""
    rate = SendRate(1_000_000)
    rate.reported(lost)
    assert rate.bits == bits


def test_the_rate_recovers_to_what_it_was_and_never_ends() -> None:
    """Down to the lowest and no lower, then up by a twentieth a report."""
    rate = SendRate(1_000_000)
    for _ in range(50):
        rate.reported(1.0)
    assert rate.bits == LOWEST
    rate.reported(0.0)
    assert rate.bits == LOWEST * 1.05
    for _ in range(60):
        rate.reported(0.0)
    assert rate.bits == 1_000_000


def test_an_estimate_that_grows_says_nothing_of_too_much() -> None:
    """As Chromium says it when a second picture of 190,000 bits a second begins: four times a second, a little more."""
    limit = ReceiveLimit(2_500_000)
    assert not limit.is_overrun(400_000, 400_000, 0.0, 0.0)
    limit.said(246_000, 0.0, 246_000, 0.0)
    assert limit.is_overrun(400_000, 400_000, 0.0, 0.0)
    for look in range(1, 40):
        now = look / 4
        limit.said(246_000 + 4_000 * look, now, 450_000, 0.10)
        limit.said(246_000 + 4_000 * look, now + 0.1, 450_000, 0.10)
        assert not limit.is_overrun(450_000, 450_000, 0.10, now + 0.2)
        assert limit.is_overrun(450_000, 450_000, 0.11, now + 0.2)
        assert limit.allowed(now + 0.2) is None


def test_an_estimate_that_falls_or_stays_below_what_is_sent_says_that_it_is_too_much() -> None:
    """Said again and again it is no larger; and what is far below what each may always have says nothing."""
    limit = ReceiveLimit(2_500_000)
    for bits in (240_000, 250_000):
        limit.said(bits, 1.0, 0.0, 0.0)
    for now, is_overrun in ((1.1, False), (2.4, False), (2.6, True)):
        limit.said(250_000, now, 400_000, 0.0)
        assert limit.is_overrun(400_000, 400_000, 0.0, now) is is_overrun
    limit.said(260_000, 3.0, 400_000, 0.0)
    limit.said(259_000, 3.1, 400_000, 0.0)
    assert limit.is_overrun(400_000, 400_000, 0.0, 3.1)
    assert not limit.is_overrun(200_000, 400_000, 0.0, 3.1)
    assert not limit.is_overrun(259_000, 400_000, 0.0, 3.1)


def test_what_is_estimated_of_little_limits_nobody() -> None:
    """A viewer that is sent 300,000 bits a second estimates little more: the sender finds its own way up from there."""
    limit = ReceiveLimit(2_500_000)
    sent = 300_000.0
    for now in range(60):
        limit.said(round(1.02 * sent), float(now), sent, 0.0)
        assert limit.allowed(float(now)) is None
        sent = min(2_500_000, sent * 1.05)


def test_an_estimate_below_what_is_sent_is_a_limit_until_it_grows_again() -> None:
    """At once where it has fallen or does not grow, whatever is lost; then by 8 % a second, or as it says."""
    limit = ReceiveLimit(2_500_000)
    limit.said(300_000, 0.0, 1_000_000, 0.0)
    assert limit.allowed(0.0) == 300_000
    limit.said(290_000, 1.0, 900_000, 0.0)
    assert limit.allowed(1.0) == 290_000
    limit.said(295_000, 2.0, 295_000, 0.0)
    assert limit.allowed(2.0) == round(290_000 * 1.08)
    limit.said(500_000, 3.0, 320_000, 0.0)
    assert limit.allowed(3.0) == 500_000
    limit.said(450_000, 3.5, 420_000, 0.0)
    assert limit.allowed(3.5) == 450_000
    limit.said(460_000, 4.0, 900_000, 0.2)
    assert limit.allowed(4.0) == 460_000
    limit.said(9_000_000, 5.0, 460_000, 0.0)
    assert limit.allowed(5.0) is None


def test_a_limit_of_which_nothing_is_said_any_more_goes_by_and_by() -> None:
    """Its viewer sees nothing on hold, or says nothing since: no peer is held down for good, nor let loose at once."""
    limit = ReceiveLimit(2_500_000)
    limit.said(100_000, 0.0, 900_000, 0.1)
    found = [limit.allowed(float(now)) for now in range(100)]
    assert found[0] == 100_000
    limits = [each for each in found if each is not None]
    assert all(1.07 < after / before < 1.09 for before, after in pairwise(limits))
    assert 40 < len(limits) < 45
    assert found[99] is None
    limit.said(100_000, 1e9, 90_000, 0.0)
    assert limit.allowed(1e9) is None
    limit.said(0, 1e9 + 1, 90_000, 0.1)
    assert limit.allowed(1e9 + 1) == 10_000
    assert limit.allowed(1e9 + 100) is None


def test_an_estimate_that_no_loss_bears_out_takes_nobody_below_a_small_picture() -> None:
    """As a busy Chromium says it: less each second than the little that comes."""
    limit, sent = ReceiveLimit(2_500_000), 500_000
    for now in range(20):
        limit.said(round(0.66 * sent), float(now), sent, 0.0)
        allowed = limit.allowed(float(now))
        assert allowed is not None
        assert allowed >= 200_000
        sent = min(sent, allowed)
    limit.said(60_000, 20.0, 200_000, 0.05)
    assert limit.allowed(20.0) == 60_000


@pytest.mark.parametrize(("lost", "rtt"), [(0.3, 0.1), (0.0, 0.7)], ids=["lost", "late"])
def test_an_estimate_that_losses_or_delay_bear_out_is_believed_as_long_as_its_limit_holds(
    lost: float, rtt: float
) -> None:
    """Who obeys it loses nothing any more: the limit does not go up because the estimate goes down."""
    limit = ReceiveLimit(2_500_000)
    limit.said(130_000, 0.0, 300_000, lost, rtt)
    assert limit.allowed(0.0) == 130_000
    limit.said(125_000, 1.0, 130_000, 0.0, 0.1)
    assert limit.allowed(1.0) == 125_000
    for second in range(2, 32):
        limit.said(90_000, float(second), 150_000, 0.0, 0.1)
    assert limit.allowed(31.0) == 90_000
    for second in range(32, 36):
        limit.said(200_000, float(second), 95_000, 0.0, 0.1)
    assert limit.allowed(35.0) == round(200_000 * 1.08**3)


def test_an_estimate_that_goes_to_and_fro_above_what_is_sent_holds_nobody_down() -> None:
    """The way has become wide again: what a sender that was limited sends says nothing, and the limit goes away."""
    limit = ReceiveLimit(2_500_000)
    for now in range(120):
        limit.said(190_000 if now % 2 else 180_000, float(now), 127_000, 0.0)
        assert limit.allowed(float(now)) is None
    limit.said(120_000, 120.0, 300_000, 0.3)
    assert limit.allowed(120.0) == 120_000
    found = []
    for now in range(121, 166):
        limit.said(190_000 if now % 2 else 180_000, float(now), 127_000, 0.0)
        found.append(limit.allowed(float(now)) or 2_500_000)
    assert all(after > before for before, after in pairwise(found[:30]))
    assert found[-1] == 2_500_000


def test_a_limit_well_above_what_is_sent_is_not_said_again_by_an_estimate_that_nothing_bears_out() -> None:
    """As of a busy viewer: its estimate stays below the little that comes, of which nothing is lost or late."""
    limit, found = ReceiveLimit(2_500_000), []
    limit.said(180_000, 0.0, 500_000, 0.0)
    assert limit.allowed(0.0) == 200_000
    for now in range(1, 36):
        limit.said(108_000 if now % 2 else 100_000, float(now), 127_000, 0.0)
        found.append(limit.allowed(float(now)))
    assert found[0] == 216_000
    assert found[-1] is None


def test_a_limit_that_was_borne_out_once_falls_no_lower_than_its_half_by_estimates_that_nothing_bears_out() -> None:
    """A busy viewer, after losses: always less than what it is sent, of which nothing is lost any more."""
    limit, sent = ReceiveLimit(2_500_000), 120_000.0
    limit.said(130_000, 0.0, 300_000, 0.3)
    for now in range(1, 30):
        limit.said(round(0.85 * sent), float(now), sent, 0.0)
        allowed = limit.allowed(float(now))
        assert allowed is not None
        assert allowed >= 65_000
        sent = 0.95 * allowed
    limit.said(40_000, 30.0, sent, 0.05)
    assert limit.allowed(30.0) == 40_000
    limit.said(500_000, 31.0, sent, 0.0)
    limit.said(100_000, 32.0, 500_000, 0.0)
    assert limit.allowed(32.0) == 200_000


@pytest.mark.parametrize(("kept", "again"), [(0, False), (256, True)])
def test_retransmission_is_agreed_where_packets_are_kept(kept: int, again: bool) -> None:
    """video.kept_packets: who keeps nothing offers neither rtx (RFC 4588) nor NACK, key frames are asked for still."""
    config = EmbeddedConfig(video=VideoConfig(kept_packets=kept))
    policy = codec_policy(config, Party("browser", Kind.WEBRTC), ())
    assert ("rtx" in (policy.video or ())) is again
    assert ("nack" in policy.feedback) is again
    assert "nack pli" in policy.feedback


def test_a_lost_packet_is_asked_for_once_until_it_can_have_come_however_many_lack_it() -> None:
    """And no more than 200 a second, whatever is said."""
    lost = LostNumbers()
    assert lost.due([65_535, 0, 0], 10.0) == [65_535, 0]
    assert lost.due([0, 1], 10.09) == [1]
    assert lost.due([0, 1], 10.15) == [0]
    assert lost.due(range(100, 400), 10.5) == [*range(100, 296)]
    assert lost.due([7], 10.99) == []
    assert lost.due([7], 11.0) == [7]
    assert lost.due([295], 11.0) == [295]


@by_row("bits", [0, 1, 99_999, 131_071, 131_072, 2_500_000, (1 << 40) + 1])
def test_a_temporary_limit_is_read_as_it_was_written(bits: int) -> None:
    """17 bits and an exponent, rounded down; of the source that it names alone."""
    control = temporary_limit(7, 1) + temporary_limit(8, bits, 40)
    read = read_temporary_limit(Feedback(RTPFB, TMMBR, 1, 0, control), 8)
    assert read is not None
    assert read[1] == 40
    assert read[0] <= bits <= read[0] * 1.0001
    assert read_temporary_limit(Feedback(RTPFB, TMMBR, 1, 0, control), 9) is None
    assert read_temporary_limit(Feedback(RTPFB, TMMBR, 1, 0, control[:-1]), 8) is None
    assert read_temporary_limit(Feedback(RTPFB, TMMBN, 1, 0, control), 8) is None


def test_a_temporary_limit_on_the_wire_is_that_of_the_rfc() -> None:
    """RFC 5104 section 4.2.1.1: SSRC, 6 bits of exponent, 17 of mantissa, 9 of overhead."""
    assert temporary_limit(0x01020304, 1_000_000, 40).hex() == "01020304" + f"{3 << 26 | 125_000 << 9 | 40:08x}"
