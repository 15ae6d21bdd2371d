"""Digits found in audio, within the tolerances of ITU-T Q.24 (table A-1) and not in speech, music or noise."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from gateway.media.embedded.audio.pcm import Pcm
from gateway.media.embedded.audio.tones import COLUMNS, KEYPAD, ROWS, ToneDetector
from tests.rows import by_row

RATE = 8000


def level(dbm0: float) -> float:
    """Amplitude of a sine of that level; full scale is 3.14 dBm0."""
    return float(32767 * 10 ** ((dbm0 - 3.14) / 20))


def pair(digit: str, ms: float, *, row: float = -10.0, column: float = -10.0, off: float = 0.0) -> Pcm:
    """The two tones of a digit with their levels in dBm0, each off by that share."""
    place = KEYPAD.index(digit)
    time = np.arange(int(ms * RATE / 1000)) / RATE
    low = level(row) * np.sin(2 * np.pi * ROWS[place // 4] * (1 + off) * time)
    high = level(column) * np.sin(2 * np.pi * COLUMNS[place % 4] * (1 + off) * time)
    return np.asarray(low + high, np.int16)


def silence(ms: float) -> Pcm:
    return np.zeros(int(ms * RATE / 1000), np.int16)


def found(*parts: Pcm, packet: int = 160) -> list[tuple[str, int]]:
    """What is found in these, 20 ms at a time unless otherwise said."""
    detector, pcm = ToneDetector(), np.concatenate((*parts, silence(100)))
    return [one for start in range(0, len(pcm), packet) for one in detector.process(pcm[start : start + packet])]


def digits(*parts: Pcm, packet: int = 160) -> str:
    return "".join(digit for digit, _ in found(*parts, packet=packet))


@by_row("packet", [80, 160, 240, 480])
def test_every_digit_is_found_once_whatever_the_packets(packet: int) -> None:
    """40 ms of tone, 40 ms of pause."""
    parts = [part for digit in KEYPAD for part in (pair(digit, 40), silence(40))]
    assert digits(*parts, packet=packet) == KEYPAD


@by_row("digit", KEYPAD)
@by_row("off", [0.015, -0.015])
def test_frequencies_may_be_a_little_off(digit: str, off: float) -> None:
    """1.5 % is taken, wherever in a window the tone begins."""
    for lead in range(0, 24, 3):
        assert digits(silence(lead), pair(digit, 40, off=off)) == digit


@by_row("digit", KEYPAD)
@by_row("off", [0.035, -0.035])
def test_frequencies_that_are_far_off_are_no_digits(digit: str, off: float) -> None:
    """3.5 % is refused, however long it lasts."""
    assert digits(pair(digit, 500, off=off)) == ""


@by_row(("row", "column"), [(-25, -25), (-4, -4), (-8, -16), (-14, -10), (-17, -25), (-25, -21)])
@by_row("digit", "159D")
def test_levels_and_twist_within_bounds_are_taken(digit: str, row: float, column: float) -> None:
    """Down to -25 dBm0, the column's tone up to 4 dB louder or 8 dB softer."""
    for lead in range(0, 24, 3):
        assert digits(silence(lead), pair(digit, 40, row=row, column=column)) == digit


@by_row(("row", "column"), [(-45, -45), (-5, -20), (-20, -5), (-10, -80)])
def test_levels_and_twist_beyond_them_are_not(row: float, column: float) -> None:
    """Echoes, and one tone alone."""
    assert digits(pair("5", 500, row=row, column=column)) == ""


@by_row("ms", [10, 20, 23])
@by_row("digit", KEYPAD)
def test_what_is_too_short_is_no_digit(digit: str, ms: float) -> None:
    """Up to 23 ms, wherever in a window."""
    for lead in range(0, 24, 3):
        assert digits(silence(lead), pair(digit, ms)) == ""


@by_row("ms", [40, 65, 100, 500, 2_000])
def test_its_length_is_told(ms: int) -> None:
    """To about a window's step."""
    [(digit, told)] = found(silence(7), pair("7", ms))
    assert digit == "7"
    assert abs(told - ms) <= 20


@pytest.mark.parametrize("gap", [5, 10])
def test_a_short_interruption_does_not_make_two_of_one(gap: float) -> None:
    """10 ms; a pause of 40 ms does."""
    assert digits(pair("5", 80), silence(gap), pair("5", 80)) == "5"
    assert digits(pair("5", 80), silence(40), pair("5", 80)) == "55"


def test_digits_may_follow_each_other_without_a_pause() -> None:
    """Two are two, and neither is a third."""
    assert digits(pair("1", 100), pair("D", 100), pair("9", 100)) == "1D9"


def test_digits_are_found_in_noise() -> None:
    """15 dB below the tones, in G.711's band."""
    chance = np.random.default_rng(1)
    parts = [part for digit in KEYPAD for part in (pair(digit, 50), silence(50))]
    clean = np.concatenate(parts)
    noisy = clean + chance.normal(0, level(-10 - 15) / np.sqrt(2), len(clean))
    assert digits(noisy.astype(np.int16)) == KEYPAD


def voice(seconds: float, seed: int) -> Pcm:
    """A voice's sound: harmonics of a wandering pitch through three wandering formants, in syllables."""
    chance = np.random.default_rng(seed)
    samples = int(seconds * RATE)

    def wander(low: float, high: float, every: float) -> np.ndarray:
        points = chance.uniform(low, high, int(seconds / every) + 2)
        return np.interp(np.arange(samples) / RATE, np.arange(len(points)) * every, points)

    pitch = wander(80, 320, 0.15)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    formants = [wander(300, 900, 0.1), wander(900, 1_900, 0.1), wander(1_900, 3_000, 0.1)]
    sound = np.zeros(samples)
    for harmonic in range(1, 40):
        hertz = harmonic * pitch
        gain = sum(1 / (1 + ((hertz - formant) / 60) ** 2) for formant in formants) * (hertz < 3_600)
        sound += gain * np.sin(harmonic * phase)
    sound *= wander(0, 1, 0.08) * level(-6) / np.abs(sound).max()
    return sound.astype(np.int16)


def test_speech_is_no_digit() -> None:
    """Two minutes of voices of every pitch (talk-off)."""
    for seed in range(6):
        assert found(voice(20, seed)) == []


def test_music_and_noise_are_no_digits() -> None:
    """Chords of the tempered scale, a sweep, white noise, dial and busy tones."""
    chance, time = np.random.default_rng(2), np.arange(RATE // 4) / RATE
    scale = 110 * 2 ** (np.arange(48) / 12)
    for _ in range(200):
        chord = sum(np.sin(2 * np.pi * note * time) for note in chance.choice(scale, 3, replace=False))
        assert digits((level(-14) * chord).astype(np.int16)) == ""
    sweep = np.sin(2 * np.pi * np.cumsum(np.linspace(300, 3_400, 5 * RATE)) / RATE)
    assert digits((level(-6) * sweep).astype(np.int16)) == ""
    assert digits(chance.normal(0, level(-10), 20 * RATE).clip(-32768, 32767).astype(np.int16)) == ""
    for low, high in itertools.combinations((350, 440, 480, 620, 425, 400, 450), 2):
        both = np.sin(2 * np.pi * low * time) + np.sin(2 * np.pi * high * time)
        assert digits((level(-10) * both).astype(np.int16)) == ""
