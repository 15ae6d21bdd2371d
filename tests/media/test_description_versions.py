"""Versions of descriptions after a death: past whatever the process before may have said (RFC 3264 section 8)."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.media.embedded.engine import EmbeddedEngine
from gateway.media.embedded.resuming import VERSION_JUMP
from gateway.media.engine import Kind, Party
from sdp import Origin, SessionDescription
from tests.media.engine_support import browser_sdp, phone_sdp, running, written_down
from tests.rows import by_row

PHONE, OTHER = Party("phone", Kind.RTP), Party("other", Kind.RTP)
SECURE, PAGE = Party("secure", Kind.SDES), Party("page", Kind.WEBRTC)
KEY = "AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz"
OFFERS = {
    PHONE: phone_sdp(),
    OTHER: phone_sdp(port=41004),
    SECURE: phone_sdp(port=41008).replace("RTP/AVP", "RTP/SAVP") + f"a=crypto:1 {KEY}\r\n",
    PAGE: browser_sdp(),
}
"""What each says of itself; an answer says who begins DTLS."""


def origin(sdp: str) -> Origin:
    """Of what we say."""
    found = SessionDescription.parse(sdp).origin
    assert found is not None
    return found


async def up(engine: EmbeddedEngine, caller: Party, callee: Party) -> Any:
    """They have agreed; what is written down."""
    await engine.offer("call", caller, callee, OFFERS[caller])
    await engine.answer("call", callee, caller, OFFERS[callee].replace("actpass", "active"))
    return written_down(engine)


async def asked(engine: EmbeddedEngine, party: Party, peer: Party, direction: str = "sendrecv") -> Origin:
    """What a party is offered where its peer changes the call."""
    return origin(await engine.offer("call", peer, party, OFFERS[peer].replace("a=sendrecv", f"a={direction}")))


async def unwritten(engine: EmbeddedEngine, party: Party, peer: Party) -> Origin:
    """What a party was offered last, of three changes that were lost with the process."""
    for direction in ("sendonly", "sendrecv", "sendonly"):
        last = await asked(engine, party, peer, direction)
    return last


@by_row(("one", "other"), [(SECURE, PHONE), (PAGE, PHONE), (PHONE, PAGE)])
async def test_who_makes_a_call_anew_is_past_all_that_the_dead_may_have_said(one: Party, other: Party) -> None:
    """Three processes, each of which says more than it has written down; the session stays the same."""
    async with running() as (engine, _):
        values = await up(engine, one, other)
        last = {party: await unwritten(engine, party, peer) for party, peer in ((one, other), (other, one))}
    for _ in range(2):
        async with running() as (engine, _):
            await engine.restore("call", values)
            values = written_down(engine)
            for party, peer in ((one, other), (other, one)):
                said = origin(await engine.create_offer("call", party, peer))
                assert said.session_id == last[party].session_id
                assert said.session_version > last[party].session_version
                last[party] = said


async def test_who_takes_a_call_up_after_others_is_past_what_each_of_them_may_have_said() -> None:
    """They had the same record and wrote nothing: gateways that died as they took the calls of another."""
    versions = []
    async with running() as (engine, _):
        values = await up(engine, PHONE, OTHER)
    for times in (1, 2, 3):
        async with running() as (engine, _):
            await engine.restore("call", values, times)
            versions.append(origin(await engine.create_offer("call", PHONE, OTHER)).session_version)
    assert versions == [versions[0], versions[0] + VERSION_JUMP, versions[0] + 2 * VERSION_JUMP]


@pytest.mark.parametrize("direction", ["sendonly", "sendrecv"])
async def test_who_goes_on_with_the_packets_of_a_call_is_past_it_too(direction: str) -> None:
    """Also where it says what was agreed last, for the dead may have said something else; repeated it is the same."""
    async with running() as (engine, _):
        values = await up(engine, PHONE, OTHER)
        last = await unwritten(engine, PHONE, OTHER)
        for _ in range(2):
            del engine._sessions["call"]
            await engine.resume("call", values)
            values = written_down(engine)
            said = await asked(engine, PHONE, OTHER, direction)
            assert said.session_id == last.session_id
            assert said.session_version > last.session_version
            assert await asked(engine, PHONE, OTHER, direction) == said
            last = said


async def test_who_goes_on_with_packets_after_others_is_past_what_each_of_them_may_have_said() -> None:
    """As who makes the call anew is."""
    versions = []
    async with running() as (engine, _):
        values = await up(engine, PHONE, OTHER)
        for times in (1, 2, 3):
            del engine._sessions["call"]
            await engine.resume("call", values, times)
            versions.append((await asked(engine, PHONE, OTHER, "sendonly")).session_version)
    assert versions == [versions[0], versions[0] + VERSION_JUMP, versions[0] + 2 * VERSION_JUMP]
