"""When somebody speaks: by energy, over noise, with pauses, clicks and no end."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.legs.speech import Samples, SpeechDetector, Utterance
from tests.rows import by_row

RATE = 16_000
FRAME = RATE // 50


def sound(seconds: float, level: float, seed: int = 1) -> Samples:
    """Noise of that RMS level, dB below the loudest sample."""
    random = np.random.default_rng(seed)
    return (
        (random.standard_normal(int(seconds * RATE)) * 32767 * 10 ** (level / 20)).clip(-32768, 32767).astype(np.int16)
    )


def heard(pcm: Samples, **settings: float) -> list[Utterance]:
    detector = SpeechDetector(RATE, **settings)
    found = [detector.hear(pcm[start : start + FRAME]) for start in range(0, len(pcm), FRAME)]
    return [each for each in found if each is not None]


@by_row("noise", [-120.0, -60.0, -40.0])
def test_two_sentences_are_two_utterances_over_any_noise(noise: float) -> None:
    """Each with what came just before it, and the silence that ended it."""
    quiet = sound(1.0, noise)
    pcm = np.concatenate([quiet, sound(1.2, -20.0), quiet, sound(0.5, -20.0), quiet])
    first, second = heard(pcm)
    assert first.seconds == pytest.approx(1.2 + 0.6 + 0.2, abs=0.06)
    assert second.seconds == pytest.approx(0.5 + 0.6 + 0.2, abs=0.06)
    assert first.rate == RATE


def test_a_pause_for_breath_ends_nothing() -> None:
    """Shorter than the silence that ends an utterance; longer than a shorter one."""
    pcm = np.concatenate(
        [sound(0.5, -80.0), sound(0.5, -20.0), sound(0.4, -80.0), sound(0.5, -20.0), sound(1.0, -80.0)]
    )
    assert len(heard(pcm)) == 1
    assert len(heard(pcm, silence=0.2)) == 2


def test_a_click_is_no_speech() -> None:
    """40 ms of noise, again and again."""
    quiet, click = sound(0.3, -80.0), sound(0.04, -10.0)
    assert heard(np.concatenate([quiet, click] * 10 + [sound(1.0, -80.0)])) == []


def test_a_steady_hum_that_is_there_from_the_start_is_noise() -> None:
    """And speech over it is heard."""
    hum = sound(3.0, -35.0)
    spoken = np.concatenate([hum, sound(1.0, -15.0), hum])
    assert heard(hum) == []
    assert len(heard(spoken)) == 1


def test_who_speaks_from_the_first_frame_is_heard() -> None:
    """However steadily: a line that was never quiet is not taken for a loud one."""
    said = np.concatenate([sound(1.0, -20.0), sound(1.0, -80.0)])
    (utterance,) = heard(said)
    assert utterance.seconds == pytest.approx(1.0 + 0.6, abs=0.06)
    assert len(heard(np.concatenate([said, said]))) == 2


def test_a_loud_hum_is_speech_once() -> None:
    """Until it is known to be the line's; speech over it is heard then."""
    hum = sound(8.0, -25.0)
    assert len(heard(hum)) == 1
    assert len(heard(np.concatenate([hum, sound(1.0, -8.0), hum]))) == 2


def test_who_never_stops_is_cut() -> None:
    """At the longest, and goes on in the next utterance."""
    pcm = np.concatenate([sound(0.5, -80.0), sound(5.0, -20.0), sound(1.0, -80.0)])
    found = heard(pcm, longest=2.0)
    assert [round(each.seconds) for each in found[:2]] == [2, 2]
    assert len(found) == 3
