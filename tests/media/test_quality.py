"""The E-model against the figures of ITU-T G.107 and G.113."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.media.embedded.quality import delay_impairment, mos_of, quality_of
from tests.rows import by_row


@by_row(("r_factor", "mos"), [(93.2, 4.41), (80, 4.02), (70, 3.60), (60, 3.10), (50, 2.58), (0, 1.0)])
def test_mos_follows_annex_b(r_factor: float, mos: float) -> None:
    """The values of G.107 table B.1."""
    assert mos_of(r_factor) == pytest.approx(mos, abs=0.01)


def test_delay_costs_nothing_up_to_a_tenth_of_a_second() -> None:
    """And then more and more (equation 7-27)."""
    assert delay_impairment(100) == 0
    assert delay_impairment(200) == pytest.approx(3.0, abs=0.5)
    assert delay_impairment(400) > 20


@by_row(("codec", "lost", "worst"), [("pcmu", 0, 93.2), ("pcmu", 2, 86.2), ("opus", 2, 88.7)])
def test_loss_costs_what_the_codec_bears(codec: str, lost: int, worst: float) -> None:
    """Random loss of two percent with G.711 and its concealment (G.113: Bpl 25.1)."""
    quality = quality_of(codec, expected=100, lost=lost, loss_runs=lost, jitter_ms=0, rtt_ms=0)
    assert quality is not None
    assert quality.r_factor == pytest.approx(worst, abs=0.1)


def test_a_burst_costs_more_than_the_same_loss_spread() -> None:
    """Equation 7-30; a burst is what RFC 3611 section 4.7.2 has as one."""
    spread = quality_of("pcmu", expected=1000, lost=50, loss_runs=50, jitter_ms=0, rtt_ms=None)
    burst = quality_of("pcmu", expected=1000, lost=50, loss_runs=5, jitter_ms=0, rtt_ms=None)
    assert spread is not None
    assert burst is not None
    assert burst.r_factor < spread.r_factor
    assert spread.burst_loss == 0.0
    assert burst.burst_loss == pytest.approx(10 / 12, abs=0.001)


@given(st.integers(-5, 10**9), st.integers(-10, 10**9), st.integers(0, 10**9), st.floats(0, 1e4), st.floats(0, 1e5))
def test_no_figures_make_it_leave_its_range(expected: int, lost: int, runs: int, jitter: float, rtt: float) -> None:
    """Whatever a peer reports."""
    quality = quality_of("pcma", expected=expected, lost=lost, loss_runs=runs, jitter_ms=jitter, rtt_ms=rtt)
    if quality is None:
        assert expected <= 0
        return
    assert 0 <= quality.r_factor <= 100
    assert 1 <= quality.mos <= 4.5
    assert 0 <= quality.burst_loss <= 1


def test_a_playout_buffer_that_is_known_counts_as_long_as_it_waits() -> None:
    """Instead of twice the jitter: 250 ms of it are heard as delay, 20 ms are not."""

    def quality(playout_ms: float | None) -> float:
        found = quality_of(
            "pcmu", expected=1000, lost=0, loss_runs=0, jitter_ms=10.0, rtt_ms=100.0, playout_ms=playout_ms
        )
        assert found is not None
        return found.r_factor

    assert quality(20.0) == quality(None)
    assert quality(250.0) < quality(20.0) - 10


def test_the_delay_of_one_way_is_half_the_round_trip_a_frame_and_what_waits() -> None:
    """In ms: 400 / 2 + 20, and twice the jitter or what the playout buffer waits."""
    for jitter_ms, playout_ms, delay in ((0.0, None, 220), (15.0, None, 250), (15.0, 80.0, 300)):
        found = quality_of(
            "pcmu", expected=100, lost=0, loss_runs=0, jitter_ms=jitter_ms, rtt_ms=400.0, playout_ms=playout_ms
        )
        assert found is not None
        assert found.r_factor == pytest.approx(93.2 - delay_impairment(delay), abs=0.05)
