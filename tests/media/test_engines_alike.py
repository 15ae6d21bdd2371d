"""What both media engines carry, by what is heard and seen at each end: pictures, transfers, parties without a peer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from gateway.media.embedded.engine import EmbeddedEngine
from gateway.media.engine import KeyFrameWanted, Kind, MediaEngine, MediaError, MediaEvent, OfferWanted, Party
from gateway.media.rtpengine.engine import RtpengineEngine
from sdp import SessionDescription
from tests.media import rtpengine_support
from tests.media.engine_support import Browser, Phone, audio_of, config, frequency_of, until
from tests.media.video_support import VideoBrowser, VideoPhone
from tests.virtual import outside

BROWSER = Party("browser", Kind.WEBRTC)
DARK, LIGHT = 60, 200
NEAR = 8.0
"""Hz."""
CODECS = {"phone": "pcmu", "second": "pcmu", "third": "pcma"}
TONES = {"phone": 1000.0, "second": 1400.0, "third": 1800.0, "browser": 600.0}


def party(name: str) -> Party:
    return BROWSER if name == "browser" else Party(name, Kind.RTP, private_source="127.0.0.1")


class Stage:
    """An engine, who talks through it, and what the calls do where it wants somebody to be offered something."""

    def __init__(self, engine: MediaEngine) -> None:
        self.engine = engine
        self.events: list[MediaEvent] = []
        self.peers: dict[str, Any] = {}
        self.answered = 0
        """Offers that the engine wanted and that were answered."""
        self._offering: set[asyncio.Task[None]] = set()
        engine.subscribe(self._hear)

    def _hear(self, event: MediaEvent) -> None:
        self.events.append(event)
        if isinstance(event, OfferWanted):
            task = asyncio.ensure_future(self.offer_again(event.call_id, event.tag))
            self._offering.add(task)

    async def offer_again(self, call: str, name: str) -> None:
        peer = self.peers[name]
        offer = await self.engine.create_offer(call, party(name))
        if isinstance(peer, Browser):
            answer = await peer.answer(offer)
        else:
            peer.take(offer)
            answer = phone_answer(peer, offer)
        await self.engine.answer(call, party(name), None, answer)
        self.answered += 1

    async def phone(self, name: str) -> Phone:
        phone = await Phone((CODECS[name],), ssrc=len(self.peers) + 1).open()
        self.peers[name] = phone
        return phone

    async def call(self, call: str, caller: str, callee: str) -> None:
        """One calls the other, and each hears the other's tone."""
        for name in (caller, callee):
            if name not in self.peers:
                await self.phone(name)
        one, other = self.peers[caller], self.peers[callee]
        offer = await self.engine.offer(call, party(caller), party(callee), one.sdp())
        other.take(offer)
        one.take(await self.engine.answer(call, party(callee), party(caller), phone_answer(other, offer)))
        self.play(caller, callee)
        await self.hear_each_other(caller, callee)

    def play(self, *names: str) -> None:
        for name in names:
            self.peers[name].play(TONES[name], CODECS[name])

    async def hear_each_other(self, one: str, other: str) -> None:
        for name in (one, other):
            self.peers[name].packets.clear()
        await until(lambda: self.hears(one) == other and self.hears(other) == one)

    def hears(self, name: str) -> str | None:
        """Whose tone comes last at a phone."""
        peer = self.peers[name]
        heard = frequency_of(*peer.heard(CODECS[name], peer.numbers[CODECS[name]]))
        return next((who for who, hz in TONES.items() if abs(hz - heard) <= NEAR), None)

    async def close(self) -> None:
        for task in self._offering:
            await task
        for peer in self.peers.values():
            await peer.close()


def phone_answer(phone: Phone, offer: str) -> str:
    """A phone's answer; its codecs have the same numbers in every offer (RFC 3551)."""
    text = phone.sdp()
    assert {line.split()[0] for line in audio_of(text)[2]} <= set(audio_of(offer)[2])
    return text


