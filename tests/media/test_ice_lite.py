"""Far ends that are ICE-lite agents: the gateway checks, nominates and keeps their consent (RFC 8445, RFC 7675)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aioice import stun

from gateway.media.embedded.engine import EmbeddedEngine
from gateway.media.embedded.resuming import values_of
from gateway.media.embedded.webrtc.controlling import CONSENT_EVERY
from gateway.media.embedded.webrtc.dtls import DtlsRole
from gateway.media.engine import Kind, MediaError, MediaEvent, MediaFailed, Party
from sdp import SessionDescription
from tests.media.engine_support import Phone, frequency_of, phone_sdp, running, until
from tests.media.lite_phone import LitePhone
from tests.rows import by_row

PLAIN = Party("plain", Kind.RTP, private_source="127.0.0.1")
LITE = Party("lite", Kind.WEBRTC, private_source="127.0.0.1")


@asynccontextmanager
async def talking(lite: LitePhone, *, calls: bool) -> AsyncIterator[tuple[EmbeddedEngine, list[MediaEvent], Phone]]:
    """The lite end calls a phone on plain RTP, or is called by it; both hum."""
    async with running() as (engine, events):
        plain = await Phone().open()
        await lite.open()
        try:
            if calls:
                await it_offers(engine, lite, plain)
            else:
                offer = await engine.offer("call", PLAIN, LITE, plain.sdp())
                lite.begin(offer)
                plain.take(await engine.answer("call", LITE, PLAIN, lite.sdp()))
            plain.play(900)
            lite.play(600)
            yield engine, events, plain
            assert not [event for event in events if isinstance(event, MediaFailed)]
        finally:
            await plain.close()
            await lite.close()


async def it_offers(engine: EmbeddedEngine, lite: LitePhone, plain: Phone) -> str:
    plain.take(await engine.offer("call", LITE, PLAIN, lite.sdp(setup="actpass")))
    answer = await engine.answer("call", PLAIN, LITE, plain.sdp())
    described = SessionDescription.parse(answer).media[0]
    lite.role = DtlsRole.PASSIVE if described.value("setup") == "active" else DtlsRole.ACTIVE
    lite.begin(answer)
    return answer


async def both_heard(lite: LitePhone, plain: Phone) -> None:
    """Each tone in what comes from now on."""
    await until(lambda: lite.nominated is not None and lite.sessions)
    lite.packets.clear()
    plain.packets.clear()
    await until(lambda: abs(frequency_of(*plain.heard("pcmu")) - 600) < 10)
    await until(lambda: abs(frequency_of(*lite.heard("pcmu")) - 900) < 10)


@by_row("role", list(DtlsRole))
@by_row("calls", [True, False])
async def test_a_lite_end_is_checked_nominated_and_heard(calls: bool, role: DtlsRole) -> None:
    """Whoever offers; every check is of the controlling agent, and one that nominates comes after a plain one."""
    lite = LitePhone(role)
    async with talking(lite, calls=calls) as (engine, _, plain):
        await both_heard(lite, plain)
        assert all("ICE-CONTROLLING" in each.attributes for each in lite.checks)
        assert ["USE-CANDIDATE" in each.attributes for each in lite.checks][:2] == [False, True]
        assert "a=ice-lite" not in await engine.offer("call", PLAIN, LITE, plain.sdp())


async def test_the_answer_to_a_lite_end_says_no_ice_lite() -> None:
    """Two lite agents would send no check (RFC 8445 section 6.1.1)."""
    lite = LitePhone()
    async with running() as (engine, _):
        plain = await Phone().open()
        await lite.open()
        try:
            assert "a=ice-lite" not in await it_offers(engine, lite, plain)
            await until(lambda: lite.sessions)
        finally:
            await plain.close()
            await lite.close()


async def test_a_lite_end_that_restarts_ice_is_nominated_again() -> None:
    """By other credentials in its offer; the voice goes on."""
    lite = LitePhone()
    async with talking(lite, calls=True) as (engine, _, plain):
        await both_heard(lite, plain)
        lite.restart_ice()
        await it_offers(engine, lite, plain)
        await both_heard(lite, plain)


async def test_a_hold_and_a_resume_of_a_lite_end_change_no_pair() -> None:
    """The same candidates in the next description are not nominated again."""
    lite = LitePhone()
    async with talking(lite, calls=True) as (engine, _, plain):
        await both_heard(lite, plain)
        nominated = lite.nominated
        for direction in ("sendonly", "sendrecv"):
            plain.take(await engine.offer("call", LITE, PLAIN, lite.sdp(setup="actpass", direction=direction)))
            await engine.answer("call", PLAIN, LITE, plain.sdp())
        await both_heard(lite, plain)
        assert lite.nominated == nominated
        assert len([each for each in lite.checks if "USE-CANDIDATE" in each.attributes]) == 1


@by_row(
    "candidate",
    [
        *("1 1 udp 2130706431 10.1.2.3 5000 typ host", "1 1 udp 2130706431 somebody.local 5000 typ host"),
        *("1 1 tcp 2130706431 127.0.0.1 9 typ host tcptype active", "nonsense"),
    ],
)
async def test_a_lite_end_that_no_check_may_reach_is_488_at_once(candidate: str) -> None:
    """Before anybody rings, and in its answer."""
    lite = LitePhone()
    async with running() as (engine, _):
        await lite.open()
        try:
            with pytest.raises(MediaError, match="no candidate of the ICE-lite peer") as raised:
                await engine.offer("call", LITE, PLAIN, lite.sdp(candidates=(candidate,)))
            assert raised.value.status == 488
            await engine.offer("other", PLAIN, LITE, phone_sdp())
            with pytest.raises(MediaError, match="no candidate of the ICE-lite peer") as raised:
                await engine.answer("other", LITE, PLAIN, lite.sdp(candidates=(candidate,)))
            assert raised.value.status == 488
        finally:
            await lite.close()


async def test_after_a_restart_the_next_process_asks_for_consent() -> None:
    """With the password that the lite end gave the process before."""
    lite = LitePhone()
    async with talking(lite, calls=True) as (engine, _, plain):
        await both_heard(lite, plain)
        left = engine._sessions.pop("call")
        values = json.loads(json.dumps(values_of({each.party.tag: each for each in left.parties})))
        count = len(lite.checks)
        engine.port._holders.clear()
        engine.port._legs_by_ufrag.clear()
        await engine.resume("call", values)
        await until(lambda: len(lite.checks) > count, CONSENT_EVERY + 30)
        await both_heard(lite, plain)


class Borrowed(LitePhone):
    """A lite end whose socket also answers the checks of another call, which has named its address."""

    def __init__(self, other: LitePhone) -> None:
        super().__init__()
        self._other = other
        self.answered = 0
        """Checks of the other call."""

    def datagram_received(self, data: bytes, addr: Any) -> None:
        request = stun.parse_message(data) if data[0] <= 3 else None
        if request is None or not request.attributes["USERNAME"].startswith(f"{self._other.ufrag}:"):
            super().datagram_received(data, addr)
            return
        response = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, request.transaction_id)
        response.attributes["XOR-MAPPED-ADDRESS"] = addr
        response.add_message_integrity(self._other.password.encode())
        self._transport.sendto(bytes(response), addr)
        self.answered += 1


async def test_another_call_takes_no_address_of_a_lite_end() -> None:
    """A description that names it, with checks answered from there, deafens nobody while its own call is up."""
    other, listener = LitePhone(), Phone()
    other.ufrag, other.password = "other", "a-password-of-another-call"
    lite = Borrowed(other)
    async with talking(lite, calls=True) as (engine, _, plain):
        await both_heard(lite, plain)
        await other.open()
        await listener.open()
        try:
            candidate = f"1 1 udp 2130706431 {lite.host} {lite.port} typ host"
            offer = other.sdp(setup="actpass", candidates=(candidate,))
            listener.take(await engine.offer("other", LITE, PLAIN, offer))
            await engine.answer("other", PLAIN, LITE, listener.sdp())
            await until(lambda: lite.answered > 2)
            await both_heard(lite, plain)
        finally:
            await other.close()
            await listener.close()
