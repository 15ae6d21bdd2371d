"""Voice activity detection by signal energy, for programs."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.int16]
"""Mono PCM."""

FRAME_MS = 20
_ABOVE_NOISE = 10.0
"""dB of speech above the line's noise."""
_QUIETEST = -45.0
"""dBFS below which sound is never speech."""
_NOISE_RISES = 0.05
"""Largest rise of the noise estimate in dB per frame; a fall is immediate."""
_BEGINS_AFTER = 3
"""Consecutive loud frames that count as speech; a click is shorter."""
_BEFORE = 10
"""Frames before the detection added to the utterance."""


@dataclass(frozen=True, slots=True, eq=False)
class Utterance:
    """Speech between two silences."""

    pcm: Samples
    rate: int
    """Samples per second."""

    @property
    def seconds(self) -> float:
        """Duration in seconds."""
        return len(self.pcm) / self.rate


class SpeechDetector:
    """Detects speech in frames of 20 ms; sans-IO, time is counted in frames."""

    def __init__(self, rate: int, *, silence: float = 0.6, longest: float = 30.0) -> None:
        """`silence` is the number of seconds that ends an utterance, `longest` its largest length in seconds."""
        self._rate = rate
        self._ends_after = max(1, round(silence * 1000 / FRAME_MS))
        self._longest = max(1, round(longest * 1000 / FRAME_MS))
        self._noise = _QUIETEST
        self._loud = self._quiet = 0
        self._before: deque[Samples] = deque(maxlen=_BEFORE + _BEGINS_AFTER)
        self._speech: list[Samples] = []
        self.speaking = False

    def hear(self, frame: Samples) -> Utterance | None:
        """Process one frame; return the utterance it completes, if any."""
        level = _level(frame)
        self._noise = min(level, self._noise + _NOISE_RISES)
        loud = level > max(self._noise + _ABOVE_NOISE, _QUIETEST)
        self._loud, self._quiet = (self._loud + 1, 0) if loud else (0, self._quiet + 1)
        if not self.speaking:
            self._before.append(frame)
            if self._loud >= _BEGINS_AFTER:
                self.speaking, self._speech = True, list(self._before)
                self._before.clear()
            return None
        self._speech.append(frame)
        if self._quiet < self._ends_after and len(self._speech) < self._longest:
            return None
        self.speaking, self._loud = False, 0
        speech, self._speech = self._speech, []
        return Utterance(np.concatenate(speech), self._rate)


def _level(frame: Samples) -> float:
    """Return the level of a frame in dBFS."""
    power = float(np.mean(np.square(frame, dtype=np.float32)))
    return 10 * float(np.log10(max(power, 1.0) / 32767.0**2))
