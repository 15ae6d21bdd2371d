"""Phones of both IP versions at one engine: each is spoken with by its own, and may go on by the other (RFC 6157)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

import pytest

from gateway.media.embedded.engine import EmbeddedEngine
from gateway.media.embedded.resuming import values_of
from gateway.media.engine import Kind, MediaError, Party
from sdp import Origin, SessionDescription
from sdp.attributes import Crypto
from tests.media.engine_support import Phone, audio_of, config, frequency_of, phone_sdp, running, until
from tests.rows import by_row

BOTH = (("127.0.0.1", None), ("::1", None))
LEFT, RIGHT = Party("left", Kind.RTP, family=4), Party("right", Kind.RTP, family=6)


def heard(phone: Phone, frequency: float) -> bool:
    return abs(frequency_of(*phone.heard("pcmu")) - frequency) < 10


def both_heard(left: Phone, moved_phone: Phone) -> bool:
    """Each other, once the right one has moved."""
    return heard(left, 1000.0) and heard(moved_phone, 400.0)


@asynccontextmanager
async def talking() -> AsyncIterator[tuple[EmbeddedEngine, Phone, Phone]]:
    """A phone at IPv4 talks with one at IPv6: 400 Hz from the left, 700 Hz from the right."""
    async with running(config(rtp_hosts=BOTH)) as (engine, _):
        left, right = await Phone(["pcmu"], ssrc=1).open(), await Phone(["pcmu"], ssrc=2).open("::1")
        try:
            told = await engine.offer("call", LEFT, RIGHT, left.sdp())
            assert "c=IN IP6 ::1\r\n" in told
            right.take(told)
            answer = await engine.answer("call", RIGHT, LEFT, right.sdp())
            assert "c=IN IP4 127.0.0.1\r\n" in answer
            left.take(answer)
            left.play(400.0)
            right.play(700.0)
            await until(lambda: heard(left, 700.0) and heard(right, 400.0))
            yield engine, left, right
        finally:
            await left.close()
            await right.close()


async def moved(engine: EmbeddedEngine, left: Phone, host: str) -> Phone:
    """The right phone goes on at that address: a re-INVITE, which the left one answers as before."""
    phone = await Phone(["pcmu"], ssrc=3).open(host)
    left.take(await engine.offer("call", RIGHT, LEFT, phone.sdp()))
    phone.take(await engine.answer("call", LEFT, RIGHT, left.sdp()))
    phone.play(1000.0)
    return phone


def origin_of(engine: EmbeddedEngine, tag: str) -> Origin:
    """The o= line that a party of the call was told last."""
    sent = engine._sessions["call"].party(tag).sent
    assert sent is not None
    assert sent.origin is not None
    return sent.origin


async def test_a_phone_by_each_version_hears_the_other() -> None:
    """And an offer counts more than the way by which it came: its c= says where the media is."""
    async with talking() as (engine, _, _right):
        assert engine.ports_in_use == 2
        third = await Phone(["pcmu"]).open("::1")
        try:
            party = Party("third", Kind.RTP, family=4)
            told = await engine.offer("other", party, Party("tone", Kind.SERVICE, service="tone"), third.sdp())
            answer = await engine.answer("other", Party("tone", Kind.SERVICE, service="tone"), party, told)
            assert "c=IN IP6 ::1\r\n" in answer
            third.take(answer)
            await until(lambda: len(third.packets) >= 3)
        finally:
            await third.close()


async def test_a_phone_goes_on_by_the_other_version_and_back() -> None:
    """The other side's media stays where it is; what was before is given back, our session one (RFC 3264 8)."""
    async with talking() as (engine, left, right):
        told = origin_of(engine, "right")
        for host, version in (("127.0.0.1", 4), ("::1", 6)):
            phone = await moved(engine, left, host)
            try:
                assert phone.remote[0] == host
                await until(partial(both_heard, left, phone))
                assert engine.ports_in_use == 2
                party = engine._sessions["call"].party("right")
                before, told = told, origin_of(engine, "right")
                assert told.session_id == before.session_id
                assert told.session_version > before.session_version
                rtp = party.rtp
                assert rtp is not None
                assert rtp.family == version
                await right.close()
            finally:
                right = phone
                await phone.close()


async def test_an_offer_by_the_other_version_of_which_nothing_comes_changes_nothing() -> None:
    """Refused by the other side, or followed by another one; each costs one pair of ports, which it gives back."""
    async with talking() as (engine, left, right):
        phone = await Phone(["pcmu"]).open()
        try:
            for _ in range(3):
                await engine.offer("call", RIGHT, LEFT, phone.sdp())
                assert engine.ports_in_use == 3
            left.packets.clear()
            right.packets.clear()
            await until(lambda: heard(left, 700.0) and heard(right, 400.0))
            told = await engine.offer("call", RIGHT, LEFT, right.sdp())
            assert "c=IN IP4 127.0.0.1\r\n" in told
            answer = await engine.answer("call", LEFT, RIGHT, left.sdp())
            assert "c=IN IP6 ::1\r\n" in answer
            assert engine.ports_in_use == 2
            await engine.offer("call", RIGHT, LEFT, phone.sdp())
            await engine.release("call", "right")
            assert engine.ports_in_use == 1
        finally:
            await phone.close()
    assert engine.ports_in_use == 0


