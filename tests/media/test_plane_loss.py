"""The packet plane is killed: every party gets another transport, and no SRTP key meets an index twice."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import aiortc.rtcdtlstransport
import pylibsrtp
import pytest

from gateway.media.embedded import level, plane_loss, resuming
from gateway.media.embedded.audio.codecs import make_encoder
from gateway.media.embedded.audio.pcm import tone
from gateway.media.embedded.describe import SERVICE_DESCRIPTION
from gateway.media.embedded.engine import EmbeddedEngine
from gateway.media.embedded.party import PartyMedia
from gateway.media.embedded.plane.native.plane import NativePlane
from gateway.media.embedded.plane.native.process import PlaneProcess
from gateway.media.embedded.plane.packet import RtpPacket
from gateway.media.embedded.plane.srtp import SrtpKey, SrtpProfile
from gateway.media.embedded.plane.values import Silence
from gateway.media.embedded.resources import Resources
from gateway.media.embedded.resuming import renewed
from gateway.media.embedded.session import Session
from gateway.media.embedded.transport import opened
from gateway.media.engine import Connected, Kind, MediaError, MediaEvent, MediaFailed, MediaLost, OfferWanted, Party
from sdp import SessionDescription, attributes
from sdp.attributes import Crypto, Fingerprint
from sdp.fields import Origin
from tests.media.engine_support import Browser, Phone, browser_sdp, config, frequency_of, phone_sdp, until
from tests.media.levels_support import LARGE, SMALL
from tests.media.levels_support import level as level_in
from tests.media.levels_support import phone as phone_with
from tests.media.plane_rig import break_off, native_plane
from tests.media.srtp_pair import SrtpSession
from tests.media.text_support import TextPhone
from tests.media.three_streams import RATES, StreamPhone, agree_anew, hear_each_other, stepped, steps
from tests.media.video_support import VideoBrowser

pytestmark = pytest.mark.serial

BROWSER, PHONE = Party("browser", Kind.WEBRTC), Party("phone", Kind.SDES, private_source="127.0.0.1")
OTHER, LEFT = Party("other", Kind.RTP), Party("left", Kind.RTP)
PROFILE = SrtpProfile.AEAD_AES_128_GCM
BROWSER_HZ, PHONE_HZ = 600.0, 900.0


class Rig:
    """An engine on a native plane, and what it says."""

    def __init__(self, folder: Path) -> None:
        self.plane: NativePlane = native_plane(folder)
        self.wall_clock = 1_900_000_000.0
        """Unix seconds."""
        self.engine = EmbeddedEngine(config(), wall_clock=lambda: self.wall_clock, make_plane=lambda: self.plane)
        self.events: list[MediaEvent] = []
        self.engine.subscribe(self.events.append)

    def kill(self) -> None:
        """SIGKILL to the plane."""
        self.events.clear()
        assert self.plane.process_id is not None
        os.kill(self.plane.process_id, signal.SIGKILL)

    async def lost(self, *tags: str) -> None:
        """Another plane is there, and these parties are to be offered it."""
        await until(lambda: {each.tag for each in self.events if isinstance(each, MediaLost)} == set(tags))


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    made = Rig(tmp_path)
    await made.engine.start()
    yield made
    await made.engine.close()


Sent = set[tuple[bytes, int, int]]
"""Key, SSRC and sequence number of packets; none of these calls is long enough for a roll-over."""


class Wire:
    """The packets of a call at both of its ends, each with the key that protects it; no two may be alike."""

    def __init__(self) -> None:
        self.sent: Sent = set()
        self.packets = 0

    def note(self, key: bytes, packet: bytes) -> None:
        if not 64 <= packet[1] & 0x7F <= 95 or packet[1] & 0x80 == 0:  # RTCP has its own index
            parsed = int.from_bytes(packet[8:12]), int.from_bytes(packet[2:4])
            self.packets += 1
            self.sent.add((key, *parsed))


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    """What an aiortc browser is sent and sends."""
    made = Wire()

    class Session(pylibsrtp.Session):
        def __init__(self, policy: Any) -> None:
            super().__init__(policy)
            self.key = bytes(policy.key)

        def unprotect(self, packet: bytes) -> bytes:
            made.note(self.key, packet)
            return bytes(super().unprotect(packet))

        def protect(self, packet: bytes) -> bytes:
            made.note(self.key, packet)
            return bytes(super().protect(packet))

    monkeypatch.setattr(aiortc.rtcdtlstransport, "Session", Session)
    return made


class SecurePhone(Phone):
    """A phone that wants SDES."""

    def __init__(self) -> None:
        super().__init__()
        self.ours = SrtpKey.generate(PROFILE, os.urandom)
        self.key = b""
        """The gateway's."""
        self.session: SrtpSession
        self.voice = 0

    def describe(self) -> str:
        """With a new key."""
        self.ours = SrtpKey.generate(PROFILE, os.urandom)
        line = f"a=crypto:1 {PROFILE.suite} {self.ours.to_inline()}"
        return self.sdp(extra=[line]).replace("RTP/AVP", "RTP/SAVP")

    def keyed(self, sdp: str) -> None:
        """Take the gateway's description."""
        self.take(sdp)
        crypto = next(one for one in SessionDescription.parse(sdp).media[0].all(Crypto) if one.suite == PROFILE.suite)
        self.key = crypto.keys[0].key_and_salt
        self.session = SrtpSession(self.ours, SrtpKey(PROFILE, self.key))

    async def says(self, wire: Wire, packets: int = 40) -> None:
        encoder = make_encoder("pcmu", 16000, 20)
        pcm = tone(PHONE_HZ, -10, encoder.rate, 1.0)
        for number in range(packets):
            start = number * encoder.frame % encoder.rate
            self.voice += 1
            packet = RtpPacket(0, self.voice, self.voice * 160, 7, encoder.encode(pcm[start : start + encoder.frame]))
            protected = self.session.protect(bytes(packet))
            assert protected is not None
            wire.note(self.ours.material, protected)
            self.send_raw(protected)
            await asyncio.sleep(0.02)

    def hears(self, wire: Wire, hz: float) -> bool:
        """Whether the packets since the last description hold that tone."""
        opened = [(data, self.session.unprotect(data)) for data, _ in self.packets]
        for data, plain in opened:
            if plain is not None:
                wire.note(self.key, data)
        self.packets = [(plain, None) for _, plain in opened if plain is not None]
        found = abs(frequency_of(*self.heard("pcmu")) - hz) < 10
        self.packets.clear()
        return found


