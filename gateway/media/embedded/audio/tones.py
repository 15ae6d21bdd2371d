"""Digits that are tones in the audio, found as ITU-T Q.24 wants receivers to: by level, frequency, twist and length.

A window of 25.6 ms moves on by 5 ms. Its power at frequencies around those of the keypad says which two are there,
how far off, and which share of all power they have: speech seldom is two exact tones and hardly anything else, and
never for long.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from gateway.media.embedded.audio.pcm import Pcm

RATE = 8000
KEYPAD = "123A456B789C*0#D"
ROWS, COLUMNS = (697, 770, 852, 941), (1209, 1336, 1477, 1633)
"""Hz of the tones of each row and column of the keypad (ITU-T Q.23); whole seconds of each can be repeated."""
_WINDOW, _HOP = 205, 40
_STEP = 8
"""Hz between the frequencies at which the power is looked at."""
_OFF = 0.025
"""A tone is a keypad's up to here: Q.24 wants 1.5 % and 2 Hz taken, 3.5 % refused."""
_SHARE, _FULL_SHARE = 0.7, 0.85
"""Of a window's power that the two tones have at least; and of one of their windows, that they fill."""
_TWIST_DB = (-9.0, 5.0)
"""The column's tone over the row's: Q.24 wants -8 to 4 taken."""
_LEVEL = (32767 * 10 ** ((-31.0 - 3.14) / 20) * _WINDOW / 2) ** 2
"""Power of a tone of -31 dBm0, some of which a window misses: -25 is to be taken."""
_SUSPECTED, _CERTAIN = 3, 5
"""Windows with one digit: 5 are in each tone of 40 ms, and in none of 23 ms."""
_OVER = 6
"""Windows without it: as many are in a pause of 40 ms, and fewer in an interruption of 10 ms."""
_FILLED = int((2 * _SHARE - 1) * _WINDOW)
"""Samples of a tone beyond those by which its windows moved on."""


def _grid(nominal: tuple[int, ...]) -> tuple[list[int], list[int]]:
    """Frequencies around these, Hz, and the place of the tone that each is close enough to, -1 for none."""
    hertz = list(range(nominal[0] - 80, nominal[-1] + 120, _STEP))
    near = [min(range(4), key=lambda place: abs(nominal[place] - each)) for each in hertz]
    places = [
        place if abs(nominal[place] - each) <= _OFF * nominal[place] else -1
        for each, place in zip(hertz, near, strict=True)
    ]
    return hertz, places


_ROW_HERTZ, _ROW_PLACES = _grid(ROWS)
_COLUMN_HERTZ, _COLUMN_PLACES = _grid(COLUMNS)
_COUNT = len(_ROW_HERTZ) + len(_COLUMN_HERTZ)
_TURNS = 2 * np.pi / RATE * np.outer(np.arange(_WINDOW), np.array(_ROW_HERTZ + _COLUMN_HERTZ))
_WAVES = np.concatenate((np.cos(_TURNS), np.sin(_TURNS)), axis=1).astype(np.float32)
_QUIET = 4 * _LEVEL / _WINDOW
"""Energy of a window with two tones that are just loud enough."""


class ToneDetector:
    """One stream of audio at 8,000 Hz."""

    def __init__(self) -> None:
        self._line: Pcm = np.zeros(0, np.int16)
        self._digit = ""
        self._hits = self._misses = 0
        self._fullest = 0.0

    @property
    def suspects(self) -> bool:
        """Whether there is a tone now, as it seems."""
        return self._hits >= _SUSPECTED

    def process(self, pcm: Pcm) -> list[tuple[str, int]]:
        """The digits that have ended in this audio, each with its ms."""
        line = np.concatenate((self._line, pcm))
        count = max(0, (len(line) - _WINDOW) // _HOP + 1)
        self._line = line[count * _HOP :]
        if not count:
            return []
        windows = sliding_window_view(line, _WINDOW)[: count * _HOP : _HOP].astype(np.float32)
        energies = np.einsum("ij,ij->i", windows, windows)
        if not self._digit and energies.max() < _QUIET:
            return []
        parts = (windows @ _WAVES) ** 2
        powers = parts[:, :_COUNT] + parts[:, _COUNT:]
        ended = [self._step(*_digit_of(power, energy)) for power, energy in zip(powers, energies, strict=True)]
        return [one for one in ended if one is not None]

    def finish(self) -> tuple[str, int] | None:
        """Nothing more comes for a while: the digit that has ended with it."""
        self._line = self._line[:0]
        return self._end()

    def _end(self) -> tuple[str, int] | None:
        is_one = self._hits >= _CERTAIN and self._fullest >= _FULL_SHARE
        ended = (self._digit, (self._hits * _HOP + _FILLED) * 1000 // RATE) if is_one else None
        self._digit, self._hits, self._misses, self._fullest = "", 0, 0, 0.0
        return ended

    def _step(self, digit: str, share: float) -> tuple[str, int] | None:
        if digit and digit == self._digit:
            self._hits += 1 + (self._misses if self._hits >= _CERTAIN else 0)
            self._misses, self._fullest = 0, max(self._fullest, share)
            return None
        ended = None
        if digit and (self._hits < _CERTAIN or self._misses):
            ended = self._end()
            self._digit, self._hits, self._fullest = digit, 1, share
        elif self._digit:
            self._misses += 1
            if self._misses >= (_OVER if self._hits >= _CERTAIN else _SUSPECTED):
                ended = self._end()
        return ended


def _digit_of(power: NDArray[np.float32], energy: float) -> tuple[str, float]:
    """The digit whose tones fill a window, "" for none, and their share; of its powers and its whole energy."""
    rows = len(_ROW_HERTZ)
    row, column = int(power[:rows].argmax()), int(power[rows:].argmax())
    low, high = float(power[row]), float(power[rows + column])
    if min(low, high) < _LEVEL or _ROW_PLACES[row] < 0 or _COLUMN_PLACES[column] < 0:
        return "", 0.0
    share = 2 * (low + high) / (_WINDOW * energy)
    if share < _SHARE or not _TWIST_DB[0] <= 10 * math.log10(high / low) <= _TWIST_DB[1]:
        return "", 0.0
    return KEYPAD[4 * _ROW_PLACES[row] + _COLUMN_PLACES[column]], share
