"""What the embedded engine does beyond the contract: limits, timers, events, digits, holds, other codecs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Mapping
from dataclasses import replace
from itertools import pairwise
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.media.embedded.engine import EmbeddedEngine
from gateway.media.embedded.party import PartyMedia
from gateway.media.embedded.plane.packet import RtpPacket
from gateway.media.embedded.plane.python import PythonPlane
from gateway.media.embedded.plane.rtcp import Bye, ReceiverReport, SenderReport, SourceDescription, parse_compound
from gateway.media.embedded.plane.srtp import SrtpKey, SrtpProfile
from gateway.media.embedded.plane.values import Bound, Inventory, PortState
from gateway.media.embedded.resources import Resources
from gateway.media.embedded.settings import EmbeddedConfig, VideoConfig
from gateway.media.embedded.sources.digits import TelephoneEvent
from gateway.media.engine import (
    Connected,
    DtmfReceived,
    FirstMedia,
    Kind,
    MediaError,
    MediaEvent,
    MediaTimeout,
    Party,
)
from sdp import SessionDescription
from sdp.attributes import Crypto
from tests.media.engine_support import (
    PLANE,
    Phone,
    Reports,
    browser_sdp,
    config,
    frequency_of,
    handlers,
    parsed,
    phone_sdp,
    running,
    until,
)
from tests.media.rtp_support import ManualClock, ManualReactor
from tests.media.srtp_pair import SrtpSession
from tests.media.video_support import VideoPhone
from tests.rows import by_row

BROWSER = Party("browser", Kind.WEBRTC)
LEFT = Party("left", Kind.RTP, private_source="127.0.0.1")
RIGHT = Party("right", Kind.RTP, private_source="127.0.0.1")
VOICE = bytes(160)


def by_hand(settings: EmbeddedConfig, clock: ManualClock) -> EmbeddedEngine:
    """An engine on real sockets whose time is turned by hand."""
    reactor = ManualReactor(clock, asyncio.get_running_loop())
    return EmbeddedEngine(settings, clock=clock, make_plane=lambda: PythonPlane(reactor, clock))


class Call:
    """Two phones joined by an engine."""

    def __init__(self, engine: EmbeddedEngine, events: list[MediaEvent], left: Phone, right: Phone) -> None:
        self.engine, self.events, self.left, self.right = engine, events, left, right

    async def set_up(self) -> None:
        self.right.take(await self.engine.offer("call", LEFT, RIGHT, self.left.sdp()))
        self.left.take(await self.engine.answer("call", RIGHT, LEFT, self.right.sdp()))

    async def close(self) -> None:
        await self.left.close()
        await self.right.close()


async def call(engine: EmbeddedEngine, events: list[MediaEvent], *codecs: tuple[str, ...]) -> Call:
    """A call that is up, between phones that speak those codecs."""
    left, right = codecs or (("pcmu", "event"), ("pcmu", "event"))
    made = Call(engine, events, await Phone(left, ssrc=1).open(), await Phone(right, ssrc=2).open())
    await made.set_up()
    return made


async def _outcome(request: Awaitable[None]) -> int | None:
    """The status a request is refused with, None where it is not."""
    try:
        await request
    except MediaError as error:
        return error.status
    return None


class Highest(Random):
    """Draws the highest number of as many bits."""

    def getrandbits(self, k: int, /) -> int:
        return (1 << k) - 1


async def test_our_first_sequence_number_is_far_from_its_wrap() -> None:
    """With the packets before the wrap lost a receiver would guess the roll-over wrong, so 15 bits are drawn."""
    engine = EmbeddedEngine(config(), make_plane=PLANE.get(), random=Highest())
    await engine.start()
    left, right = await Phone(ssrc=1).open(), await Phone(ssrc=2).open()
    try:
        right.take(await engine.offer("call", LEFT, RIGHT, left.sdp()))
        left.take(await engine.answer("call", RIGHT, LEFT, right.sdp()))
        left.send(VOICE, 0)
        await until(lambda: right.packets)
        assert parsed(right)[0].sequence_number == 0x7FFF
    finally:
        await engine.close()
        await left.close()
        await right.close()


async def test_packets_of_a_common_codec_pass_untouched() -> None:
    """Payload for payload, in order, both ways."""
    async with running() as (engine, events):
        made = await call(engine, events)
        try:
            for number in range(20):
                made.left.send(bytes([number]) * 160, 0)
                made.right.send(bytes([100 + number]) * 160, 0)
            await until(lambda: len(made.left.packets) == len(made.right.packets) == 20)
            assert [packet.payload[0] for packet in parsed(made.right)] == list(range(20))
            assert [packet.payload[0] for packet in parsed(made.left)] == list(range(100, 120))
            statistics = await engine.delete("call")
        finally:
            await made.close()
    assert not statistics.transcoding
    for party in statistics.parties.values():
        assert (party.received.packets, party.sent.packets, party.received.lost) == (20, 20, 0)
        assert party.received.codec == party.sent.codec == "pcmu"
        assert party.connected_after_ms is not None


async def test_events_come_in_order_and_never_from_within_a_request() -> None:
    """Connected before FirstMedia, once each, to every subscriber; a handler may call the engine."""
    async with running() as (engine, events):
        nested: list[object] = []

        def handler(event: MediaEvent) -> None:
            if isinstance(event, FirstMedia):
                nested.append(asyncio.ensure_future(engine.query(event.call_id)))

        def broken(event: MediaEvent) -> None:
            raise RuntimeError("a subscriber's own fault")

        engine.subscribe(broken)
        engine.subscribe(handler)
        made = await call(engine, events)
        try:
            made.left.send(VOICE, 0)
            made.left.send(VOICE, 0)
            await until(lambda: len(made.right.packets) == 2 and len(nested) == 1)
            assert events == [Connected("call", "left"), FirstMedia("call", "left")]
        finally:
            await made.close()


async def test_a_digit_in_the_media_is_reported_and_passed_on() -> None:
    """From the left phone's keys to the right phone, once."""
    async with running() as (engine, events):
        made = await call(engine, events)
        try:
            for duration, end in ((160, False), (320, False), (480, True), (480, True), (480, True)):
                made.left.send(bytes(TelephoneEvent(5, end, 10, duration)), 101, step=0)
            await until(lambda: len(made.right.packets) == 5)
            await until(lambda: DtmfReceived("call", "left", "5", 60, passed_on=True) in events)
            assert sum(isinstance(event, DtmfReceived) for event in events) == 1
        finally:
            await made.close()