async def talk(browser: Browser, phone: SecurePhone, wire: Wire) -> None:
    """Each hears the other's tone, of now."""
    browser.frames.clear()
    phone.packets.clear()
    await phone.says(wire)
    await until(lambda: abs(browser.heard() - PHONE_HZ) < 10)
    assert phone.hears(wire, BROWSER_HZ)


def of_transport(sdp: str) -> tuple[object, ...]:
    """What belongs to one transport of ours: certificate, tls-id, ICE credentials; or the ports and the keys."""
    media = SessionDescription.parse(sdp).media[0]
    names = ("ice-ufrag", "ice-pwd", "tls-id")
    return (
        media.port,
        *(media.value(name) for name in names),
        *(str(each) for kind in (Fingerprint, attributes.Crypto) for each in media.all(kind)),
    )


def origin_of(sdp: str) -> Origin:
    origin = SessionDescription.parse(sdp).origin
    assert origin is not None
    return origin


async def connected(engine: EmbeddedEngine, browser: Browser, phone: SecurePhone) -> tuple[str, str]:
    """The browser has called the phone; what both were told."""
    told = await engine.offer("call", BROWSER, PHONE, await browser.offer())
    answer = await engine.answer("call", PHONE, BROWSER, phone.describe())
    phone.keyed(told)
    await browser.take_answer(answer)
    return answer, told


