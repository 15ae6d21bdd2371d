"""What members hear of a room beside each other: short tones, as no two of its languages are the same."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from gateway.legs.speech import Samples

RATE = 16_000
_LEVEL = 0.12
_EDGE = 0.01
"""Seconds in which a tone comes and goes, so that nothing clicks."""

JOINED = ((440, 0.12), (660, 0.12))
LEFT = ((660, 0.12), (440, 0.12))
PROMPT = ((1000, 0.25),)
"""Digits are asked for."""
REFUSED = ((300, 0.2), (0, 0.1), (300, 0.2), (0, 0.1), (300, 0.2))
DONE = ((800, 0.08), (0, 0.06), (800, 0.08))
"""What the digits asked for was done."""
Notes = tuple[tuple[int, float], ...]
"""Hz (0: a pause) and seconds of each."""


@lru_cache(maxsize=16)
def sound(notes: Notes) -> Samples:
    """These notes as int16 samples, 16,000 a second."""
    parts = []
    for frequency, seconds in notes:
        moments = np.arange(int(RATE * seconds)) / RATE
        edge = np.clip(np.minimum(moments, seconds - moments) / _EDGE, 0.0, 1.0)
        parts.append(32767 * _LEVEL * edge * np.sin(2 * np.pi * frequency * moments))
    return np.rint(np.concatenate(parts)).astype(np.int16)