async def test_digits_are_sent_one_after_the_other() -> None:
    """Two digits asked for at once arrive as two events, each with three ends."""
    async with running() as (engine, events):
        made = await call(engine, events)
        try:
            await engine.send_dtmf("call", "right", "1", 60)
            await engine.send_dtmf("call", "right", "2", 60)
            await until(lambda: sum(packet.payload_type == 101 for packet in parsed(made.right)) == 10)
            sent = [packet for packet in parsed(made.right) if packet.payload_type == 101]
            digits = [TelephoneEvent.parse(packet.payload).digit for packet in sent]
            assert digits == ["1"] * 5 + ["2"] * 5
            assert sum(TelephoneEvent.parse(packet.payload).end for packet in sent) == 6
            outcomes = [await _outcome(engine.send_dtmf("call", "right", "3", 60)) for _ in range(100)]
            assert outcomes[0] is None
            assert outcomes[-1] == 503
        finally:
            await made.close()


async def test_a_party_without_events_is_488_for_digits() -> None:
    """The call then sends them by signalling."""
    async with running() as (engine, events):
        made = await call(engine, events, ("pcmu",), ("pcmu",))
        try:
            with pytest.raises(MediaError) as raised:
                await engine.send_dtmf("call", "right", "1")
            assert raised.value.status == 488
        finally:
            await made.close()


async def test_a_held_phone_hears_nothing_and_then_the_stream_goes_on() -> None:
    """Hold by re-offer and resume: same source, next number."""
    async with running(config(silence_after=0.0)) as (engine, events):
        made = await call(engine, events)
        try:
            made.left.send(VOICE, 0)
            await until(lambda: len(made.right.packets) == 1)
            offer = await engine.offer("call", RIGHT, LEFT, made.right.sdp(direction="sendonly"))
            assert "a=sendonly" in offer
            await engine.answer("call", LEFT, RIGHT, made.left.sdp(direction="recvonly"))
            for _ in range(5):
                made.left.send(VOICE, 0)
            async with asyncio.timeout(30):  # what is read after the resume would pass
                while (await engine.query("call")).parties["left"].received.packets < 6:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            made.right.send(VOICE, 0)
            await until(lambda: len(made.left.packets) == 1)
            await engine.offer("call", RIGHT, LEFT, made.right.sdp())
            await engine.answer("call", LEFT, RIGHT, made.left.sdp())
            made.left.send(VOICE, 0)
            await until(lambda: len(made.right.packets) == 2)
            first, second = parsed(made.right)
            assert (second.sequence_number - first.sequence_number) & 0xFFFF == 1
            assert second.ssrc == first.ssrc
        finally:
            await made.close()


async def test_a_phone_that_moves_by_re_offer_is_followed() -> None:
    """The new socket is heard and fed at once, the old one no more."""
    async with running(config(silence_after=0.0)) as (engine, events):
        made = await call(engine, events)
        moved = await Phone(("pcmu", "event"), ssrc=9).open()
        try:
            made.left.send(VOICE, 0)
            await until(lambda: len(made.right.packets) == 1)
            moved.version = 7
            await engine.offer("call", LEFT, RIGHT, moved.sdp())
            moved.take(await engine.answer("call", RIGHT, LEFT, made.right.sdp()))
            made.right.send(VOICE, 0)
            await until(lambda: len(moved.packets) == 1)
            made.left.send(VOICE, 0)
            moved.send(VOICE, 0)
            await until(lambda: len(made.right.packets) == 2)
            assert made.left.packets == []
        finally:
            await moved.close()
            await made.close()


async def test_sdes_protects_a_call_to_a_plain_phone() -> None:
    """Keys from a=crypto, both ways; forged packets reach nobody."""
    secure = Party("left", Kind.SDES, private_source="127.0.0.1")
    profile = SrtpProfile.AES_CM_128_HMAC_SHA1_80
    key = SrtpKey.generate(profile, Random(1).randbytes)
    async with running() as (engine, _):
        left, right = await Phone(ssrc=1).open(), await Phone(ssrc=2).open()
        try:
            offer = left.sdp(extra=[f"a=crypto:1 {profile.suite} {key.to_inline()}"]).replace("RTP/AVP", "RTP/SAVP")
            right.take(await engine.offer("call", secure, RIGHT, offer))
            answer = await engine.answer("call", RIGHT, secure, right.sdp())
            left.take(answer)
            crypto = SessionDescription.parse(answer).media[0].first(Crypto)
            assert crypto is not None
            theirs = SrtpSession(key, SrtpKey(profile, crypto.keys[0].key_and_salt))
            plain = bytes(RtpPacket(0, 1, 160, 1, VOICE))
            protected = theirs.protect(plain)
            assert protected is not None
            left.send_raw(plain)
            left.send_raw(protected)
            await until(lambda: len(right.packets) == 1)
            right.send(b"back" * 40, 0)
            await until(lambda: len(left.packets) == 1)
            back = theirs.unprotect(left.packets[0][0])
            assert back is not None
            assert RtpPacket.parse(back).payload == b"back" * 40
            await engine.offer("call", secure, RIGHT, offer)
            assert await engine.answer("call", RIGHT, secure, right.sdp()) == answer
            left.send_raw(protected)
            again = theirs.protect(bytes(RtpPacket(0, 2, 320, 1, VOICE)))
            assert again is not None
            left.send_raw(again)
            await until(lambda: len(right.packets) == 2)
            assert (await engine.query("call")).parties["left"].received.discarded == 2
        finally:
            await left.close()
            await right.close()


