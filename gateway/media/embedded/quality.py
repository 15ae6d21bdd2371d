"""How good a stream sounds: the E-model of ITU-T G.107, and its mean opinion score.

R = Ro - Is - Id - Ie,eff + A with the defaults of G.107 table 2, for which Ro - Is is 93.2, and no
advantage factor (A = 0). Constants:

- Id, from the delay Ta one way (half the round trip, the frame and look-ahead of 20 ms, and what the playout buffer
  waits: ours where it is ours, else one of twice the jitter), by G.107 equations 7-27 and 7-28 with perfect echo
  cancellation (Idte = Idle = 0).
- Ie and Bpl by codec, from G.113 appendix I: G.711 0 and 25.1 (with concealment, appendix I of G.711), G.722 taken
  as narrow-band 0 and 25.1, Opus taken as narrow-band 0 and 40.0 (its own concealment and in-band FEC; G.113 has
  no row for it, so this one is ours), any other 11 and 19.0 (those of G.729A).
- Ie,eff = Ie + (95 - Ie) * Ppl / (Ppl / BurstR + Bpl), Ppl in percent, equation 7-29; BurstR, equation 7-30, is
  the mean length of the runs of lost packets over the length that random loss of the same share would have.
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
    """What is said of one direction."""

    burst_loss: float
    """Share, 0 to 1, of the packets of bursts that were lost; a burst is a run of losses longer than one packet
    together with the packet on either side of it."""
    r_factor: float
    """0 to 100."""
    mos: float
    """1 to 4.5."""


def mos_of(r_factor: float) -> float:
    """The mean opinion score of an R-factor (annex B)."""
    if r_factor <= 0:
        return 1.0
    if r_factor >= 100:
        return 4.5
    return max(1.0, 1 + 0.035 * r_factor + r_factor * (r_factor - 60) * (100 - r_factor) * 7e-6)


def delay_impairment(one_way_ms: float) -> float:
    """Idd of a delay in ms: nothing up to 100 ms (equations 7-27 and 7-28)."""
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
    """The quality of a direction in which `lost` of `expected` packets were missing in `loss_runs` runs.

    `playout_ms` is what packets wait before they are played, None: not known. None before anything was expected.
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
