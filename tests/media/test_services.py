"""What the engine plays: the pace, the loops, silence that yields."""

from __future__ import annotations

import asyncio
import itertools

import numpy as np
import pytest

from gateway.media.embedded.audio.codecs import CODECS, make_decoder
from gateway.media.embedded.plane.inbound import Inbound
from gateway.media.embedded.plane.packet import RtpPacket, timestamp_delta
from gateway.media.embedded.plane.relay import Relay, Route
from gateway.media.embedded.sources.pacer import Pacer
from gateway.media.embedded.sources.players import LoopPlayer, loop_frames
from gateway.media.embedded.sources.playing import Playing
from gateway.media.engine import MediaError
from sdp import Codec
from tests.media.engine_support import frequency_of, until
from tests.media.rtp_support import ManualClock, Recorder


def stream(clock_rate: int = 8000) -> tuple[Relay, Recorder]:
    target = Recorder()
    relay = Relay(Inbound(), target, 5, 100, 9000)
    relay.route({0: Route(8000, 0)}, clock_rate)
    relay.active = True
    return relay, target


@pytest.mark.parametrize("codec", sorted(CODECS))
def test_the_tone_is_steady_where_its_loop_joins(codec: str) -> None:
    """Three rounds of the loop: 440 Hz, at least 20 dB above everything else together."""
    decoder = make_decoder(codec)
    pcm = np.concatenate([decoder.decode(frame) for frame in 3 * loop_frames(codec, 440, -16.0)])
    last = pcm[-2 * decoder.rate :].astype(float)
    assert frequency_of(pcm, decoder.rate) == pytest.approx(440.0, abs=1.0)
    spectrum = np.abs(np.fft.rfft(last * np.hanning(len(last)))) ** 2
    near = spectrum[860:901].sum()
    assert 10 * np.log10(near / (spectrum.sum() - near)) > 20
    level = 20 * np.log10(np.sqrt(2 * np.mean(last**2)) / 32767) + 3.17
    assert level == pytest.approx(-16.0, abs=1.0)


@pytest.mark.parametrize("codec", sorted(CODECS))
def test_silence_is_silent(codec: str) -> None:
    """In every codec, at least 60 dB below the loudest sample."""
    decoder = make_decoder(codec)
    pcm = np.concatenate([decoder.decode(frame) for frame in loop_frames(codec, 0, 0.0)])
    assert np.abs(pcm[decoder.rate // 10 :].astype(int)).max() <= 32


@pytest.mark.parametrize(("codec", "rate", "step"), [("pcmu", 8000, 160), ("opus", 48000, 960), ("g722", 8000, 160)])
def test_a_tone_is_a_continuous_stream(codec: str, rate: int, step: int) -> None:
    """A marker first, then numbers by one and timestamps by 20 ms."""
    relay, target = stream(rate)
    clock = ManualClock()
    player = LoopPlayer(relay, 7, rate, loop_frames(codec, 440, -16.0))
    for _ in range(120):
        assert player(clock.advance(0.02))
    sent = target.sent
    assert [packet.sequence_number for packet in sent] == list(range(100, 220))
    assert {timestamp_delta(b.timestamp, a.timestamp) for a, b in itertools.pairwise(sent)} == {step}
    assert [packet.marker for packet in sent] == [True] + [False] * 119


def test_a_held_tone_goes_on_later_where_time_is_then() -> None:
    """Nothing is sent meanwhile, the timestamp follows the wall clock."""
    relay, target = stream()
    clock = ManualClock()
    player = LoopPlayer(relay, 0, 8000, loop_frames("pcmu", 440, -16.0))
    player(clock.advance(0.02))
    relay.active = False
    for _ in range(10):
        player(clock.advance(0.02))
    relay.active = True
    player(clock.advance(0.02))
    first, second = target.sent
    assert timestamp_delta(second.timestamp, first.timestamp) == 11 * 160
    assert (second.sequence_number, second.marker) == (first.sequence_number + 1, True)


def test_silence_yields_to_the_first_packet_of_the_peer() -> None:
    """And starts again only when asked to."""
    relay, target = stream()
    clock = ManualClock()
    player = LoopPlayer(relay, 0, 8000, loop_frames("pcmu", 0, 0.0), yields=True)
    for _ in range(3):
        assert player(clock.advance(0.02))
    relay.receive_rtp(bytes(RtpPacket(0, 9, 50_000, 1, b"voice")), clock.advance(0.02))
    assert not player(clock.advance(0.02))
    assert len(target.sent) == 4
    assert target.sent[-1].sequence_number == 103


def test_a_failing_player_does_not_silence_the_others(caplog: pytest.LogCaptureFixture) -> None:
    """It is taken off and logged."""
    pacer = Pacer(ManualClock())
    played: list[float] = []

    def broken(now: float) -> bool:
        raise RuntimeError("broken")

    def good(now: float) -> bool:
        played.append(now)
        return True

    pacer._players.update({1: broken, 2: good})
    pacer.tick(1.0)
    pacer.tick(2.0)
    assert played == [1.0, 2.0]
    assert len(pacer) == 1
    assert "a player failed" in caplog.text


async def test_the_pace_makes_up_for_a_short_stall_and_leaves_out_a_long_one() -> None:
    """On the grid of 20 ms: a stall of 60 ms costs nothing, one of ten seconds is not played in a burst."""
    clock = ManualClock()
    pacer = Pacer(clock)
    played: list[float] = []

    def player(now: float) -> bool:
        played.append(now)
        return True

    pacer.add(player)
    clock.advance(0.085)
    await until(lambda: len(played) >= 4)
    assert len(played) == 4
    clock.advance(10.0)
    await until(lambda: len(played) > 4)
    assert len(played) <= 4 + 6
    pacer.close()
    assert len(pacer) == 0


async def test_the_timer_runs_only_while_something_plays() -> None:
    """A player that is done leaves no timer behind."""
    pacer = Pacer(asyncio.get_running_loop().time)
    done = asyncio.Event()

    def once(now: float) -> bool:
        done.set()
        return False

    pacer.add(once)
    async with asyncio.timeout(5):
        await done.wait()
    await until(lambda: pacer._timer is None)
    assert len(pacer) == 0


async def test_digits_that_cannot_be_sent_are_refused_with_their_status() -> None:
    """488 without events, 400 for no digit, 503 when too many wait."""
    relay, _ = stream()
    pacer = Pacer(ManualClock())
    playing = Playing(pacer, relay)
    for digit, events, status in (("1", {}, 488), ("x", {8000: 101}, 400)):
        with pytest.raises(MediaError) as raised:
            playing.digit(digit, 100, events)
        assert raised.value.status == status
    for _ in range(64):
        playing.digit("1", 100, {8000: 101})
    with pytest.raises(MediaError) as raised:
        playing.digit("1", 100, {8000: 101})
    assert raised.value.status == 503
    playing.close()
    assert len(pacer) == 0
    pacer.close()


async def test_an_unknown_codec_is_not_played() -> None:
    """A call whose codec is only forwarded gets no silence, and no error."""
    relay, target = stream()
    pacer = Pacer(ManualClock())
    Playing(pacer, relay).silence(Codec("G729", 8000, payload_type=18))
    pacer.tick(1.0)
    assert target.sent == []
    assert len(pacer) == 0
