"""A program as one side of a call: it hears the caller's tone, and the caller hears the program's."""

from __future__ import annotations

import asyncio
from unittest.mock import Mock

import numpy as np
import pytest

from gateway.media.embedded.audio.pcm import tone
from gateway.media.embedded.describe import SERVICE_DESCRIPTION
from gateway.media.embedded.sources.program import FRAME, LONGEST_WAITING, RATE, ProgramAudio
from gateway.media.engine import Kind, MediaError, Party
from sdp.attributes import Direction
from tests.media.engine_support import Browser, Phone, frequency_of, running, until
from tests.rows import by_row

PHONE = Party("phone", Kind.RTP, private_source="127.0.0.1")
BROWSER = Party("browser", Kind.WEBRTC)
PROGRAM = Party("program", Kind.SERVICE, service="program")


class Program:
    """Keeps what it hears."""

    def __init__(self, audio: ProgramAudio) -> None:
        self.audio = audio
        self.frames: list[bytes] = []
        audio.listen(self.frames.append)

    def hears(self) -> float:
        """The frequency of the last half second, Hz."""
        pcm = np.frombuffer(b"".join(self.frames[-25:]), np.int16)
        return frequency_of(pcm, RATE) if len(pcm) >= 25 * FRAME else 0.0


def near(value: float, wanted: float) -> bool:
    return abs(value - wanted) <= 8.0


@by_row("codec", ["pcmu", "pcma", "g722", "opus"])
async def test_a_program_and_its_caller_hear_each_other(codec: str) -> None:
    """In every codec, by frequency; frames of 20 ms at 16 kHz; what is said twice as long is heard twice as long."""
    async with running() as (engine, _):
        phone = await Phone((codec, *{"pcmu", "pcma", "g722"} - {codec})).open()
        try:
            await engine.offer("call", PHONE, PROGRAM, phone.sdp())
            phone.take(await engine.answer("call", PROGRAM, PHONE, SERVICE_DESCRIPTION))
            audio = engine.audio("call", "program")
            assert isinstance(audio, ProgramAudio)
            program = Program(audio)
            phone.play(700.0, codec)
            audio.say(tone(1000.0, -16.0, RATE, 3).tobytes())
            await until(lambda: near(program.hears(), 700.0))
            await until(lambda: near(frequency_of(*phone.heard(codec)), 1000.0))
            assert {len(frame) for frame in program.frames} == {2 * FRAME}
            # One frame every 20 ms, whatever else the caller could send.
            before, sent = len(program.frames), len(phone.packets)
            await until(lambda: len(phone.packets) >= sent + 50)
            assert len(program.frames) - before <= 60
            audio.clear()
            assert audio.waiting == 0
        finally:
            await phone.close()


@by_row("direction", ["inactive", "recvonly"])
async def test_who_says_that_it_sends_nothing_is_not_heard_by_a_program(direction: str) -> None:
    """Whatever comes all the same; it is again once it has said otherwise (RFC 3264 section 8.4)."""
    async with running() as (engine, _):
        phone = await Phone(("pcmu",)).open()
        try:
            await engine.offer("call", PHONE, PROGRAM, phone.sdp())
            phone.take(await engine.answer("call", PROGRAM, PHONE, SERVICE_DESCRIPTION))
            audio = engine.audio("call", "program")
            assert isinstance(audio, ProgramAudio)
            program = Program(audio)
            phone.play(700.0)
            await until(lambda: near(program.hears(), 700.0))
            await engine.offer("call", PHONE, PROGRAM, phone.sdp(direction=direction))
            await engine.answer("call", PROGRAM, PHONE, SERVICE_DESCRIPTION)
            heard, sent = len(program.frames), phone.sequence_number
            await until(lambda: (phone.sequence_number - sent) % 65_536 > 50)
            assert len(program.frames) - heard <= 5  # those on their way
            await engine.offer("call", PHONE, PROGRAM, phone.sdp())
            await engine.answer("call", PROGRAM, PHONE, SERVICE_DESCRIPTION)
            await until(lambda: len(program.frames) > heard + 50)
        finally:
            await phone.close()


async def test_a_browser_talks_to_a_program_and_hears_the_end_of_what_is_said() -> None:
    """Over DTLS-SRTP and Opus; `said` comes once, when the last of it is on its way."""
    async with running() as (engine, _):
        browser = Browser(600.0)
        try:
            await engine.offer("call", BROWSER, PROGRAM, await browser.offer())
            await browser.take_answer(await engine.answer("call", PROGRAM, BROWSER, SERVICE_DESCRIPTION))
            audio = engine.audio("call", "program")
            assert isinstance(audio, ProgramAudio)
            program, said = Program(audio), asyncio.Event()
            await until(lambda: near(program.hears(), 600.0))
            audio.on_said(said.set)
            audio.say(tone(1000.0, -16.0, RATE, 1).tobytes())
            await asyncio.wait_for(said.wait(), 30)
            assert near(browser.heard(), 1000.0)
        finally:
            await browser.close()


