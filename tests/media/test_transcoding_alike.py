"""What is transcoded by the plane or beside it: told of and made alike."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Container, Sequence
from itertools import pairwise

import numpy as np
import pytest
import pytest_asyncio

from gateway.media.embedded.engine import EmbeddedEngine
from gateway.media.embedded.plane.packet import RtpPacket
from gateway.media.engine import Kind, Party, StreamStatistics
from tests.media.engine_support import Phone, config, running, until

CALLER, CALLEE = (Party(name, Kind.RTP, private_source="127.0.0.1") for name in ("caller", "callee"))


@pytest_asyncio.fixture
async def engine(plane_under_test: None) -> AsyncIterator[EmbeddedEngine]:
    """On each plane, without silence of its own."""
    async with running(config(silence_after=0.0)) as (made, _):
        yield made


@contextlib.asynccontextmanager
async def phones(engine: EmbeddedEngine, codecs: tuple[str, str], said: str = "") -> AsyncIterator[tuple[Phone, Phone]]:
    """Two phones of one codec each in a call, the callee's description with a line of its own."""
    one, other = Phone((codecs[0],)), Phone((codecs[1],))
    await one.open()
    await other.open()
    try:
        other.take(await engine.offer("call", CALLER, CALLEE, one.sdp()))
        one.take(await engine.answer("call", CALLEE, CALLER, other.sdp(extra=[said] if said else [])))
        yield one, other
    finally:
        await one.close()
        await other.close()


async def spoken(phone: Phone, codec: str, frames: Sequence[bytes], late: Container[int] = ()) -> None:
    """Send these, one each 20 ms; those in `late` come 300 ms after their turn."""
    loop, number = asyncio.get_running_loop(), phone.numbers[codec]
    assert number is not None
    began = loop.time()
    turns = sorted((place + (15 if place in late else 0), place) for place in range(len(frames)))
    first, start = phone.sequence_number, phone.timestamp
    for turn, place in turns:
        await asyncio.sleep(max(0.0, began + turn * 0.02 - loop.time()))
        phone.sequence_number, phone.timestamp = (first + place) & 0xFFFF, (start + 160 * place) & 0xFFFFFFFF
        phone.send(frames[place], number)


async def received(engine: EmbeddedEngine, packets: int) -> StreamStatistics:
    """What came of the caller, once so many packets have."""
    async with asyncio.timeout(30):
        while True:
            heard = (await engine.query("call")).parties["caller"].received
            if heard.packets >= packets:
                return heard
            await asyncio.sleep(0.01)


@pytest.mark.wall
async def test_what_comes_too_late_to_be_played_was_lost_to_the_listener(engine: EmbeddedEngine) -> None:
    """It counts for the quality, and goes on counting when nothing is transcoded any more."""
    async with phones(engine, ("pcma", "pcmu")) as (one, _):
        await spoken(one, "pcma", [b"\x55\xd5" * 80] * 60, range(10, 60, 10))
        heard = await received(engine, 60)
        assert heard.lost == 0
        assert heard.r_factor is not None
        assert heard.r_factor < 90
        await engine.isolate("call", "caller")
        after = await received(engine, 60)
        assert after.r_factor is not None
        assert after.r_factor < 90


def has_copy(payload: bytes) -> bool:
    """Whether a packet of one frame of SILK holds a copy of the one before; CELT has none (RFC 6716 section 4.2.3)."""
    return payload[0] < 16 << 3 and not payload[0] & 3 and bool(payload[1] & 0x40)


@pytest.mark.wall
async def test_opus_is_made_as_the_listener_says(engine: EmbeddedEngine) -> None:
    """Of fifteen octets a packet, without copies, and little of it in a pause."""
    said = "a=fmtp:107 maxaveragebitrate=6000;maxplaybackrate=8000;useinbandfec=0;usedtx=1"
    rng = np.random.default_rng(1)
    loud = rng.integers(0, 256, (30, 160)).astype(np.uint8)
    async with phones(engine, ("pcmu", "opus"), said) as (one, other):
        await spoken(one, "pcmu", [frame.tobytes() for frame in loud] + [b"\xff" * 160] * 60)
        await until(lambda: len(other.packets) > 30)
        packets = [RtpPacket.parse(data) for data, _ in other.packets]
    assert {len(packet.payload) for packet in packets} == {15}
    assert {packet.payload[0] >> 3 for packet in packets} <= {1}
    assert not any(has_copy(packet.payload) for packet in packets)
    assert len(packets) < 60
    steps = {(after.timestamp - before.timestamp) & 0xFFFFFFFF for before, after in pairwise(packets)}
    assert max(steps) >= 48_000 * 0.3


async def test_opus_for_who_takes_copies_has_them(engine: EmbeddedEngine) -> None:
    """And is sent in a pause as well where nobody has asked for less."""
    async with phones(engine, ("pcmu", "opus"), "a=fmtp:107 useinbandfec=1") as (one, other):
        loud = np.random.default_rng(1).integers(0, 256, (30, 160)).astype(np.uint8)
        await spoken(one, "pcmu", [frame.tobytes() for frame in loud] + [b"\xff" * 160] * 40)
        await until(lambda: len(other.packets) >= 66)
        packets = [RtpPacket.parse(data) for data, _ in other.packets]
    assert any(has_copy(packet.payload) for packet in packets)
    assert {(after.timestamp - before.timestamp) & 0xFFFFFFFF for before, after in pairwise(packets)} == {960}


LOUD = [bytes(frame) for frame in np.random.default_rng(1).integers(0, 256, (30, 160)).astype(np.uint8)]


@pytest.mark.wall
async def test_opus_is_made_as_the_listener_says_from_a_re_offer_on(engine: EmbeddedEngine) -> None:
    """Each of its parameters may change within a call, and be taken back."""
    async with phones(engine, ("pcmu", "opus")) as (one, other):

        async def made(said: str, pause: int = 0) -> list[RtpPacket]:
            """What comes of sound, and of so many packets of silence, once the listener has offered this."""
            one.take(await engine.offer("call", CALLEE, CALLER, other.sdp(extra=[f"a=fmtp:107 {said}"])))
            other.take(await engine.answer("call", CALLER, CALLEE, one.sdp()))
            before = len(other.packets)
            await spoken(one, "pcmu", LOUD + [b"\xff" * 160] * pause)
            await until(lambda: len(other.packets) >= before + 26)
            # The first may be those that were under way.
            return [RtpPacket.parse(data) for data, _ in other.packets[before + 6 :]]

        plain = await made("useinbandfec=0")
        assert min(len(packet.payload) for packet in plain) > 15
        assert not any(has_copy(packet.payload) for packet in plain)
        assert {len(packet.payload) for packet in await made("maxaveragebitrate=6000")} == {15}
        assert any(has_copy(packet.payload) for packet in await made("useinbandfec=1"))
        sparse = await made("usedtx=1", 60)
        steps = [(after.timestamp - before.timestamp) & 0xFFFFFFFF for before, after in pairwise(sparse)]
        assert max(steps) >= 48_000 * 0.3
        again = await made("useinbandfec=0", 20)
        assert min(len(packet.payload) for packet in again[:15]) > 15
        assert not any(has_copy(packet.payload) for packet in again)
