"""Phones that have keys and begin another DTLS handshake with the fingerprint of before, as Asterisk does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from gateway.media.embedded.engine import EmbeddedEngine
from gateway.media.embedded.webrtc.config import WebRtcConfig
from gateway.media.embedded.webrtc.dtls import DtlsRole, DtlsState
from gateway.media.engine import MediaEvent, MediaFailed
from tests.media.dtls_phone import (
    ANOTHER,
    PLAIN,
    SECURE,
    DtlsPhone,
    Renewing,
    both_heard,
    everything,
    is_verify_request,
    it_offers,
    nothing,
    restarted,
    tones_heard,
    we_offer,
)
from tests.media.dtls_support import client_hello
from tests.media.engine_support import Phone, config, parsed, running, until

HELLO = client_hello(b"\xc0\x2b")


@asynccontextmanager
async def talking(phone: Renewing) -> AsyncIterator[tuple[EmbeddedEngine, list[MediaEvent], Phone]]:
    """A call of a phone on plain RTP to this one; both hum."""
    async with running() as (engine, events):
        plain = await Phone().open()
        await phone.open()
        try:
            await we_offer(engine, phone, plain)
            plain.play(900)
            phone.play(600)
            await both_heard(phone, plain)
            yield engine, events, plain
            assert not [event for event in events if isinstance(event, MediaFailed)]
        finally:
            await plain.close()
            await phone.close()


def gaps(listener: Phone) -> list[int]:
    """Sequence numbers behind which packets are missing."""
    numbers = [packet.sequence_number for packet in parsed(listener)]
    return [one for one, other in pairwise(numbers) if other != (one + 1) & 0xFFFF]


@pytest.mark.parametrize("exchange", [we_offer, it_offers])
@pytest.mark.parametrize("mux", [True, False])
async def test_a_phone_that_begins_dtls_again_is_heard_again(mux: bool, exchange: Any) -> None:
    """After each of three exchanges, with RTCP on one port or on two."""
    phone = Renewing(mux=mux)
    async with talking(phone) as (engine, _, plain):
        for _ in range(3):
            await exchange(engine, phone, plain)
            await both_heard(phone, plain)


async def test_a_client_hello_in_fragments_begins_dtls_again() -> None:
    """As with post-quantum key shares, in two datagrams (RFC 6347 section 4.2.3)."""
    phone = Renewing()
    async with talking(phone) as (engine, _, plain):
        phone.cuts = (60,)
        for _ in range(2):
            await we_offer(engine, phone, plain)
            await both_heard(phone, plain)


async def test_a_phone_that_begins_dtls_a_hundred_times_is_heard() -> None:
    """As after as many refreshes of a long call: keys never run out."""
    phone = Renewing()
    async with talking(phone) as (engine, _, plain):
        for _ in range(100):
            await we_offer(engine, phone, plain)
            await until(lambda: phone.is_keyed)
            phone.packets.clear()
            await until(lambda: phone.packets)
        await both_heard(phone, plain)


@pytest.mark.parametrize("exchange", [we_offer, it_offers])
@pytest.mark.parametrize("mux", [True, False])
async def test_no_packet_is_lost_while_keys_change(mux: bool, exchange: Any) -> None:
    """RFC 5764 section 5.2, with 100 ms of round trip: speech under the old keys comes after ours are new."""
    phone = Renewing(mux=mux, delay=0.05)
    async with talking(phone) as (engine, _, plain):
        phone.packets.clear()
        plain.packets.clear()
        for _ in range(3):
            await exchange(engine, phone, plain)
            await until(lambda: phone.is_keyed)
            heard = len(plain.packets), len(phone.packets)
            await until(lambda heard=heard: len(plain.packets) > heard[0] + 10 and len(phone.packets) > heard[1] + 10)
        assert [gaps(each) for each in (plain, phone)] == [[], []]
        assert not (await engine.query("call")).parties["secure"].received.discarded


async def test_old_keys_serve_until_the_new_handshake_is_done() -> None:
    """A phone that has only sent its ClientHello speaks and hears under the keys it has."""
    phone = Renewing()
    async with talking(phone) as (engine, _, plain):
        phone.takes = nothing
        await we_offer(engine, phone, plain)
        await until(lambda: phone.answers)
        await tones_heard(phone, plain)


async def test_a_forged_client_hello_of_the_phone_changes_nothing() -> None:
    """No more octets come back than were sent, no handshake begins, and the phone's own is served meanwhile."""
    phone = Renewing()
    async with talking(phone) as (engine, _, plain):
        phone.takes = nothing
        for _ in range(20):
            phone.send_raw(HELLO)
        await until(lambda: len(phone.answers) == 20)
        assert all(is_verify_request(each) and len(each) <= len(HELLO) for each in phone.answers)
        phone.takes = everything
        await tones_heard(phone, plain)
        phone.send_raw(HELLO)
        await we_offer(engine, phone, plain)
        phone.send_raw(HELLO)
        await both_heard(phone, plain)