@pytest_asyncio.fixture(params=["embedded", outside("rtpengine")])
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    engine: MediaEngine
    if request.param == "embedded":
        engine = EmbeddedEngine(config())
    else:
        engine = RtpengineEngine(rtpengine_support.config(rtpengine_support.shared().address))
    await engine.start()
    made = Stage(engine)
    try:
        yield made
    finally:
        await made.close()
        await engine.close()


async def test_a_browser_and_a_phone_see_each_other(stage: Stage) -> None:
    """H.264, forwarded; whole pictures are asked for by RTCP, or by signalling where the engine can."""
    browser, phone = VideoBrowser(DARK, ("h264",)), await VideoPhone(LIGHT).open()
    stage.peers |= {"browser": browser, "phone": phone}
    stage.engine.subscribe(lambda event: phone.key_frame() if isinstance(event, KeyFrameWanted) else None)
    phone.take(await stage.engine.offer("call", BROWSER, party("phone"), await browser.offer()))
    answer = await stage.engine.answer("call", party("phone"), BROWSER, phone.sdp())
    phone.show()
    await browser.take_answer(answer)
    await until(lambda: browser.peer.connectionState == "connected")
    phone.key_frame()
    await until(lambda: browser.sees(LIGHT))
    await until(lambda: phone.sees(DARK))


async def test_a_phone_with_a_screen_calls_a_browser(stage: Stage) -> None:
    """The offer comes from plain RTP; the browser may ask for whole pictures."""
    browser, phone = VideoBrowser(DARK, ("h264",)), await VideoPhone(LIGHT).open()
    stage.peers |= {"browser": browser, "phone": phone}
    offer = await stage.engine.offer("call", party("phone"), BROWSER, phone.sdp())
    assert "nack pli" in offer
    assert "ccm fir" in offer
    phone.take(await stage.engine.answer("call", BROWSER, party("phone"), await browser.answer(offer)))
    await until(lambda: browser.peer.connectionState == "connected")
    phone.show()
    await until(lambda: phone.sees(DARK))
    phone.key_frame()
    await until(lambda: browser.sees(LIGHT))


async def test_a_phone_that_takes_the_voice_alone_leaves_the_call(stage: Stage) -> None:
    """Its refusal of the picture reaches the browser, section for section."""
    browser, phone = VideoBrowser(DARK, ("h264",)), await VideoPhone(LIGHT).open()
    stage.peers |= {"browser": browser, "phone": phone}
    await stage.engine.offer("call", BROWSER, party("phone"), await browser.offer())
    answer = await stage.engine.answer("call", party("phone"), BROWSER, phone.sdp(video=False))
    voice, picture = SessionDescription.parse(answer).media
    assert voice.port
    assert not picture.port


async def test_a_call_is_passed_on_to_somebody_with_another_codec(stage: Stage) -> None:
    """Blind: the two talk while the third rings; then who stays hears the third, and who has passed on nobody."""
    await stage.call("call", "phone", "second")
    third = await stage.phone("third")
    offer = await stage.engine.create_offer("call", party("third"), party("phone"))
    await stage.hear_each_other("phone", "second")
    third.take(offer)
    assert await stage.engine.answer("call", party("third"), None, phone_answer(third, offer)) == ""
    await stage.engine.join("call", "phone", "third")
    await stage.engine.release("call", "second")
    stage.play("third")
    stage.peers["phone"].codecs = CODECS["phone"], CODECS["third"]
    await until(lambda: stage.hears("third") == "phone")
    await until(lambda: _heard_in_any(stage, "phone") == "third")
    second = stage.peers["second"]
    second.packets.clear()
    count = len(third.packets)
    await until(lambda: len(third.packets) > count + 25)
    assert not second.packets


def _heard_in_any(stage: Stage, name: str) -> str | None:
    """Whose tone a phone hears, in whichever of its codecs it comes."""
    phone = stage.peers[name]
    recent = [number for number in (0, 8) if any(data[1] & 0x7F == number for data, _ in phone.packets[-10:])]
    codecs = {0: "pcmu", 8: "pcma"}
    heard = [frequency_of(*phone.heard(codecs[number], number)) for number in recent]
    return next((who for who, hz in TONES.items() if any(abs(hz - each) <= NEAR for each in heard)), None)


