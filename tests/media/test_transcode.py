"""Every codec into every other: the tone, its level, packet lengths, losses, strangers' payloads."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.media.embedded.audio.codecs import CODECS, make_decoder, make_encoder, narrowest_rate
from gateway.media.embedded.audio.pcm import AudioError, Pcm, tone
from gateway.media.embedded.audio.playout import LONGEST_DELAY, Playout
from gateway.media.embedded.audio.resample import make_resampler
from gateway.media.embedded.audio.transcode import Transcoder
from gateway.media.embedded.plane.packet import RtpPacket, timestamp_delta
from gateway.media.embedded.plane.values import Action, Route
from tests.media.engine_support import frequency_of
from tests.media.plane_support import OUT_SSRC, TARGET, Direction, injected
from tests.media.rtp_support import ManualClock
from tests.rows import by_row

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
    """A direction whose payload type 1 is transcoded into 2, with a tick every 20 ms."""

    def __init__(self, source: str, target: str, frame_ms: int = 20) -> None:
        rate_in, rate_out = CLOCKS[source], CLOCKS[target]
        routes = {1: Route(action=Action.PUNT, clock_rate=rate_in, rate_out=rate_out)}
        self.path = Direction(routes, sequence_number=100)
        self.path.plane.start_stream(TARGET, OUT_SSRC, 100, 9000, rate_out)
        self.transcoder = Transcoder(source, target, 2, frame_ms)
        self.rate_in = rate_in

    @property
    def clock(self) -> ManualClock:
        return self.path.clock

    def receive(self, number: int, payload: bytes, frame_ms: int = 20, *, late: float = 0.0) -> None:
        """A packet, and the ticks until the next is due."""
        stamp = number * self.rate_in * frame_ms // 1000
        self.path.receive(number, stamp, payload_type=1, payload=payload, after=late)
        for _, packet in self.path.handler.packets:
            self.transcoder.handle(packet, self.clock.now)
        self.path.handler.packets.clear()
        self.tick(frame_ms)

    def tick(self, milliseconds: int) -> None:
        self._owed = getattr(self, "_owed", 0) + milliseconds
        while self._owed >= 20:
            self._owed -= 20
            self.clock.advance(0.02)
            for made in self.transcoder.tick(self.clock.now):
                injected(self.path.plane, made)

    @property
    def sent(self) -> list[RtpPacket]:
        return self.path.sent

    def gaps(self) -> list[int]:
        return [timestamp_delta(b.timestamp, a.timestamp) for a, b in zip(self.sent, self.sent[1:], strict=False)]


@by_row(("source", "target"), PAIRS)
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


@by_row(("source", "target"), [("opus", "pcmu"), ("pcmu", "opus"), ("g722", "pcma")])
def test_transcoded_audio_has_no_clicks(source: str, target: str) -> None:
    """All but a small part of the energy is the tone itself: no seams at packet borders."""
    path = Path(source, target)
    for number, payload in enumerate(payloads(source, 1000.0, 2.0)):
        path.receive(number, payload)
    pcm, rate = decoded(target, [packet.payload for packet in path.sent])
    last = pcm[-rate:].astype(float)
    spectrum = np.abs(np.fft.rfft(last * np.hanning(rate))) ** 2
    near = spectrum[990:1011].sum()
    assert 10 * np.log10((spectrum.sum() - near) / near) < -25


@by_row("rates", [(48000, 8000), (48000, 16000), (16000, 8000), (8000, 16000)])
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


@by_row(
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
def test_a_loss_is_concealed_and_the_stream_goes_on(source: str, target: str) -> None:
    """Two packets lost: no gap in numbers or time, and no silence where they were."""
    path = Path(source, target)
    parts = payloads(source, 1000.0, 1.0)
    for number, part in enumerate(parts):
        if number in (20, 21):
            path.tick(20)
        else:
            path.receive(number, part)
    numbers = [packet.sequence_number for packet in path.sent]
    assert numbers == list(range(100, 100 + len(numbers)))
    assert len(numbers) >= len(parts) - 2
    assert set(path.gaps()) == {CLOCKS[target] // 50}
    assert path.transcoder.playout.concealed in (1, 2)
    pcm, _ = decoded(target, [packet.payload for packet in path.sent])
    frames = pcm[: len(numbers) * (len(pcm) // len(numbers))].reshape(len(numbers), -1).astype(float)
    assert np.abs(frames[10:40]).max(axis=1).min() > 500


@by_row(("frame_in", "frame_out"), [(20, 40), (40, 20), (20, 60), (60, 20), (30, 20), (10, 20)])
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


def test_a_long_silence_of_the_source_is_a_gap_in_time_only() -> None:
    """Discontinuous transmission: the timestamp jumps, the numbers do not."""
    path = Path("pcmu", "opus")
    parts = payloads("pcmu", 1000.0, 0.4)
    for number in range(10):
        path.receive(number, parts[number])
    path.tick(400)
    before = len(path.sent)
    for number in range(10, 20):
        path.receive(number, parts[number])
    packets = path.sent
    assert packets[before].marker
    gap = timestamp_delta(packets[before].timestamp, packets[before - 1].timestamp)
    assert 12 * 960 <= gap <= 21 * 960
    assert [each.sequence_number for each in packets] == list(range(100, 100 + len(packets)))


def test_packets_that_come_unevenly_are_played_evenly() -> None:
    """Jitter of 60 ms: after it has been learned, a packet goes out at every tick, and none is missing."""
    path = Path("pcmu", "pcma")
    parts = payloads("pcmu", 1000.0, 4.0)
    waiting: list[int] = []
    for number, _ in enumerate(parts):
        waiting.append(number)
        if number % 4 == 3:
            for each in waiting:
                path.path.receive(each, each * 160, payload_type=1, payload=parts[each], after=0.0)
                for _, packet in path.path.handler.packets:
                    path.transcoder.handle(packet, path.clock.now)
                path.path.handler.packets.clear()
            waiting.clear()
        path.tick(20)
    assert 0.02 < path.transcoder.playout.delay <= LONGEST_DELAY
    settled = path.sent[60:]
    stamps = [packet.timestamp for packet in settled]
    assert {timestamp_delta(b, a) for a, b in itertools.pairwise(stamps)} == {160}
    pcm, rate = decoded("pcma", [packet.payload for packet in settled])
    assert frequency_of(pcm, rate) == pytest.approx(1000.0, abs=2.0)


def test_the_delay_shrinks_again_when_packets_come_evenly() -> None:
    """What a bad minute has added does not stay for the rest of the call."""
    playout = Playout(lambda payload: np.zeros(160, np.int16), 8000)
    now, number = 0.0, 0
    playout.delay = LONGEST_DELAY
    for _ in range(1500):
        playout.put(number & 0xFFFF, 1, b"x", now)
        playout.frame(160, now)
        number, now = number + 1, now + 0.02
    assert playout.delay < LONGEST_DELAY / 2
    assert playout.waiting < LONGEST_DELAY


def test_a_packet_that_comes_too_late_raises_the_delay() -> None:
    """And is not played."""
    playout = Playout(lambda payload: np.zeros(160, np.int16), 8000)
    for number in (1, 2, 4, 5):
        playout.put(number, 1, b"x", number * 0.02)
        playout.frame(160, number * 0.02)
    before = playout.delay
    for number in (6, 7, 8):
        playout.put(number, 1, b"x", number * 0.02)
        playout.frame(160, number * 0.02)
    playout.put(3, 1, b"x", 0.17)
    assert playout.late == 1
    assert playout.delay > before


@pytest.mark.parametrize("after_silence", [False, True])
def test_packets_that_are_left_out_were_lost(after_silence: bool) -> None:
    """Of a long gap all count, whether what follows it was there when it began or came once nothing was heard."""
    playout, now = Playout(lambda payload: np.ones(160, np.int16), 8000), 0.0
    for number in [*range(65534, 65538), *range(65555, 65559)]:
        if after_silence and number == 65555:
            for _ in range(10):
                now += 0.02
                playout.frame(160, now)
        playout.put(number & 0xFFFF, 1, b"x", now)
    for _ in range(20):
        now += 0.02
        playout.frame(160, now)
    assert playout.waiting == 0
    assert playout.lost == 17


@by_row("rates", [(8000, 16000), (16000, 8000), (48000, 16000)])
def test_nothing_resampled_is_nothing(rates: tuple[int, int]) -> None:
    """And what follows is as if it had not been."""
    resampler, other = make_resampler(*rates), make_resampler(*rates)
    assert resampler is not None
    assert other is not None
    assert len(resampler.process(np.zeros(0, np.int16))) == 0
    pcm = tone(500.0, -10.0, rates[0], 0.02)
    assert resampler.process(pcm).tolist() == other.process(pcm).tolist()


@by_row("codec", sorted(CODECS))
def test_a_decoder_survives_what_it_cannot_decode(codec: str) -> None:
    """An empty payload would end the library's stream for ever; it is dropped, and audio goes on."""
    path = Path(codec, "pcma" if codec == "pcmu" else "pcmu")
    parts = payloads(codec, 1000.0, 1.0)
    path.receive(0, parts[0])
    path.receive(1, b"")
    for number in range(2, len(parts)):
        path.receive(number, parts[number])
    assert path.transcoder.playout.undecodable == 1
    pcm, rate = decoded("pcma" if codec == "pcmu" else "pcmu", [packet.payload for packet in path.sent])
    assert frequency_of(pcm, rate) == pytest.approx(1000.0, abs=2.0)


def test_garbage_between_good_packets_does_not_stop_opus() -> None:
    """What the library refuses is dropped and counted; the next packet is heard."""
    path = Path("opus", "pcmu")
    parts = payloads("opus", 1000.0, 1.5)
    for number, payload in enumerate(parts):
        path.receive(number, bytes([0xFF]) * 7 if number % 10 == 5 and number < 40 else payload)
    assert path.transcoder.playout.undecodable == 4
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