async def test_a_strangers_client_hello_beside_keys_changes_nothing() -> None:
    """From another port, before and after an exchange: there is no answer, and the phone is heard."""
    phone, stranger = Renewing(), DtlsPhone(DtlsRole.ACTIVE)
    async with talking(phone) as (engine, _, plain):
        await stranger.open()
        try:
            stranger.begin(await engine.offer("call", PLAIN, SECURE, plain.sdp()))
            await both_heard(phone, plain)
            plain.take(await engine.answer("call", SECURE, PLAIN, phone.sdp(setup="active")))
            await both_heard(phone, plain)
            assert stranger.associations[False].state is DtlsState.HANDSHAKE
            assert not stranger.associations[False].trouble
        finally:
            await stranger.close()


async def test_another_certificate_leaves_the_keys_as_they_were() -> None:
    """A handshake under a fingerprint that was not agreed fails by itself, however often it is begun."""
    phone = Renewing()
    async with talking(phone) as (engine, _, plain):
        mine = phone.certificate
        phone.certificate = ANOTHER
        await we_offer(engine, phone, plain)
        await until(lambda: "alert" in phone.associations[False].trouble)
        await tones_heard(phone, plain)
        phone.certificate = mine
        await we_offer(engine, phone, plain)
        await both_heard(phone, plain)


async def test_a_phone_that_gives_a_handshake_up_may_begin_another() -> None:
    """Its new ClientHello takes the place of the one that it left in the middle."""
    phone = Renewing()
    async with talking(phone) as (engine, _, plain):
        phone.takes = is_verify_request
        await we_offer(engine, phone, plain)
        await until(lambda: phone.answers)
        phone.takes = everything
        await we_offer(engine, phone, plain)
        await both_heard(phone, plain)


async def test_after_a_restart_a_phone_known_to_begin_again_does_so() -> None:
    """It is shown the certificate that the descriptions of the present process name."""
    phone = Renewing()
    async with talking(phone) as (engine, _, plain):
        await we_offer(engine, phone, plain)
        await both_heard(phone, plain)
        await restarted(engine)
        await we_offer(engine, phone, plain)
        await both_heard(phone, plain)


async def test_another_dtls_role_begins_another_association() -> None:
    """RFC 8842 section 3.1: the phone answers as the server that was the client, and we begin."""
    phone = Renewing()
    async with talking(phone) as (engine, _, plain):
        phone.role = DtlsRole.PASSIVE
        offer = await engine.offer("call", PLAIN, SECURE, plain.sdp())
        phone.begin(offer)
        plain.take(await engine.answer("call", SECURE, PLAIN, phone.sdp(setup="passive")))
        await both_heard(phone, plain)


async def test_a_phone_may_close_its_association_before_it_begins_again() -> None:
    """Its close_notify after an exchange ends no call."""
    phone = Renewing()
    async with talking(phone) as (engine, _, plain):
        before = phone.associations[False]
        offer = await engine.offer("call", PLAIN, SECURE, plain.sdp())
        plain.take(await engine.answer("call", SECURE, PLAIN, phone.sdp(setup="active")))
        before.close()
        phone._follow(False)
        phone.begin(offer)
        await both_heard(phone, plain)


async def test_a_phone_that_closes_and_never_begins_again_ends_the_call() -> None:
    """In words, once the time for a handshake is over."""
    phone = Renewing()
    async with running(replace(config(), webrtc=WebRtcConfig(setup_timeout=0.5))) as (engine, events):
        plain = await Phone().open()
        await phone.open()
        try:
            await we_offer(engine, phone, plain)
            await until(lambda: phone.is_keyed)
            plain.take(await engine.answer("call", SECURE, PLAIN, phone.sdp(setup="active")))
            phone.associations[False].close()
            phone._follow(False)
            await until(lambda: any(isinstance(event, MediaFailed) for event in events))
        finally:
            await plain.close()
            await phone.close()
