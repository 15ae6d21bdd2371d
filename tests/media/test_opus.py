"""What a listener asks for of Opus in its description (RFC 7587 section 6.1), and what is encoded for it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.media.embedded.audio.codecs import make_encoder
from gateway.media.embedded.audio.opus import LEAST_BIT_RATE, RATES, OpusSettings
from gateway.media.embedded.audio.pcm import Pcm
from gateway.media.embedded.audio.transcode import Transcoder
from gateway.media.embedded.plane.values import MediaPacket
from gateway.media.embedded.sources.chorus import Chorus
from gateway.media.embedded.sources.packets import Injected
from gateway.media.embedded.sources.program import Mouth, ProgramAudio
from sdp import Codec
from tests.rows import by_row

OURS = OpusSettings(bit_rate=32_000)


def voiced(seconds: float, rate: int = 16_000) -> Pcm:
    """Something like a voice, up to 5.7 kHz."""
    time = np.arange(int(seconds * rate)) / rate
    tones = sum(np.sin(2 * np.pi * frequency * time) for frequency in (220, 1330, 5700))
    return ((1 + np.sin(2 * np.pi * 3 * time)) * 2500 * tones).astype(np.int16)


def encoded(opus: OpusSettings) -> list[bytes]:
    """Payloads of two seconds of it."""
    encoder, pcm = make_encoder("opus", 16_000, 20, opus), voiced(2.0)
    return [encoder.encode(pcm[start : start + encoder.frame]) for start in range(0, len(pcm), encoder.frame)]


@by_row(
    ("fmtp", "bit_rate", "playback_rate", "corrected"),
    [
        ("", 32_000, 48_000, False),
        ("minptime=10;useinbandfec=1", 32_000, 48_000, True),
        ("useinbandfec=0; maxaveragebitrate=16000", 16_000, 48_000, False),
        ("maxaveragebitrate=64000;stereo=1", 32_000, 48_000, False),
        ("maxaveragebitrate=1;maxplaybackrate=1", LEAST_BIT_RATE, 8_000, False),
        ("MaxPlaybackRate=16000;UseInbandFEC=1", 32_000, 16_000, True),
        ("maxplaybackrate=44100", 32_000, 24_000, False),
        ("maxplaybackrate=-8000;maxaveragebitrate=many;useinbandfec=yes", 32_000, 48_000, False),
        ("maxaveragebitrate=٦٠٠٠;maxplaybackrate=" + 5000 * "9", 32_000, 48_000, False),
    ],
)
def test_opus_is_made_as_the_listener_says(fmtp: str, bit_rate: int, playback_rate: int, corrected: bool) -> None:
    """Never with more bits than either side wants; what it leaves out or garbles has its default."""
    asked = OURS.for_listener(fmtp)
    assert (asked.bit_rate, asked.playback_rate, asked.forward_error_correction) == (bit_rate, playback_rate, corrected)
    assert not asked.discontinuous
    assert asked.constant == (bit_rate < 32_000)


def test_what_is_switched_on_is_what_says_one() -> None:
    """usedtx and cbr."""
    asked = OURS.for_listener("usedtx=1;cbr=1")
    assert asked.discontinuous
    assert asked.constant
    assert OURS.for_listener("usedtx=0;cbr=0") == OURS.for_listener("")
    assert not OURS.for_listener("maxaveragebitrate=40000").constant
    assert OURS.for_listener("maxaveragebitrate=39999").constant


@given(st.text(max_size=100))
def test_no_parameters_make_reading_raise(fmtp: str) -> None:
    """Whatever a stranger says, the encoder takes it."""
    asked = OURS.for_listener(fmtp)
    assert LEAST_BIT_RATE <= asked.bit_rate <= OURS.bit_rate
    assert asked.playback_rate in RATES


@by_row("bit_rate", [6_000, 16_000, 32_000])
def test_no_more_bits_are_sent_than_are_wanted(bit_rate: int) -> None:
    """Of each packet, where the listener says how many at most."""
    asked = OURS.for_listener(f"maxaveragebitrate={bit_rate};useinbandfec=1")
    assert {len(payload) for payload in encoded(asked)} == {bit_rate // 400}
    assert len({len(payload) for payload in encoded(OURS.for_listener(""))}) > 1


def test_copies_are_sent_to_those_alone_who_take_them() -> None:
    """By the flag of a SILK frame (RFC 6716 section 4.2.3)."""
    for wanted in (False, True):
        payloads = encoded(OpusSettings(forward_error_correction=wanted))
        assert all(payload[0] >> 3 < 16 for payload in payloads)
        assert any(payload[1] & 0x40 for payload in payloads) == wanted


@by_row(("playback_rate", "narrow"), [(8_000, True), (16_000, False), (48_000, False)])
def test_no_more_of_the_band_is_coded_than_is_played(playback_rate: int, narrow: bool) -> None:
    """By the first octet (RFC 6716 table 2), once the encoder has settled."""
    configs = {payload[0] >> 3 for payload in encoded(OpusSettings(playback_rate=playback_rate))[10:]}
    assert configs.issubset({*range(4), *range(16, 20)}) == narrow


class Line:
    """PCMU that becomes Opus, frame by frame, and the packets that come of it."""

    def __init__(self, opus: OpusSettings, frame_ms: int = 20) -> None:
        self.transcoder = Transcoder("pcmu", "opus", 111, frame_ms, opus)
        self.now, self.number = 1000.0, 0
        self.packets: list[Injected] = []
        self._encoder = make_encoder("pcmu", 8000, 20)

    def say(self, pcm: Pcm) -> list[Injected]:
        before = len(self.packets)
        for start in range(0, len(pcm), 160):
            payload = self._encoder.encode(pcm[start : start + 160])
            packet = MediaPacket(
                payload_type=0, marker=False, sequence_number=self.number & 0xFFFF, timestamp=self.number * 160,
                payload=payload, in_order=True, generation=1,
            )  # fmt: skip
            self.transcoder.handle(packet, self.now)
            self.number += 1
            self.now += 0.02
            self.packets += self.transcoder.tick(self.now)
        return self.packets[before:]


@pytest.mark.parametrize("frame_ms", [20, 60])
def test_pauses_are_hardly_sent_to_who_wants_it_so(frame_ms: int) -> None:
    """A packet each 400 ms after the first 200; the time of the others passes, and what comes after begins with a
    marker."""
    line = Line(OpusSettings(discontinuous=True), frame_ms)
    quiet, voice = np.zeros(8000 * 3, np.int16), voiced(1.2, 8000)
    said = line.say(voice)
    paused = line.say(quiet)
    again = line.say(voice)
    assert len(said) >= 1100 // frame_ms
    assert 200 // frame_ms + 2800 // 420 <= len(paused) <= 300 // frame_ms + 2800 // 400 + 2
    assert len(again) >= 1100 // frame_ms
    assert sum(packet.advance or 0 for packet in line.packets) == pytest.approx(5.4 * 48_000, abs=48 * 4 * frame_ms)
    assert all(packet.marker == (packet.advance != 48 * frame_ms) for packet in line.packets)


def test_pauses_are_sent_to_everybody_else() -> None:
    """And a background that can be heard is no pause."""
    line = Line(OpusSettings())
    line.say(voiced(0.5, 8000))
    assert len(line.say(np.zeros(8000, np.int16))) == 50
    other = Line(OpusSettings(discontinuous=True))
    hiss = np.random.default_rng(1).normal(0, 100, 8000).astype(np.int16)
    other.say(voiced(0.5, 8000))
    assert len(other.say(hiss)) == 50


def opus(fmtp: str) -> Codec:
    return Codec("opus", 48_000, 2, 111, fmtp)


def test_programs_keep_to_it_as_well() -> None:
    """What each is told alone, and what all silent members of a room hear who want it alike."""
    pcm = np.random.default_rng(1).integers(-8000, 8000, 320).astype(np.int16)
    mouths = [Mouth(opus(fmtp), ProgramAudio()) for fmtp in ("maxaveragebitrate=8000;cbr=1", "useinbandfec=1", "cbr=1")]
    made = [[mouth.encode(pcm) for _ in range(20)] for mouth in mouths]
    sizes = [{len(packet.payload) for packet in packets if packet is not None} for packets in made]
    assert sizes[0] == {20}
    assert sizes[2] == {60}
    assert len(sizes[1]) > 1
    chorus = Chorus()
    alike = Mouth(opus("cbr=1;maxaveragebitrate=8000;usedtx=1"), ProgramAudio())
    for mouth in (*mouths, alike):
        chorus.say("opus", mouth.shared, pcm)
    assert len(chorus) == 3
    assert len(chorus.say("opus", alike.shared, pcm) or b"") == 20