async def test_both_sides_hear_each_other_again_with_other_keys(rig: Rig, wire: Wire) -> None:
    """Twice: a new certificate, tls-id, ICE credentials, ports and SDES keys each time, the tones both ways."""
    engine, phone, browsers = rig.engine, SecurePhone(), [Browser(BROWSER_HZ, ("pcmu",))]
    await phone.open()
    try:
        told = [await connected(engine, browsers[0], phone)]
        await talk(browsers[0], phone, wire)
        for _ in range(2):
            rig.kill()
            await rig.lost("browser", "phone")
            await browsers[-1].close()
            browsers.append(Browser(BROWSER_HZ, ("pcmu",)))
            to_browser = await engine.create_offer("call", BROWSER, PHONE)
            await engine.answer("call", BROWSER, None, await browsers[-1].answer(to_browser))
            to_phone = await engine.create_offer("call", PHONE, BROWSER)
            await engine.answer("call", PHONE, None, phone.describe())
            phone.keyed(to_phone)
            await engine.join("call", "browser", "phone")
            await talk(browsers[-1], phone, wire)
            assert {each.tag for each in rig.events if isinstance(each, Connected)} == {"browser", "phone"}
            told.append((to_browser, to_phone))
        assert wire.packets == len(wire.sent) > 100
        for side in zip(*told, strict=True):
            for what in zip(*[of_transport(sdp)[1:] for sdp in side], strict=False):
                said = [each for each in what if each is not None]
                assert len(set(said)) == len(said)
        assert "a=tls-id" in told[1][0]
        origins = [origin_of(sdp) for _, sdp in told]
        assert len({each.session_id for each in origins}) == 1
        assert len({each.session_version for each in origins}) == 3
        assert len({of_transport(sdp)[0] for _, sdp in told}) == 3
        assert engine.ports_in_use == 1
    finally:
        await phone.close()
        for browser in browsers:
            await browser.close()


async def test_a_browser_is_not_answered_in_the_connection_that_is_gone(rig: Rig) -> None:
    """An ICE restart does not begin DTLS anew: 491, and with another certificate it is answered."""
    engine = rig.engine
    await engine.offer("call", BROWSER, OTHER, browser_sdp())
    await engine.answer("call", OTHER, BROWSER, phone_sdp())
    rig.kill()
    await rig.lost("browser", "other")
    with pytest.raises(MediaError) as raised:
        await engine.offer("call", BROWSER, OTHER, browser_sdp(ufrag="wxyz"))
    assert raised.value.status == 491
    await engine.offer("call", BROWSER, OTHER, browser_sdp(ufrag="wxyz").replace("AB:AB", "CD:CD"))
    assert "a=fingerprint" in await engine.accept("call", BROWSER)


async def test_pictures_and_data_channels_are_offered_again(rig: Rig) -> None:
    """Also where the next plane dies before anybody has answered, and where the offer is made twice."""
    engine, second = rig.engine, Party("second", Kind.WEBRTC)
    browsers = [VideoBrowser(60), VideoBrowser(200)]
    for each in browsers:
        each.peer.createDataChannel("notes")
    try:
        answer = await browsers[1].answer(await engine.offer("call", BROWSER, second, await browsers[0].offer()))
        await browsers[0].take_answer(await engine.answer("call", second, BROWSER, answer))
        await until(lambda: browsers[0].sees(200) and browsers[1].sees(60))
        for _ in range(2):
            rig.kill()
            await rig.lost("browser", "second")
        kinds = []
        for party, peer in ((BROWSER, second), (BROWSER, second), (second, BROWSER)):
            offer = SessionDescription.parse(await engine.create_offer("call", party, peer))
            kinds.append(Counter(each.kind for each in offer.media if each.port))
        assert kinds == [Counter(audio=1, video=1, application=1)] * 3
        again = [VideoBrowser(60), VideoBrowser(200)]
        browsers += again
        for party, peer, browser in ((BROWSER, second, again[0]), (second, BROWSER, again[1])):
            answer = await browser.answer(await engine.create_offer("call", party, peer))
            await engine.answer("call", party, None, answer)
        await engine.join("call", "browser", "second")
        await until(lambda: again[0].sees(200) and again[1].sees(60))
    finally:
        for each in browsers:
            await each.close()