KEY_LINES = {
    "an unreadable key beside a good one": ("9 AEAD_AES_128_GCM inline:#", "{}"),
    "an empty line beside a good one": ("", "{}"),
    "a key too short beside a good one": ("9 AEAD_AES_128_GCM inline:" + "A" * 36, "{}"),
    "a parameter to obey beside a good key": ("{} UNENCRYPTED_SRTCP", "{}"),
    "an optional parameter": ("{} -X=1",),
    "the size of a window": ("{} WSH=64",),
    "an unreadable size of a window": ("{} WSH=much WSH= WSH",),
    "the usual order of error correction": ("{} FEC_ORDER=FEC_SRTP",),
    "the other order of error correction": ("{} FEC_ORDER=SRTP_FEC",),
}
"""Lines of keys of a phone; "{}" stands for a good one."""


@by_row("lines", KEY_LINES.values(), ids=KEY_LINES)
@by_row("answers", [False, True], ids=["offer", "answer"])
async def test_each_line_of_keys_is_judged_alone(lines: tuple[str, ...], answers: bool) -> None:
    """Voice passes both ways under the good key, whatever stands beside it (RFC 4568 section 6.3)."""
    secure, plain = Party("left", Kind.SDES, private_source="127.0.0.1"), Party("right", Kind.RTP)
    profile = SrtpProfile.AES_CM_128_HMAC_SHA1_80
    key = SrtpKey.generate(profile, Random(1).randbytes)
    async with running() as (engine, _):
        left, right = await Phone(ssrc=1).open(), await Phone(ssrc=2).open()

        def said(tag: int) -> str:
            keys = [line.format(f"{tag} {profile.suite} {key.to_inline()}") for line in lines]
            return left.sdp(extra=[f"a=crypto:{line}" for line in keys]).replace("RTP/AVP", "RTP/SAVP")

        try:
            if answers:
                told = await engine.offer("call", plain, secure, right.sdp())
                [ours] = [
                    each for each in SessionDescription.parse(told).media[0].cryptos if each.suite == profile.suite
                ]
                right.take(await engine.answer("call", secure, plain, said(ours.tag)))
            else:
                right.take(await engine.offer("call", secure, plain, said(1)))
                told = await engine.answer("call", plain, secure, right.sdp())
                [ours] = SessionDescription.parse(told).media[0].cryptos
            left.take(told)
            theirs = SrtpSession(key, SrtpKey(profile, ours.keys[0].key_and_salt))
            protected = theirs.protect(bytes(RtpPacket(0, 1, 160, 1, VOICE)))
            assert protected is not None
            left.send_raw(protected)
            await until(lambda: len(right.packets) == 1)
            right.send(VOICE, 0)
            await until(lambda: len(left.packets) == 1)
            assert theirs.unprotect(left.packets[0][0]) is not None
        finally:
            await left.close()
            await right.close()


async def test_a_phone_whose_only_key_has_an_identifier_is_heard() -> None:
    """Its packets carry it before their tag (RFC 3711 section 3.1), ours carry none; another is refused."""
    secure = Party("left", Kind.SDES, private_source="127.0.0.1")
    profile = SrtpProfile.AES_CM_128_HMAC_SHA1_80
    key = SrtpKey.generate(profile, Random(1).randbytes)
    async with running() as (engine, _):
        left, right = await Phone(ssrc=1).open(), await Phone(ssrc=2).open()
        try:
            line = f"a=crypto:1 {profile.suite} {key.to_inline()}|2^31|258:4"
            offer = left.sdp(extra=[line]).replace("RTP/AVP", "RTP/SAVP")
            right.take(await engine.offer("call", secure, RIGHT, offer))
            answer = await engine.answer("call", RIGHT, secure, right.sdp())
            left.take(answer)
            crypto = SessionDescription.parse(answer).media[0].first(Crypto)
            assert crypto is not None
            assert crypto.keys[0].mki is None
            theirs = SrtpSession(key, SrtpKey(profile, crypto.keys[0].key_and_salt))
            protected = theirs.protect(bytes(RtpPacket(0, 1, 160, 1, VOICE)))
            assert protected is not None
            for mki in (b"", b"\0\0\1\3", b"\0\0\1\2"):
                left.send_raw(protected[:-10] + mki + protected[-10:])
            await until(lambda: len(right.packets) == 1)
            right.send(b"back" * 40, 0)
            await until(lambda: len(left.packets) == 1)
            assert theirs.unprotect(left.packets[0][0]) is not None
            assert (await engine.query("call")).parties["left"].received.discarded == 2
        finally:
            await left.close()
            await right.close()


async def test_an_identifier_longer_than_it_says_is_refused() -> None:
    """258 does not fit one octet (RFC 4568 section 6.1)."""
    key = SrtpKey.generate(SrtpProfile.AES_CM_128_HMAC_SHA1_80, Random(1).randbytes)
    async with running() as (engine, _):
        left = await Phone(ssrc=1).open()
        try:
            line = f"a=crypto:1 {key.profile.suite} {key.to_inline()}|258:1"
            offer = left.sdp(extra=[line]).replace("RTP/AVP", "RTP/SAVP")
            with pytest.raises(MediaError, match="no a=crypto that can be used"):
                await engine.offer("call", Party("left", Kind.SDES), RIGHT, offer)
        finally:
            await left.close()


