"""Digits through a real rtpengine in calls that are passed on, or that another process has begun."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.media.engine import Kind, MediaError, Party
from gateway.media.rtpengine.bencode import Encodable
from gateway.media.rtpengine.engine import RtpengineEngine
from gateway.media.rtpengine.profiles import DIGITS_READY, Policy
from tests.media import rtpengine_support
from tests.media.engine_support import Phone, phone_sdp, until
from tests.media.ng_daemon import daemon, friendly
from tests.media.rtpengine_support import sdes_sdp, written

pytestmark = pytest.mark.wall

ONE, OTHER, THIRD = (Party(name, Kind.RTP, private_source="127.0.0.1") for name in ("one", "other", "third"))
SDES = Party("secure", Kind.SDES)
EVENT = 101
"""The payload type of telephone-event that the phones here have."""


@contextlib.asynccontextmanager
async def running(policy: Policy | None = None) -> AsyncIterator[RtpengineEngine]:
    config = rtpengine_support.config(rtpengine_support.shared().address, policy=policy or Policy())
    engine = RtpengineEngine(config)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


async def pressed(engine: RtpengineEngine, phone: Phone, tag: str, digit: int) -> None:
    """A digit reaches a phone as an event that ends (RFC 4733 section 2.3)."""
    await engine.send_dtmf("call", tag, str(digit), 160)

    def ended() -> bool:
        payloads = [data[12:16] for data, _ in phone.packets if data[1] & 0x7F == EVENT]
        return any(payload[0] == digit and payload[1] & 0x80 for payload in payloads)

    await until(ended, 8)


async def test_digits_reach_a_plain_phone_before_and_after_a_transfer_was_tried() -> None:
    """While the third rings, and once it has refused: the two go on, and so do their digits."""
    one, other = await Phone(("pcmu", "event"), ssrc=1).open(), await Phone(("pcmu", "event"), ssrc=2).open()
    try:
        async with running() as engine:
            other.take(await engine.offer("call", ONE, OTHER, one.sdp()))
            one.take(await engine.answer("call", OTHER, ONE, other.sdp()))
            for phone in (one, other):
                phone.play(600.0)
            await until(lambda: len(other.packets) > 10 and len(one.packets) > 10)
            await pressed(engine, other, "other", 5)
            await engine.create_offer("call", THIRD, ONE)
            await pressed(engine, other, "other", 6)
            await engine.release("call", "third")
            await pressed(engine, other, "other", 7)
            await pressed(engine, one, "one", 8)
    finally:
        await one.close()
        await other.close()


async def test_a_digit_before_a_newcomer_has_answered_is_refused_and_the_call_stays() -> None:
    """Two plain phones that an attended transfer has joined: the daemon knows nothing of the two yet."""
    async with running() as engine:
        await engine.offer("call", ONE, OTHER, phone_sdp())
        await engine.answer("call", OTHER, ONE, phone_sdp(port=42000))
        await engine.offer("left", ONE, THIRD, phone_sdp())
        await engine.answer("left", THIRD, ONE, phone_sdp(port=42002))
        await engine.adopt("call", "left", "third")
        await engine.join("call", "one", "third")
        with pytest.raises(MediaError) as raised:
            await engine.send_dtmf("call", "third", "5")
        assert raised.value.status == 488
        assert (await engine.query("call")).parties.keys() == {"one", "other", "third"}


async def test_a_digit_in_a_call_whose_keys_were_not_written_down_is_refused() -> None:
    """Of an rtpengine that does not number packets itself the next process would have to say the descriptions again."""
    policy = Policy(renumbers=False)
    async with running(policy) as first:
        offer = await first.offer("call", ONE, SDES, phone_sdp())
        await first.answer("call", SDES, ONE, sdes_sdp(offer))
        values = written(first.values("call"))
        async with running(policy) as second:
            await second.resume("call", values)
            with pytest.raises(MediaError) as raised:
                await second.send_dtmf("call", "one", "5")
            assert raised.value.status == 488
            assert await second.query("call")


async def test_what_is_said_again_keeps_the_daemon_ready_for_digits() -> None:
    """A transfer that is tried has the description of the two who talk said again: with that flag, once it was said."""

    def answer(request: dict[str, Any]) -> Encodable:
        if request["command"] in ("offer", "answer"):
            return {"result": "ok", "sdp": phone_sdp()}
        return friendly(request)

    async with daemon(answer) as (told, address):
        engine = RtpengineEngine(rtpengine_support.config(address))
        await engine.start()
        try:
            await engine.offer("call", ONE, OTHER, phone_sdp())
            await engine.answer("call", OTHER, ONE, phone_sdp(port=42000))
            await engine.send_dtmf("call", "other", "5")
            await engine.create_offer("call", THIRD, ONE)
            again = [each for each in told.requests if each["command"] in ("offer", "answer")][-2:]
            assert [each["command"] for each in again] == ["offer", "answer"]
            assert all(each["flags"].count(DIGITS_READY) == 1 for each in again)
        finally:
            await engine.close()
