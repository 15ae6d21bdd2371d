"""Sample rates turned into their multiples and back, filters carried over packet borders."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Protocol

import numpy as np

from gateway.media.embedded.audio.pcm import AudioError, Floats, Pcm, to_int16

_TAPS = 20
"""Taps of each phase of the resamplers."""
_BLOCK = 16
"""Samples that a decimator makes by one product of matrices, which costs a fifth of one product for each."""


@lru_cache(maxsize=8)
def _low_pass(factor: int) -> Floats:
    """A windowed sinc that passes a bit less than 1/factor of the band, unit gain at 0 Hz."""
    length = _TAPS * factor
    centre = np.arange(length) - (length - 1) / 2
    taps = np.sinc(centre * 0.92 / factor) * np.kaiser(length, 6.0)
    scaled: Floats = (taps / taps.sum()).astype(np.float32)
    return scaled


@lru_cache(maxsize=16)
def _block(factor: int, samples: int) -> Floats:
    """The low-pass for so many samples out side by side: what is multiplied with as much of the line as they need."""
    taps = _low_pass(factor)
    columns = np.zeros((len(taps) + factor * (samples - 1), samples), np.float32)
    for index in range(samples):
        columns[factor * index : factor * index + len(taps), index] = taps
    return columns


def _windows(line: Floats, size: int, step: int) -> Floats:
    """Runs of `size` samples, each `step` after the one before, as rows; the line itself, not a copy."""
    count, width = (len(line) - size) // step + 1, line.itemsize
    return np.ndarray((count, size), np.float32, line, 0, (step * width, width))


class Decimator:
    """Keeps every `factor`th sample after a low-pass; the filter's history carries over packet borders."""

    def __init__(self, factor: int) -> None:
        self._factor = factor
        self._history = np.zeros(_TAPS * factor - 1, np.float32)

    def process(self, pcm: Pcm) -> Pcm:
        """A multiple of `factor` samples in, one `factor`th of them out."""
        if not len(pcm):
            return pcm
        line = np.concatenate((self._history, pcm.astype(np.float32)))
        self._history = line[len(pcm) :]
        samples = math.gcd(len(pcm) // self._factor, _BLOCK)
        columns = _block(self._factor, samples)
        return to_int16((_windows(line, len(columns), self._factor * samples) @ columns).reshape(-1))


class Interpolator:
    """Puts `factor - 1` samples between each two; the filter's history carries over packet borders."""

    def __init__(self, factor: int) -> None:
        self._factor = factor
        phases = (_low_pass(factor) * factor).reshape(_TAPS, factor)
        self._phases = np.ascontiguousarray(phases[::-1])
        self._history = np.zeros(_TAPS - 1, np.float32)

    def process(self, pcm: Pcm) -> Pcm:
        """`factor` times as many samples out as in."""
        if not len(pcm):
            return pcm
        line = np.concatenate((self._history, pcm.astype(np.float32)))
        self._history = line[len(pcm) :]
        return to_int16((_windows(line, _TAPS, 1) @ self._phases).reshape(-1))


class Resampler(Protocol):
    """Changes the rate of a stream."""

    def process(self, pcm: Pcm) -> Pcm: ...


def make_resampler(rate_in: int, rate_out: int) -> Resampler | None:
    """None where the rates are equal; raises AudioError where neither is a multiple of the other."""
    if rate_in == rate_out:
        return None
    if rate_in % rate_out == 0:
        return Decimator(rate_in // rate_out)
    if rate_out % rate_in == 0:
        return Interpolator(rate_out // rate_in)
    raise AudioError("these rates are not multiples of each other")