async def test_a_phone_that_changes_its_key_changes_nothing_of_ours() -> None:
    """A re-INVITE with a new a=crypto: our key and its count go on, the phone's old key is refused."""
    secure = Party("left", Kind.SDES, private_source="127.0.0.1")
    profile = SrtpProfile.AEAD_AES_128_GCM
    old, new = (SrtpKey.generate(profile, Random(seed).randbytes) for seed in (1, 2))
    async with running(config(silence_after=0.0)) as (engine, _):
        left, right = await Phone(ssrc=1).open(), await Phone(ssrc=2).open()

        async def exchange(key: SrtpKey) -> SrtpKey:
            offer = left.sdp(extra=[f"a=crypto:1 {profile.suite} {key.to_inline()}"]).replace("RTP/AVP", "RTP/SAVP")
            right.take(await engine.offer("call", secure, RIGHT, offer))
            answer = await engine.answer("call", RIGHT, secure, right.sdp())
            left.take(answer)
            crypto = SessionDescription.parse(answer).media[0].first(Crypto)
            assert crypto is not None
            return SrtpKey(profile, crypto.keys[0].key_and_salt)

        try:
            ours = await exchange(old)
            peer = SrtpSession(old, ours)
            right.send(VOICE, 0)
            await until(lambda: len(left.packets) == 1)
            assert peer.unprotect(left.packets[0][0]) is not None
            assert await exchange(new) == ours
            right.send(VOICE, 0)
            await until(lambda: len(left.packets) == 2)
            assert peer.unprotect(left.packets[1][0]) is not None
            stale, fresh = peer.protect(bytes(RtpPacket(0, 1, 160, 1, VOICE))), SrtpSession(new, ours)
            assert stale is not None
            left.send_raw(stale)
            true = fresh.protect(bytes(RtpPacket(0, 2, 320, 1, VOICE)))
            assert true is not None
            left.send_raw(true)
            await until(lambda: len(right.packets) == 1)
            assert (await engine.query("call")).parties["left"].received.discarded == 1
        finally:
            await left.close()
            await right.close()


async def test_a_muted_browser_leaves_the_phone_in_silence_not_in_nothing() -> None:
    """A phone gets silence in its codec while its peer sends nothing, and real media takes over."""
    async with running(config(silence_after=0.2, silence_interval=0.02)) as (engine, events):
        made = await call(engine, events)
        try:
            await until(lambda: len(made.right.packets) >= 10)
            pcm, _ = made.right.heard("pcmu")
            assert abs(pcm.astype(int)).max() <= 8
            made.left.play(1000.0)
            await until(lambda: abs(frequency_of(*made.right.heard("pcmu")) - 1000.0) < 8)
            numbers = [packet.sequence_number for packet in parsed(made.right)]
            assert all((after - before) & 0xFFFF == 1 for before, after in pairwise(numbers))
            stamps = [packet.timestamp for packet in parsed(made.right)]
            assert all(0 < (b - a) & 0xFFFFFFFF < 8000 for a, b in pairwise(stamps))
        finally:
            await made.close()


async def test_both_phones_hear_each_other_through_different_codecs() -> None:
    """A-law on one side, G.722 on the other, and the ptime that each asked for."""
    async with running(config(silence_after=0.0)) as (engine, _):
        left, right = await Phone(("pcma",)).open(), await Phone(("g722",)).open()
        try:
            right.take(await engine.offer("call", LEFT, RIGHT, left.sdp(extra=["a=ptime:40"])))
            left.take(await engine.answer("call", RIGHT, LEFT, right.sdp()))
            left.play(800.0, "pcma")
            right.play(1200.0, "g722")
            await until(lambda: abs(frequency_of(*right.heard("g722")) - 800.0) < 8)
            await until(lambda: abs(frequency_of(*left.heard("pcma")) - 1200.0) < 8)
            assert {len(packet.payload) for packet in parsed(left)} == {320}
            assert {len(packet.payload) for packet in parsed(right)} == {160}
            assert (await engine.query("call")).transcoding
        finally:
            await left.close()
            await right.close()


async def test_without_transcoding_a_call_with_nothing_in_common_is_488() -> None:
    """As configured."""
    async with running(config(transcode=False)) as (engine, _):
        offer = await engine.offer("call", LEFT, RIGHT, phone_sdp(codecs=("pcma", "event")))
        assert "PCMU" not in offer
        with pytest.raises(MediaError) as raised:
            await engine.answer("call", RIGHT, LEFT, phone_sdp(codecs=("pcmu", "event")))
        assert raised.value.status == 488


async def test_the_early_answer_prefers_what_the_callee_is_known_to_prefer() -> None:
    """The phone that likes G.711 gets it without transcoding."""
    async with running() as (engine, _):
        phone = Party("phone", Kind.RTP, prefer=("pcmu",))
        await engine.offer("call", BROWSER, phone, browser_sdp(codecs=("opus", "pcmu")))
        early = SessionDescription.parse(await engine.accept("call", BROWSER))
        assert early.media[0].formats[0] == "0"


async def test_too_many_calls_are_503_and_room_comes_back() -> None:
    """The limit is a setting; a failed offer takes no room."""
    async with running(config(max_sessions=2)) as (engine, _):
        for name in ("one", "two"):
            await engine.offer(name, LEFT, RIGHT, phone_sdp())
        with pytest.raises(MediaError) as raised:
            await engine.offer("three", LEFT, RIGHT, phone_sdp())
        assert raised.value.status == 503
        await engine.delete("one")
        with pytest.raises(MediaError):
            await engine.offer("bad", LEFT, RIGHT, "nonsense")
        await engine.offer("three", LEFT, RIGHT, phone_sdp())
        assert engine.sessions == 2


