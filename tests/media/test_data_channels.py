"""Data channels through the engine: echoed, mirrored between browsers, bounded. aiortc is the browser."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiortc import RTCDataChannel, RTCSessionDescription

from gateway.media.embedded.engine import EmbeddedEngine
from gateway.media.embedded.settings import DataConfig
from gateway.media.engine import Kind, Party
from sdp import SessionDescription
from tests.media.data_support import Talker, opened
from tests.media.engine_support import config, phone_sdp, running, until
from tests.rows import by_row

ONE, OTHER, THIRD = (Party(tag, Kind.WEBRTC) for tag in ("one", "other", "third"))
ECHO = Party("echo", Kind.SERVICE, service="echo")


def without_data(answer: str) -> str:
    """The answer of one that refuses the section of data."""
    head, _, section = answer.partition("m=application ")
    head = re.sub(r"(a=group:BUNDLE \S+) \S+", r"\1", head)
    return f"{head}m=application 0 {section.partition(' ')[2]}"


@asynccontextmanager
async def echoed(**data: int) -> AsyncIterator[tuple[EmbeddedEngine, Talker, RTCDataChannel]]:
    """A browser at the echo service, with one channel."""
    async with running(config(data=DataConfig(**data))) as (engine, _):
        browser = Talker()
        try:
            channel = browser.open("chat")
            await engine.offer("call", ONE, ECHO, await browser.offer())
            await browser.take_answer(await engine.answer("call", ECHO, ONE, phone_sdp()))
            yield engine, browser, channel
        finally:
            await browser.close()


@asynccontextmanager
async def called(**data: int) -> AsyncIterator[tuple[EmbeddedEngine, Talker, Talker, RTCDataChannel]]:
    """Two browsers, the caller with one channel."""
    async with running(config(data=DataConfig(**data))) as (engine, _):
        one, other = Talker(), Talker()
        try:
            channel = one.open("chat", protocol="talk")
            answer = await other.answer(await engine.offer("call", ONE, OTHER, await one.offer()))
            await one.take_answer(await engine.answer("call", OTHER, ONE, answer))
            yield engine, one, other, channel
        finally:
            await one.close()
            await other.close()


async def test_the_echo_service_gives_every_message_back() -> None:
    """Text and octets, empty and long ones, on several channels; each told apart."""
    async with echoed() as (_, browser, channel):
        await opened(channel)
        messages: list[Any] = ["héllo", b"\x00\xff", "", b"", "x" * 60_000]
        for message in messages:
            channel.send(message)
        await until(lambda: len(browser.messages) == len(messages))
        assert [message for _, message in browser.messages] == messages
        second = await opened(browser.open("second", ordered=False, maxRetransmits=3))
        second.send("two")
        await until(lambda: ("second", "two") in browser.messages)


async def test_two_browsers_have_the_same_channels() -> None:
    """With label, protocol and reliability; messages pass both ways, and who closes one closes both."""
    async with called() as (_, one, other, channel):
        await until(lambda: other.channels)
        mirror = other.channels[0]
        assert (mirror.label, mirror.protocol, mirror.ordered) == ("chat", "talk", True)
        (await opened(channel)).send("from one")
        await until(lambda: other.messages == [("chat", "from one")])
        mirror.send(b"from other")
        await until(lambda: one.messages == [("chat", b"from other")])
        loose = await opened(other.open("loose", ordered=False, maxPacketLifeTime=500))
        await until(lambda: len(one.channels) == 2)
        assert (one.channels[1].label, one.channels[1].ordered, one.channels[1].maxPacketLifeTime) == (
            "loose",
            False,
            500,
        )
        loose.close()
        await until(lambda: one.closed == ["loose"])
        channel.close()
        await until(lambda: other.closed == ["loose", "chat"])


async def test_channels_go_on_over_a_hold() -> None:
    """A re-offer and its answer change nothing about them."""
    async with called() as (engine, one, other, channel):
        await opened(channel)
        await one.peer.setLocalDescription(await one.peer.createOffer())
        offer = await engine.offer("call", ONE, OTHER, one.peer.localDescription.sdp)
        await other.peer.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        await other.peer.setLocalDescription(await other.peer.createAnswer())
        await one.take_answer(await engine.answer("call", OTHER, ONE, other.peer.localDescription.sdp))
        channel.send("still here")
        await until(lambda: other.messages == [("chat", "still here")])


async def test_channels_end_with_the_call_between_two() -> None:
    """Whom a browser is not joined to any more hears nothing of it."""
    async with called() as (engine, one, other, channel):
        await opened(channel)
        await until(lambda: other.channels)
        await engine.isolate("call", "one")
        await until(lambda: one.closed == other.closed == ["chat"])


async def test_who_takes_over_has_channels_of_its_own_and_not_those_of_before() -> None:
    """A transfer: what both had is closed at both ends, what one of the new two opens is open at the other."""
    async with called() as (engine, one, other, channel):
        await opened(channel)
        await until(lambda: other.channels)
        newcomer = Talker()
        try:
            offered = await engine.create_offer("call", THIRD, ONE)
            await engine.answer("call", THIRD, None, await newcomer.answer(offered))
            await engine.join("call", "one", "third")
            await until(lambda: one.closed == other.closed == ["chat"])
            again = await opened(one.open("again"))
            again.send("to the third")
            await until(lambda: newcomer.messages == [("again", "to the third")])
            newcomer.channels[0].send("and back")
            await until(lambda: one.messages == [("again", "and back")])
            assert other.messages == []
        finally:
            await newcomer.close()


async def test_a_channel_to_who_takes_no_data_closes() -> None:
    """What is opened after a transfer to somebody who has refused the section waits for nobody."""
    async with called() as (engine, one, other, first):
        await opened(first)
        await until(lambda: other.channels)
        third = Talker()
        try:
            offer = await engine.create_offer("call", THIRD, ONE)
            await engine.answer("call", THIRD, None, without_data(await third.answer(offer)))
            await engine.join("call", "one", "third")
            channel = one.open("again")
            await until(lambda: channel.readyState == "closed")
        finally:
            await third.close()


async def test_a_channel_that_waits_for_somebody_closes_when_that_one_refuses_data() -> None:
    """Who took it at first has never been there; what was opened toward it waits no more."""
    async with called() as (engine, one, other, first):
        await opened(first)
        await until(lambda: other.channels)
        third = Talker()
        answer = await third.answer(await engine.create_offer("call", THIRD, ONE))
        await third.close()
        await engine.answer("call", THIRD, None, answer)
        await engine.join("call", "one", "third")
        waiting = await opened(one.open("again"))
        waiting.send("to the third")
        await engine.create_offer("call", THIRD, ONE)
        await engine.answer("call", THIRD, None, without_data(answer))
        await until(lambda: waiting.readyState == "closed")


async def test_more_channels_than_configured_are_closed() -> None:
    """And the others go on."""
    async with echoed(max_channels=2) as (_, browser, channel):
        await opened(channel)
        more = [browser.open(f"more{number}") for number in range(3)]
        await until(lambda: len(browser.closed) == 2)
        assert sorted(each.readyState for each in more) == ["closed", "closed", "open"]
        channel.send("hello")
        await until(lambda: ("chat", "hello") in browser.messages)


async def test_the_longest_message_is_what_the_description_says() -> None:
    """A longer one, which the browser should not have sent, ends its channel."""
    async with echoed(max_message=1000) as (engine, browser, channel):
        section = SessionDescription.parse(browser.peer.remoteDescription.sdp).media[-1]
        assert section.value("max-message-size") == "1000"
        await opened(channel)
        sctp: Any = browser.peer.sctp
        sctp._remote_max_message_size = 0
        channel.send("x" * 1001)
        await until(lambda: browser.closed == ["chat"])
        assert engine.sessions == 1


async def test_who_names_no_longest_message_is_sent_none_of_more_than_64_kib() -> None:
    """The default of RFC 8841 section 6.1; the channel that a longer one would go by ends."""
    async with running(config(data=DataConfig(max_message=200_000))) as (engine, _):
        browser = Talker()
        try:
            channel = browser.open("chat")
            offer = await browser.offer()
            unnamed = re.sub(r"a=max-message-size:.*\r\n", "", offer)
            assert unnamed != offer
            await engine.offer("call", ONE, ECHO, unnamed)
            await browser.take_answer(await engine.answer("call", ECHO, ONE, phone_sdp()))
            await opened(channel)
            channel.send("x" * 65_536)
            await until(lambda: len(browser.messages) == 1)
            channel.send("x" * 65_537)
            await until(lambda: browser.closed == ["chat"])
            assert len(browser.messages) == 1
        finally:
            await browser.close()


async def test_without_channels_configured_the_section_is_refused() -> None:
    """The voice is answered."""
    async with running(config(data=DataConfig(max_channels=0))) as (engine, _):
        browser = Talker()
        try:
            browser.open("chat")
            await engine.offer("call", ONE, ECHO, await browser.offer())
            answer = SessionDescription.parse(await engine.answer("call", ECHO, ONE, phone_sdp()))
            assert [bool(media.port) for media in answer.media] == [True, False]
        finally:
            await browser.close()


async def test_a_phone_is_offered_text_at_most_and_the_browser_has_no_data_without() -> None:
    """There is nobody at its far end."""
    async with running() as (engine, _):
        browser = Talker()
        try:
            browser.open("chat")
            offer = await engine.offer("call", ONE, Party("phone", Kind.RTP), await browser.offer())
            assert [media.kind for media in SessionDescription.parse(offer).media] == ["audio", "text"]
            answer = await engine.answer("call", Party("phone", Kind.RTP), ONE, phone_sdp())
            assert [bool(media.port) for media in SessionDescription.parse(answer).media] == [True, False]
        finally:
            await browser.close()


@by_row("seed", range(4))
async def test_nonsense_by_dtls_ends_the_data_and_not_the_call(seed: int) -> None:
    """Datagrams that are no SCTP, and SCTP that is cut or changed."""
    dice = random.Random(seed)
    async with echoed() as (_, browser, channel):
        await opened(channel)
        sctp: Any = browser.peer.sctp
        kept: list[bytes] = []
        true_send = sctp.transport._send_data

        async def keep(data: bytes) -> None:
            kept.append(data)
            await true_send(data)

        sctp.transport._send_data = keep
        channel.send("hello")
        await until(lambda: browser.messages)
        for _ in range(200):
            base = bytearray(dice.choice(kept))
            for _ in range(dice.randrange(1, 4)):
                base[dice.randrange(len(base))] = dice.randrange(256)
            await true_send(bytes(base[: dice.randrange(1, len(base) + 1)]))
            await true_send(dice.randbytes(dice.randrange(1, 60)))
        await asyncio.sleep(0)
        heard = len(browser.frames)
        await until(lambda: len(browser.frames) > heard + 5)


async def test_a_channel_with_more_waiting_than_configured_closes() -> None:
    """Whoever writes faster than the other side reads: memory is not for that."""
    async with called(max_waiting=65_536) as (_, one, other, channel):
        await opened(channel)
        await until(lambda: other.channels)
        sctp: Any = other.peer.sctp

        async def deaf(data: bytes) -> None:
            return None

        sctp._handle_data = deaf
        for _ in range(60):
            channel.send("x" * 10_000)
        await until(lambda: one.closed == ["chat"])


async def test_who_opens_channels_without_end_has_none_left() -> None:
    """Those too many close one by one; of hundreds the association ends, and the voice goes on."""
    async with echoed(max_channels=2) as (_, browser, channel):
        await opened(channel)
        for number in range(300):
            browser.open(f"more{number}")
        await until(lambda: "chat" in browser.closed)
        heard = len(browser.frames)
        await until(lambda: len(browser.frames) > heard + 5)
