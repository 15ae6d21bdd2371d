"""Every codec into every other: the tone, its level, packet lengths, losses, strangers' payloads."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.media.embedded.audio.codecs import CODECS, make_decoder, make_encoder, narrowest_rate
from gateway.media.embedded.audio.pcm import AudioError, Pcm, tone
from gateway.media.embedded.audio.resample import make_resampler
from gateway.media.embedded.audio.transcode import TranscodeHandler, Transcoder
from gateway.media.embedded.plane.inbound import Inbound
from gateway.media.embedded.plane.packet import RtpPacket, timestamp_delta
from gateway.media.embedded.plane.relay import Relay, Route
from tests.media.engine_support import frequency_of
from tests.media.rtp_support import ManualClock, Recorder

PAIRS = [pair for pair in itertools.product(sorted(CODECS), repeat=2) if pair[0] != pair[1]]
CLOCKS = {"opus": 48000, "g722": 8000, "pcmu": 8000, "pcma": 8000}


def payloads(codec: str, frequency: float, seconds: float, frame_ms: int = 20, level: float = -10.0) -> list[bytes]:
    encoder = make_encoder(codec, 48000, frame_ms)
    pcm = tone(frequency, level, encoder.rate, seconds)
    return [
        encoder.encode(pcm[start : start + encoder.frame])
        for start in range(0, len(pcm) - encoder.frame + 1, encoder.frame)
    ]


def decoded(codec: str, parts: list[bytes]) -> tuple[Pcm, int]:
    decoder = make_decoder(codec)
    return np.concatenate([decoder.decode(part) for part in parts]), decoder.rate


class Path:
    """A relay that transcodes payload type 1 into 2."""

    def __init__(self, source: str, target: str, frame_ms: int = 20) -> None:
        self.clock, self.target = ManualClock(), Recorder()
        self.relay = Relay(Inbound(), self.target, 5, 100, 9000)
        self.handler = TranscodeHandler(Transcoder(source, target, frame_ms), 2)
        rate_in, rate_out = CLOCKS[source], CLOCKS[target]
        self.relay.route({1: Route(rate_in, handler=self.handler, rate_out=rate_out)}, rate_out)
        self.relay.active = True
        self.rate_in = rate_in

    def receive(self, number: int, payload: bytes, frame_ms: int = 20, marker: bool = False) -> None:
        stamp = number * self.rate_in * frame_ms // 1000
        packet = RtpPacket(1, number & 0xFFFF, stamp & 0xFFFFFFFF, 1, payload, marker)
        self.relay.receive_rtp(bytes(packet), self.clock.advance(frame_ms / 1000))

    @property
    def sent(self) -> list[RtpPacket]:
        return self.target.sent

    def gaps(self) -> list[int]:
        return [timestamp_delta(b.timestamp, a.timestamp) for a, b in zip(self.sent, self.sent[1:], strict=False)]


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_a_tone_keeps_its_pitch_and_its_level(source: str, target: str) -> None:
    """1000 Hz at -10 dBm0 in, the same out, within 1 dB, one packet for each."""
    path = Path(source, target)
    parts = payloads(source, 1000.0, 1.5)
    for number, payload in enumerate(parts):
        path.receive(number, payload)
    assert len(path.sent) == len(parts)
    assert set(path.gaps()) == {CLOCKS[target] // 50}
    pcm, rate = decoded(target, [packet.payload for packet in path.sent])
    assert frequency_of(pcm, rate) == pytest.approx(1000.0, abs=2.0)
    level = 20 * np.log10(np.sqrt(2 * np.mean(pcm[rate // 2 :].astype(float) ** 2)) / 32767) + 3.17
    assert level == pytest.approx(-10.0, abs=1.0)


@pytest.mark.parametrize(("source", "target"), [("opus", "pcmu"), ("pcmu", "opus"), ("g722", "pcma")])
def test_transcoded_audio_has_no_clicks(source: str, target: str) -> None:
    """All but a small part of the energy is the tone itself: no seams at packet borders (C15)."""
    path = Path(source, target)
    for number, payload in enumerate(payloads(source, 1000.0, 2.0)):
        path.receive(number, payload)
    pcm, rate = decoded(target, [packet.payload for packet in path.sent])
    last = pcm[-rate:].astype(float)
    spectrum = np.abs(np.fft.rfft(last * np.hanning(rate))) ** 2
    near = spectrum[990:1011].sum()
    assert 10 * np.log10((spectrum.sum() - near) / near) < -25


@pytest.mark.parametrize("rates", [(48000, 8000), (48000, 16000), (16000, 8000), (8000, 16000)])
def test_resampling_joins_packets_without_a_seam(rates: tuple[int, int]) -> None:
    """In one piece or in packets, the samples are the same."""
    pcm = tone(700.0, -6, rates[0], 0.2)
    whole, cut = make_resampler(*rates), make_resampler(*rates)
    assert whole is not None
    assert cut is not None
    step = rates[0] // 50
    parts = [cut.process(pcm[start : start + step]) for start in range(0, len(pcm), step)]
    assert np.array_equal(whole.process(pcm), np.concatenate(parts))


def test_what_lies_above_the_new_band_does_not_fold_back() -> None:
    """6 kHz in 48 kHz is 50 dB down at 8 kHz."""
    resampler = make_resampler(48000, 8000)
    assert resampler is not None
    out = resampler.process(tone(6000.0, 0, 48000, 0.5))[200:]
    assert 20 * np.log10(np.abs(out).max() / 32767 + 1e-9) < -50


@pytest.mark.parametrize("codec", ["pcmu", "pcma"])
def test_g711_codes_round_trip(codec: str) -> None:
    """Every code decodes to a value that encodes to it again, but for the two spellings of zero."""
    decoder, encoder = make_decoder(codec), make_encoder(codec, 8000, 32)
    codes = bytes(range(256))
    pcm = decoder.decode(codes)
    again = decoder.decode(encoder.encode(pcm))
    assert np.array_equal(pcm, again)


@pytest.mark.parametrize(
    ("codec", "code", "value"),
    [("pcmu", 0xFF, 0), ("pcmu", 0x80, 32124), ("pcmu", 0x00, -32124), ("pcma", 0xD5, 8), ("pcma", 0xAA, 32256)],
)
def test_g711_has_the_values_of_its_tables(codec: str, code: int, value: int) -> None:
    """ITU-T G.711 tables 1 and 2, in 16 bits."""
    assert make_decoder(codec).decode(bytes([code]))[0] == value


def test_the_narrowest_rate_is_used() -> None:
    """Telephone-band Opus where the phone has no more."""
    assert narrowest_rate("pcmu", "opus") == 8000
    assert narrowest_rate("g722", "opus") == 16000
    assert narrowest_rate("opus", "pcma") == 8000


@pytest.mark.parametrize(("source", "target"), [("opus", "pcmu"), ("pcmu", "g722")])
def test_a_loss_stays_a_loss_where_packets_keep_their_length(source: str, target: str) -> None:
    """The listener's own concealment does better than ours."""
    path = Path(source, target)
    parts = payloads(source, 1000.0, 0.4)
    for number in [0, 1, 4, 5]:
        path.receive(number, parts[number])
    numbers = [packet.sequence_number for packet in path.sent]
    assert numbers == [100, 101, 104, 105]
    assert path.gaps() == [CLOCKS[target] // 50 * step for step in (1, 3, 1)]


@pytest.mark.parametrize(("frame_in", "frame_out"), [(20, 40), (40, 20), (20, 60), (60, 20), (30, 20), (10, 20)])
def test_packets_are_cut_to_the_length_that_is_wanted(frame_in: int, frame_out: int) -> None:
    """ptime: audio continuous, numbers and timestamps without gaps."""
    path = Path("pcmu", "pcma", frame_out)
    for number, payload in enumerate(payloads("pcmu", 1000.0, 1.2, frame_in)):
        path.receive(number, payload, frame_in)
    numbers = [packet.sequence_number for packet in path.sent]
    assert numbers == list(range(100, 100 + len(numbers)))
    assert set(path.gaps()) == {8 * frame_out}
    assert {len(packet.payload) for packet in path.sent} == {8 * frame_out}
    pcm, rate = decoded("pcma", [packet.payload for packet in path.sent])
    assert len(pcm) >= 8 * (1200 - frame_in - frame_out)
    assert frequency_of(pcm, rate) == pytest.approx(1000.0, abs=2.0)


def test_a_loss_is_concealed_where_packets_are_cut_afresh() -> None:
    """Two of 20 ms lost while 40 ms go out: no gap in numbers or time, and no silence."""
    path = Path("pcmu", "pcma", 40)
    parts = payloads("pcmu", 1000.0, 0.6)
    for number in [*range(10), *range(12, 24)]:
        path.receive(number, parts[number])
    assert set(path.gaps()) == {320}
    assert [packet.sequence_number for packet in path.sent] == list(range(100, 112))
    filled, _ = decoded("pcma", [path.sent[5].payload])
    assert np.abs(filled).max() > 1000


def test_a_long_silence_of_the_source_is_a_gap_in_time_only() -> None:
    """Discontinuous transmission: the timestamp jumps, the numbers do not."""
    path = Path("pcmu", "opus")
    parts = payloads("pcmu", 1000.0, 0.2)
    path.receive(0, parts[0])
    path.clock.advance(0.4)
    packet = RtpPacket(1, 1, 21 * 160, 1, parts[1], True)
    path.relay.receive_rtp(bytes(packet), path.clock.now)
    assert path.gaps() == [21 * 960]
    assert [each.sequence_number for each in path.sent] == [100, 101]
    assert path.sent[1].marker


@pytest.mark.parametrize("codec", ["opus", "g722"])
def test_a_decoder_survives_what_it_cannot_decode(codec: str) -> None:
    """An empty payload would end the library's stream for ever; it is dropped, and audio goes on."""
    path = Path(codec, "pcmu")
    parts = payloads(codec, 1000.0, 1.0)
    path.receive(0, parts[0])
    path.receive(1, b"")
    for number in range(2, len(parts)):
        path.receive(number, parts[number])
    assert path.relay.inbound.discarded == 1
    pcm, rate = decoded("pcmu", [packet.payload for packet in path.sent])
    assert frequency_of(pcm, rate) == pytest.approx(1000.0, abs=2.0)


def test_garbage_between_good_packets_does_not_stop_opus() -> None:
    """What the library refuses is dropped and counted; the next packet is heard."""
    path = Path("opus", "pcmu")
    parts = payloads("opus", 1000.0, 1.5)
    for number, payload in enumerate(parts):
        path.receive(number, bytes([0xFF]) * 7 if number % 10 == 5 and number < 40 else payload)
    assert path.relay.inbound.discarded == 4
    pcm, rate = decoded("pcmu", [packet.payload for packet in path.sent])
    assert frequency_of(pcm, rate) == pytest.approx(1000.0, abs=2.0)


@pytest.mark.parametrize("codec", sorted(CODECS))
@given(st.lists(st.binary(max_size=300), min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_a_strangers_payload_raises_audio_error_only(codec: str, parts: list[bytes]) -> None:
    """Whatever a packet holds, at most 120 ms of audio come of it."""
    decoder = make_decoder(codec)
    for part in parts:
        try:
            pcm = decoder.decode(part)
        except AudioError:
            continue
        assert pcm.dtype == np.int16
        assert len(pcm) <= decoder.rate * 120 // 1000


@pytest.mark.parametrize("make", [make_decoder, lambda name: make_encoder(name, 8000, 20)])
def test_an_unknown_codec_is_refused(make: object) -> None:
    """By its name."""
    assert callable(make)
    with pytest.raises(AudioError):
        make("g729")
