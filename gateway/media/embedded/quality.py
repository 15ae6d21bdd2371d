"""Voice quality of a stream: R-factor and mean opinion score of the E-model (ITU-T G.107).

R = Ro - Is - Id - Ie,eff + A with the defaults of G.107 table 2, for which Ro - Is is 93.2, and no
advantage factor (A = 0). Constants:

- Id, from the one-way delay Ta, by G.107 equations 7-27 and 7-28 with perfect echo cancellation (Idte = Idle = 0).
  Ta is half the round trip, 20 ms for frame and look-ahead, and the playout delay, estimated as twice the jitter
  unless the gateway plays out the stream itself.
- Ie and Bpl by codec, from G.113 appendix I: G.711 0 and 25.1 (with concealment, appendix I of G.711), G.722 taken
  as narrow-band 0 and 25.1, Opus taken as narrow-band 0 and 40.0 (with concealment and in-band FEC; our own
  estimate, since G.113 has no row for Opus), the rest 11 and 19.0 (as for G.729A).
- Ie,eff = Ie + (95 - Ie) * Ppl / (Ppl / BurstR + Bpl), Ppl in percent, equation 7-29; BurstR, equation 7-30, is
  the mean length of loss runs divided by the mean length under random loss of equal share.
- MOS by annex B: 1 + 0.035 R + R (R - 60) (100 - R) 7e-6, within 1 and 4.5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

BASE = 93.2
"""Ro - Is with every default of table 2."""
IMPAIRMENTS = {"pcmu": (0.0, 25.1), "pcma": (0.0, 25.1), "g722": (0.0, 25.1), "opus": (0.0, 40.0)}
"""Ie and Bpl by codec name in lower case."""
OTHER = (11.0, 19.0)
FRAME_MS = 20.0


@dataclass(frozen=True, slots=True)
class Quality:
    """Quality of one direction of a call."""

    burst_loss: float
    """Share of lost packets within bursts, 0 to 1; a burst is a run of two or more losses and a packet per side."""
    r_factor: float
    """R-factor, 0 to 100."""
    mos: float
    """Mean opinion score, 1 to 4.5."""


def mos_of(r_factor: float) -> float:
    """Return the mean opinion score of an R-factor (G.107 annex B)."""
    if r_factor <= 0:
        return 1.0
    if r_factor >= 100:
        return 4.5
    return max(1.0, 1 + 0.035 * r_factor + r_factor * (r_factor - 60) * (100 - r_factor) * 7e-6)


def delay_impairment(one_way_ms: float) -> float:
    """Return Idd of a delay in ms: 0 up to 100 ms (G.107 equations 7-27 and 7-28)."""
    if one_way_ms <= 100:
        return 0.0
    x = math.log2(one_way_ms / 100)
    return float(25 * ((1 + x**6) ** (1 / 6) - 3 * (1 + (x / 3) ** 6) ** (1 / 6) + 2))


def quality_of(
    codec: str | None,
    *,
    expected: int,
    lost: int,
    loss_runs: int,
    jitter_ms: float,
    rtt_ms: float | None,
    playout_ms: float | None = None,
) -> Quality | None:
    """Return the quality of a direction that lost `lost` of `expected` packets in `loss_runs` runs.

    `playout_ms` is the playout delay, None if unknown. Returns None if no packet was expected.
    """
    if expected <= 0:
        return None
    share = min(1.0, max(0, lost) / expected)
    runs = min(max(1, loss_runs), max(1, lost))
    mean_run = max(1.0, lost / runs) if lost > 0 else 1.0
    burst_ratio = max(1.0, mean_run * (1 - share)) if lost > 0 else 1.0
    impairment, robustness = IMPAIRMENTS.get(codec or "", OTHER)
    percent = 100 * share
    effective = impairment + (95 - impairment) * percent / (percent / burst_ratio + robustness)
    delay = (rtt_ms or 0.0) / 2 + FRAME_MS + (2 * jitter_ms if playout_ms is None else playout_ms)
    r_factor = min(100.0, max(0.0, BASE - delay_impairment(delay) - effective))
    burst = mean_run / (mean_run + 2) if mean_run > 1 else 0.0
    return Quality(round(burst, 3), round(r_factor, 1), round(mos_of(r_factor), 2))