async def test_a_deleted_call_gives_back_everything() -> None:
    """Ports, ufrags, players: a hundred calls leave nothing."""
    tone = Party("tone", Kind.SERVICE, service="tone")
    async with running() as (engine, _):
        for index in range(100):
            text = await engine.offer(f"call{index}", BROWSER, tone, browser_sdp())
            await engine.answer(f"call{index}", tone, BROWSER, text)
            await engine.delete(f"call{index}")
            await engine.offer(f"plain{index}", LEFT, RIGHT, phone_sdp())
            await engine.delete(f"plain{index}")
        assert engine.sessions == 0
        assert engine.ports_in_use == 0
        assert engine.players == 0
        assert engine.port.table_sizes["legs"] == engine.port.table_sizes["ufrags"] == 0


async def test_requests_of_one_call_wait_for_each_other() -> None:
    """An offer and a delete at the same time: whichever comes second finds the call whole or gone."""
    async with running() as (engine, _):
        outcomes = await asyncio.gather(
            engine.offer("call", LEFT, RIGHT, phone_sdp()),
            engine.delete("call"),
            engine.offer("call", LEFT, RIGHT, phone_sdp(version=2)),
            return_exceptions=True,
        )
        assert all(not isinstance(outcome, BaseException) or isinstance(outcome, MediaError) for outcome in outcomes)
        await engine.delete("call")
        assert engine.sessions == engine.ports_in_use == 0


async def test_a_silent_phone_times_out_once_and_a_held_one_later(reports: Reports) -> None:
    """RTP or RTCP is life; the timer starts with the answer."""
    clock = ManualClock()
    engine = by_hand(config(media_timeout=30.0, held_timeout=300.0, silence_after=0.0), clock)
    events: list[MediaEvent] = []
    engine.subscribe(events.append)
    await engine.start()
    made = await call(engine, events)
    try:
        made.left.send(VOICE, 0)
        await until(lambda: len(made.right.packets) == 1)
        clock.advance(20.0)
        made.left.send_rtcp(bytes(ReceiverReport(1)))
        await until(lambda: reports.read == 1)
        clock.advance(15.0)
        await engine.sweep()
        await until(lambda: MediaTimeout("call", "right", 30.0) in events)
        await engine.sweep()
        assert not any(isinstance(event, MediaTimeout) and event.tag == "left" for event in events)
        await engine.offer("call", LEFT, RIGHT, made.left.sdp(direction="sendonly"))
        await engine.answer("call", RIGHT, LEFT, made.right.sdp(direction="recvonly"))
        clock.advance(100.0)
        made.left.send(VOICE, 0)
        await until(lambda: len(made.right.packets) == 2)
        await engine.sweep()
        clock.advance(205.0)
        await engine.sweep()
        await until(lambda: MediaTimeout("call", "right", 300.0) in events)
        assert sum(isinstance(event, MediaTimeout) for event in events if event.tag == "right") == 2
    finally:
        await made.close()
        await engine.close()


@by_row(
    ("media_timeout", "doubted_timeout", "direction", "sends", "back", "silence"),
    [
        (30.0, 10.0, "sendrecv", "", False, 10.0),
        (0.0, 10.0, "sendrecv", "", False, 10.0),
        (5.0, 10.0, "sendrecv", "", False, 5.0),
        (30.0, 0.0, "sendrecv", "", False, 30.0),
        (30.0, 10.0, "recvonly", "", False, 300.0),
        (30.0, 10.0, "sendrecv", "RTCP", False, None),
        (30.0, 10.0, "sendrecv", "RTP", False, None),
        (30.0, 10.0, "sendrecv", "", True, 30.0),
    ],
)
async def test_a_phone_is_silent_for_less_time_while_its_trunk_does_not_answer(
    media_timeout: float,
    doubted_timeout: float,
    direction: str,
    sends: str,
    back: bool,
    silence: float | None,
    reports: Reports,
) -> None:
    """Counted from then on: RTP and RTCP are life, a held phone owes nothing, and a trunk that is back has time."""
    clock = ManualClock()
    settings = config(
        silence_after=0.0, media_timeout=media_timeout, doubted_timeout=doubted_timeout, held_timeout=300.0
    )
    engine = by_hand(settings, clock)
    events: list[MediaEvent] = []
    engine.subscribe(events.append)
    await engine.start()
    left, right = replace(LEFT, owner="user"), replace(RIGHT, owner="trunk:office")
    made = Call(engine, events, await Phone(("pcmu",), ssrc=1).open(), await Phone(("pcmu",), ssrc=2).open())
    try:
        made.right.take(await engine.offer("call", left, right, made.left.sdp()))
        made.left.take(await engine.answer("call", right, left, made.right.sdp(direction=direction)))
        engine.doubt("trunk:office", doubted=True)
        engine.doubt("trunk:another", doubted=True)
        if back:
            engine.doubt("trunk:office", doubted=False)
        for second in range(400):
            made.left.send(VOICE, 0)
            if sends == "RTP":
                made.right.send(VOICE, 0)
                await until(lambda second=second: len(made.left.packets) > second)
            if sends == "RTCP":
                made.right.send_rtcp(bytes(ReceiverReport(1)))
                await until(lambda second=second: reports.read > second)
            await asyncio.sleep(0)
            clock.advance(1.0)
            await engine.sweep()
            timeouts = [event for event in events if isinstance(event, MediaTimeout) and event.tag == "right"]
            if timeouts or (second > 40 and silence is None):
                break
        if silence is None:
            assert timeouts == []
        else:
            is_early = not back
            assert timeouts == [MediaTimeout("call", "right", silence, is_early)]
            assert silence <= second + 1 <= silence + 2
    finally:
        await made.close()
        await engine.close()