async def test_a_call_with_pictures_is_made_anew_by_the_next_process(rig: Rig, tmp_path: Path) -> None:
    """Its streams are not gone on with; both see each other again once they have agreed, and a third process knows."""
    engine, second = rig.engine, Party("second", Kind.WEBRTC)
    browsers = [VideoBrowser(60), VideoBrowser(200)]
    (tmp_path / "next").mkdir()
    following = Rig(tmp_path / "next")
    try:
        answer = await browsers[1].answer(await engine.offer("call", BROWSER, second, await browsers[0].offer()))
        await browsers[0].take_answer(await engine.answer("call", second, BROWSER, answer))
        await until(lambda: browsers[0].sees(200) and browsers[1].sees(60))
        values = json.loads(json.dumps(engine.values("call")))
        assert [each["transport"] for each in values["parties"]] == [None, None]
        await following.engine.start()
        await following.engine.restore("call", values)
        assert [each["video"] for each in following.engine.values("call")["parties"]] == [  # type: ignore[index]
            each["video"] for each in values["parties"]
        ]
        again = [VideoBrowser(60), VideoBrowser(200)]
        browsers += again
        for party, peer, browser in ((BROWSER, second, again[0]), (second, BROWSER, again[1])):
            answer = await browser.answer(await following.engine.create_offer("call", party, peer))
            await following.engine.answer("call", party, None, answer)
        await following.engine.join("call", "browser", "second")
        await until(lambda: again[0].sees(200) and again[1].sees(60))
    finally:
        await following.engine.close()
        for each in browsers:
            await each.close()


@pytest.mark.parametrize("has_channel", [False, True])
async def test_a_call_with_data_channels_is_not_gone_on_with_by_the_next_process(rig: Rig, has_channel: bool) -> None:
    """SCTP ends with the process, though the plane and the packets are there: all is made anew, and only then."""
    engine, second = rig.engine, Party("second", Kind.WEBRTC)
    browsers = [Browser(BROWSER_HZ, ("pcmu",)) for _ in range(2)]
    if has_channel:
        browsers[0].peer.createDataChannel("notes")
    try:
        answer = await browsers[1].answer(await engine.offer("call", BROWSER, second, await browsers[0].offer()))
        await browsers[0].take_answer(await engine.answer("call", second, BROWSER, answer))
        await until(lambda: {each.tag for each in rig.events if isinstance(each, Connected)} == {"browser", "second"})
        values = json.loads(json.dumps(engine.values("call")))
        is_there = [each["transport"] is not None for each in values["parties"]]
        assert is_there == [not has_channel] * 2
        if has_channel:
            with pytest.raises(MediaError) as refused:
                await engine.resume("again", values)
            assert refused.value.status == 481
    finally:
        for each in browsers:
            await each.close()


