"""Sound by signal through real calls: a sweep and speech in every codec pair."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from bench import quality
from bench.quality import Sound
from gateway.media.engine import MediaEngine
from tests.media.engine_support import config, running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]  # real time, and a machine may be busy

WORST = 1.0
"""dB."""


MOST_LATE = 100.0
"""ms that a sender may be behind its time: what it says then is judged, else the machine was too busy to say it."""


async def measured(engine: MediaEngine, codecs: Sequence[str] = quality.CODECS) -> dict[tuple[str, str], Sound]:
    """What was said in time, of three times."""
    for _ in range(3):
        found = await quality.pairs(engine, codecs)
        if max(sound.late for sound in found.values()) < MOST_LATE:
            break
    return found


async def test_every_codec_pair_is_within_a_decibel() -> None:
    """Sweep, 300 to 3,400 Hz, to 7,000 Hz between G.722 and Opus; speech within two; both directions of ten calls."""
    async with quality.ours() as engine:
        found = await measured(engine)
    assert len(found) == 16
    assert {pair: sound for pair, sound in found.items() if sound.sweep > WORST or sound.speech > 2 * WORST} == {}


async def test_codecs_are_within_a_decibel_on_the_python_plane() -> None:
    """A pair of each kind: what is resampled, coded anew, forwarded."""
    async with running(config(silence_after=0.0)) as (engine, _):
        found = await measured(engine, ("g722", "pcmu"))
    assert {pair: sound for pair, sound in found.items() if sound.sweep > WORST or sound.speech > WORST} == {}
