"""Who is silent in a conference hears what all do who are: encoded once, and without a break when they speak."""

from __future__ import annotations

from unittest.mock import MagicMock

import numpy as np
import pytest

from gateway.media.embedded.audio.codecs import CODECS, make_decoder, make_encoder
from gateway.media.embedded.audio.mixing import AS_IT_IS, Speakers, power
from gateway.media.embedded.audio.pcm import Pcm, tone
from gateway.media.embedded.sources.chorus import QUIET, SILENT_TICKS, Chorus, Speech
from gateway.media.embedded.sources.conference import Came, Conference, Round, Turn
from gateway.media.embedded.sources.packets import Injected
from gateway.media.embedded.sources.program import RATE, Mouth, ProgramAudio, Voice
from sdp import Codec
from tests.media.tone_support import packet
from tests.rows import by_row

NUMBERS = {"opus": Codec("opus", 48000, 2, 107), "g722": Codec("g722", 8000, 1, 9), "pcmu": Codec("pcmu", 8000, 1, 0),
           "pcma": Codec("pcma", 8000, 1, 8)}  # fmt: skip
SAID = 440.0


class Table:
    """A conference whose ticks are made one by one; who talks sends a tone of their own."""

    def __init__(self, *codecs: str, most: int = 0) -> None:
        """`most` who are heard at once."""
        room = Conference(MagicMock(), MagicMock(), MagicMock())
        self.seats = [room.seat(ProgramAudio(), f"{number}") for number in range(len(codecs))]
        self.mouths = [Mouth(NUMBERS[codec], ProgramAudio()) for codec in codecs]
        self.chorus, self.speakers = Chorus(), Speakers(most)
        self.heard: list[list[Injected | None]] = [[] for _ in codecs]
        self.mixed: list[Pcm] = []
        self._tick = 0
        self._encoder = make_encoder("pcmu", 8000, 20)

    def ticks(self, count: int, talking: dict[int, float], level: float = -16.0, told: Pcm | None = None) -> None:
        """So many, with these talking, each by its frequency in Hz; `told`: what the last one alone hears."""
        sounds = {number: tone(hz, level, 8000, 1.0) for number, hz in talking.items()}
        for _ in range(count):
            self._tick += 1
            turns = []
            for number, (seat, mouth) in enumerate(zip(self.seats, self.mouths, strict=True)):
                came: tuple[Came, ...] = ()
                if number in sounds:
                    start = self._tick % 50 * 160
                    payload = self._encoder.encode(sounds[number][start : start + 160])
                    came = (("pcmu", packet(self._tick, payload), self._tick * 0.02),)
                own = told if number == len(self.seats) - 1 else None
                turns.append(Turn(seat, seat.muted, came, (own,), mouth, True))
            made = Round(tuple(turns), (None,), (self._tick * 0.02,), self.chorus, self.speakers).make()
            self.mixed.extend(made.mixed)
            packets = {id(turn): each for turn, each in made.packets}
            for turn, heard in zip(turns, self.heard, strict=True):
                heard.append(packets.get(id(turn)))

    def sound(self, number: int, codec: str) -> tuple[Pcm, int]:
        """All that one has heard, and its rate in Hz."""
        decoder = make_decoder(codec)
        return np.concatenate([decoder.decode(each.payload) for each in self.heard[number] if each]), decoder.rate


def level_of(pcm: Pcm, rate: int, frequency: float) -> float:
    """dB of one tone in it."""
    moments = np.arange(len(pcm)) / rate
    window = np.hanning(len(pcm))
    found = abs(np.sum(pcm * window * np.exp(-2j * np.pi * frequency * moments))) / np.sum(window)
    return float(20 * np.log10(max(found, 1e-3) / 32768))