async def test_a_level_that_was_for_somebody_else_rises_after_a_loss_as_before_it(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who was called first takes small pictures; passed on to one who takes larger ones, the plane dies."""
    monkeypatch.setattr(level, "_PATIENCE", 2.0)
    caller, callee, third = (Party(tag, Kind.RTP) for tag in ("caller", "callee", "third"))
    large, small = (phone_with(said) for said in (LARGE, SMALL))
    await rig.engine.offer("call", caller, callee, large)
    assert level_in(await rig.engine.answer("call", callee, caller, small)) == "0c"
    await rig.engine.create_offer("call", third, caller)
    await rig.engine.answer("call", third, None, large)
    await rig.engine.join("call", "caller", "third")
    rig.kill()
    await rig.lost("caller", "third", "callee")
    for party, peer in ((caller, third), (third, caller)):
        await rig.engine.create_offer("call", party, peer)
        await rig.engine.answer("call", party, None, large)
    rig.events.clear()
    await rig.engine.join("call", "caller", "third")
    await until(lambda: [each.tag for each in rig.events if isinstance(each, OfferWanted)] == ["caller"])
    assert level_in(await rig.engine.create_offer("call", caller, third)) == "1f"


async def test_pictures_of_a_conference_are_offered_again(rig: Rig) -> None:
    """Its members have other connections, and see each other by them."""
    engine, program = rig.engine, Party("program", Kind.SERVICE, service="program", video=("h264",))
    conference, seats = engine.conference(), []
    browsers = [VideoBrowser(60, ("h264",)), VideoBrowser(200, ("h264",))]
    calls = (("one", Party("first", Kind.WEBRTC)), ("two", Party("second", Kind.WEBRTC)))
    try:
        for (call, party), browser in zip(calls, browsers, strict=True):
            await engine.offer(call, party, program, await browser.offer())
            await browser.take_answer(await engine.answer(call, program, party, SERVICE_DESCRIPTION))
            seats.append(conference.seat(engine.audio(call, "program"), call))
        await until(lambda: browsers[0].sees(200) and browsers[1].sees(60))
        rig.kill()
        await rig.lost("first", "second")
        assert [each.sees for each in seats] == [None, None]
        again = [VideoBrowser(60, ("h264",)), VideoBrowser(200, ("h264",))]
        browsers += again
        for (call, party), browser in zip(calls, again, strict=True):
            await engine.answer(
                call, party, None, await browser.answer(await engine.create_offer(call, party, program))
            )
        await until(lambda: again[0].sees(200) and again[1].sees(60))
        assert [each.sees for each in seats] == ["two", "one"]
    finally:
        for each in browsers:
            await each.close()


async def test_text_is_offered_again(rig: Rig) -> None:
    """Two phones type to each other over other ports."""
    engine, fourth = rig.engine, Party("fourth", Kind.RTP)
    one, two = await TextPhone().open(), await TextPhone().open()
    try:
        two.take(await engine.offer("call", OTHER, fourth, one.sdp()))
        one.take(await engine.answer("call", fourth, OTHER, two.sdp()))
        one.type("before")
        await until(lambda: two.read == "before")
        rig.kill()
        await rig.lost("other", "fourth")
        for party, peer, phone in ((OTHER, fourth, one), (fourth, OTHER, two)):
            phone.take(await engine.create_offer("call", party, peer))
            await engine.answer("call", party, None, phone.sdp())
        await engine.join("call", "other", "fourth")
        one.type(" and after")
        two.type("yes")
        await until(lambda: (two.read, one.read) == ("before and after", "yes"))
    finally:
        await one.close()
        await two.close()


async def test_the_streams_of_a_phone_go_on_by_the_clock(rig: Rig) -> None:
    """Voice, picture and text: what comes by the next plane is not before what came by the one that is gone."""
    engine = rig.engine
    async with StreamPhone() as left, StreamPhone() as right:
        right.take(await engine.offer("call", LEFT, OTHER, left.sdp()))
        left.take(await engine.answer("call", OTHER, LEFT, right.sdp()))
        await hear_each_other(left, right, 1)
        for times in (2, 3):
            rig.kill()
            await rig.lost("left", "other")
            rig.wall_clock += 0.25
            await agree_anew(engine, {LEFT: left, OTHER: right})
            await hear_each_other(left, right, times)
        for phone in (left, right):
            assert steps(phone) == {kind: stepped(rate, 0.25, 0.5) for kind, rate in RATES.items()}


async def test_a_call_that_has_not_answered_yet_is_not_taken_up_as_if_it_had(rig: Rig) -> None:
    """The gateway dies as well before its offers are answered: who follows has to make them once more."""
    engine, fourth = rig.engine, Party("fourth", Kind.RTP)
    await engine.offer("call", OTHER, fourth, phone_sdp())
    await engine.answer("call", fourth, OTHER, phone_sdp(port=41002))
    rig.kill()
    await rig.lost("other", "fourth")
    await engine.create_offer("call", OTHER, fourth)
    await engine.answer("call", OTHER, None, phone_sdp())
    values = engine.values("call")
    assert values is not None
    with pytest.raises(MediaError) as raised:
        await engine.resume("next", values)
    assert raised.value.status == 481
    await engine.restore("next", values)
    assert await engine.create_offer("next", fourth, OTHER)


async def test_nobody_waits_for_the_calls_of_others(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next plane is there and calls take their time: none ends for it, others are asked and made meanwhile."""
    engine, fourth, go_on = rig.engine, Party("fourth", Kind.RTP), asyncio.Event()
    for number, call in enumerate(("slow", "last")):
        await engine.offer(call, OTHER, fourth, phone_sdp(port=41000 + 4 * number))
        told = await engine.answer(call, fourth, OTHER, phone_sdp(port=41002 + 4 * number))
    at_work = asyncio.Event()

    async def slowly(resources: Resources, session: Session) -> object:
        if session.call_id == "slow":
            at_work.set()
            await go_on.wait()
        return await renewed(resources, session)

    monkeypatch.setattr(plane_loss, "renewed", slowly)
    rig.kill()
    await asyncio.wait_for(at_work.wait(), 30)
    assert engine.plane_loss._patience is None
    async with asyncio.timeout(30):
        await engine.offer("new", OTHER, fourth, phone_sdp(port=41010))
        assert of_transport(await engine.create_offer("last", OTHER))[0] != of_transport(told)[0]
    await until(lambda: len([each for each in rig.events if isinstance(each, MediaLost)]) == 2)
    assert Counter(each.call_id for each in rig.events if isinstance(each, MediaLost)) == {"last": 2}
    go_on.set()
    await until(lambda: len([each for each in rig.events if isinstance(each, MediaLost)]) == 4)
    assert not [each for each in rig.events if isinstance(each, MediaFailed)]


async def test_a_plane_that_dies_while_calls_are_made_anew_ends_none(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are in the one after it."""
    engine, killed = rig.engine, asyncio.Event()
    await engine.offer("call", OTHER, Party("fourth", Kind.RTP), phone_sdp())

    async def killing(resources: Resources, session: Session) -> object:
        if not killed.is_set():
            killed.set()
            assert rig.plane.process_id is not None
            os.kill(rig.plane.process_id, signal.SIGKILL)
        return await renewed(resources, session)

    monkeypatch.setattr(plane_loss, "renewed", killing)
    rig.kill()
    await rig.lost("other", "fourth")
    assert killed.is_set()
    assert not [each for each in rig.events if isinstance(each, MediaFailed)]


async def test_what_was_opened_in_a_plane_that_has_died_is_not_taken(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """503, and its ports are given back; what was lost is still to be made anew, in the plane after it."""
    engine, resources = rig.engine, rig.engine._resources
    assert resources is not None
    await engine.offer("call", OTHER, Party("fourth", Kind.RTP), phone_sdp())
    session = engine._session("call")
    before = session.parties
    session.lose()

    async def too_late(parties: Sequence[PartyMedia]) -> None:
        await opened(parties)
        session.lose()

    with monkeypatch.context() as patched:
        patched.setattr(resuming, "opened", too_late)
        with pytest.raises(MediaError) as raised:
            await renewed(resources, session)
    assert raised.value.status == 503
    assert session.parties == before
    assert engine.ports_in_use == 0
    assert len(await renewed(resources, session)) == len(before)
    assert not session.lost


async def test_what_is_asked_while_there_is_no_plane_waits_for_the_next(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is told of ports that are gone; a call that is deleted meanwhile leaves none."""
    engine, may_start, connect = rig.engine, asyncio.Event(), PlaneProcess.connect

    async def later(process: PlaneProcess) -> tuple[socket.socket, bool]:
        await may_start.wait()
        return await connect(process)

    monkeypatch.setattr(PlaneProcess, "connect", later)
    for call in ("call", "short"):
        await engine.offer(call, OTHER, Party("fourth", Kind.RTP), phone_sdp())
        told = await engine.answer(call, Party("fourth", Kind.RTP), OTHER, phone_sdp(port=41002))
    rig.kill()
    await until(lambda: not rig.engine.plane_loss._is_over.is_set())
    asked = asyncio.ensure_future(engine.create_offer("call", OTHER))
    with pytest.raises(MediaError) as raised:
        await engine.send_dtmf("call", "other", "1")
    assert raised.value.status == 503
    await engine.delete("short")
    may_start.set()
    assert of_transport(await asked)[0] != of_transport(told)[0]
    assert engine.ports_in_use == 2


async def test_calls_end_where_no_other_plane_comes(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while; what is asked then is refused."""
    monkeypatch.setattr(plane_loss, "LONGEST_WITHOUT", 0.2)
    engine = rig.engine
    await engine.offer("call", OTHER, Party("fourth", Kind.RTP), phone_sdp())
    rig.plane._process.program = Path("/nowhere/gateway-plane")
    rig.kill()
    await until(lambda: {each.tag for each in rig.events if isinstance(each, MediaFailed)} == {"other", "fourth"})
    with pytest.raises(MediaError) as raised:
        await engine.create_offer("call", OTHER)
    assert raised.value.status == 503
    await engine.delete("call")
    assert (engine.sessions, engine.ports_in_use) == (0, 0)


async def test_a_plane_that_lives_on_behind_a_broken_connection_gives_its_ports_back(rig: Rig) -> None:
    """The browsers' port is bound again in the same process, which is still ours to wait for at the end."""
    engine = rig.engine
    await engine.offer("call", OTHER, Party("fourth", Kind.RTP), phone_sdp())
    child = rig.plane.process_id
    assert child is not None
    break_off(rig.plane)
    await rig.lost("other", "fourth")
    assert engine.port.addresses
    assert await engine.create_offer("call", OTHER)
    assert rig.plane.process_id == child
    os.kill(child, 0)


async def test_a_plane_behind_a_broken_connection_ends_with_its_gateway(rig: Rig) -> None:
    """It cannot be told to, and would hold its ports for `media.orphan_timeout`."""
    await rig.engine.offer("call", OTHER, Party("fourth", Kind.RTP), phone_sdp())
    child = rig.plane.process_id
    assert child is not None
    break_off(rig.plane)
    await until(lambda: rig.plane._link is None)
    async with asyncio.timeout(8):  # it ends by itself after ten
        await rig.engine.close()
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


async def test_a_connection_that_breaks_again_while_it_is_made_is_made_by_one(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls are offered again once, when there is a plane."""
    told: list[str] = []
    handler = rig.plane._handler
    assert handler is not None
    lost, restarted, clear = handler.lost, handler.restarted, rig.plane._clear

    def noted(name: str, tell: Callable[[], None]) -> None:
        told.append(name)
        tell()

    monkeypatch.setattr(handler, "lost", partial(noted, "lost", lost))
    monkeypatch.setattr(handler, "restarted", partial(noted, "restarted", restarted))

    async def breaks() -> None:
        monkeypatch.setattr(rig.plane, "_clear", clear)
        break_off(rig.plane)
        await clear()

    monkeypatch.setattr(rig.plane, "_clear", breaks)
    await rig.engine.offer("call", OTHER, Party("fourth", Kind.RTP), phone_sdp())
    break_off(rig.plane)
    await rig.lost("other", "fourth")
    assert told == ["lost", "restarted"]
    assert await rig.engine.create_offer("call", OTHER)


async def test_another_process_makes_the_call_anew_from_what_was_written_down(rig: Rig, tmp_path: Path) -> None:
    """Session and codecs as before, ports and keys of its own; joined as they were, once both have agreed."""
    engine = rig.engine
    secure = SecurePhone()
    await secure.open()
    try:
        told = await engine.offer("call", OTHER, PHONE, phone_sdp())
        await engine.answer("call", PHONE, OTHER, secure.describe())
        values = engine.values("call")
        assert values is not None
        assert "inline:" not in str(values)
        (tmp_path / "next").mkdir()
        following = Rig(tmp_path / "next")
        await following.engine.start()
        try:
            with pytest.raises(MediaError):
                await following.engine.resume("call", values)
            await following.engine.restore("call", values)
            again = following.engine.values("call")
            assert again is not None
            assert [each["agreed"] for each in again["parties"]]
            offered = await following.engine.create_offer("call", PHONE, OTHER)
            assert origin_of(told).session_id == origin_of(offered).session_id
            assert set(of_transport(told)[4:]).isdisjoint(of_transport(offered)[4:])
            await following.engine.join("call", "other", "phone")
            await following.lost("other", "phone")
            await following.engine.answer("call", PHONE, None, secure.describe())
            await following.engine.create_offer("call", OTHER, PHONE)
            await following.engine.answer("call", OTHER, None, phone_sdp())
            await following.engine.join("call", "other", "phone")
            damaged = {"parties": [{**values["parties"][0], "agreed": ["v=1", "", "offerer"]}], "joined": []}
            with pytest.raises(MediaError):
                await following.engine.restore("damaged", damaged)
            assert following.engine.ports_in_use == 2
        finally:
            await following.engine.close()
    finally:
        await secure.close()


async def test_phones_whose_media_has_moved_are_sent_silence_without_a_gap(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From its start until both were heard: they take who sends them more for their peer, as the plane of before."""
    (tmp_path / "next").mkdir()
    following = Rig(tmp_path / "next")
    intervals: dict[int, float] = {}
    set_silence = NativePlane.set_silence

    def noted(plane: NativePlane, flow: int, silence: Silence | None) -> None:
        if plane is following.plane and silence is not None:
            intervals[flow] = silence.interval
        set_silence(plane, flow, silence)

    monkeypatch.setattr(NativePlane, "set_silence", noted)
    left, right = await Phone().open(), await Phone().open()
    try:
        await rig.engine.offer("call", LEFT, OTHER, left.sdp())
        await rig.engine.answer("call", OTHER, LEFT, right.sdp())
        values = rig.engine.values("call")
        assert values is not None
        await following.engine.start()
        await following.engine.restore("call", values)
        for party, peer, phone in ((LEFT, OTHER, left), (OTHER, LEFT, right)):
            phone.take(await following.engine.create_offer("call", party, peer))
            await following.engine.answer("call", party, None, phone.sdp())
        await following.engine.join("call", LEFT.tag, OTHER.tag)
        await until(lambda: min(len(left.packets), len(right.packets)) >= 10)
        assert set(intervals.values()) == {0.02}
        left.play(800.0)
        await until(lambda: abs(frequency_of(*right.heard("pcmu")) - 800.0) < 8)
        assert set(intervals.values()) == {0.02}
        right.play(1200.0)
        await until(lambda: set(intervals.values()) == {config().silence_interval})
        await until(lambda: abs(frequency_of(*left.heard("pcmu")) - 1200.0) < 8)
    finally:
        await following.engine.close()
        await left.close()
        await right.close()