async def test_no_key_of_the_transport_before_is_used_again() -> None:
    """SRTP by SDES: ours are others once the phone is at the other version."""
    async with running(config(rtp_hosts=BOTH)) as (engine, _):
        secure = replace(RIGHT, kind=Kind.SDES)
        told = SessionDescription.parse(await engine.offer("call", LEFT, secure, phone_sdp()))
        key = "inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz"
        [tag] = [each.tag for each in told.media[0].all(Crypto) if each.suite == "AES_CM_128_HMAC_SHA1_80"]

        def sdp(host: str, version: int) -> str:
            where = f"IN IP{6 if ':' in host else 4} {host}"
            return (
                f"v=0\r\no=p 1 {version} {where}\r\ns=-\r\nc={where}\r\nt=0 0\r\nm=audio 40000 RTP/SAVP 0\r\n"
                f"a=rtpmap:0 PCMU/8000\r\na=crypto:{tag} AES_CM_128_HMAC_SHA1_80 {key}\r\n"
            )

        await engine.answer("call", secure, LEFT, sdp("::1", 1))
        answers = []
        for number, host in enumerate(("::1", "127.0.0.1", "::1"), start=2):
            await engine.offer("call", secure, LEFT, sdp(host, number))
            answers.append(await engine.answer("call", LEFT, secure, phone_sdp()))
        keys = [str(SessionDescription.parse(each).media[0].first(Crypto)) for each in answers]
        assert len(set(keys)) == 3


async def test_what_is_held_is_at_no_version() -> None:
    """c=IN IP4 0.0.0.0 of a phone at IPv6 is a hold, not a change."""
    async with talking() as (engine, left, right):
        held = right.sdp(address="0.0.0.0")
        await engine.offer("call", RIGHT, LEFT, held)
        answer = await engine.answer("call", LEFT, RIGHT, left.sdp())
        assert "c=IN IP6 ::1\r\n" in answer
        assert engine.ports_in_use == 2


@by_row(("host", "offered"), [("127.0.0.1", "::1"), ("::1", "127.0.0.1")])
async def test_a_version_that_nobody_listens_on_is_refused_before_anybody_rings(host: str, offered: str) -> None:
    """488, where it was the answer that was refused before; also in the middle of a call, which goes on."""
    async with running(config(rtp_hosts=((host, None),))) as (engine, _):
        phone, other = await Phone(["pcmu"]).open(offered), await Phone(["pcmu"]).open(host)
        try:
            with pytest.raises(MediaError) as refused:
                await engine.offer("call", LEFT, RIGHT, phone.sdp())
            assert (refused.value.status, engine.sessions) == (488, 0)
            assert f"IP{6 if ':' in host else 4} {host}" in await engine.offer("call", LEFT, RIGHT, other.sdp())
        finally:
            await phone.close()
            await other.close()


async def test_another_process_goes_on_by_the_same_versions() -> None:
    """On the same plane, and with new transports where that is gone."""
    async with talking() as (engine, left, right):
        session = engine._sessions["call"]
        values = json.loads(json.dumps(values_of({each.party.tag: each for each in session.parties})))
        assert [each["transport"]["family"] for each in values["parties"]] == [4, 6]
        del engine._sessions["call"]
        await engine.resume("call", values)
        left.packets.clear()
        right.packets.clear()
        await until(lambda: heard(left, 700.0) and heard(right, 400.0))
        await engine.delete("call")
        await engine.restore("call", values)
        offered = [await engine.create_offer("call", party) for party in (LEFT, replace(RIGHT, family=0))]
        assert ["IN IP4 127.0.0.1" in offered[0], "IN IP6 ::1" in offered[1]] == [True, True]


async def test_a_version_that_nobody_named_outlives_a_restart_with_other_addresses() -> None:
    """Which is the first one's: the address that comes first may be another one after it."""
    left, right = replace(LEFT, family=0), replace(RIGHT, family=0)
    async with running(config(rtp_hosts=BOTH)) as (engine, _):
        phone = await Phone(["pcmu"]).open()
        await phone.close()
        await engine.offer("call", left, right, phone.sdp().replace("127.0.0.1", "0.0.0.0"))
        await engine.answer("call", right, left, phone.sdp())
        session = engine._sessions["call"]
        values = json.loads(json.dumps(values_of({each.party.tag: each for each in session.parties})))
    async with running(config(rtp_hosts=BOTH[::-1])) as (engine, _):
        await engine.restore("call", values)
        for party in (left, right):
            assert audio_of(await engine.create_offer("call", party))[0] == "127.0.0.1"


async def test_picture_and_text_go_by_the_version_of_the_voice() -> None:
    """Each stream beside it has ports of its own, at the same address; also after the phone has gone over."""
    lines = ("m=video 40002 RTP/AVP 97", "a=rtpmap:97 VP8/90000", "m=text 40004 RTP/AVP 98", "a=rtpmap:98 t140/1000")
    sections = "".join(f"{line}\r\n" for line in lines)

    def where(text: str) -> list[str]:
        return [line for line in text.splitlines() if line.startswith("c=")]

    async with running(config(rtp_hosts=BOTH)) as (engine, _):
        here, there = await Phone(["pcmu"]).open(), await Phone(["pcmu"]).open("::1")
        try:
            for left, address in ((here, "IP4 127.0.0.1"), (there, "IP6 ::1")):
                told = await engine.offer("call", LEFT, RIGHT, left.sdp() + sections)
                assert where(told) == ["c=IN IP6 ::1"]
                answer = await engine.answer("call", RIGHT, LEFT, there.sdp() + sections)
                assert where(answer) == [f"c=IN {address}"]
                party = engine._sessions["call"].party("left")
                assert party.video is not None
                assert party.text is not None
                assert engine.ports_in_use == 6
        finally:
            await here.close()
            await there.close()
        await engine.delete("call")
        assert engine.ports_in_use == 0
