"""Calls whose codecs differ, through the engine and the transcoders of the native plane's process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from pathlib import Path

import pytest

from gateway.media.embedded.engine import EmbeddedEngine
from gateway.media.embedded.plane.native.plane import NativePlane
from gateway.media.embedded.plane.packet import RtpPacket
from gateway.media.embedded.settings import EmbeddedConfig
from gateway.media.engine import Kind, Party
from tests.media.engine_support import Browser, Phone, config, frequency_of, until
from tests.media.plane_rig import native_plane
from tests.media.tone_support import prefer_plane
from tests.rows import by_row

pytestmark = pytest.mark.wall

LEFT = Party("left", Kind.RTP, private_source="127.0.0.1")
RIGHT = Party("right", Kind.RTP, private_source="127.0.0.1")
BROWSER = Party("browser", Kind.WEBRTC)


@contextlib.asynccontextmanager
async def engine_on(
    state_dir: Path, settings: EmbeddedConfig | None = None, plane: NativePlane | None = None
) -> AsyncIterator[EmbeddedEngine]:
    """A started engine whose packets are the native plane's."""
    made = plane or native_plane(state_dir)
    engine = EmbeddedEngine(settings or config(silence_after=0.0), make_plane=lambda: made)
    await engine.start()
    prefer_plane(state_dir)
    try:
        yield engine
    finally:
        await engine.close()


@contextlib.asynccontextmanager
async def phones(left: str, right: str) -> AsyncIterator[tuple[Phone, Phone]]:
    """Two phones of one codec each, and events."""
    one, other = await Phone((left, "event")).open(), await Phone((right, "event")).open()
    try:
        yield one, other
    finally:
        await one.close()
        await other.close()


async def join(engine: EmbeddedEngine, left: Phone, right: Phone, extra: tuple[str, ...] = ()) -> None:
    right.take(await engine.offer("call", LEFT, RIGHT, left.sdp(extra=extra)))
    left.take(await engine.answer("call", RIGHT, LEFT, right.sdp()))


def hears(phone: Phone, codec: str, frequency: float) -> Callable[[], bool]:
    """Whether the last second of what a phone got is this tone."""
    return lambda: abs(frequency_of(*phone.heard(codec, phone.numbers.get(codec))) - frequency) < 8


def audio(phone: Phone) -> list[RtpPacket]:
    return [packet for data, _ in phone.packets if (packet := RtpPacket.parse(data)).payload_type != 101]


def assert_continuous(packets: list[RtpPacket], ticks: int) -> None:
    """No gap in the numbers, one frame of time from each packet to the next, a marker at the first only."""
    assert all((after.sequence_number - before.sequence_number) & 0xFFFF == 1 for before, after in pairwise(packets))
    assert {(after.timestamp - before.timestamp) & 0xFFFFFFFF for before, after in pairwise(packets)} == {ticks}
    assert [packet.marker for packet in packets] == [True] + [False] * (len(packets) - 1)


@by_row(("left", "right"), [("opus", "pcmu"), ("pcma", "g722"), ("opus", "g722")])
async def test_both_phones_hear_each_other_s_tone(tmp_path: Path, left: str, right: str) -> None:
    """By frequency, each in its own codec, with nothing for Python to do."""
    async with engine_on(tmp_path) as engine, phones(left, right) as (one, other):
        await join(engine, one, other)
        one.play(800.0, left)
        other.play(1200.0, right)
        await until(hears(other, right, 800.0))
        await until(hears(one, left, 1200.0))
        assert_continuous(audio(one), 960 if left == "opus" else 160)
        assert_continuous(audio(other), 160)
        assert engine.players == 0
        assert (await engine.query("call")).transcoding


async def test_packets_have_the_length_that_was_asked_for(tmp_path: Path) -> None:
    """40 ms for the phone that says so."""
    async with engine_on(tmp_path) as engine, phones("pcma", "g722") as (one, other):
        await join(engine, one, other, ("a=ptime:40",))
        other.play(1200.0, "g722")
        await until(hears(one, "pcma", 1200.0))
        assert {len(packet.payload) for packet in audio(one)} == {320}
        assert_continuous(audio(one), 320)


async def test_a_browser_s_opus_is_a_phone_s_pcmu_and_back(tmp_path: Path) -> None:
    """Through ICE, DTLS and SRTP of a real WebRTC stack."""
    async with engine_on(tmp_path) as engine, phones("pcmu", "opus") as (phone, _):
        browser = Browser(600.0)
        try:
            phone.take(await engine.offer("call", BROWSER, RIGHT, await browser.offer()))
            await browser.take_answer(await engine.answer("call", RIGHT, BROWSER, phone.sdp()))
            phone.play(1000.0, "pcmu")
            await until(hears(phone, "pcmu", 600.0))
            await until(lambda: abs(browser.heard() - 1000.0) < 8)
        finally:
            await browser.close()


async def test_digits_go_between_the_frames(tmp_path: Path) -> None:
    """An event has the stream to itself; audio goes on after it, further in time, and no number is missing."""
    async with engine_on(tmp_path) as engine, phones("opus", "pcmu") as (one, other):
        await join(engine, one, other)
        one.play(800.0, "opus")
        await until(lambda: len(audio(other)) >= 20)
        await engine.send_dtmf("call", RIGHT.tag, "5", 160)
        before = len(audio(other))
        await until(lambda: len(audio(other)) >= before + 30)
        packets = [RtpPacket.parse(data) for data, _ in other.packets]
        assert len({packet.timestamp for packet in packets if packet.payload_type == 101}) == 1
        assert all((b.sequence_number - a.sequence_number) & 0xFFFF == 1 for a, b in pairwise(packets))
        assert all((b.timestamp - a.timestamp) & 0xFFFFFFFF < 16000 for a, b in pairwise(packets))


@pytest.mark.serial
async def test_losses_are_concealed_by_the_plane(tmp_path: Path) -> None:
    """The listener gets every packet though one in twenty of the speaker's is lost; the plane tells of it."""
    plane = native_plane(tmp_path)
    async with engine_on(tmp_path, plane=plane) as engine, phones("pcma", "pcmu") as (one, other):
        await join(engine, one, other)
        number = one.numbers["pcma"]
        assert number is not None
        loop = asyncio.get_running_loop()
        due = loop.time()
        for count in range(100):
            if count % 20 == 10:
                one.sequence_number, one.timestamp = one.sequence_number + 1 & 0xFFFF, one.timestamp + 160 & 0xFFFFFFFF
            else:
                one.send(b"\x55\xd5" * 80, number)
            due += 0.02
            await asyncio.sleep(max(0.0, due - loop.time()))
        await until(lambda: len(audio(other)) >= 95)
        assert_continuous(audio(other), 160)
        flows = (await plane.snapshot(range(1, 10))).values()
        (playout,) = [flow.playout for flow in flows if flow.received]
        assert playout is not None
        assert (playout.lost, playout.late, playout.recovered) == (5, 0, 0)
        assert playout.concealed == pytest.approx(0.1, abs=0.02)
        assert playout.waited is not None
        assert 0.01 <= playout.waited < 0.4
