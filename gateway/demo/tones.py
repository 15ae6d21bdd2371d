"""Tones to send and to find again: sound is proved by its frequency, not by packets."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

AUDIBLE = 0.01
"""RMS of full scale above which a frame counts as sound; G.711's idle noise is below a tenth of it."""


def sine(hz: float, seconds: float, rate: int, level: float = 0.5) -> NDArray[np.int16]:
    """Samples of a sine, shape (seconds * rate,), full scale 32767 times `level`."""
    time = np.arange(int(seconds * rate)) / rate
    return (np.sin(2 * np.pi * hz * time) * level * 32767).astype(np.int16)


def write_wav(path: Path, samples: NDArray[np.int16], rate: int) -> None:
    """A mono 16-bit WAV file."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())


def rms(samples: NDArray[Any]) -> float:
    """Root mean square as a fraction of full scale."""
    if samples.size == 0:
        return 0.0
    return float(np.sqrt(np.mean(np.square(samples.astype(np.float64) / 32768))))


def loudest_frequency(samples: NDArray[Any], rate: int) -> tuple[float, float]:
    """The strongest frequency in Hz and the share (0 to 1) of the power within 30 Hz of it.

    A tone has nearly all its power at one place; noise and speech have it spread.
    """
    if samples.size < rate // 20:
        return 0.0, 0.0
    windowed = samples.astype(np.float64) * np.hanning(samples.size)
    power = np.square(np.abs(np.fft.rfft(windowed)))
    frequencies = np.fft.rfftfreq(samples.size, 1 / rate)
    power[frequencies < 80] = 0  # hum and offset are nobody's tone
    total = float(power.sum())
    if total <= 0:
        return 0.0, 0.0
    peak = float(frequencies[int(np.argmax(power))])
    share = float(power[np.abs(frequencies - peak) <= 30].sum()) / total
    return peak, share


class Listener:
    """Hears frames as they come: when the first sound was, and which tone it is."""

    def __init__(self, rate: int, window: float = 0.3) -> None:
        self.rate = rate
        self.first_sound: float | None = None
        """Time of the frame that was the first to be audible, as the caller counts time."""
        self._window = int(window * rate)
        self._samples: NDArray[np.int16] = np.zeros(0, dtype=np.int16)

    def hear(self, frame: NDArray[np.int16], now: float) -> None:
        """Take one frame of mono samples that arrived at `now`."""
        if self.first_sound is None:
            if rms(frame) < AUDIBLE:
                return
            self.first_sound = now
        self._samples = np.concatenate((self._samples, frame))[-self._window :]

    def tone(self) -> float | None:
        """The frequency heard, once a whole window of sound is there and it is one clean tone."""
        if self._samples.size < self._window or rms(self._samples) < AUDIBLE:
            return None
        hz, share = loudest_frequency(self._samples, self.rate)
        return hz if share > 0.8 else None

    def forget(self) -> None:
        """Begin anew, for the next call."""
        self.first_sound = None
        self._samples = np.zeros(0, dtype=np.int16)
