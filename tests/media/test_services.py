"""What the engine plays: the pace, the loops, silence that yields."""

from __future__ import annotations

import asyncio
import itertools

import numpy as np
import pytest

from gateway.media.embedded.audio.codecs import CODECS, make_decoder
from gateway.media.embedded.plane.packet import timestamp_delta
from gateway.media.embedded.plane.values import FlowConfig
from gateway.media.embedded.sources.digits import TelephoneEvent
from gateway.media.embedded.sources.files import Frame
from gateway.media.embedded.sources.pacer import Pacer
from gateway.media.embedded.sources.packets import Injected
from gateway.media.embedded.sources.players import MAXIMUM_FILES, LoopPlayer, Playing, loop_frames, silence_in
from gateway.media.engine import MediaError
from sdp import Codec
from tests.media.engine_support import frequency_of, until
from tests.media.hosts import at
from tests.media.plane_support import OUT_SSRC, TARGET, Direction, injected
from tests.media.rtp_support import ManualClock
from tests.rows import by_row


class Outlet:
    """A `players.Outlet` that puts packets on a stream."""

    def __init__(self, clock_rate: int = 8000) -> None:
        self.path = Direction(sequence_number=100)
        self.path.plane.start_stream(TARGET, OUT_SSRC, 100, 777, clock_rate)
        self.hears = True
        self.rate_out = clock_rate
        self.muted: list[bool] = []
        self.codec: Codec | None = Codec("PCMU", 8000, payload_type=0)

    def send_codec(self) -> Codec | None:
        return self.codec

    def inject(self, packet: Injected) -> None:
        injected(self.path.plane, packet)

    def mute(self, value: bool) -> None:
        self.muted.append(value)
        self.path.plane.set_muted(TARGET, value)


def file_in(made: dict[str, tuple[bytes, ...]]) -> Frame:
    """A file of these frames by codec; in others it is being made."""

    def frame(codec: str, number: int) -> bytes | None:
        frames = made.get(codec)
        return None if frames is None else frames[number] if number < len(frames) else b""

    return frame


@by_row("codec", sorted(CODECS))
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