async def test_a_call_that_moves_on_from_a_program_leaves_nothing_of_it() -> None:
    """Joined to another party the caller hears that one, and the program nothing more."""
    async with running() as (engine, _):
        first, second = await Phone(("pcmu",)).open(), await Phone(("pcmu",), ssrc=0x77).open()
        other = Party("other", Kind.RTP, private_source="127.0.0.1")
        try:
            await engine.offer("call", PHONE, PROGRAM, first.sdp())
            first.take(await engine.answer("call", PROGRAM, PHONE, SERVICE_DESCRIPTION))
            audio = engine.audio("call", "program")
            assert isinstance(audio, ProgramAudio)
            program = Program(audio)
            first.play(700.0)
            await until(lambda: near(program.hears(), 700.0))
            second.take(await engine.create_offer("call", other, PHONE))
            await engine.answer("call", other, None, second.sdp())
            await engine.join("call", "phone", "other")
            audio.say(tone(1000.0, -16.0, RATE, 5).tobytes())
            second.play(500.0)
            await until(lambda: near(frequency_of(*second.heard("pcmu")), 700.0))
            await until(lambda: near(frequency_of(*first.heard("pcmu")), 500.0))
            heard = len(program.frames)
            await until(lambda: len(second.packets) > 200)
            assert len(program.frames) == heard
            assert audio.waiting == 5.0
            await engine.release("call", "program")
            with pytest.raises(MediaError):
                engine.audio("call", "program")
        finally:
            await first.close()
            await second.close()


async def test_who_is_no_program_has_no_sound_to_give() -> None:
    """A phone, a party or a call that is not there: 481."""
    async with running() as (engine, _):
        phone = await Phone().open()
        try:
            await engine.offer("call", PHONE, PROGRAM, phone.sdp())
            for call, tag in (("call", "phone"), ("call", "nobody"), ("other", "program")):
                with pytest.raises(MediaError) as refused:
                    engine.audio(call, tag)
                assert refused.value.status == 481
        finally:
            await phone.close()


def test_what_is_said_comes_in_frames_and_its_end_is_filled_with_silence() -> None:
    """Pieces of any length, in order."""
    audio = ProgramAudio()
    samples = np.arange(1, 801, dtype=np.int16)
    for start, end in ((0, 1), (1, 300), (300, 800)):
        audio.say(samples[start:end].tobytes())
    audio.say(b"")
    assert audio.waiting == 0.05
    frames = [audio.next() for _ in range(4)]
    assert [None if frame is None else len(frame) for frame in frames] == [FRAME, FRAME, FRAME, None]
    spoken = np.concatenate([frame for frame in frames if frame is not None])
    assert list(spoken) == [*range(1, 801), *[0] * 160]


def test_what_waits_is_bounded() -> None:
    """A minute; half a sample is refused; after `clear` there is room again."""
    audio = ProgramAudio()
    audio.say(bytes(int(2 * RATE * LONGEST_WAITING)))
    with pytest.raises(MediaError) as full:
        audio.say(bytes(2))
    assert full.value.status == 503
    with pytest.raises(MediaError) as odd:
        audio.say(b"\0")
    assert odd.value.status == 400
    audio.clear()
    audio.say(bytes(2))


def test_a_room_is_on_hold_for_who_has_heard_and_does_not_now_and_a_program_never_is() -> None:
    """A program or an agent goes on hearing whoever calls it; who only ever spoke is heard in a room as well."""
    audio = ProgramAudio()
    assert not any([audio.holds(each, True) for each in Direction])
    audio.seat = Mock()
    assert {each for each in Direction if audio.holds(each, True)} == {Direction.RECVONLY, Direction.INACTIVE}
    assert not any([audio.holds(each, False) for each in Direction])


def test_what_was_said_until_a_piece_is_forgotten_and_what_came_since_is_said() -> None:
    """Also where the piece is said in part, or all of it."""
    audio = ProgramAudio()
    first, second, third = (audio.say(np.full(2 * FRAME, number, np.int16).tobytes()) for number in (1, 2, 3))
    assert audio.next() is not None
    audio.clear(second)
    assert audio.waiting == 0.04
    audio.clear(first)
    frame = audio.next()
    assert frame is not None
    assert set(frame) == {3}
    audio.clear(third)
    assert (audio.waiting, audio.next()) == (0.0, None)


def test_a_program_that_fails_to_listen_hurts_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the next frame comes."""
    audio = ProgramAudio()

    def deaf(pcm: bytes) -> None:
        raise ValueError("no")

    audio.listen(deaf)
    audio.hear(np.zeros(FRAME, np.int16))
    assert "a program did not take" in caplog.text


@by_row("rate", [32_000, 48_000])
def test_a_program_that_speaks_in_odd_pieces_is_heard_to_the_last_sample(rate: int) -> None:
    """What is no whole sample at 16 kHz yet waits for the next piece."""
    spoken, whole, pcm = ProgramAudio(), ProgramAudio(), tone(440.0, -10.0, rate, 0.1).tobytes()
    whole.say(pcm, rate)
    for at in range(0, len(pcm), 2):
        spoken.say(pcm[at : at + 2], rate)
    assert spoken.waiting == whole.waiting == pytest.approx(0.1, abs=0.01)