async def test_a_phone_that_shows_something_is_there_though_it_says_nothing() -> None:
    """Muted, with silence suppression, without RTCP: its picture is a sign of life, and who sends none is gone."""
    clock = ManualClock()
    engine = by_hand(config(media_timeout=30.0, silence_after=0.0), clock)
    events: list[MediaEvent] = []
    engine.subscribe(events.append)
    await engine.start()
    left, right = await VideoPhone(60).open(), await VideoPhone(200).open()

    def gone() -> list[str]:
        return [event.tag for event in events if isinstance(event, MediaTimeout)]

    try:
        right.take(await engine.offer("call", LEFT, RIGHT, left.sdp()))
        left.take(await engine.answer("call", RIGHT, LEFT, right.sdp()))
        for turn in range(3):
            clock.advance(10.0)
            await engine.sweep()
            left.show_once(turn)
            await until(lambda turn=turn: len(right.packets) > turn)
            clock.advance(10.0)  # longer than between two of the plane's figures
            await engine.sweep()
        await until(lambda: bool(gone()))
        assert set(gone()) == {"right"}
        clock.advance(31.0)
        await until(lambda: "left" in gone())
    finally:
        await left.close()
        await right.close()
        await engine.close()


async def test_what_is_agreed_with_one_phone_does_not_put_off_that_the_other_is_gone() -> None:
    """However often: re-offers that are answered here, say nothing of the other phone."""
    clock = ManualClock()
    engine = by_hand(config(media_timeout=30.0, silence_after=0.0), clock)
    events: list[MediaEvent] = []
    engine.subscribe(events.append)
    await engine.start()
    made = await call(engine, events)
    try:
        for _ in range(2):
            clock.advance(20.0)
            await engine.create_offer("call", LEFT, RIGHT)
            await engine.answer("call", LEFT, None, made.left.sdp())
            await engine.sweep()
        await until(lambda: any(isinstance(event, MediaTimeout) for event in events))
        assert [event.tag for event in events if isinstance(event, MediaTimeout)] == ["right"]
    finally:
        await made.close()
        await engine.close()


async def test_reports_of_a_phone_that_sends_no_voice_do_not_keep_a_call_that_it_has_left(reports: Reports) -> None:
    """Each silence is told of: first the reports say that it is there, then nothing does."""
    clock = ManualClock()
    engine = by_hand(config(media_timeout=30.0, silence_after=0.0), clock)
    events: list[MediaEvent] = []
    engine.subscribe(events.append)
    await engine.start()
    made = await call(engine, events)
    try:
        for heard in (1, 2, 3):
            clock.advance(25.0)
            made.left.send_rtcp(bytes(ReceiverReport(1)))
            await until(lambda heard=heard: reports.read == heard)
            clock.advance(6.0)
            await engine.sweep()
        assert not any(isinstance(event, MediaTimeout) and event.tag == "left" for event in events)
        clock.advance(31.0)
        await until(lambda: any(isinstance(event, MediaTimeout) and event.tag == "left" for event in events))
    finally:
        await made.close()
        await engine.close()


async def test_each_party_gets_our_reports_and_never_its_peers(reports: Reports) -> None:
    """SR and CNAME of our own, BYE at the end; the peer's CNAME and BYE go nowhere."""
    clock = ManualClock()
    engine = by_hand(config(silence_after=0.0), clock)
    await engine.start()
    made = await call(engine, [])
    try:
        made.left.send(VOICE, 0)
        made.left.send_rtcp(bytes(ReceiverReport(1)) + bytes(SourceDescription(1, "browser-secret")))
        await until(lambda: len(made.right.packets) == 1 and reports.read == 1)
        for _ in range(20):
            clock.advance(0.5)
            await engine.sweep()
        await until(lambda: bool(made.right.rtcp) and bool(made.left.rtcp))
        read = parse_compound(made.right.rtcp[0])
        assert isinstance(read[0], SenderReport)
        assert read[0].packets == 1
        await engine.delete("call")
        await until(lambda: isinstance(parse_compound(made.right.rtcp[-1])[-1], Bye))
        assert not any(b"browser-secret" in data for data in made.right.rtcp)
    finally:
        await made.close()
        await engine.close()


async def test_a_port_in_use_is_503_with_its_address() -> None:
    """Starting twice on one port."""
    async with running() as (engine, _):
        host, number = engine.port.addresses[0]
        second = EmbeddedEngine(config(port=number))
        with pytest.raises(MediaError) as raised:
            await second.start()
        assert raised.value.status == 503
        assert str(number) in raised.value.reason
        assert host in raised.value.reason


async def test_before_start_everything_is_refused() -> None:
    """And after close."""
    engine = EmbeddedEngine(config())
    with pytest.raises(MediaError) as raised:
        await engine.offer("call", LEFT, RIGHT, phone_sdp())
    assert raised.value.status == 503


async def test_a_second_answer_to_the_same_offer_moves_the_media() -> None:
    """183 from a ringback server, 200 from the phone itself: another address, another codec."""
    async with running(config(silence_after=0.0)) as (engine, _):
        left = await Phone(("pcmu", "pcma"), ssrc=1).open()
        ringback, phone = await Phone(("pcmu",), ssrc=2).open(), await Phone(("pcma",), ssrc=3).open()
        try:
            offer = await engine.offer("call", LEFT, RIGHT, left.sdp())
            ringback.take(offer)
            phone.take(offer)
            left.take(await engine.answer("call", RIGHT, LEFT, ringback.sdp()))
            ringback.play(400.0)
            await until(lambda: abs(frequency_of(*left.heard("pcmu")) - 400.0) < 8)
            left.take(await engine.answer("call", RIGHT, LEFT, phone.sdp()))
            phone.play(900.0, "pcma")
            await until(lambda: abs(frequency_of(*left.heard("pcma")) - 900.0) < 8)
            left.send(b"to the phone" * 13, 8)
            await until(lambda: len(phone.packets) == 1)
        finally:
            for each in (left, ringback, phone):
                await each.close()


