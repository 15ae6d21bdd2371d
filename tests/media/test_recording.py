"""Recordings of calls: who speaks is where, whatever codecs they have, and the file is whole whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import subprocess
import sys
import wave
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import av
import numpy as np
import pytest

from gateway.media.embedded.audio.files import FORMATS
from gateway.media.embedded.audio.pcm import Pcm, tone
from gateway.media.embedded.describe import SERVICE_DESCRIPTION
from gateway.media.embedded.engine import EmbeddedEngine
from gateway.media.embedded.sources.program import FRAME, RATE
from gateway.media.embedded.sources.recorder import BATCH, MOST_CAME, MOST_DUE, Recorder, Track
from gateway.media.engine import Kind, MediaError, Party, RecordingFile
from tests.media.engine_support import Phone, frequency_of, running, until
from tests.media.tone_support import packet
from tests.rows import by_row

A = Party("a", Kind.RTP, private_source="127.0.0.1")
B = Party("b", Kind.RTP, private_source="127.0.0.1")
PROGRAM = Party("program", Kind.SERVICE, service="program")


def channels(path: Path) -> list[Pcm]:
    """The samples of each channel."""
    with av.open(str(path)) as container:
        layout = container.streams.audio[0].layout.name
        resampler = av.AudioResampler(format="s16p", layout=layout, rate=RATE)
        parts = [each.to_ndarray() for frame in container.decode(audio=0) for each in resampler.resample(frame)]
    return list(np.concatenate(parts, axis=1))


@contextlib.asynccontextmanager
async def call(codec: str = "pcmu", other: str = "pcmu") -> AsyncIterator[tuple[EmbeddedEngine, Phone, Phone]]:
    """Two phones that talk: one at 500 Hz, the other at 900 Hz."""
    async with running() as (engine, _):
        a, b = await Phone((codec,)).open(), await Phone((other,), ssrc=0x77).open()
        try:
            b.take(await engine.offer("call", A, B, a.sdp()))
            a.take(await engine.answer("call", B, A, b.sdp()))
            a.play(500.0, codec)
            b.play(900.0, other)
            await until(lambda: near(frequency_of(*a.heard(codec)), 900.0))
            yield engine, a, b
        finally:
            await a.close()
            await b.close()


def near(value: float, wanted: float) -> bool:
    return abs(value - wanted) <= 8.0


@by_row(
    ("codec", "other", "format"),
    [
        ("opus", "pcma", "opus"),
        ("pcmu", "pcmu", "wav"),
        ("g722", "g722", "opus"),
    ],
)
async def test_each_side_has_a_channel_of_its_own(codec: str, other: str, format: str, tmp_path: Path) -> None:
    """The caller on the left; both go on hearing each other meanwhile and after; the file lasts as long as it took."""
    async with call(codec, other) as (engine, a, _):
        path, ended = tmp_path / f"call.{format}", asyncio.Queue[str | None]()
        recording = engine.record("call", RecordingFile(path=str(path), format=format), ended.put_nowait)
        await until(lambda: recording.seconds >= 2)
        a.packets.clear()
        await until(lambda: near(frequency_of(*a.heard(codec)), 900.0))
        recording.stop()
        recording.stop()
        assert await asyncio.wait_for(ended.get(), 30) is None
        left, right = channels(path)
        assert near(frequency_of(left, RATE), 500.0)
        assert near(frequency_of(right, RATE), 900.0)
        assert len(left) / RATE == pytest.approx(recording.seconds, abs=0.05)
        a.packets.clear()
        await until(lambda: near(frequency_of(*a.heard(codec)), 900.0))
        assert ended.empty()
        # Again, over the same file's name: the one before is over.
        again = engine.record("call", RecordingFile(path=str(path), format=format), ended.put_nowait)
        # A second one beside it hears the same; a third one is refused.
        beside = engine.record("call", RecordingFile(path=str(tmp_path / "beside.wav")), ended.put_nowait)
        with pytest.raises(MediaError):
            engine.record("call", RecordingFile(path=str(path)), ended.put_nowait)
        await until(lambda: beside.seconds >= 1.2)
        await engine.delete("call")
        for _ in range(2):
            assert await asyncio.wait_for(ended.get(), 30) is None
        for wanted, heard in zip((500.0, 900.0), channels(tmp_path / "beside.wav"), strict=True):
            assert near(frequency_of(heard, RATE), wanted)
        assert len(channels(path)[0]) / RATE == pytest.approx(again.seconds, abs=0.05)


async def test_mixed_holds_both_in_one(tmp_path: Path) -> None:
    """One channel, both tones; a beep before, where it is wanted, that both hear."""
    async with call() as (engine, a, _):
        path, ended = tmp_path / "call.wav", asyncio.Queue[str | None]()
        wanted = RecordingFile(path=str(path), channels=1, beep=True)
        a.packets.clear()
        recording = engine.record("call", wanted, ended.put_nowait)
        await until(lambda: recording.seconds >= 2)
        recording.stop()
        await asyncio.wait_for(ended.get(), 30)
        (both,) = channels(path)
        spectrum = np.abs(np.fft.rfft(both[-RATE:].astype(float) * np.hanning(RATE)))
        assert {int(each) for each in np.argsort(spectrum)[-2:]} == {500, 900}
        pcm, rate = a.heard("pcmu")
        beeps = [frequency_of(pcm[start : start + rate // 4], rate) for start in range(0, len(pcm), rate // 8)]
        assert any(near(each, 1400.0) for each in beeps)
        assert near(beeps[-4], 900.0)


async def test_the_beep_waits_for_no_digit(tmp_path: Path) -> None:
    """Where no digit finds room any more the recording begins, and its beep is heard before those that wait."""
    async with call() as (engine, a, _):
        with contextlib.suppress(MediaError):
            while True:
                await engine.send_dtmf("call", "a", "1", 100, tones=True)
        a.packets.clear()
        ended = asyncio.Queue[str | None]()
        recording = engine.record("call", RecordingFile(path=str(tmp_path / "call.wav"), beep=True), ended.put_nowait)
        await until(lambda: recording.seconds >= 1.5)
        recording.stop()
        assert await asyncio.wait_for(ended.get(), 30) is None
        pcm, rate = a.heard("pcmu")
        assert any(near(frequency_of(pcm[at : at + rate // 4], rate), 1400.0) for at in range(0, len(pcm), rate // 8))


async def test_who_comes_in_the_place_of_somebody_is_on_that_one_s_side(tmp_path: Path) -> None:
    """A transfer in the middle of a recording."""
    async with call() as (engine, _, _):
        third = await Phone(("pcma",), ssrc=0x99).open()
        path, ended = tmp_path / "call.wav", asyncio.Queue[str | None]()
        try:
            recording = engine.record("call", RecordingFile(path=str(path)), ended.put_nowait)
            await until(lambda: recording.seconds >= 0.5)
            new = Party("c", Kind.RTP, private_source="127.0.0.1")
            third.take(await engine.create_offer("call", new, B))
            await engine.answer("call", new, None, third.sdp())
            await engine.join("call", "b", "c")
            await engine.release("call", "a")
            third.play(1300.0, "pcma")
            at = recording.seconds
            await until(lambda: recording.seconds >= at + 2)
            recording.stop()
            await asyncio.wait_for(ended.get(), 30)
            left, right = channels(path)
            assert near(frequency_of(left, RATE), 1300.0)
            assert near(frequency_of(right, RATE), 900.0)
        finally:
            await third.close()


async def test_a_program_is_recorded_too(tmp_path: Path) -> None:
    """What it says is the right channel."""
    async with running() as (engine, _):
        phone = await Phone(("pcmu",)).open()
        path, ended = tmp_path / "call.wav", asyncio.Queue[str | None]()
        try:
            await engine.offer("call", A, PROGRAM, phone.sdp())
            phone.take(await engine.answer("call", PROGRAM, A, SERVICE_DESCRIPTION))
            phone.play(500.0)
            recording = engine.record("call", RecordingFile(path=str(path)), ended.put_nowait)
            engine.audio("call", "program").say(tone(900.0, -10.0, RATE, 3.0).tobytes())
            await until(lambda: recording.seconds >= 2)
            recording.stop()
            await asyncio.wait_for(ended.get(), 30)
            left, right = channels(path)
            assert near(frequency_of(left, RATE), 500.0)
            assert near(frequency_of(right, RATE), 900.0)
        finally:
            await phone.close()


@by_row(
    ("path", "changes", "reason"),
    [
        ("/dev/full", {}, "No space left on device"),
        ("/dev/full", {"format": "opus"}, "No space left on device"),
        ("/nowhere/at/all.wav", {}, "No such file or directory"),
        ("call.wav", {"min_free": 1 << 60}, "the disk is nearly full"),
        ("call.wav", {"longest": 0.5}, "it is as long as recordings may be"),
    ],
)
async def test_a_recording_that_cannot_go_on_says_why_and_the_call_goes_on(
    path: str, changes: dict[str, float], reason: str, tmp_path: Path
) -> None:
    """A full disk, a folder that is not there, the longest time."""
    async with call() as (engine, a, _):
        ended = asyncio.Queue[str | None]()
        wanted = RecordingFile(path=str(tmp_path / path), **changes)  # type: ignore[arg-type]
        engine.record("call", wanted, ended.put_nowait)
        assert reason in str(await asyncio.wait_for(ended.get(), 30))
        a.packets.clear()
        await until(lambda: near(frequency_of(*a.heard("pcmu")), 900.0))


@by_row(("codec", "payload"), [("pcmu", b""), ("unheard of", bytes(160))])
def test_a_side_that_cannot_be_heard_is_silent_and_no_fault(codec: str, payload: bytes) -> None:
    """Run after run of it; what it says afterwards is heard, and so is what came while a batch was at work."""
    track = Track()
    for generation in range(5):
        track.take(codec, packet(1, payload, generation=generation), 0.0)
    track.hand_over()
    assert not track.frames([0.02 * tick for tick in range(10)]).any()
    for number in range(20):
        track.take("pcmu", packet(number, bytes(160), generation=9), 0.2 + 0.02 * number)
    track.hand_over()
    early = track.frames([0.2 + 0.02 * tick for tick in range(10)])
    track.hand_over()
    late = track.frames([0.4 + 0.02 * tick for tick in range(10)])
    assert early[-FRAME:].any()
    assert late[-FRAME:].any()


def test_what_waits_for_the_disk_is_bounded() -> None:
    """However often it is handed over."""
    track = Track()
    for _ in range(3):
        for number in range(MOST_CAME):
            track.take("pcmu", packet(number, b"x"), 9.0)
        track.hand_over()
    assert not track.frames([1.0]).any()
    assert len(track._handed) == MOST_CAME


def test_who_comes_has_the_side_that_is_left_by_the_one_it_talks_with(tmp_path: Path) -> None:
    """After each of several transfers, whoever is passed on; a program that is left alone keeps its own."""
    pacer = SimpleNamespace(add=lambda tick: 1, remove=lambda ticking: None)
    wanted = RecordingFile(path=str(tmp_path / "call.wav"))
    recorder = Recorder(cast(Any, pacer), cast(Any, SimpleNamespace()), wanted, lambda reason: None)
    sides = {}
    for one, other in (("caller", "callee"), ("callee", "third"), ("third", "fourth"), ("caller", "third")):
        for party, peer in ((one, other), (other, one)):
            sides[party] = recorder.tracks.index(recorder.side(party, peer))
    assert sides == {"caller": 0, "callee": 1, "third": 0, "fourth": 1}


def test_a_disk_that_does_not_keep_up_for_ten_seconds_ends_the_recording(tmp_path: Path) -> None:
    """What waited is in the file, should the disk come round."""
    ticks: list[Callable[[float], bool]] = []
    jobs: list[tuple[Callable[[], Any], Callable[[Any], None]]] = []
    ended: list[str | None] = []
    pacer = SimpleNamespace(add=ticks.append, remove=lambda ticking: ticks.clear())
    writers = SimpleNamespace(do=lambda *job: jobs.append(job))
    wanted = RecordingFile(path=str(tmp_path / "call.wav"))
    recorder = Recorder(cast(Any, pacer), cast(Any, writers), wanted, ended.append)
    assert MOST_DUE * FRAME / RATE == 10.0
    for number in range(BATCH + MOST_DUE):
        ticks[0](number * FRAME / RATE)
        assert not recorder.stopping
    ticks[0]((BATCH + MOST_DUE) * FRAME / RATE)
    assert recorder.stopping
    assert not ticks
    assert len(jobs) == 1
    while jobs:
        job, then = jobs.pop()
        then(job())
    assert ended == ["the disk is too slow"]
    assert len(channels(tmp_path / "call.wav")[0]) == (BATCH + MOST_DUE + 1) * FRAME


def test_room_for_the_file_is_made_where_it_is_written(tmp_path: Path) -> None:
    """Not before the first batch, and once, though the disk turns out to be nearly full."""
    ticks: list[Callable[[float], bool]] = []
    jobs: list[tuple[Callable[[], Any], Callable[[Any], None]]] = []
    ended: list[str | None] = []
    asked: list[str] = []

    def place() -> str:
        asked.append(str(tmp_path / "call.wav"))
        return asked[-1]

    pacer = SimpleNamespace(add=ticks.append, remove=lambda ticking: ticks.clear())
    writers = SimpleNamespace(do=lambda *job: jobs.append(job))
    Recorder(cast(Any, pacer), cast(Any, writers), RecordingFile(path=place, min_free=1 << 60), ended.append)
    for number in range(BATCH):
        ticks[0](number * FRAME / RATE)
    assert not asked
    while jobs:
        job, then = jobs.pop()
        then(job())
    assert ended == ["the disk is nearly full"]
    assert len(asked) == 1


@by_row(("first", "reason"), [(None, "No space left on device"), ("the call was moved", "the call was moved")])
def test_a_file_that_cannot_be_finished_is_said_to_have_ended_early(
    first: str | None, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the disk takes no more when the last of it is written; the first reason stands."""

    class Full:
        def __init__(self, *_: Any) -> None: ...

        def write(self, pcm: Any) -> None: ...

        def close(self) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setitem(FORMATS, "wav", Full)
    jobs: list[tuple[Callable[[], Any], Callable[[Any], None]]] = []
    ended: list[str | None] = []
    pacer = SimpleNamespace(add=lambda tick: 1, remove=lambda ticking: None)
    writers = SimpleNamespace(do=lambda *job: jobs.append(job))
    made = Recorder(cast(Any, pacer), cast(Any, writers), RecordingFile(path="/tmp/call.wav"), ended.append)
    made.stop(first)
    job, then = jobs.pop()
    then(job())
    assert ended == [reason]


