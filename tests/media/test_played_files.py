"""A file that is played to a party goes on to its end, whatever becomes of its call meanwhile."""

from __future__ import annotations

import os
import signal
import wave
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import numpy as np
import pytest

from gateway.media.embedded.audio.codecs import make_decoder
from gateway.media.embedded.audio.pcm import tone
from gateway.media.embedded.engine import EmbeddedEngine
from gateway.media.embedded.sources.files import PlayedFile
from gateway.media.engine import Kind, MediaEvent, MediaLost, Party
from tests.media.engine_support import Phone, config, frequency_of, running, until
from tests.media.plane_rig import native_plane

A, B, C = (Party(tag, Kind.RTP) for tag in "abc")
PLAYED, LONG = 1_500.0, 30.0
"""Hz of the file, and seconds: longer than any of these tests."""
TONES = {"a": 400.0, "b": 700.0, "c": 1_000.0}


class Call:
    """Two phones that talk, and one that may come."""

    def __init__(self, engine: EmbeddedEngine, folder: Path) -> None:
        self.engine, self.file = engine, folder / "file.wav"
        self.phones = {party.tag: Phone(ssrc=number) for number, party in enumerate((A, B, C), 1)}

    async def begin(self, stack: AsyncExitStack) -> None:
        for phone in self.phones.values():
            await phone.open()
            stack.push_async_callback(phone.close)
        with wave.open(str(self.file), "wb") as file:
            file.setparams((1, 2, 8_000, 0, "NONE", ""))
            file.writeframes(tone(PLAYED, -10.0, 8_000, LONG).astype("<i2").tobytes())
        self.phones["b"].take(await self.engine.offer("call", A, B, self.phones["a"].sdp()))
        self.phones["a"].take(await self.engine.answer("call", B, A, self.phones["b"].sdp()))
        for tag in "ab":
            self.phones[tag].play(TONES[tag])

    async def anew(self, party: Party, peer: Party) -> None:
        """Offer a party what was made anew."""
        phone = self.phones[party.tag]
        phone.take(await self.engine.create_offer("call", party, peer))
        await self.engine.answer("call", party, None, phone.sdp())

    def hears(self, tag: str) -> float:
        """Hz of the last half second, in the codec that the phone has first."""
        pcm, rate = self.phones[tag].heard(self.phones[tag].codecs[0])
        return frequency_of(pcm[-rate // 2 :], rate) if len(pcm) > rate // 2 else 0.0

    async def heard(self, tag: str, frequency: float) -> None:
        """All that comes from now on is of that frequency."""
        self.phones[tag].packets.clear()
        await until(lambda: abs(self.hears(tag) - frequency) < 15)


class Lost(Call):
    """The same on a plane that can die."""

    def __init__(self, folder: Path) -> None:
        self._plane = native_plane(folder)
        super().__init__(EmbeddedEngine(config(), make_plane=lambda: self._plane), folder)
        self._events: list[MediaEvent] = []
        self.engine.subscribe(self._events.append)

    async def lose(self) -> None:
        """The plane dies."""
        self._events.clear()
        assert self._plane.process_id is not None
        os.kill(self._plane.process_id, signal.SIGKILL)
        await until(lambda: {each.tag for each in self._events if isinstance(each, MediaLost)} == {"a", "b"})

    async def agree(self) -> None:
        """Both agree on other transports."""
        await self.anew(A, B)
        await self.anew(B, A)
        await self.engine.join("call", "a", "b")


@pytest.fixture
async def call(tmp_path: Path) -> AsyncIterator[Call]:
    """One of two phones; the first one is played a file."""
    async with AsyncExitStack() as stack:
        engine, _ = await stack.enter_async_context(running(config(rtp_hosts=(("127.0.0.1", None), ("::1", None)))))
        made = Call(engine, tmp_path)
        await made.begin(stack)
        await made.heard("a", TONES["b"])
        await engine.play("call", str(made.file), ["a"])
        await made.heard("a", PLAYED)
        yield made


async def test_a_file_goes_on_while_who_hears_it_is_passed_on(call: Call) -> None:
    """Isolated and joined to another one it hears that until its end, or until it is stopped; then the other one."""
    engine = call.engine
    await engine.isolate("call", "a")
    await call.heard("a", PLAYED)
    await call.anew(C, A)
    call.phones["c"].play(TONES["c"])
    await engine.join("call", "a", "c")
    await engine.release("call", "b")
    await call.heard("a", PLAYED)
    await call.heard("c", TONES["a"])
    engine.stop_playing("call")
    await call.heard("a", TONES["c"])


@pytest.mark.parametrize("codec", ["pcma", "g722", "opus"])
async def test_a_file_goes_on_where_who_hears_it_is_passed_on_to_somebody_with_another_codec(
    call: Call, codec: str
) -> None:
    """A transfer has it offered what the other one took: the rest is made in that while it lasts."""
    engine, a = call.engine, call.phones["a"]
    c = call.phones["c"] = await Phone((codec, "event"), ssrc=77).open()
    try:
        await engine.isolate("call", "a")
        await call.anew(C, A)
        c.play(TONES["c"], codec)
        a.codecs = (codec, "event")
        await call.anew(A, C)
        await engine.join("call", "a", "c")
        await call.heard("a", PLAYED)
        engine.stop_playing("call")
        await call.heard("a", TONES["c"])
    finally:
        await c.close()


async def test_a_file_goes_on_where_who_hears_it_has_moved_to_the_other_ip_version(call: Call) -> None:
    """A re-INVITE from there is answered by a transport of its own."""
    moved = call.phones["a"] = await Phone(ssrc=9).open("::1")
    try:
        call.phones["b"].take(await call.engine.offer("call", A, B, moved.sdp()))
        moved.take(await call.engine.answer("call", B, A, call.phones["b"].sdp()))
        assert moved.remote[0] == "::1"
        await call.heard("a", PLAYED)
        call.engine.stop_playing("call")
        await call.heard("a", TONES["b"])
    finally:
        await moved.close()


async def test_a_codec_that_is_wanted_later_has_the_file_from_there_on(tmp_path: Path) -> None:
    """And who wants an earlier part of it in the same codec has that; behind the last frame there is nothing."""
    with wave.open(str(tmp_path / "two.wav"), "wb") as wav:
        wav.setparams((1, 2, 8_000, 0, "NONE", ""))
        for frequency in (400.0, 1_000.0):
            wav.writeframes(tone(frequency, -10.0, 8_000, 1.0).astype("<i2").tobytes())
    file = PlayedFile(str(tmp_path / "two.wav"))
    for first, frequency in ((60, 1_000.0), (10, 400.0)):
        frames = []
        for number in range(first, first + 30):
            await until(lambda number=number: file.frame("pcma", number) is not None)
            frames.append(file.frame("pcma", number) or b"")
        pcm = np.concatenate([make_decoder("pcma").decode(frame) for frame in frames])
        assert abs(frequency_of(pcm, 8_000) - frequency) < 15
    await until(lambda: file.frame("pcma", 100) == b"")
    assert file.frame("pcma", 99) != b""


async def test_a_file_ends_with_who_hears_it(call: Call) -> None:
    """Nothing of it is left in the engine."""
    await call.engine.delete("call")
    assert call.engine.players == 0


@pytest.fixture
async def lost(tmp_path: Path) -> AsyncIterator[Lost]:
    """Two phones on a plane that can die."""
    async with AsyncExitStack() as stack:
        made = Lost(tmp_path)
        await made.engine.start()
        stack.push_async_callback(made.engine.close)
        await made.begin(stack)
        await made.heard("a", TONES["b"])
        yield made


@pytest.mark.wall
async def test_a_file_goes_on_where_it_was_over_the_transport_that_comes_after_a_loss(lost: Lost) -> None:
    """The plane dies: the rest, once another transport is agreed on; another death before that changes nothing."""
    await lost.engine.play("call", str(lost.file), ["a"])
    await lost.heard("a", PLAYED)
    for _ in range(2):
        await lost.lose()
    await lost.agree()
    await lost.heard("a", PLAYED)
    await lost.heard("b", TONES["a"])
    lost.engine.stop_playing("call")
    await lost.heard("a", TONES["b"])


@pytest.mark.wall
async def test_a_file_that_is_played_after_a_loss_is_heard_over_the_transport_that_comes(lost: Lost) -> None:
    """It begins when that is agreed on; until then it waits."""
    await lost.lose()
    await lost.engine.play("call", str(lost.file), ["a"])
    await lost.agree()
    await lost.heard("a", PLAYED)
    lost.engine.stop_playing("call")
    await lost.heard("a", TONES["b"])


@pytest.mark.wall
async def test_a_file_that_is_played_after_a_loss_ends_with_the_call(lost: Lost) -> None:
    """Though no other transport has come."""
    await lost.lose()
    await lost.engine.play("call", str(lost.file), ["a"])
    await lost.engine.delete("call")
    assert lost.engine.players == 0