@by_row("codec", sorted(CODECS))
def test_silence_is_silent(codec: str) -> None:
    """In every codec, at least 60 dB below the loudest sample."""
    decoder = make_decoder(codec)
    pcm = np.concatenate([decoder.decode(frame) for frame in loop_frames(codec, 0, 0.0)])
    assert np.abs(pcm[decoder.rate // 10 :].astype(int)).max() <= 32


@by_row(("codec", "rate", "step"), [("pcmu", 8000, 160), ("opus", 48000, 960), ("g722", 8000, 160)])
def test_a_tone_is_a_continuous_stream(codec: str, rate: int, step: int) -> None:
    """A marker first, then numbers by one and timestamps by 20 ms."""
    outlet, player = Outlet(rate), LoopPlayer(7, rate, loop_frames(codec, 440, -16.0))
    for _ in range(120):
        outlet.path.clock.advance(0.02)
        outlet.inject(player.next())
    sent = outlet.path.sent
    assert [packet.sequence_number for packet in sent] == list(range(100, 220))
    assert {timestamp_delta(b.timestamp, a.timestamp) for a, b in itertools.pairwise(sent)} == {step}
    assert [packet.marker for packet in sent] == [True] + [False] * 119


async def test_a_held_tone_goes_on_later_where_time_is_then() -> None:
    """Nothing is sent meanwhile, the timestamp follows the wall clock."""
    outlet = Outlet()
    pacer = Pacer(outlet.path.clock)
    Playing(pacer, outlet).tone(Codec("PCMU", 8000, payload_type=0), 440, -16.0)
    for step in range(12):
        outlet.hears = step in (0, 11)
        pacer.tick(outlet.path.clock.advance(0.02))
    first, second = outlet.path.sent
    assert timestamp_delta(second.timestamp, first.timestamp) == 11 * 160
    assert (second.sequence_number, second.marker) == (first.sequence_number + 1, True)
    pacer.close()


def test_silence_yields_to_the_first_packet_of_the_peer() -> None:
    """And starts again only after as long a time as before."""
    path = Direction(sequence_number=100)
    silence = silence_in(Codec("PCMU", 8000, payload_type=0), 1.0, 0.02)
    assert silence is not None
    path.plane.set_silence(TARGET, silence)
    path.clock.advance(1.1)
    before = len(path.sent)
    assert before >= 3
    path.receive(9, 50_000, payload=b"voice", after=0.0)
    path.clock.advance(0.9)
    assert len(path.sent) == before + 1
    path.clock.advance(0.5)
    assert len(path.sent) > before + 5
    stamps = [packet.timestamp for packet in path.sent]
    assert all(timestamp_delta(b, a) > 0 for a, b in itertools.pairwise(stamps))
    numbers = [packet.sequence_number for packet in path.sent]
    assert numbers == list(range(100, 100 + len(numbers)))


def test_keep_alive_is_as_rare_as_it_is_configured() -> None:
    """Every five seconds one packet, stamped by the clock on the wall (RFC 6263)."""
    path = Direction()
    path.plane.set_silence(TARGET, silence_in(Codec("PCMU", 8000, payload_type=0), 1.0, 5.0))
    path.clock.advance(31.0)
    assert len(path.sent) in (5, 6)
    gaps = {timestamp_delta(b.timestamp, a.timestamp) for a, b in itertools.pairwise(path.sent)}
    assert all(abs(gap - 40_000) <= 200 for gap in gaps)


def test_silence_of_many_flows_is_spread_over_time() -> None:
    """A hundred held calls send at a hundred different moments."""
    moments = set()
    for flow in range(1, 101):
        path = Direction()
        path.plane._silences.clear()
        path.plane.close_flow(TARGET)
        path.plane.open_flow(flow + 10, TARGET, FlowConfig())
        path.plane.set_destination(flow + 10, at("192.0.2.20", 5000), None)
        path.plane.start_stream(flow + 10, OUT_SSRC, 1, 1, 8000)
        path.plane.set_silence(flow + 10, silence_in(Codec("PCMU", 8000, payload_type=0), 1.0, 5.0))
        while not path.sent:
            path.clock.advance(0.01)
        moments.add(round(path.clock.now, 2))
    assert len(moments) > 80


async def test_a_failing_player_does_not_silence_the_others(caplog: pytest.LogCaptureFixture) -> None:
    """It is taken off and logged."""
    pacer = Pacer(ManualClock())
    played: list[float] = []

    def broken(now: float) -> bool:
        raise RuntimeError("broken")

    def good(now: float) -> bool:
        played.append(now)
        return True

    pacer.add(broken)
    pacer.add(good)
    pacer.tick(1.0)
    pacer.tick(2.0)
    assert played == [1.0, 2.0]
    assert len(pacer) == 1
    assert "a player failed" in caplog.text
    pacer.close()


async def test_players_are_spread_over_the_tick() -> None:
    """A hundred of them are no burst every 20 ms."""
    pacer = Pacer(ManualClock())
    numbers = [pacer.add(lambda now: True) for _ in range(100)]
    assert set(pacer.spread) == {10}
    for number in numbers:
        pacer.remove(number)
    assert len(pacer) == 0
    pacer.close()


async def test_the_pace_makes_up_for_a_short_stall_and_leaves_out_a_long_one() -> None:
    """On the grid of 20 ms: a stall of 60 ms costs nothing, one of ten seconds is not played in a burst."""
    clock = ManualClock()
    pacer = Pacer(clock)
    played: list[float] = []
    fourth = asyncio.Event()

    def player(now: float) -> bool:
        played.append(now)
        if len(played) == 4:
            fourth.set()
        return True

    pacer.add(player)
    clock.advance(0.085)
    async with asyncio.timeout(30):
        await fourth.wait()  # before the next tick, which comes by the loop's own clock
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
    async with asyncio.timeout(30):
        await done.wait()
    await until(lambda: len(pacer) == 0)
    assert len(pacer) == 0


async def test_digits_that_cannot_be_sent_are_refused_with_their_status() -> None:
    """488 without events, 400 for no digit, 503 when too many wait."""
    pacer = Pacer(ManualClock())
    playing = Playing(pacer, Outlet())
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


async def test_a_digit_that_is_cut_off_silences_nobody_afterwards() -> None:
    """The party is joined to another in the middle of it: the stream is open, and the next digit begins anew."""
    outlet, pacer = Outlet(), Pacer(ManualClock())
    playing = Playing(pacer, outlet)
    playing.digit("1", 100, {8000: 101})
    playing._queue_tick(0.0)
    assert outlet.muted == [True]
    playing.close()
    assert outlet.muted == [True, False]
    assert playing.hears
    playing.close()
    assert outlet.muted == [True, False]
    playing.digit("2", 100, {8000: 101})
    playing._queue_tick(0.0)
    first = outlet.path.sent[-1]
    assert first.marker
    assert TelephoneEvent.parse(first.payload).event == 2
    playing.close()
    pacer.close()


async def test_a_digit_goes_out_at_once_while_a_file_plays_which_goes_on_thereafter() -> None:
    """The file loses nothing: it is interrupted where it is, and one digit does not wait for two minutes of sound."""
    outlet, pacer = Outlet(), Pacer(ManualClock())
    playing = Playing(pacer, outlet)
    frames = tuple([bytes([number]) * 160 for number in range(30)])
    for _ in range(2):
        playing.file(file_in({"pcmu": frames}))
    for _ in range(10):
        playing._queue_tick(0.0)
    playing.digit("5", 100, {8000: 101})
    playing._queue_tick(0.0)
    assert TelephoneEvent.parse(outlet.path.sent[-1].payload).event == 5
    playing.digit("6", 100, {8000: 101})
    while playing._queue_tick(0.0):
        pass
    heard = [packet for packet in outlet.path.sent if packet.payload_type == 0]
    assert [packet.payload[0] for packet in heard] == [*range(30), *range(30)]
    assert heard[10].marker
    pressed = [TelephoneEvent.parse(each.payload).event for each in outlet.path.sent if each.payload_type == 101]
    assert list(dict.fromkeys(pressed)) == [5, 6]
    assert outlet.muted == [True, False] * 2
    assert not playing.digits_going
    pacer.close()


async def test_files_that_are_stopped_under_a_digit_end_after_it() -> None:
    """A stop that comes while the digit is sent: no packet of the file follows, and none of those that wait."""
    outlet, pacer = Outlet(), Pacer(ManualClock())
    playing = Playing(pacer, outlet)
    for _ in range(3):
        playing.file(file_in({"pcmu": (bytes(160),) * 50}))
    playing._queue_tick(0.0)
    playing.digit("5", 100, {8000: 101})
    playing._queue_tick(0.0)
    playing.stop_files()
    while playing._queue_tick(0.0):
        pass
    assert len([packet for packet in outlet.path.sent if packet.payload_type == 0]) == 1
    assert outlet.muted == [True, False]
    pacer.close()


async def test_a_file_goes_on_in_another_codec_once_it_is_made_in_that_and_ends_in_one_that_it_cannot_be() -> None:
    """Nothing is lost on the way, nor while it is being made or nothing is agreed."""
    outlet, pacer = Outlet(), Pacer(ManualClock())
    playing = Playing(pacer, outlet)
    frames = tuple([bytes([number]) * 160 for number in range(30)])
    made: dict[str, tuple[bytes, ...]] = {"pcmu": frames, "g729": ()}
    playing.file(file_in(made))
    pcma = Codec("PCMA", 8000, payload_type=8)
    for codec in (outlet.codec, None, pcma, Codec("G729", 8000, payload_type=18)):
        outlet.codec = codec
        for _ in range(5):
            playing._queue_tick(0.0)
        if codec is pcma:
            made["pcma"] = frames
            for _ in range(5):
                playing._queue_tick(0.0)
    heard = outlet.path.sent
    assert [packet.payload_type for packet in heard] == [0] * 5 + [8] * 5
    assert [packet.payload[0] for packet in heard] == [*range(10)]
    assert [packet.marker for packet in heard] == [True, *[False] * 4] * 2
    assert outlet.muted == [True, False]
    playing.close()
    assert len(pacer) == 0
    pacer.close()


async def test_a_file_begins_anew_where_its_codec_changes_from_one_packet_to_the_next() -> None:
    """Marked, and at the time that it is then: the step of one clock says nothing in another."""
    outlet, pacer = Outlet(), Pacer(ManualClock())
    playing = Playing(pacer, outlet)
    playing.file(file_in({name: (bytes(160),) * 30 for name in ("pcmu", "opus")}))
    for codec in (outlet.codec, Codec("opus", 48000, payload_type=107)):
        outlet.codec = codec
        for _ in range(3):
            playing._queue_tick(0.0)
    assert [packet.marker for packet in outlet.path.sent] == [True, False, False] * 2
    playing.close()
    pacer.close()


async def test_a_file_that_is_stopped_while_nothing_is_agreed_ends() -> None:
    """It does not wait for what will not be sent."""
    outlet, pacer = Outlet(), Pacer(ManualClock())
    playing = Playing(pacer, outlet)
    outlet.codec = None
    playing.file(file_in({"pcmu": (bytes(160),)}))
    for _ in range(3):
        assert playing._queue_tick(0.0)
    playing.stop_files()
    assert any([not playing._queue_tick(0.0) for _ in range(10)])
    playing.close()
    pacer.close()


async def test_a_file_that_waits_when_its_transport_goes_is_played_over_the_next() -> None:
    """It was queued, and not begun."""
    outlet, pacer = Outlet(), Pacer(ManualClock())
    first, second = Playing(pacer, outlet), Playing(pacer, outlet)
    first.file(file_in({"pcmu": (bytes(160),) * 5}))
    first.close()
    second.succeed(first)
    assert len(pacer) == 1
    while second._queue_tick(0.0):
        pass
    assert len(outlet.path.sent) == 5
    second.close()
    pacer.close()


async def test_files_outlast_whoever_a_party_talks_with_and_its_transport_and_digits_do_not() -> None:
    """The successor of a party goes on where the file was, with those that waited or came since, which play for nobody
    until then."""
    outlet, pacer = Outlet(), Pacer(ManualClock())
    first, second = Playing(pacer, outlet), Playing(pacer, outlet)
    for _ in range(2):
        first.file(file_in({"pcmu": tuple([bytes([number]) * 160 for number in range(10)])}))
    first._queue_tick(0.0)
    first.digit("1", 100, {8000: 101})
    first._queue_tick(0.0)
    first.part()
    first._queue_tick(0.0)
    first.close()
    first.file(file_in({"pcmu": (bytes([10]) * 160,)}))
    assert len(pacer) == 0
    second.succeed(first)
    assert not first._queue_tick(0.0)
    while second._queue_tick(0.0):
        pass
    heard = [packet for packet in outlet.path.sent if packet.payload_type == 0]
    assert [packet.payload[0] for packet in heard] == [*range(10), *range(11)]
    assert [number for number, packet in enumerate(heard) if packet.marker] == [0, 1, 2, 10, 20]
    assert len(outlet.path.sent) == 22
    assert not second.digits_going
    pacer.close()


async def test_files_beyond_those_that_may_wait_are_refused() -> None:
    """503, and digits still go."""
    pacer = Pacer(ManualClock())
    playing = Playing(pacer, Outlet())
    for _ in range(MAXIMUM_FILES):
        playing.file(file_in({"pcmu": (bytes(160),)}))
    with pytest.raises(MediaError) as raised:
        playing.file(file_in({"pcmu": (bytes(160),)}))
    assert raised.value.status == 503
    playing.digit("1", 100, {8000: 101})
    playing.close()
    assert len(pacer) == 0
    pacer.close()


async def test_an_unknown_codec_is_not_played() -> None:
    """A call whose codec is only forwarded gets no silence, and no error."""
    pacer = Pacer(ManualClock())
    g729 = Codec("G729", 8000, payload_type=18)
    Playing(pacer, Outlet()).tone(g729, 440, -16.0)
    assert len(pacer) == 0
    assert silence_in(g729, 1.0, 5.0) is None