def test_the_same_for_all_who_are_silent_is_encoded_once_for_each_codec(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of twelve speaks: an encoding for it, one for each codec of the others, but one for each of G.722."""
    made: list[Voice] = []
    encode = Voice.encode

    def counted(voice: Voice, pcm: Pcm) -> bytes | None:
        made.append(voice)
        return encode(voice, pcm)

    monkeypatch.setattr(Voice, "encode", counted)
    table = Table("opus", *["opus", "pcma"] * 4, "g722", "g722", "pcmu")
    table.ticks(20, {0: SAID})
    made.clear()
    table.ticks(1, {0: SAID})
    assert len(made) == len(set(made)) == 6
    payloads = [heard[-1].payload for heard in table.heard if heard[-1] is not None]
    assert len(payloads) == 12
    assert len(set(payloads[1:])) == 4
    assert payloads[0] not in payloads[1:]
    table.ticks(20, dict.fromkeys(range(12), SAID))
    assert len(table.chorus) == 0
    table.ticks(SILENT_TICKS + 60, {})
    made.clear()
    table.ticks(1, {}, told=tone(1000.0, -16.0, RATE, 0.02))
    assert len(made) == len(set(made)) == 5
    alone, others = table.heard[-1][-1], table.heard[0][-1]
    assert alone is not None
    assert others is not None
    assert alone.payload != table.heard[-1][-2].payload  # type: ignore[union-attr]


def test_of_many_who_speak_the_loudest_are_heard_and_the_others_hear_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten speak and three are heard: an encoding for each of these, and one for all others; so with who comes later."""
    table = Table(*["opus"] * 10, most=3)
    tones = {number: 300.0 + 200 * number for number in range(10)}
    table.ticks(SILENT_TICKS + 60, tones)
    made: list[Voice] = []
    encode = Voice.encode

    def counted(voice: Voice, pcm: Pcm) -> bytes | None:
        made.append(voice)
        return encode(voice, pcm)

    monkeypatch.setattr(Voice, "encode", counted)
    table.ticks(1, tones)
    assert len(made) == len(set(made)) == 4
    table.ticks(99, tones)
    mixed = np.concatenate(table.mixed[-50:])
    inside = {number for number, hertz in tones.items() if level_of(mixed, RATE, hertz) > -30.0}
    assert len(inside) == 3
    outside = set(tones) - inside
    assert max(level_of(mixed, RATE, tones[number]) for number in outside) < -60.0
    for number in range(10):
        pcm, rate = table.sound(number, "opus")
        heard = {other for other, hertz in tones.items() if level_of(pcm[-rate // 2 :], rate, hertz) > -35.0}
        assert heard == inside - {number}


def test_one_loud_click_throws_nobody_out_of_the_mix() -> None:
    """Who is as loud for a tenth of a second takes the place of the quietest, and keeps it over a click."""
    speakers, spoken = Speakers(2), {"one": 2e6, "two": 1e6, "three": 1e4}
    for _ in range(50):
        chosen = speakers.choose(spoken)
    assert set(chosen) == {"one", "two"}
    click = 15 * spoken["two"]
    assert speakers.choose(spoken | {"three": click}) == {"one": AS_IT_IS, "two": AS_IT_IS}
    for _ in range(50):
        assert set(speakers.choose(spoken)) == {"one", "two"}
    gains = [speakers.choose(spoken | {"three": click}) for _ in range(5)]
    assert [set(each) for each in gains][-1] == {"one", "three"}
    assert "three" not in gains[0]
    assert set(speakers.choose({"one": 2e6, "two": click, "three": click})) == {"one", "three"}


@by_row("codec", sorted(CODECS))
def test_what_a_member_hears_goes_on_where_it_begins_to_speak_and_ends(codec: str) -> None:
    """The other one's tone within 3 dB in every 60 ms, within 1 in most, and nothing of its own."""
    table = Table("pcmu", codec, codec)
    table.ticks(60, {0: SAID})
    for _ in range(3):
        table.ticks(25, {0: SAID, 1: 1300.0})
        table.ticks(SILENT_TICKS + 60, {0: SAID})
    assert all(each is not None for each in table.heard[1][10:])
    pcm, rate = table.sound(1, codec)
    pcm = pcm[rate // 2 :]
    size = rate * 60 // 1000
    pieces = [pcm[start : start + size] for start in range(0, len(pcm) - size, size)]
    levels = np.array([level_of(piece, rate, SAID) for piece in pieces])
    middle = float(np.median(levels))
    assert middle == pytest.approx(-16.0 - 6.0 - 3.0, abs=6.0)
    assert np.abs(levels - middle).max() < 3.0
    assert np.mean(np.abs(levels - middle) < 1.0) > 0.9
    assert max(level_of(piece, rate, 1300.0) for piece in pieces) < middle - 25.0


def test_the_noise_of_a_room_where_nobody_speaks_is_not_speech_and_the_end_of_a_word_is() -> None:
    """60 dB below the loudest; ten frames below belong to what was said."""
    speech = Speech()

    def heard(loud: float | None) -> bool:
        says = speech.says(loud)
        speech.mixed(says)
        return says

    over = [speech.is_over]
    assert not heard(QUIET * 0.99)
    assert heard(QUIET)
    over.append(speech.is_over)
    assert [heard(0.0) for _ in range(11)] == [True] * 10 + [False]
    assert not any(heard(1.0) for _ in range(SILENT_TICKS - 2))
    over.append(speech.is_over)
    assert not heard(None)
    over.append(speech.is_over)
    speech.spoken_to()
    over.append(speech.is_over)
    assert over == [True, False, False, True, False]
    assert power(tone(SAID, -50.0, RATE, 0.02)) > QUIET > power(tone(SAID, -70.0, RATE, 0.02))