async def test_a_disk_that_fills_while_it_is_recorded_to_ends_the_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`min_free` is looked at after every batch; the call goes on."""
    async with call() as (engine, a, _):
        ended = asyncio.Queue[str | None]()
        recording = engine.record("call", RecordingFile(path=str(tmp_path / "x.wav"), min_free=1000), ended.put_nowait)
        await until(lambda: recording.seconds >= 0.4)
        monkeypatch.setattr("os.statvfs", lambda folder: SimpleNamespace(f_bavail=999, f_frsize=1))
        assert "the disk is nearly full" in str(await asyncio.wait_for(ended.get(), 30))
        a.packets.clear()
        await until(lambda: near(frequency_of(*a.heard("pcmu")), 900.0))


async def test_no_other_formats_and_no_unknown_calls(tmp_path: Path) -> None:
    """400 and 481, and nothing is recorded."""
    async with call() as (engine, _, _):
        for call_id, changes, status in (("call", {"format": "mp3"}, 400), ("other", {}, 481)):
            with pytest.raises(MediaError) as error:
                engine.record(call_id, RecordingFile(path=str(tmp_path / "x"), **changes), print)  # type: ignore[arg-type]
            assert error.value.status == status
    assert "x" not in os.listdir(tmp_path)


RECORDER = """
import sys, time
import numpy as np
from gateway.media.embedded.audio.files import FORMATS
file = FORMATS[sys.argv[2]](sys.argv[1], 16_000, 1)
print("ready", flush=True)
while True:
    file.write(np.full(3200, 1000, np.int16))
    print("written", flush=True)
    time.sleep(0.02)
"""


@pytest.mark.wall
@pytest.mark.parametrize("format", ["wav", "opus"])
def test_a_file_whose_writer_was_killed_is_whole_to_the_last_second(format: str, tmp_path: Path) -> None:
    """SIGKILL in the middle: everything but the last second can be read."""
    path = tmp_path / f"call.{format}"
    with subprocess.Popen([sys.executable, "-c", RECORDER, str(path), format], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        for _ in range(20):
            writer.stdout.readline()
        os.kill(writer.pid, signal.SIGKILL)
    if format == "wav":
        with wave.open(str(path)) as told:  # a header that is not true is no file to it
            assert told.getnframes() / RATE >= 20 * 0.2 - 1.0
    (pcm,) = channels(path)
    assert len(pcm) / RATE >= 20 * 0.2 - 1.0