async def test_a_digit_under_way_during_a_re_offer_is_reported_once() -> None:
    """The detector outlives the new agreement."""
    async with running(config(silence_after=0.0)) as (engine, events):
        made = await call(engine, events)
        try:
            made.left.send(bytes(TelephoneEvent(7, True, 10, 480)), 101, step=0)
            await until(lambda: DtmfReceived("call", "left", "7", 60, passed_on=True) in events)
            await made.set_up()
            made.left.send(bytes(TelephoneEvent(7, True, 10, 480)), 101, step=0)
            made.left.send(VOICE, 0)
            await until(lambda: any(packet.payload_type == 0 for packet in parsed(made.right)))
            assert sum(isinstance(event, DtmfReceived) for event in events) == 1
        finally:
            await made.close()


async def test_many_re_offers_leave_one_transcoder_a_direction() -> None:
    """A stranger who renumbers his codecs a hundred times costs no more than the last time."""
    async with running(config(silence_after=0.0)) as (engine, _):
        for number in range(96, 126):
            offer = phone_sdp(codecs=("opus",), version=number).replace("107", str(number))
            await engine.offer("call", LEFT, RIGHT, offer)
            await engine.answer("call", RIGHT, LEFT, phone_sdp(codecs=("pcmu",), version=number))
        # The native plane transcodes by itself: none is left here.
        each = 1 if PLANE.get() is None else 0
        assert handlers(engine, "call") == {"left": each, "right": each}


async def test_a_fault_of_ours_is_a_500_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever breaks inside, callers get MediaError, and its text stays in the log."""

    async def broken(*_: object) -> str:
        raise KeyError("secret")

    async with running() as (engine, _):
        monkeypatch.setattr("gateway.media.embedded.session.Session.offer", broken)
        with pytest.raises(MediaError) as raised:
            await engine.offer("call", LEFT, RIGHT, phone_sdp())
        assert raised.value.status == 500
        assert "secret" not in raised.value.reason
        assert engine.sessions == engine.ports_in_use == 0
    assert "error of our own" in caplog.text


async def test_a_cancelled_offer_leaves_nothing() -> None:
    """The caller hung up while the sockets were being opened."""

    class Slow(PythonPlane):
        async def open_pair(self, port: int, host: str, number: int, *, dscp: int = 0) -> tuple[Bound, Bound]:
            await asyncio.sleep(0)
            return await super().open_pair(port, host, number, dscp=dscp)

    engine = EmbeddedEngine(config(), make_plane=lambda: Slow(asyncio.get_running_loop(), time.monotonic))
    await engine.start()
    try:
        request = asyncio.ensure_future(engine.offer("call", LEFT, RIGHT, phone_sdp()))
        await asyncio.sleep(0)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        assert engine.sessions == engine.ports_in_use == 0
    finally:
        await engine.close()


@by_row("spelled", ["::1", "0:0:0:0:0:0:0:1", "0000::0001"])
async def test_media_over_ipv6(spelled: str) -> None:
    """c=IN IP6, both ways, however a phone spells its address."""
    async with running(config(rtp_hosts=(("::1", None),))) as (engine, _):
        left, right = await Phone(ssrc=1).open("::1"), await Phone(ssrc=2).open("::1")
        try:
            offer = left.sdp(address=spelled)
            told = await engine.offer("call", Party("left", Kind.RTP), Party("right", Kind.RTP), offer)
            assert "c=IN IP6 ::1" in told
            right.take(told)
            answer = right.sdp(address=spelled)
            left.take(await engine.answer("call", Party("right", Kind.RTP), Party("left", Kind.RTP), answer))
            left.send(VOICE, 0)
            right.send(VOICE, 0)
            await until(lambda: len(left.packets) == len(right.packets) == 1)
        finally:
            await left.close()
            await right.close()


async def test_the_echo_can_be_late() -> None:
    """As late as configured, and in order."""
    echo = Party("echo", Kind.SERVICE, service="echo")
    async with running(config(echo_delay=0.2, silence_after=0.0)) as (engine, _):
        phone = await Phone().open()
        try:
            text = await engine.offer("call", LEFT, echo, phone.sdp())
            phone.take(await engine.answer("call", echo, LEFT, text))
            loop = asyncio.get_running_loop()
            began = loop.time()
            for number in range(3):
                phone.send(bytes([number]) * 160, 0)
            await until(lambda: len(phone.packets) == 3)
            assert loop.time() - began >= 0.19
            assert [packet.payload[0] for packet in parsed(phone)] == [0, 1, 2]
        finally:
            await phone.close()


async def test_a_call_may_be_offered_to_several_and_the_one_that_answers_talks() -> None:
    """Forking: early media of one, then the answer of another; the loser neither hears nor is heard."""
    parties = [Party(f"phone{number}", Kind.RTP, private_source="127.0.0.1") for number in range(3)]
    async with running(config(silence_after=0.0, unanswered_kept=60.0)) as (engine, _):
        left = await Phone(ssrc=1).open()
        phones = [await Phone(ssrc=2 + number).open() for number in range(3)]
        try:
            offer = left.sdp()
            for party, phone in zip(parties, phones, strict=True):
                phone.take(await engine.offer("call", LEFT, party, offer))
            assert len({phone.remote for phone in phones}) == 3
            left.take(await engine.answer("call", parties[0], LEFT, phones[0].sdp()))
            phones[0].play(400.0)
            await until(lambda: abs(frequency_of(*left.heard("pcmu")) - 400.0) < 8)
            left.take(await engine.answer("call", parties[2], LEFT, phones[2].sdp()))
            phones[2].play(900.0)
            await until(lambda: abs(frequency_of(*left.heard("pcmu")) - 900.0) < 8)
            heard = len(phones[0].packets)
            left.send(VOICE, 0)
            await until(lambda: len(phones[2].packets) == 1)
            assert len(phones[0].packets) == heard == 0
            assert phones[1].packets == []
            numbers = [packet.sequence_number for packet in parsed(left)]
            assert all((after - before) & 0xFFFF == 1 for before, after in pairwise(numbers))
            assert set((await engine.query("call")).parties) == {"left", "phone2"}
        finally:
            for phone in (left, *phones):
                await phone.close()


async def test_an_early_answer_stays_when_the_offer_goes_to_one_more() -> None:
    """Serial forking after accept: the browser has its answer already."""
    async with running() as (engine, _):
        offer = browser_sdp()
        await engine.offer("call", BROWSER, LEFT, offer)
        early = await engine.accept("call", BROWSER)
        await engine.offer("call", BROWSER, RIGHT, offer)
        assert await engine.accept("call", BROWSER) == early
        assert await engine.answer("call", RIGHT, BROWSER, phone_sdp()) == early


async def test_callees_that_did_not_answer_are_let_go_in_time_and_bounded_in_number() -> None:
    """Their ports come back without the call's end; a call cannot take all ports."""
    clock = ManualClock()
    engine = by_hand(config(max_callees=3, unanswered_kept=60.0, media_timeout=0.0), clock)
    await engine.start()
    try:
        for number in range(3):
            await engine.offer("call", LEFT, Party(f"phone{number}", Kind.RTP), phone_sdp())
        with pytest.raises(MediaError) as raised:
            await engine.offer("call", LEFT, Party("phone3", Kind.RTP), phone_sdp())
        assert (raised.value.status, raised.value.limit) == (503, "limits.max_callees (3)")
        assert engine.ports_in_use == 4
        await engine.answer("call", Party("phone1", Kind.RTP), LEFT, phone_sdp())
        await engine.sweep()
        assert engine.ports_in_use == 4
        clock.advance(61.0)
        await engine.sweep()
        assert engine.ports_in_use == 2
        with pytest.raises(MediaError) as raised:
            await engine.answer("call", Party("phone0", Kind.RTP), LEFT, phone_sdp())
        assert raised.value.status == 481
    finally:
        await engine.close()


