"""Parties with an agreement of their own: offers we make, joined, isolated, released, moved to another call."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest

from gateway.media.embedded.engine import EmbeddedEngine
from gateway.media.engine import Kind, MediaError, MediaEvent, Party
from sdp import SessionDescription
from tests.media.engine_support import Phone, browser_sdp, config, frequency_of, parsed, phone_sdp, running, until

VOICE = bytes(160)
BROWSER = Party("browser", Kind.WEBRTC)


def party(name: str) -> Party:
    return Party(name, Kind.RTP, private_source="127.0.0.1")


class Room:
    """An engine and phones, each with an agreement made by an offer of ours."""

    def __init__(self, engine: EmbeddedEngine, events: list[MediaEvent]) -> None:
        self.engine, self.events = engine, events
        self.phones: dict[str, Phone] = {}

    async def add(self, name: str, codecs: tuple[str, ...] = ("pcmu", "event"), call: str = "call") -> Phone:
        phone = self.phones[name] = await Phone(codecs, ssrc=len(self.phones) + 1).open()
        phone.take(await self.engine.create_offer(call, party(name)))
        assert await self.engine.answer(call, party(name), None, phone.sdp()) == ""
        return phone


@contextlib.asynccontextmanager
async def room() -> AsyncIterator[Room]:
    async with running(config(silence_after=0.0)) as (engine, events):
        made = Room(engine, events)
        try:
            yield made
        finally:
            for phone in made.phones.values():
                await phone.close()


async def test_an_offer_of_ours_names_codecs_in_the_order_of_the_peer() -> None:
    """For an INVITE that brought none; again it is a re-offer: the same port, a later version."""
    async with room() as made:
        peer = Party("peer", Kind.RTP, prefer=("pcma",))
        first = SessionDescription.parse(await made.engine.create_offer("call", party("left"), peer))
        assert first.media[0].formats[0] == "8"
        assert first.media[0].protocol == "RTP/AVP"
        await made.engine.answer("call", party("left"), None, phone_sdp())
        second = SessionDescription.parse(await made.engine.create_offer("call", party("left"), Party("b", Kind.RTP)))
        assert second.media[0].port == first.media[0].port
        assert first.origin is not None
        assert second.origin is not None
        assert second.origin.session_version >= first.origin.session_version
        web = SessionDescription.parse(await made.engine.create_offer("call", BROWSER))
        assert web.media[0].value("setup") == "actpass"


async def test_an_answer_to_no_offer_of_ours_is_refused() -> None:
    """481."""
    async with room() as made:
        await made.add("left")
        with pytest.raises(MediaError) as raised:
            await made.engine.answer("call", party("left"), None, phone_sdp())
        assert raised.value.status == 481


async def test_two_parties_hear_each_other_once_they_are_joined() -> None:
    """Not before, and forwarded untouched."""
    async with room() as made:
        left, right = await made.add("left"), await made.add("right")
        left.send(VOICE, 0)
        async with asyncio.timeout(30):
            while not (await made.engine.query("call")).parties["left"].received.discarded:  # noqa: ASYNC110  # counters have no event
                await asyncio.sleep(0)
        await made.engine.join("call", "left", "right")
        left.send(b"l" * 160, 0)
        right.send(b"r" * 160, 0)
        await until(lambda: len(left.packets) == len(right.packets) == 1)
        assert parsed(right)[0].payload == b"l" * 160
        assert not (await made.engine.query("call")).transcoding


async def test_a_leg_moves_to_another_peer_in_one_stream() -> None:
    """A transfer: the one who stays hears one stream, the one who left hears nothing more."""
    async with room() as made:
        left, right, third = await made.add("left"), await made.add("right"), await made.add("third")
        await made.engine.join("call", "left", "right")
        right.send(b"r" * 160, 0)
        await until(lambda: len(left.packets) == 1)
        await made.engine.join("call", "left", "third")
        right.send(b"r" * 160, 0)
        third.send(b"t" * 160, 0)
        left.send(b"l" * 160, 0)
        await until(lambda: len(left.packets) == 2 and len(third.packets) == 1)
        assert [packet.payload[:1] for packet in parsed(left)] == [b"r", b"t"]
        assert right.packets == []
        numbers = [packet.sequence_number for packet in parsed(left)]
        assert all((after - before) & 0xFFFF == 1 for before, after in pairwise(numbers))
        assert len({packet.ssrc for packet in parsed(left)}) == 1


async def test_joined_parties_without_a_common_codec_are_transcoded() -> None:
    """A-law on one side, G.722 on the other."""
    async with room() as made:
        left, right = await made.add("left", ("pcma",)), await made.add("right", ("g722",))
        await made.engine.join("call", "left", "right")
        left.play(800.0, "pcma")
        right.play(1200.0, "g722")
        await until(lambda: abs(frequency_of(*right.heard("g722")) - 800.0) < 8)
        await until(lambda: abs(frequency_of(*left.heard("pcma")) - 1200.0) < 8)


async def test_an_isolated_party_hears_silence_and_is_heard_by_nobody() -> None:
    """Its peer is away; its digits are still told, and joined again all is as before."""
    async with running(config(silence_after=0.05, silence_interval=0.02)) as (engine, events):
        made = Room(engine, events)
        left, right = await made.add("left"), await made.add("right")
        try:
            await engine.join("call", "left", "right")
            left.send(b"l" * 160, 0)
            await until(lambda: len(right.packets) >= 1)
            await engine.isolate("call", "left")
            before = len(right.packets)
            heard = len(left.packets)
            left.send(b"x" * 160, 0)
            await until(lambda: len(left.packets) >= heard + 5)
            assert not any(packet.payload == b"x" * 160 for packet in parsed(right)[before:])
            await engine.join("call", "left", "right")
            left.send(b"y" * 160, 0)
            await until(lambda: any(packet.payload == b"y" * 160 for packet in parsed(right)))
        finally:
            await left.close()
            await right.close()


async def test_a_released_party_gives_its_ports_back_and_the_others_stay() -> None:
    """An unknown tag is nothing to forget."""
    async with room() as made:
        await made.add("left")
        await made.add("right")
        await made.engine.join("call", "left", "right")
        await made.engine.release("call", "right")
        await made.engine.release("call", "nobody")
        assert made.engine.ports_in_use == 1
        assert set((await made.engine.query("call")).parties) == {"left"}
        await made.add("third")
        await made.engine.join("call", "left", "third")


async def test_a_party_moves_to_another_call_with_its_live_transport() -> None:
    """An attended transfer: same ports, media at once, events of the new call; the old one stays without it."""
    async with room() as made:
        left = await made.add("left")
        right = await made.add("right", call="other")
        port = right.remote
        await made.engine.adopt("call", "other", "right")
        await made.engine.join("call", "left", "right")
        assert right.remote == port
        left.send(b"l" * 160, 0)
        right.send(b"r" * 160, 0)
        await until(lambda: len(left.packets) == len(right.packets) == 1)
        assert {event.call_id for event in made.events if event.tag == "right"} == {"call"}
        assert (await made.engine.query("other")).parties == {}
        for call, other, tag, status in (("call", "other", "right", 500), ("call", "other", "nobody", 481)):
            with pytest.raises(MediaError) as raised:
                await made.engine.adopt(call, other, tag)
            assert raised.value.status == status
        await made.engine.delete("other")
        left.send(b"l" * 160, 0)
        await until(lambda: len(right.packets) == 2)


async def test_quality_is_told_while_the_call_runs() -> None:
    """A clean direction is nearly perfect, one that loses in bursts is not (ITU-T G.107)."""
    async with room() as made:
        left, right = await made.add("left"), await made.add("right")
        await made.engine.join("call", "left", "right")
        for number in range(200):
            left.send(VOICE, 0)
            if number % 20 > 3:
                right.send(VOICE, 0)
            else:
                right.sequence_number = (right.sequence_number + 1) & 0xFFFF
                right.timestamp = (right.timestamp + 160) & 0xFFFFFFFF
        await until(lambda: len(right.packets) == 200 and len(left.packets) == 160)
        parties = (await made.engine.query("call")).parties
        clean, lossy = parties["left"].received, parties["right"].received
        assert clean.mos is not None
        assert lossy.mos is not None
        assert lossy.r_factor is not None
        assert clean.mos > 4.3
        assert lossy.lost in (36, 40)
        assert lossy.mos < 3.0
        assert lossy.burst_loss == pytest.approx(4 / 6, abs=0.01)


async def test_a_description_for_an_address_family_we_lack_is_488() -> None:
    """An IPv4-only leg cannot send to IPv6."""
    async with running() as (engine, _):
        await engine.offer("call", BROWSER, party("phone"), browser_sdp())
        six = phone_sdp(host="::1").replace("IP4 ::1", "IP6 ::1")
        with pytest.raises(MediaError) as raised:
            await engine.answer("call", party("phone"), BROWSER, six)
        assert raised.value.status == 488
