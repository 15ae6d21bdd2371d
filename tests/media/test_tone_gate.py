"""A party that says its digits in tones: they are told, and its audio goes on without them."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from gateway.media.embedded.audio.codecs import make_decoder, make_encoder
from gateway.media.embedded.audio.pcm import Pcm
from gateway.media.embedded.audio.resample import Interpolator
from gateway.media.embedded.audio.tones import COLUMNS, KEYPAD, ROWS
from gateway.media.embedded.describe import SERVICE_DESCRIPTION
from gateway.media.embedded.plane.values import MediaPacket
from gateway.media.embedded.sources.packets import Injected
from gateway.media.embedded.sources.tone_gate import MOST_WAITING, ToneGate
from gateway.media.engine import Dtmf, DtmfReceived, Kind, Party
from tests.media.engine_support import Phone, config, running, until
from tests.media.tone_support import packet
from tests.rows import by_row

LEFT = Party("left", Kind.RTP, private_source="127.0.0.1", dtmf=Dtmf.INBAND)
RIGHT = Party("right", Kind.RTP, private_source="127.0.0.1")
SPEECH_HZ = 300


def sound(*parts: tuple[str, int]) -> Pcm:
    """Digits with their ms, " " for a hum."""
    pieces = []
    for digit, ms in parts:
        time = np.arange(ms * 8) / 8000
        place = KEYPAD.find(digit)
        hertz = (ROWS[place // 4], COLUMNS[place % 4]) if place >= 0 else (SPEECH_HZ,)
        pieces.append(sum(6000 * np.sin(2 * np.pi * each * time) for each in hertz))
    return np.concatenate(pieces).astype(np.int16)


def frames(pcm: Pcm, codec: str = "pcmu") -> list[bytes]:
    """Packets of 20 ms."""
    encoder = make_encoder(codec, 8000, 20)
    if encoder.rate != 8000:
        wide = Interpolator(encoder.rate // 8000).process(pcm)
        return [encoder.encode(wide[start : start + encoder.frame]) for start in range(0, len(wide) - 319, 320)]
    return [encoder.encode(pcm[start : start + 160]) for start in range(0, len(pcm) - 159, 160)]


def run(gate: ToneGate, packets: list[MediaPacket | None], begin: int = 0) -> list[Injected]:
    """One packet, or none, and a tick every 20 ms; `begin` of these have been."""
    out: list[Injected] = []
    for number, one in enumerate(packets, begin):
        now = number * 0.02
        if one is not None:
            gate.handle(one, now)
        out += gate.tick(now)
        gate.deliver()
    return out


def longest_tone(payloads: list[bytes], codec: str = "pcmu") -> float:
    """Milliseconds, by steps of 5, for which a keypad's frequency is louder than the hum could be."""
    decoder = make_decoder(codec)
    pcm = np.concatenate([decoder.decode(one) for one in payloads]).astype(float)
    length = decoder.rate // 100
    time = np.arange(length) / decoder.rate
    waves = [np.exp(-2j * np.pi * hertz * time) for hertz in COLUMNS]
    loud = [
        max(abs(np.dot(pcm[start : start + length], wave)) for wave in waves) > 2000 * length / 2
        for start in range(0, len(pcm) - length, length // 2)
    ]
    runs = "".join("x" if one else " " for one in loud).split()
    return max(map(len, runs), default=0) * 5.0


@by_row("codec", ["pcmu", "pcma", "g722", "opus"])
def test_digits_are_told_and_taken_out(codec: str) -> None:
    """What leaks is shorter than anybody takes for a digit (23 ms, ITU-T Q.24); the hum stays, 40 or 60 ms late."""
    told: list[tuple[str, int]] = []
    gate = ToneGate(codec, lambda digit, ms: told.append((digit, ms)), 8)
    sent = frames(sound((" ", 200), ("5", 100), (" ", 200), ("#", 60), (" ", 200)), codec)
    out = run(gate, [packet(number, one) for number, one in enumerate(sent)] + [None] * 10)
    assert [digit for digit, _ in told] == ["5", "#"]
    assert abs(told[0][1] - 100) <= 20
    assert longest_tone(sent, codec) >= 90
    assert longest_tone([one.payload for one in out], codec) <= 20
    assert [one.advance for one in out] == [None] + [160] * (len(sent) - 1)
    assert [one.payload for one in out[:8]] == sent[:8]
    assert {one.payload_type for one in out} == {8}


def test_without_a_digit_every_packet_goes_on_as_it_was() -> None:
    """In order, with its own steps of time; late ones and what is no audio are left out."""
    gate = ToneGate("pcmu", lambda *_: pytest.fail("there is no digit"), 0)
    sent = frames(sound((" ", 400)))
    packets: list[MediaPacket | None] = [packet(number, one) for number, one in enumerate(sent)]
    packets[7] = replace(packets[7], in_order=False)  # type: ignore[type-var]
    out = run(gate, packets + [None] * 10)
    assert [one.payload for one in out] == sent[:7] + sent[8:]
    assert [one.advance for one in out][6:9] == [160, 320, 160]


@pytest.mark.parametrize("payload", [b"", b"\xff"])
def test_what_waits_is_bounded(payload: bytes) -> None:
    """A party that sends thousands of packets of no sample, or of one."""
    gate = ToneGate("pcmu", lambda *_: None, 0)
    for number in range(5000):
        gate.handle(packet(number, payload), 0.0)
    assert len(gate._waiting) <= MOST_WAITING
    out = run(gate, [None, *(packet(6000 + number, b"\xff" * 160) for number in range(10)), *[None] * 10])
    assert [one.payload for one in out].count(b"\xff" * 160) == 10


def test_a_new_stream_begins_by_the_clock() -> None:
    """Another generation has other timestamps."""
    gate = ToneGate("pcmu", lambda *_: None, 0)
    first = [packet(number, b"\xff" * 160) for number in range(5)]
    second = [packet(50_000 + number, b"\xff" * 160, generation=2) for number in range(5)]
    out = run(gate, [*first, *second, *[None] * 10])
    assert [one.advance for one in out] == [None, 160, 160, 160, 160, None, 160, 160, 160, 160]


def test_a_digit_ends_where_the_packets_do() -> None:
    """A trunk that suppresses silence sends nothing after it."""
    told: list[str] = []
    gate = ToneGate("pcmu", lambda digit, _: told.append(digit), 0)
    run(gate, [packet(number, one) for number, one in enumerate(frames(sound(("7", 100))))] + [None] * 4)
    assert told == []
    run(gate, [None] * 3, begin=9)
    assert told == ["7"]


@pytest.mark.parametrize("codec", ["g722", "opus"])
def test_every_digit_is_found_in_codecs_that_look_at_the_whole_band(codec: str) -> None:
    """100 ms each, as loud as phones say them, and nothing else is found in a hum."""
    told: list[str] = []
    gate = ToneGate(codec, lambda digit, _: told.append(digit), 8)
    sent = frames(sound(*[part for digit in KEYPAD for part in ((" ", 100), (digit, 100))], (" ", 400)), codec)
    run(gate, [packet(number, one) for number, one in enumerate(sent)] + [None] * 10)
    assert "".join(told) == KEYPAD


@pytest.mark.parametrize("codec", ["g722", "opus"])
def test_what_is_no_audio_of_these_codecs_is_left_out(codec: str) -> None:
    """A stranger's octets, and packets of several lengths."""
    gate = ToneGate(codec, lambda *_: None, 0)
    random = np.random.default_rng(1)
    for number in range(500):
        gate.handle(packet(number, random.bytes(number % 90)), number * 0.02)
        gate.tick(number * 0.02)
    assert len(gate._waiting) <= MOST_WAITING
    run(gate, [None] * 20, begin=500)
    assert not gate._waiting
    assert gate._held == 0


@by_row(
    ("codec", "callee_codec"),
    [("pcmu", "pcmu"), ("pcmu", "g722"), ("g722", "g722"), ("opus", "opus"), ("opus", "pcmu")],
)
async def test_a_caller_without_events_reaches_a_callee_with_them(codec: str, callee_codec: str) -> None:
    """Through the engine, forwarded or transcoded: the digit is told as one that the media has not passed on."""
    async with running(config(silence_after=0.0)) as (engine, events):
        caller, callee = await Phone((codec,), ssrc=1).open(), await Phone((callee_codec, "event"), ssrc=2).open()
        try:
            callee.take(await engine.offer("call", LEFT, RIGHT, caller.sdp()))
            caller.take(await engine.answer("call", RIGHT, LEFT, callee.sdp()))
            for payload in frames(sound((" ", 200), ("8", 100), (" ", 300)), codec):
                caller.send(payload, caller.numbers[codec] or 0, step=960 if codec == "opus" else 160)
                await asyncio.sleep(0.02)
            await until(lambda: any(isinstance(event, DtmfReceived) for event in events))
            [told] = [event for event in events if isinstance(event, DtmfReceived)]
            assert (told.tag, told.digit, told.passed_on) == ("left", "8", False)
            await until(lambda: len(callee.packets) >= 25)
            pcm, _ = callee.heard(callee_codec)
            assert len(pcm)
            assert np.abs(pcm[: len(pcm) // 4].astype(int)).max() > 3000  # the hum
            assert longest_tone([data[12:] for data, _ in callee.packets], callee_codec) <= 25
        finally:
            await caller.close()
            await callee.close()


@by_row("way", [Dtmf.AUTO, Dtmf.RFC4733, Dtmf.INFO])
async def test_nobody_else_is_listened_to(way: Dtmf) -> None:
    """Tones of others are audio, forwarded by the plane."""
    left = replace(LEFT, dtmf=way)
    async with running(config(silence_after=0.0)) as (engine, events):
        caller, callee = await Phone(("pcmu",), ssrc=1).open(), await Phone(("pcmu", "event"), ssrc=2).open()
        try:
            callee.take(await engine.offer("call", left, RIGHT, caller.sdp()))
            caller.take(await engine.answer("call", RIGHT, left, callee.sdp()))
            sent = frames(sound(("8", 200)))
            for payload in sent:
                caller.send(payload, 0)
            await until(lambda: len(callee.packets) == len(sent))
            assert [data[12:] for data, _ in callee.packets] == sent
            assert not [event for event in events if isinstance(event, DtmfReceived)]
        finally:
            await caller.close()
            await callee.close()


async def test_a_caller_of_a_service_is_listened_to() -> None:
    """There is nobody whom the audio goes to."""
    service = Party("service", Kind.SERVICE, service="tone")
    async with running(config(silence_after=0.0)) as (engine, events):
        caller = await Phone(("pcmu",), ssrc=1).open()
        try:
            await engine.offer("call", LEFT, service, caller.sdp())
            caller.take(await engine.answer("call", service, LEFT, SERVICE_DESCRIPTION))
            for payload in frames(sound(("1", 100), (" ", 200))):
                caller.send(payload, 0)
                await asyncio.sleep(0.02)
            await until(lambda: any(isinstance(event, DtmfReceived) for event in events))
        finally:
            await caller.close()