async def test_a_call_that_nobody_takes_over_goes_on(stage: Stage) -> None:
    """The third refuses; both still hear each other, and the next that is asked may come."""
    await stage.call("call", "phone", "second")
    await stage.engine.create_offer("call", party("third"), party("phone"))
    await stage.engine.release("call", "third")
    await stage.hear_each_other("phone", "second")


async def test_who_was_consulted_comes_in_the_place_of_who_asked(stage: Stage) -> None:
    """Attended: a party of one call moves to another; an engine that gives it other ports there wants it offered."""
    await stage.call("call", "phone", "second")
    stage.peers["asking"] = asking = await Phone(("pcma",), ssrc=77).open()
    await stage.phone("third")
    offer = await stage.engine.offer("other", party("asking"), party("third"), asking.sdp())
    third = stage.peers["third"]
    third.take(offer)
    await stage.engine.answer("other", party("third"), party("asking"), phone_answer(third, offer))
    await stage.engine.adopt("call", "other", "third")
    await stage.engine.join("call", "phone", "third")
    await stage.engine.release("call", "second")
    await stage.engine.delete("other")
    await stage.engine.join("call", "phone", "third")
    if isinstance(stage.engine, RtpengineEngine):
        await until(lambda: stage.answered >= 1)
    stage.play("third")
    stage.peers["phone"].codecs = CODECS["phone"], CODECS["third"]
    await until(lambda: stage.hears("third") == "phone")
    await until(lambda: _heard_in_any(stage, "phone") == "third")


async def test_who_is_alone_hears_nobody_until_its_peer_is_back(stage: Stage) -> None:
    """Isolated, the other side's words go nowhere; joined again all is as before."""
    await stage.call("call", "phone", "second")
    await stage.engine.isolate("call", "second")
    phone = stage.peers["phone"]
    phone.packets.clear()
    with contextlib.suppress(TimeoutError):
        await until(lambda: len(phone.packets) > 30, 0.8)
    assert stage.hears("phone") is None
    await stage.engine.join("call", "phone", "second")
    await stage.hear_each_other("phone", "second")


async def test_a_call_of_no_offer_at_all_is_refused_or_made(stage: Stage) -> None:
    """rtpengine has no words of its own: 501, and nothing remains."""
    if isinstance(stage.engine, EmbeddedEngine):
        assert await stage.engine.create_offer("new", party("phone"))
        return
    with pytest.raises(MediaError) as raised:
        await stage.engine.create_offer("new", party("phone"))
    assert raised.value.status == 501
    assert not (await stage.engine.delete("new")).parties


@pytest.mark.parametrize(
    ("offered", "answered", "narrow"),
    [
        ("sendrecv", "sendrecv", set()),
        ("recvonly", "sendonly", {"second"}),
        ("sendonly", "recvonly", {"second"}),
        ("inactive", "inactive", {"second"}),
        ("sendrecv", "sendonly", {"phone"}),
        ("sendrecv", "inactive", {"phone"}),
    ],
)
async def test_a_party_is_narrow_that_was_given_less_than_it_asked_for(
    stage: Stage, offered: str, answered: str, narrow: set[str]
) -> None:
    """Its peer holds, or takes no part in one direction; who asks for less itself is not."""
    one, other = await stage.phone("phone"), await stage.phone("second")
    offer = await stage.engine.offer("call", party("phone"), party("second"), one.sdp(direction=offered))
    assert f"a={offered}" in offer or offered == "sendrecv"
    await stage.engine.answer("call", party("second"), party("phone"), other.sdp(direction=answered))
    assert {name for name in ("phone", "second") if stage.engine.narrows("call", name)} == narrow
    assert not stage.engine.narrows("call", "nobody")
    assert not stage.engine.narrows("no call", "phone")
