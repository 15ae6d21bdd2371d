"""Sample rates turned into their multiples and back, filters carried over packet borders."""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from gateway.media.embedded.audio.pcm import AudioError, Floats, Pcm, to_int16

_TAPS = 20
"""Taps of each phase of the resamplers."""


@lru_cache(maxsize=8)
def _low_pass(factor: int) -> Floats:
    """A windowed sinc that passes a bit less than 1/factor of the band, unit gain at 0 Hz."""
    length = _TAPS * factor
    centre = np.arange(length) - (length - 1) / 2
    taps = np.sinc(centre * 0.92 / factor) * np.kaiser(length, 6.0)
    scaled: Floats = (taps / taps.sum()).astype(np.float32)
    return scaled


class Decimator:
    """Keeps every `factor`th sample after a low-pass; the filter's history carries over packet borders."""

    def __init__(self, factor: int) -> None:
        self._factor = factor
        self._taps = _low_pass(factor)
        self._history = np.zeros(len(self._taps) - 1, np.float32)

    def process(self, pcm: Pcm) -> Pcm:
        """A multiple of `factor` samples in, one `factor`th of them out."""
        if not len(pcm):
            return pcm
        line = np.concatenate((self._history, pcm.astype(np.float32)))
        self._history = line[len(pcm) :]
        return to_int16(sliding_window_view(line, len(self._taps))[:: self._factor] @ self._taps)


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
        return to_int16((sliding_window_view(line, _TAPS) @ self._phases).reshape(-1))


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
