"""Phones that get their SRTP keys by DTLS without ICE (RFC 5763), or are offered keys in plain RTP (RFC 8643)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from gateway.media.embedded.engine import EmbeddedEngine
from gateway.media.embedded.plane.rtcp import ReceiverReport
from gateway.media.embedded.plane.srtp import SrtpKey, SrtpProfile
from gateway.media.embedded.settings import EmbeddedConfig
from gateway.media.embedded.webrtc.config import WebRtcConfig
from gateway.media.embedded.webrtc.dtls import DtlsRole, DtlsState
from gateway.media.engine import Kind, MediaError, MediaEvent, MediaFailed, Party
from sdp import SessionDescription
from sdp.attributes import Crypto
from tests.media.dtls_phone import ANOTHER, PLAIN, SECURE, DtlsPhone, restarted
from tests.media.dtls_support import CLIENT_HELLO_1_0, FATAL_ALERT, PROTOCOL_VERSION_ALERT
from tests.media.engine_support import Phone, Reports, config, frequency_of, phone_sdp, running, until
from tests.media.srtp_pair import SrtpSession
from tests.rows import by_row


@asynccontextmanager
async def call(
    phone: DtlsPhone, *, calls: bool, settings: EmbeddedConfig | None = None
) -> AsyncIterator[tuple[EmbeddedEngine, list[MediaEvent], Phone]]:
    """The phone, and one on plain RTP, which it calls or is called by."""
    async with running(settings) as (engine, events):
        plain = await Phone().open()
        await phone.open()
        try:
            if calls:
                plain.take(await engine.offer("call", SECURE, PLAIN, phone.sdp(setup="actpass")))
                answer = await engine.answer("call", PLAIN, SECURE, plain.sdp())
                described = SessionDescription.parse(answer).media[0]
                phone.role = DtlsRole.PASSIVE if described.value("setup") == "active" else DtlsRole.ACTIVE
                phone.begin(answer)
            else:
                offer = await engine.offer("call", PLAIN, SECURE, plain.sdp())
                described = SessionDescription.parse(offer).media[0]
                assert (described.protocol, described.value("setup")) == ("UDP/TLS/RTP/SAVP", "actpass")
                phone.begin(offer)
                plain.take(await engine.answer("call", SECURE, PLAIN, phone.sdp()))
            yield engine, events, plain
        finally:
            await plain.close()
            await phone.close()


@pytest.mark.parametrize("mux", [True, False])
@pytest.mark.parametrize("role", list(DtlsRole))
@pytest.mark.parametrize("calls", [True, False])
async def test_voice_and_reports_pass_both_ways(reports: Reports, calls: bool, role: DtlsRole, mux: bool) -> None:
    """Whoever begins the handshake, with RTCP on one port or two; nothing leaves in the clear."""
    settings = config(report_interval=0.2)
    phone = DtlsPhone(role, mux=mux)
    async with call(phone, calls=calls, settings=settings) as (engine, events, plain):
        await until(lambda: len(phone.sessions) == (1 if mux else 2))
        phone.play(600)
        plain.play(900)
        await until(lambda: abs(frequency_of(*plain.heard("pcmu")) - 600) < 10)
        await until(lambda: abs(frequency_of(*phone.heard("pcmu")) - 900) < 10)
        await until(lambda: phone.reports)
        before = reports.read
        report = phone.sessions[not mux].protect_rtcp(bytes(ReceiverReport(phone.ssrc)))
        assert report is not None
        (phone.send_raw if mux else phone.send_rtcp)(report)
        await until(lambda: reports.read > before)
        assert not [event for event in events if isinstance(event, MediaFailed)]
        ports = SessionDescription.parse(await engine.offer("call", PLAIN, SECURE, plain.sdp())).media[0]
        assert ports.port == phone.remote[1]
        plain.take(await engine.answer("call", SECURE, PLAIN, phone.sdp()))
        count = len(plain.packets)
        await until(lambda: len(plain.packets) > count + 5)


async def test_another_certificate_than_the_one_described_ends_the_call_in_words() -> None:
    """And not a packet has passed."""
    phone = DtlsPhone(certificate=ANOTHER)
    async with call(phone, calls=False) as (_, events, plain):
        await until(lambda: any(isinstance(event, MediaFailed) for event in events))
        (failed,) = [event for event in events if isinstance(event, MediaFailed)]
        assert (failed.tag, failed.reason) == ("secure", "the peer's certificate does not match its fingerprint")
        assert not plain.packets


async def test_a_handshake_that_does_not_finish_ends_the_call_in_words() -> None:
    """A phone that answers and then says nothing."""
    phone = DtlsPhone()
    settings = replace(config(), webrtc=WebRtcConfig(setup_timeout=0.3))
    async with call(phone, calls=False, settings=settings) as (_, events, _plain):
        phone.associations.clear()
        await until(lambda: any(isinstance(event, MediaFailed) for event in events))
        failed = next(event for event in events if isinstance(event, MediaFailed))
        assert failed.reason.startswith("DTLS did not finish within 0.3 s")


async def test_a_phone_of_dtls_1_0_is_told_so_and_the_call_ends_in_words() -> None:
    """Its ClientHello gets the alert protocol_version."""
    phone = DtlsPhone(DtlsRole.ACTIVE)
    settings = replace(config(), webrtc=WebRtcConfig(setup_timeout=0.3))
    async with running(settings) as (engine, events):
        plain = await Phone().open()
        await phone.open()
        answers: list[bytes] = []
        phone.datagram_received = lambda data, addr: answers.append(data)  # type: ignore[method-assign]
        try:
            phone.take(await engine.offer("call", PLAIN, SECURE, plain.sdp()))
            plain.take(await engine.answer("call", SECURE, PLAIN, phone.sdp()))
            phone.send_raw(CLIENT_HELLO_1_0)
            await until(lambda: answers)
            await until(lambda: any(isinstance(event, MediaFailed) for event in events))
            failed = next(event for event in events if isinstance(event, MediaFailed))
            assert answers == [PROTOCOL_VERSION_ALERT]
            assert failed.reason == "DTLS did not finish within 0.3 s: the peer offers no DTLS 1.2"
        finally:
            await plain.close()
            await phone.close()


async def test_strangers_take_part_in_no_handshake() -> None:
    """From another port than is described, before the phone speaks: its association is with nobody else."""
    phone, stranger = DtlsPhone(DtlsRole.ACTIVE), DtlsPhone(DtlsRole.ACTIVE)
    async with running() as (engine, events):
        plain = await Phone().open()
        await phone.open()
        await stranger.open()
        try:
            offer = await engine.offer("call", PLAIN, SECURE, plain.sdp())
            for _ in range(20):
                stranger.begin(offer)
            plain.take(await engine.answer("call", SECURE, PLAIN, phone.sdp()))
            phone.begin(offer)
            await until(lambda: phone.sessions)
            phone.play(600)
            await until(lambda: abs(frequency_of(*plain.heard("pcmu")) - 600) < 10)
            assert stranger.associations[False].state is DtlsState.HANDSHAKE
            assert not [event for event in events if isinstance(event, MediaFailed)]
        finally:
            for each in (plain, phone, stranger):
                await each.close()


@by_row("finishes", [True, False])
@by_row("mux", [True, False])
async def test_a_neighbour_that_speaks_first_keeps_no_phone_out(finishes: bool, mux: bool) -> None:
    """Behind one NAT either may be the phone, until one has shown the certificate that was described."""
    phone = DtlsPhone(DtlsRole.ACTIVE, mux=mux)
    neighbour = DtlsPhone(DtlsRole.ACTIVE, mux=mux, certificate=ANOTHER)
    neighbour.certificate = ANOTHER
    async with running() as (engine, events):
        plain = await Phone().open()
        for each in (phone, neighbour):
            await each.open()
        try:
            offer = phone.sdp(setup="active", address="10.9.9.9")
            plain.take(await engine.offer("call", SECURE, PLAIN, offer))
            answer = await engine.answer("call", PLAIN, SECURE, plain.sdp())
            neighbour.begin(answer)
            if finishes:
                await until(lambda: "alert" in neighbour.associations[False].trouble)
            phone.begin(answer)
            await until(lambda: len(phone.sessions) == (1 if mux else 2))
            phone.play(600)
            plain.play(900)
            await until(lambda: abs(frequency_of(*plain.heard("pcmu")) - 600) < 10)
            await until(lambda: abs(frequency_of(*phone.heard("pcmu")) - 900) < 10)
            assert not [event for event in events if isinstance(event, MediaFailed)]
            assert not neighbour.packets
        finally:
            await plain.close()
            for each in (phone, neighbour):
                await each.close()


async def test_no_more_than_four_addresses_try() -> None:
    """What others send costs nothing; the call ends in words when the time is over."""
    phone = DtlsPhone(DtlsRole.ACTIVE)
    neighbours = [DtlsPhone(DtlsRole.ACTIVE, certificate=ANOTHER) for _ in range(6)]
    settings = replace(config(), webrtc=WebRtcConfig(setup_timeout=2.0))
    async with running(settings) as (engine, events):
        plain = await Phone().open()
        try:
            for each in (phone, *neighbours):
                await each.open()
            plain.take(await engine.offer("call", SECURE, PLAIN, phone.sdp(setup="active", address="10.9.9.9")))
            answer = await engine.answer("call", PLAIN, SECURE, plain.sdp())
            for one in neighbours:
                one.certificate = ANOTHER
                one.begin(answer)
            await until(lambda: any(isinstance(event, MediaFailed) for event in events))
            assert len([one for one in neighbours if "alert" in one.associations[False].trouble]) == 4
            failed = next(event for event in events if isinstance(event, MediaFailed))
            assert (
                failed.reason == "DTLS did not finish within 2 s: the peer's certificate does not match its fingerprint"
            )
        finally:
            await plain.close()
            for each in (phone, *neighbours):
                await each.close()


async def test_neighbours_keep_no_phone_out_that_is_where_it_said() -> None:
    """However many of them have tried before."""
    phone = DtlsPhone(DtlsRole.ACTIVE)
    neighbours = [DtlsPhone(DtlsRole.ACTIVE, certificate=ANOTHER) for _ in range(4)]
    async with running() as (engine, events):
        plain = await Phone().open()
        try:
            for each in (phone, *neighbours):
                await each.open()
            plain.take(await engine.offer("call", SECURE, PLAIN, phone.sdp(setup="active")))
            answer = await engine.answer("call", PLAIN, SECURE, plain.sdp())
            for one in neighbours:
                one.certificate = ANOTHER
                one.begin(answer)
            await until(lambda: all("alert" in one.associations[False].trouble for one in neighbours))
            phone.begin(answer)
            await until(lambda: phone.sessions)
            assert not [event for event in events if isinstance(event, MediaFailed)]
        finally:
            await plain.close()
            for each in (phone, *neighbours):
                await each.close()


async def test_a_new_certificate_begins_anew() -> None:
    """A phone that was restarted, or another one after a transfer: the voice goes on under new keys."""
    phone = DtlsPhone()
    async with call(phone, calls=False) as (engine, _, plain):
        await until(lambda: phone.sessions)
        phone.play(600)
        await until(lambda: abs(frequency_of(*plain.heard("pcmu")) - 600) < 10)
        phone.certificate = phone.shown = ANOTHER
        offer = await engine.offer("call", PLAIN, SECURE, plain.sdp())
        phone.sessions.clear()
        phone.begin(offer)
        plain.take(await engine.answer("call", SECURE, PLAIN, phone.sdp()))
        await until(lambda: phone.sessions)
        count = len(plain.packets)
        await until(lambda: len(plain.packets) > count + 10)


async def test_after_a_restart_an_association_that_stands_is_not_begun_again() -> None:
    """A hold or a refresh of the phone: the old fingerprint is told, nobody gets a ClientHello, the keys stay."""
    phone = DtlsPhone()
    async with call(phone, calls=False) as (engine, events, plain):
        await until(lambda: phone.sessions)
        phone.play(600)
        await until(lambda: abs(frequency_of(*plain.heard("pcmu")) - 600) < 10)
        told = engine.port.fingerprints
        await restarted(engine)
        begun: list[bytes] = []
        phone.associations[False].receive = lambda data, now: begun.append(data)  # type: ignore[method-assign, assignment]
        offer = await engine.offer("call", PLAIN, SECURE, plain.sdp())
        assert all(digest in offer for _, digest in told)
        plain.take(await engine.answer("call", SECURE, PLAIN, phone.sdp()))
        phone.send_raw(FATAL_ALERT)
        count = len(plain.packets)
        await until(lambda: len(plain.packets) > count + 5)
        assert not begun
        assert not [event for event in events if isinstance(event, MediaFailed)]


async def test_after_a_restart_a_phone_that_begins_anew_is_told_the_certificate_of_now() -> None:
    """The answer that asked for it shows whose association it will be."""
    phone = DtlsPhone()
    async with call(phone, calls=False) as (engine, _, plain):
        await until(lambda: phone.sessions)
        phone.play(600)
        await until(lambda: abs(frequency_of(*plain.heard("pcmu")) - 600) < 10)
        await restarted(engine)
        phone.certificate = phone.shown = ANOTHER
        plain.take(await engine.offer("call", SECURE, PLAIN, phone.sdp(setup="passive")))
        answer = await engine.answer("call", PLAIN, SECURE, plain.sdp())
        assert all(digest in answer for _, digest in engine.port.fingerprints)
        phone.sessions.clear()
        phone.begin(answer)
        await until(lambda: phone.sessions)
        count = len(plain.packets)
        await until(lambda: len(plain.packets) > count + 10)


@by_row("suite", ["AES_256_CM_HMAC_SHA1_80", "AEAD_AES_256_GCM", None])
async def test_plain_rtp_with_keys_is_protected_where_they_are_answered(suite: str | None) -> None:
    """RFC 8643: the offer is RTP/AVP; an answer without a key is plain, one with a key protects both ways, for good."""
    kind = Party("best", Kind.BEST_EFFORT, private_source="127.0.0.1")
    async with running() as (engine, _):
        plain, best = await Phone().open(), await Phone().open()
        try:
            offer = await engine.offer("call", PLAIN, kind, plain.sdp())
            best.take(offer)
            section = SessionDescription.parse(offer).media[0]
            assert section.protocol == "RTP/AVP"
            offered = {crypto.suite: crypto for crypto in section.all(Crypto)}
            extra = []
            session = None
            if suite is not None:
                profile = SrtpProfile.from_suite(suite)
                assert profile is not None
                ours = SrtpKey(profile, bytes(range(profile.key_length + profile.salt_length)))
                extra = [f"a=crypto:{offered[suite].tag} {suite} {ours.to_inline()}"]
                session = SrtpSession(ours, SrtpKey(profile, offered[suite].keys[0].key_and_salt))
            plain.take(await engine.answer("call", kind, PLAIN, best.sdp(extra=extra)))
            plain.send(b"\x55" * 160, 0)
            await until(lambda: best.packets)
            assert (session.unprotect(best.packets[0][0]) if session else best.packets[0][0])[12:] == b"\x55" * 160  # type: ignore[index]
            await engine.offer("call", PLAIN, kind, plain.sdp())
            if session is None:
                await engine.answer("call", kind, PLAIN, best.sdp())
            else:
                with pytest.raises(MediaError) as raised:
                    await engine.answer("call", kind, PLAIN, best.sdp())
                assert raised.value.status == 488
        finally:
            await plain.close()
            await best.close()


async def test_the_settings_say_which_suites_are_offered() -> None:
    """And in which order; each has a key of its length."""
    suites = ("AES_256_CM_HMAC_SHA1_32", "AEAD_AES_256_GCM", "AES_256_CM_HMAC_SHA1_80")
    async with running(config(srtp_suites=suites)) as (engine, _):
        assert engine.capabilities.srtp_suites == set(suites)
        offer = await engine.offer("call", PLAIN, Party("sdes", Kind.SDES), phone_sdp())
        keys = SessionDescription.parse(offer).media[0].all(Crypto)
        assert [(each.suite, len(each.keys[0].key_and_salt)) for each in keys] == list(
            zip(suites, (46, 44, 46), strict=True)
        )
