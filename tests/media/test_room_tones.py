"""Members of a conference whose digits are tones: told as digits, and the others do not hear them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from unittest.mock import MagicMock

import numpy as np
import pytest

from gateway.media.embedded.audio.pcm import Pcm, tone
from gateway.media.embedded.describe import SERVICE_DESCRIPTION
from gateway.media.embedded.sources.conference import Came, Conference
from gateway.media.embedded.sources.players import digit_frames
from gateway.media.embedded.sources.program import FRAME, RATE, ProgramAudio
from gateway.media.embedded.sources.room_tones import RoomTones
from gateway.media.engine import Dtmf, DtmfReceived, Kind, Party
from tests.media.engine_support import Phone, running, until
from tests.media.tone_support import packet
from tests.rows import by_row

PROGRAM = Party("program", Kind.SERVICE, service="program")
TONES = {"1": (697, 1209), "5": (770, 1336), "#": (941, 1477)}


def digit(name: str, frames: int) -> list[Pcm]:
    low, high = (tone(hz, -10.0, RATE, frames * 0.02) for hz in TONES[name])
    return list((low + high).reshape(frames, FRAME))


def told(frames: list[Pcm | None]) -> tuple[list[str], list[Pcm]]:
    """The digits that were found, and what goes on."""
    digits: list[str] = []
    tones = RoomTones(lambda name, _: digits.append(name))
    on = [out for frame in frames if (out := tones.take(frame)) is not None]
    tones.tell()
    return digits, on


def test_digits_are_told_once_and_nobody_hears_them() -> None:
    """Less than 40 ms of each; what was said before and after goes on as it was."""
    voice = list(tone(440.0, -16.0, RATE, 0.2).reshape(10, FRAME))
    silence: list[Pcm | None] = [np.zeros(FRAME, np.int16)] * 5
    frames = [*voice, *silence, *digit("1", 5), *silence, *digit("5", 4), *silence, *digit("#", 8), *[None] * 8, *voice]
    digits, on = told([*frames, *[None] * 8])
    assert digits == ["1", "5", "#"]
    assert np.array_equal(np.concatenate(on[:10]), np.concatenate(voice))
    assert np.array_equal(np.concatenate(on[-10:]), np.concatenate(voice))
    assert sum(bool(np.abs(frame).max() > 300) for frame in on[10:-10]) <= 6


def test_a_digit_ends_where_the_packets_do_and_a_tone_is_none() -> None:
    """With 100 ms without any, however long that goes on; what waited goes out."""
    assert told([*digit("5", 5), *[None] * 3])[0] == []
    assert told([*digit("5", 5), *[None] * 50])[0] == ["5"]
    digits, on = told([*tone(770.0, -10.0, RATE, 0.2).reshape(10, FRAME), *[None] * 10])
    assert digits == []
    assert len(on) == 10


@by_row("lost", [False, True], ids=["late", "lost"])
@by_row("before", [2, 3, 4])
def test_a_digit_whose_packets_come_late_or_never_is_told_once(before: int, lost: bool) -> None:
    """60 ms without any in its middle, for which sound is made up."""
    digits: list[str] = []
    seat = Conference(MagicMock(), MagicMock(), MagicMock()).seat(ProgramAudio(), "member")
    seat.find_tones(lambda name, _: digits.append(name))
    payloads = [*digit_frames("pcmu", "5")[:8], *[b"\xff" * 160] * 10]
    came: list[Came] = []
    for tick in range(len(payloads) + 10):
        if tick < len(payloads):
            if not lost or tick not in range(before, before + 3):
                came.append(("pcmu", packet(tick, payloads[tick]), tick * 0.02))
            if lost or tick not in range(before, before + 3):
                seat.listen(tuple(came))
                came.clear()
        seat.frame(tick * 0.02)
        seat.tell_tones()
    assert digits == ["5"]


def test_a_member_described_anew_in_the_middle_of_a_digit_says_it_once() -> None:
    """Who is told stays the same, so that what was heard of the digit counts; another is told by another."""
    digits: list[str] = []
    others: list[str] = []

    def note(name: str, duration: int) -> None:
        digits.append(name)

    seat = Conference(MagicMock(), MagicMock(), MagicMock()).seat(ProgramAudio(), "member")
    for tick, payload in enumerate([*digit_frames("pcmu", "5")[:8], *[b"\xff" * 160] * 10]):
        seat.find_tones(note)
        seat.listen((("pcmu", packet(tick, payload), tick * 0.02),))
        seat.frame(tick * 0.02)
    seat.tell_tones()
    seat.find_tones(lambda name, _: others.append(name))
    seat.tell_tones()
    assert (digits, others) == (["5"], [])


def test_a_digit_that_cannot_be_told_hurts_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """The round goes on, and the next digit is told."""
    told: list[str] = []

    def fail(name: str, duration: int) -> None:
        told.append(name)
        raise RuntimeError(name)

    seat = Conference(MagicMock(), MagicMock(), MagicMock()).seat(ProgramAudio(), "member")
    seat.find_tones(fail)
    silence = [b"\xff" * 160] * 10
    payloads = [*digit_frames("pcmu", "5")[:8], *silence, *digit_frames("pcmu", "1")[:8], *silence]
    for tick, payload in enumerate(payloads):
        seat.listen((("pcmu", packet(tick, payload), tick * 0.02),))
        seat.frame(tick * 0.02)
        seat.tell_tones()
    assert told == ["5", "1"]
    assert len([each for each in caplog.records if each.name == "gateway.media.conference"]) == 2


@pytest.mark.parametrize("way", [Dtmf.INBAND, Dtmf.AUTO])
async def test_a_member_that_says_digits_in_tones_is_listened_to(way: Dtmf) -> None:
    """As its trunk or user has it; others are not."""
    party = replace(Party("phone", Kind.RTP, private_source="127.0.0.1"), dtmf=way)
    async with running() as (engine, events):
        conference, phone = engine.conference(), await Phone(("pcmu",)).open()
        try:
            await engine.offer("call", party, PROGRAM, phone.sdp())
            phone.take(await engine.answer("call", PROGRAM, party, SERVICE_DESCRIPTION))
            seat = conference.seat(engine.audio("call", "program"), "member")
            heard: list[str | None] = []
            conference.on_speaker(heard.append)
            for payload in [*digit_frames("pcmu", "5")[:6], *[b"\xff" * 160] * 10]:
                phone.send(payload, 0, step=160)
                await asyncio.sleep(0.02)  # as a phone speaks
            phone.play(440.0)
            await until(lambda: heard == ["member"])
            found = [each for each in events if isinstance(each, DtmfReceived)]
            # Where this machine stops for long in its middle there are two of it.
            assert {(each.call_id, each.tag, each.digit) for each in found} == (
                {("call", "phone", "5")} if way is Dtmf.INBAND else set()
            )
            seat.leave()
        finally:
            await phone.close()
