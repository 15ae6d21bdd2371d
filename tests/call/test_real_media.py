"""Calls on the real media engine: tones of a browser and phones, found by frequency at the other end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest_asyncio
from aiortc import RTCSessionDescription
from numpy.typing import NDArray

from gateway.call.branches import Branch
from gateway.call.call import Call
from gateway.call.description import audio_codecs
from gateway.call.leg import Answered, Away, Confirmed, OfferAnswered, Offered, Returned
from gateway.call.record import CallSettings
from gateway.call.state import State
from gateway.call.status import Cause
from gateway.media.embedded.audio.codecs import make_decoder
from gateway.media.embedded.engine import EmbeddedEngine
from gateway.media.embedded.plane.packet import RtpPacket
from gateway.media.engine import Kind
from gateway.testing.leg import FakeLeg
from tests.media.engine_support import Browser, Phone, config, frequency_of, handlers, running, until

HIGH, LOW = 700.0, 400.0
"""Hz: what callers hum, and what callees do."""


class Stage:
    """One call of fake legs over the real engine; the peers behind the legs are real."""

    def __init__(self, engine: EmbeddedEngine, caller: Kind, callee: Kind, offer: str | None) -> None:
        service = "tone" if callee is Kind.SERVICE else None
        self.caller, self.callee = FakeLeg("caller", caller), FakeLeg("callee", callee, service=service)
        self.call = Call(
            "c1",
            self.caller,
            Branch([self.callee]),
            offer,
            dialled="callee",
            engine=engine,
            timers=asyncio.get_running_loop(),
            settings=CallSettings(reattach_time=5.0),
        )
        engine.subscribe(self.call.media_event)
        self.call.start()

    async def reaches(self, state: State) -> None:
        await until(lambda: self.call.state is state)

    async def told(self, leg: FakeLeg, verb: str) -> str:
        """The description the call gave `leg` last by that verb."""
        await until(lambda: verb in leg.verbs)
        sdp = [value for what, value in leg.told if what == verb][-1]
        assert isinstance(sdp, str)
        return sdp

    async def over(self) -> None:
        self.call.stop()
        await self.call.finished()


def latest(phone: Phone, packets: int) -> NDArray[np.int16]:
    """The audio of the last packets that came, at 8 kHz."""
    decoder = make_decoder("pcmu")
    parsed = [RtpPacket.parse(data) for data, _ in phone.packets[-packets:]]
    parts = [decoder.decode(each.payload) for each in parsed if each.payload_type == 0]
    return np.concatenate(parts) if parts else np.zeros(0, np.int16)


def hears(phone: Phone, frequency: float) -> bool:
    """Whether the last second that came is that tone."""
    pcm = latest(phone, 50)
    return len(pcm) >= 8000 and abs(frequency_of(pcm, 8000) - frequency) < 15


def level(phone: Phone) -> float:
    """Loudness of the last five packets, 0 to 1."""
    pcm = latest(phone, 5)
    return float(np.abs(pcm.astype(float)).mean()) / 32768 if len(pcm) else 1.0


@pytest_asyncio.fixture
async def engine() -> AsyncIterator[EmbeddedEngine]:
    async with running(config(silence_after=0.1, silence_interval=0.02)) as (engine, _):
        yield engine
        assert engine.sessions == 0
        assert engine.ports_in_use == 0


async def talking(engine: EmbeddedEngine, browser: Browser, phone: Phone) -> Stage:
    """The browser has called the phone, and both hear each other."""
    stage = Stage(engine, Kind.WEBRTC, Kind.RTP, await browser.offer())
    await browser.take_answer(await stage.told(stage.caller, "early_answer"))
    phone.take(await stage.told(stage.callee, "invite"))
    stage.callee.says(Answered(phone.sdp()))
    await stage.reaches(State.CONNECTED)
    phone.play(LOW)
    await until(lambda: hears(phone, HIGH) and abs(browser.heard() - LOW) < 15)
    return stage


async def test_a_reloaded_page_takes_its_call_back_and_the_phone_heard_silence(engine: EmbeddedEngine) -> None:
    """While its client is away the phone goes on getting packets, of silence; a new connection brings the tone back."""
    browser, again = Browser(HIGH, ["pcmu"]), Browser(HIGH, ["pcmu"])
    phone = await Phone(["pcmu"]).open()
    try:
        stage = await talking(engine, browser, phone)
        stage.caller.says(Away())
        await stage.reaches(State.AWAY)
        await browser.close()
        await until(lambda: level(phone) < 0.01)
        before = len(phone.packets)
        await until(lambda: len(phone.packets) > before + 20)
        assert level(phone) < 0.01
        stage.caller.says(Returned(1, await again.offer()))
        await until(lambda: 1 in stage.caller.replies)
        await again.take_answer(str(stage.caller.replies[1]))
        await stage.reaches(State.CONNECTED)
        await until(lambda: hears(phone, HIGH) and abs(again.heard() - LOW) < 15)
        assert "offer" not in stage.callee.verbs
        await stage.over()
    finally:
        await asyncio.gather(browser.close(), again.close(), phone.close())


async def test_a_page_that_lost_its_socket_only_goes_on_where_it_was(engine: EmbeddedEngine) -> None:
    """No offer is needed: its media stood."""
    browser = Browser(HIGH, ["pcmu"])
    phone = await Phone(["pcmu"]).open()
    try:
        stage = await talking(engine, browser, phone)
        stage.caller.says(Away())
        await until(lambda: level(phone) < 0.01)
        stage.caller.says(Returned())
        await stage.reaches(State.CONNECTED)
        await until(lambda: hears(phone, HIGH))
        await stage.over()
    finally:
        await asyncio.gather(browser.close(), phone.close())


async def test_a_page_that_does_not_come_back_frees_the_phone(engine: EmbeddedEngine) -> None:
    """After the reattach time, with its reason."""
    browser = Browser(HIGH, ["pcmu"])
    phone = await Phone(["pcmu"]).open()
    try:
        stage = await talking(engine, browser, phone)
        stage.caller.says(Away())
        await browser.close()
        await stage.call.finished()
        assert stage.callee.told[-1] == ("end", Cause.LOST)
    finally:
        await asyncio.gather(browser.close(), phone.close())


async def test_a_phone_without_an_offer_reaches_a_phone(engine: EmbeddedEngine) -> None:
    """Two agreements of ours, joined when the caller's answer came."""
    caller, callee = await Phone(["pcmu"]).open(), await Phone(["pcmu"], ssrc=0x4321).open()
    try:
        stage = Stage(engine, Kind.RTP, Kind.RTP, None)
        callee.take(await stage.told(stage.callee, "invite"))
        stage.callee.says(Answered(callee.sdp()))
        caller.take(await stage.told(stage.caller, "answer"))
        stage.caller.says(Confirmed(0, caller.sdp()))
        await stage.reaches(State.CONNECTED)
        caller.play(HIGH)
        callee.play(LOW)
        await until(lambda: hears(callee, HIGH) and hears(caller, LOW))
        stage.caller.says(Offered(7, None))
        await until(lambda: 7 in stage.caller.replies)
        caller.take(str(stage.caller.replies[7]))
        stage.caller.says(Confirmed(7, caller.sdp()))
        await stage.reaches(State.CONNECTED)
        heard = len(caller.packets)
        await until(lambda: len(caller.packets) > heard + 10 and hears(callee, HIGH) and hears(caller, LOW))
        await stage.over()
    finally:
        await asyncio.gather(caller.close(), callee.close())


