"""PCM as every file of this room has it: a one-dimensional numpy array of int16 samples, mono."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Pcm = NDArray[np.int16]
Floats = NDArray[np.float32]


class AudioError(Exception):
    """A payload that the codec cannot decode, or a codec or rate that does not exist here."""


def to_int16(samples: Floats) -> Pcm:
    """Rounded, and kept within what 16 bits hold."""
    return np.clip(np.rint(samples), -32768, 32767).astype(np.int16)


def tone(frequency: float, level_dbm0: float, rate: int, seconds: float) -> Pcm:
    """A sine; 0 dBm0 is 3.17 dB below the loudest sample (ITU-T G.711)."""
    amplitude = 32767 * 10 ** ((level_dbm0 - 3.17) / 20)
    return to_int16((amplitude * np.sin(2 * np.pi * frequency * np.arange(int(rate * seconds)) / rate)).astype("f4"))