async def test_a_target_that_cannot_be_offered_to_leaves_the_others() -> None:
    """Its ports are given back, the call lives on."""
    async with running(config(rtp_codecs=("pcmu",), transcode=False)) as (engine, _):
        await engine.offer("call", BROWSER, LEFT, browser_sdp())
        before = engine.ports_in_use
        with pytest.raises(MediaError):
            await engine.offer("call", BROWSER, RIGHT, browser_sdp(codecs=("opus",)))
        assert engine.ports_in_use == before
        assert await engine.answer("call", LEFT, BROWSER, phone_sdp())


async def test_the_browsers_port_is_bound_in_a_new_plane_however_long_the_old_one_holds_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The kernel lets go of a killed plane's sockets a moment later; every attempt but the last is refused."""
    async with running() as (engine, _):
        tried = 0
        bound = asyncio.Event()

        async def start() -> None:
            nonlocal tried
            tried += 1
            if tried < 4:
                raise MediaError("cannot listen on it: already in use", 503)
            bound.set()

        monkeypatch.setattr(engine.port, "start", start)
        engine.plane_loss.plane_restarted()
        await asyncio.wait_for(bound.wait(), 30)
        assert tried == 4


async def test_a_call_that_cannot_be_resumed_leaves_no_party(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whom to join is not there: who is there gives the ports back."""
    made: list[PartyMedia] = []

    async def resumed(resources: Resources, call_id: str, values: Mapping[str, Any], times: int) -> list[PartyMedia]:
        made.append(PartyMedia(resources, call_id, Party("here", Kind.RTP)))
        await made[0].open()
        return made

    monkeypatch.setattr("gateway.media.embedded.engine.resumed", resumed)
    async with running() as (engine, _):
        with pytest.raises(MediaError):
            await engine.resume("call", {"joined": [["here", "gone"]]})
        assert len(made) == 1
        assert engine.sessions == engine.ports_in_use == 0


async def test_media_of_a_gateway_that_died_ends_where_no_record_knows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flows and their ports, once; the browsers' port, and what a call of ours has, stay."""
    told: list[tuple[str, int]] = []
    async with running() as (engine, _):
        ours: Any = SimpleNamespace(parties=[SimpleNamespace(flow=997)])
        monkeypatch.setitem(engine._sessions, "call", ours)
        plane = engine._running().plane
        monkeypatch.setattr(plane, "close_flow", lambda flow: told.append(("flow", flow)))
        monkeypatch.setattr(plane, "close_port", lambda port: told.append(("port", port)))
        ports = [PortState(port=port, shared=port == 1, bounds=()) for port in (1, 70, 80, 90)]
        engine.inherited = Inventory(ports=tuple(ports), flows={997: 70, 998: 80, 999: 1})
        engine.end_left()
        assert sorted(told) == [("flow", 998), ("flow", 999), ("port", 80), ("port", 90)]
        engine.end_left()
        assert len(told) == 4
        monkeypatch.undo()


async def test_audio_and_video_toward_phones_are_marked_each_as_configured() -> None:
    """The plane is asked for ports that do so; what it sends then is its own tests'."""
    asked: list[int] = []

    class Noting(PythonPlane):
        async def open_pair(self, port: int, host: str, number: int, *, dscp: int = 0) -> tuple[Bound, Bound]:
            asked.append(dscp)
            return await super().open_pair(port, host, number, dscp=dscp)

    settings = config(dscp=46, video=VideoConfig(dscp=34))
    engine = EmbeddedEngine(settings, make_plane=lambda: Noting(asyncio.get_running_loop(), time.monotonic))
    await engine.start()
    try:
        video = "m=video 5004 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
        await engine.offer("call", LEFT, RIGHT, phone_sdp() + video)
        assert asked == [46, 46, 34, 34]
    finally:
        await engine.close()