async def test_a_pbx_without_an_offer_reaches_a_browser(engine: EmbeddedEngine) -> None:
    """The browser gets an offer of the gateway's own, the PBX another in its 200."""
    browser = Browser(LOW, ["opus", "pcmu"])
    phone = await Phone(["pcmu"]).open()
    try:
        stage = Stage(engine, Kind.RTP, Kind.WEBRTC, None)
        stage.callee.says(Answered(await browser.answer(await stage.told(stage.callee, "invite"))))
        phone.take(await stage.told(stage.caller, "answer"))
        stage.caller.says(Confirmed(0, phone.sdp()))
        await stage.reaches(State.CONNECTED)
        phone.play(HIGH)
        await until(lambda: hears(phone, LOW) and abs(browser.heard() - HIGH) < 15)
        await stage.over()
    finally:
        await asyncio.gather(browser.close(), phone.close())


async def test_a_phone_without_an_offer_hears_a_service(engine: EmbeddedEngine) -> None:
    """A service takes the engine's own offer like anybody."""
    phone = await Phone(["pcmu"]).open()
    try:
        stage = Stage(engine, Kind.RTP, Kind.SERVICE, None)
        stage.callee.says(Answered(await stage.told(stage.callee, "invite")))
        phone.take(await stage.told(stage.caller, "answer"))
        stage.caller.says(Confirmed(0, phone.sdp()))
        await stage.reaches(State.CONNECTED)
        await until(lambda: hears(phone, 440.0))
        await stage.over()
    finally:
        await phone.close()


async def test_a_browser_is_offered_again_when_the_phone_chose_otherwise(engine: EmbeddedEngine) -> None:
    """Transcoded until the browser has answered; then its first codec is one that the phone takes."""
    browser = Browser(HIGH, ["opus", "pcmu"])
    phone = await Phone(["pcmu"]).open()
    try:
        stage = Stage(engine, Kind.WEBRTC, Kind.RTP, await browser.offer())
        await browser.take_answer(await stage.told(stage.caller, "early_answer"))
        phone.take(await stage.told(stage.callee, "invite"))
        stage.callee.says(Answered(phone.sdp()))
        offer = await stage.told(stage.caller, "offer")
        assert handlers(engine, "c1")["caller"] == 1, "transcoded until then"
        await browser.peer.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        await browser.peer.setLocalDescription(await browser.peer.createAnswer())
        stage.caller.says(OfferAnswered(stage.caller.exchanges[-1], browser.peer.localDescription.sdp))
        await stage.reaches(State.CONNECTED)
        assert audio_codecs(offer)[0] == "pcmu"
        phone.play(LOW)
        await until(lambda: hears(phone, HIGH) and abs(browser.heard() - LOW) < 15)
        await stage.over()
    finally:
        await asyncio.gather(browser.close(), phone.close())
