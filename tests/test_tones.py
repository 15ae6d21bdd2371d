"""Tones are found by their frequency, and nothing else passes for one."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.demo.tones import AUDIBLE, Listener, loudest_frequency, rms, sine, write_wav

RATE = 16_000


@given(hz=st.integers(200, 3400), level=st.floats(0.05, 0.9), rate=st.sampled_from([8000, 16000, 48000]))
def test_a_sine_is_found_at_its_frequency(hz: int, level: float, rate: int) -> None:
    """Within 5 Hz, with nearly all the power there."""
    found, share = loudest_frequency(sine(hz, 0.3, rate, level), rate)
    assert found == pytest.approx(hz, abs=5)
    assert share > 0.95


def test_noise_is_no_tone() -> None:
    """Its power is spread."""
    noise = (np.random.default_rng(1).normal(0, 5000, RATE)).astype(np.int16)
    assert loudest_frequency(noise, RATE)[1] < 0.1


def test_a_tone_under_loud_noise_is_not_clean() -> None:
    """What an injected packet stream would do to a call is seen."""
    mixed = sine(784, 0.5, RATE, 0.2) + np.random.default_rng(2).normal(0, 6000, RATE // 2).astype(np.int16)
    assert loudest_frequency(mixed, RATE)[1] < 0.8


def test_silence_and_snippets_have_no_frequency() -> None:
    """Too little to say anything."""
    assert loudest_frequency(np.zeros(RATE, dtype=np.int16), RATE) == (0.0, 0.0)
    assert loudest_frequency(sine(440, 0.02, RATE), RATE) == (0.0, 0.0)
    assert rms(np.zeros(0, dtype=np.int16)) == 0.0


def test_the_level_of_a_sine_is_its_amplitude_by_the_root_of_two() -> None:
    """Full scale is 1."""
    assert rms(sine(440, 1.0, RATE, 0.5)) == pytest.approx(0.5 / 2**0.5, rel=0.01)


def frames(samples: np.ndarray, length: int = 320) -> list[np.ndarray]:
    return [samples[place : place + length] for place in range(0, len(samples) - length + 1, length)]


def test_a_listener_notes_the_first_sound_and_needs_a_window_for_the_tone() -> None:
    """Silence before it does not count, a tone is told once 0.3 s of it are there."""
    ear, now = Listener(RATE), 0.0
    for frame in frames(np.zeros(RATE // 10, dtype=np.int16)):
        ear.hear(frame, now)
        now += 0.02
    assert (ear.first_sound, ear.tone()) == (None, None)
    heard_after = None
    for frame in frames(sine(523, 0.5, RATE)):
        ear.hear(frame, now)
        if heard_after is None and ear.tone() is not None:
            heard_after = now
        now += 0.02
    assert ear.first_sound == pytest.approx(0.1)
    assert heard_after == pytest.approx(0.1 + 0.28)
    assert ear.tone() == pytest.approx(523, abs=5)


def test_a_tone_that_stopped_is_not_heard_for_ever() -> None:
    """The window moves on."""
    ear = Listener(RATE)
    for frame in frames(sine(523, 0.5, RATE)) + frames(np.zeros(RATE // 2, dtype=np.int16)):
        ear.hear(frame, 0.0)
    assert ear.tone() is None
    ear.forget()
    assert ear.first_sound is None


def test_idle_noise_of_g711_is_not_audible() -> None:
    """One step of the quantiser is below the threshold by far."""
    assert rms(np.full(RATE, 8, dtype=np.int16)) < AUDIBLE / 10


def test_a_wav_file_holds_what_was_written(tmp_path: Path) -> None:
    """Mono, 16 bit, at its rate."""
    samples = sine(440, 0.1, RATE)
    write_wav(tmp_path / "tone.wav", samples, RATE)
    with wave.open(str(tmp_path / "tone.wav")) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, RATE)
        assert file.readframes(RATE) == samples.tobytes()
