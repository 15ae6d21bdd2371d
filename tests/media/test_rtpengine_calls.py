"""Whole calls through a real rtpengine: aiortc as the browser, UDP sockets as the phones, tones found by frequency."""

from __future__ import annotations

import os
import re
import time

import pytest

from gateway.media.engine import Connected, FirstMedia, Kind, MediaError, MediaFailed, MediaTimeout, Party
from gateway.media.rtpengine.call import Patience
from gateway.media.rtpengine.client import NgHost
from gateway.media.rtpengine.engine import RtpengineEngine
from gateway.media.rtpengine.profiles import Policy
from gateway.media.rtpengine.watch import Rhythm
from sdp import SessionDescription, read_codecs
from tests.media import rtpengine_support
from tests.media.engine_support import MAPS, Browser, Phone, frequency_of, phone_sdp, until
from tests.media.rtpengine_support import running
from tests.rows import by_row

pytestmark = pytest.mark.wall

BROWSER = Party("browser", Kind.WEBRTC)
PHONE = Party("phone", Kind.RTP, private_source="127.0.0.1")
OTHER = Party("other", Kind.RTP, private_source="127.0.0.1")
TOLERANCE = 8.0


def near(value: float, wanted: float) -> bool:
    return abs(value - wanted) <= TOLERANCE


def numbers(offer: str) -> dict[str, int]:
    """Payload types by rtpmap in lower case."""
    codecs = read_codecs(SessionDescription.parse(offer).media[0])
    return {codec.rtpmap.lower(): codec.payload_type for codec in codecs if codec.payload_type is not None}


def answer_of(phone: Phone, offer: str) -> str:
    """The phone's answer under the payload types it was offered, as RFC 3264 section 6.1 wishes."""
    text, offered = phone.sdp(), numbers(offer)
    for name in phone.codecs:
        number, rtpmap = MAPS[name].split()
        wanted = offered[rtpmap.lower()]
        text = re.sub(rf"(m=audio.*|a=rtpmap:)\b{number}\b", rf"\g<1>{wanted}", text)
    return text


def heard_by(phone: Phone, codec: str, offer: str) -> float:
    """Hz of what the phone heard last."""
    return frequency_of(*phone.heard(codec, numbers(offer)[MAPS[codec].split()[1].lower()]))


@by_row(
    ("browser_codecs", "phone_codecs", "transcoding"),
    [
        (("pcmu",), ("pcmu",), False),
        (("opus",), ("opus",), False),
        (("opus",), ("pcmu",), True),
        (("opus",), ("pcma",), True),
        (("opus",), ("g722",), True),
    ],
)
async def test_a_browser_calls_a_phone_and_both_hear_each_other(
    browser_codecs: tuple[str, ...], phone_codecs: tuple[str, ...], transcoding: bool
) -> None:
    """The tone of each side is found at the other by its frequency; a common codec is not transcoded."""
    codec = phone_codecs[0]
    policy = Policy(telephone_event=False)
    config = rtpengine_support.config(rtpengine_support.shared().address, policy=policy)
    async with running(config) as (engine, events):
        browser, phone = Browser(600.0, browser_codecs), await Phone(phone_codecs).open()
        try:
            offer = await engine.offer("call", BROWSER, PHONE, await browser.offer())
            phone.take(offer)
            phone.play(1000.0, codec)
            await browser.take_answer(await engine.answer("call", PHONE, BROWSER, answer_of(phone, offer)))
            await until(lambda: near(browser.heard(), 1000.0))
            await until(lambda: near(heard_by(phone, codec, offer), 600.0))
            await until(lambda: len(events) >= 4)
            statistics = await engine.delete("call")
        finally:
            await browser.close()
            await phone.close()
    assert statistics.transcoding is transcoding
    for tag in ("browser", "phone"):
        party = statistics.parties[tag]
        assert party.received.packets > 10
        assert party.sent.packets > 10
        assert party.connected_after_ms is not None
        assert {Connected("call", tag), FirstMedia("call", tag)} <= set(events)
    assert statistics.parties["phone"].received.codec == codec
    assert statistics.parties["browser"].received.codec == browser_codecs[0]


async def test_a_phone_calls_a_browser() -> None:
    """rtpengine offers to the browser and is the passive side of DTLS."""
    async with running() as (engine, _):
        browser, phone = Browser(700.0), await Phone(("pcma",)).open()
        try:
            offer = await engine.offer("call", PHONE, BROWSER, phone.sdp())
            phone.take(await engine.answer("call", BROWSER, PHONE, await browser.answer(offer)))
            phone.play(900.0, "pcma")
            await until(lambda: near(browser.heard(), 900.0))
            await until(lambda: near(frequency_of(*phone.heard("pcma")), 700.0))
        finally:
            await browser.close()
            await phone.close()


async def test_a_call_may_ring_in_two_places() -> None:
    """The one that answers has the call, the other never heard a word."""
    async with running() as (engine, _):
        browser, phone, other = Browser(600.0), await Phone(("pcmu",)).open(), await Phone(("pcma",), 77).open()
        try:
            text = await browser.offer()
            offers = [await engine.offer("call", BROWSER, party, text) for party in (PHONE, OTHER)]
            other.take(offers[1])
            other.play(1000.0, "pcma")
            await browser.take_answer(await engine.answer("call", OTHER, BROWSER, other.sdp()))
            await until(lambda: near(browser.heard(), 1000.0))
            await until(lambda: near(frequency_of(*other.heard("pcma")), 600.0))
            assert not phone.packets
        finally:
            for peer in (browser, phone, other):
                await peer.close()


async def test_a_digit_reaches_the_phone_as_telephone_event_and_the_audio_goes_on() -> None:
    """The daemon is made ready for it on the way; neither side has to be re-offered."""
    async with running() as (engine, _):
        browser, phone = Browser(600.0), await Phone(("pcmu", "event")).open()
        try:
            offer = await engine.offer("call", BROWSER, PHONE, await browser.offer())
            number = numbers(offer)["telephone-event/8000"]
            phone.take(offer)
            phone.play(1000.0)
            await browser.take_answer(await engine.answer("call", PHONE, BROWSER, answer_of(phone, offer)))
            await until(lambda: near(frequency_of(*phone.heard("pcmu")), 600.0))
            for digit in ("5", "#"):
                await engine.send_dtmf("call", "phone", digit, 160)
                event = "0123456789*#ABCD".index(digit)
                await until(lambda event=event: _ended(phone, number, event))
            count = len(phone.packets)
            await until(lambda: len(phone.packets) > count + 60)
            assert near(frequency_of(*phone.heard("pcmu")), 600.0)
            assert near(browser.heard(), 1000.0)
        finally:
            await browser.close()
            await phone.close()


def _ended(phone: Phone, number: int, event: int) -> bool:
    """Whether a packet said the end of that event (RFC 4733 section 2.3)."""
    payloads = [data[12:16] for data, _ in phone.packets if data[1] & 0x7F == number]
    return any(payload[0] == event and payload[1] & 0x80 for payload in payloads)


async def test_a_held_call_goes_on_where_it_was() -> None:
    """Hold and resume by the phone: the same ports, and the tone again."""
    async with running() as (engine, _):
        browser, phone = Browser(600.0), await Phone(("pcma",)).open()
        try:
            offer = await engine.offer("call", PHONE, BROWSER, phone.sdp())
            browser_answer = await browser.answer(offer)
            first = await engine.answer("call", BROWSER, PHONE, browser_answer)
            phone.take(first)
            phone.play(900.0, "pcma")
            await until(lambda: near(browser.heard(), 900.0))
            for direction, mirrored in (("sendonly", "recvonly"), ("sendrecv", "sendrecv")):
                await engine.offer("call", PHONE, BROWSER, phone.sdp(direction=direction))
                text = browser_answer.replace("a=sendrecv", f"a={mirrored}")
                again = SessionDescription.parse(await engine.answer("call", BROWSER, PHONE, text))
                assert again.media[0].port == SessionDescription.parse(first).media[0].port
                assert again.direction_of(again.media[0]) == mirrored
            browser.frames.clear()
            await until(lambda: near(browser.heard(), 900.0))
        finally:
            await browser.close()
            await phone.close()


async def test_a_hold_is_answered_for_a_browser_that_cannot_be_asked() -> None:
    """From what the browser last said, in the offer's direction; ports stay, resuming brings the tone back."""
    async with running() as (engine, _):
        browser, phone = Browser(600.0, ("pcmu",)), await Phone(("pcmu",)).open()
        try:
            phone.take(await engine.offer("call", BROWSER, PHONE, await browser.offer()))
            phone.play(900.0)
            await browser.take_answer(await engine.answer("call", PHONE, BROWSER, phone.sdp()))
            await until(lambda: near(browser.heard(), 900.0))
            for direction, mirrored in (("sendonly", "recvonly"), ("inactive", "inactive"), ("sendrecv", "sendrecv")):
                await engine.offer("call", PHONE, BROWSER, phone.sdp(direction=direction))
                answer = SessionDescription.parse(await engine.accept("call", PHONE))
                assert answer.direction_of(answer.media[0]) == mirrored
                assert phone.remote[1] == answer.media[0].port
            browser.frames.clear()
            phone.packets.clear()
            await until(lambda: near(browser.heard(), 900.0))
            await until(lambda: near(frequency_of(*phone.heard("pcmu")), 600.0))
        finally:
            await browser.close()
            await phone.close()


@pytest.mark.parametrize("change", ["hold", "digit"])
async def test_a_browser_hears_on_after_a_change_once_sequence_numbers_have_begun_again(change: str) -> None:
    """The roll-over counter of SRTP is kept (RFC 3711 section 3.3.1): the phone's numbers begin at 65500."""
    async with running() as (engine, _):
        browser, phone = Browser(600.0, ("pcmu",)), await Phone(("pcmu", "event")).open()
        try:
            phone.take(await engine.offer("call", BROWSER, PHONE, await browser.offer()))
            phone.play(1000.0)
            await browser.take_answer(await engine.answer("call", PHONE, BROWSER, phone.sdp()))
            await until(lambda: near(browser.heard(), 1000.0) and phone.sequence_number < 30_000)
            count = len(browser.frames)
            await until(lambda: len(browser.frames) > count + 20)
            if change == "hold":
                for direction in ("sendonly", "sendrecv"):
                    await engine.offer("call", PHONE, BROWSER, phone.sdp(direction=direction))
                    await engine.accept("call", PHONE)
            else:
                await engine.send_dtmf("call", "phone", "5")
            browser.frames.clear()
            await until(lambda: near(browser.heard(), 1000.0), 8)
        finally:
            await browser.close()
            await phone.close()


async def test_an_offer_may_be_answered_early_and_again() -> None:
    """183 and 200 carry the same description, and give the same answer."""
    async with running() as (engine, _):
        await engine.offer("call", PHONE, OTHER, phone_sdp())
        early = await engine.answer("call", OTHER, PHONE, phone_sdp(port=42000))
        assert await engine.answer("call", OTHER, PHONE, phone_sdp(port=42000)) == early


async def test_a_silent_phone_and_a_browser_that_never_connects_are_told() -> None:
    """Once each: MediaTimeout for the phone that stopped, MediaFailed for the browser."""
    patience = Patience(setup=0.6, media=0.5)
    config = rtpengine_support.config(
        rtpengine_support.shared().address, patience=patience, rhythm=Rhythm(soon=0.1, steady=0.1)
    )
    async with running(config) as (engine, events):
        browser, phone = Browser(600.0, ("pcmu",)), await Phone(("pcmu",)).open()
        try:
            phone.take(await engine.offer("call", BROWSER, PHONE, await browser.offer()))
            await engine.answer("call", PHONE, BROWSER, phone.sdp())
            phone.send(bytes(160), 0)
            await until(lambda: {type(event) for event in events} >= {Connected, MediaTimeout, MediaFailed})
            phone.send(bytes(160), 0)
            await until(lambda: len([event for event in events if isinstance(event, MediaTimeout)]) == 2)
        finally:
            await browser.close()
            await phone.close()
    assert [event.tag for event in events if isinstance(event, MediaFailed)] == ["browser"]
    assert {event.tag for event in events if isinstance(event, MediaTimeout)} == {"phone"}


async def test_a_call_the_daemon_has_forgotten_is_told_and_is_481() -> None:
    """As after a restart of the daemon; here somebody else deletes it."""
    address = rtpengine_support.shared().address
    config = rtpengine_support.config(address, rhythm=Rhythm(soon=0.1, steady=0.1))
    async with running(config) as (engine, events):
        await engine.offer("call", PHONE, OTHER, phone_sdp())
        await engine.answer("call", OTHER, PHONE, phone_sdp(port=42000))
        stranger = NgHost(address, config.client, time.monotonic, os.urandom)
        await stranger.open()
        await stranger.ask({"command": "delete", "call-id": "call", "delete delay": 0})
        stranger.close()
        await until(lambda: MediaFailed in {type(event) for event in events})
        with pytest.raises(MediaError) as raised:
            await engine.query("call")
    assert raised.value.status == 481
    assert [type(event) for event in events] == [MediaFailed]


async def test_a_deleted_call_gives_its_ports_back_at_once() -> None:
    """More calls one after the other than the daemon has ports for at a time."""
    async with running() as (engine, _):
        for number in range(150):
            await engine.offer(f"call{number}", PHONE, OTHER, phone_sdp())
            await engine.delete(f"call{number}")
        assert engine.sessions == 0


async def _offered(engine: RtpengineEngine, call_id: str) -> int | None:
    """The status of the refusal, None for none."""
    try:
        await engine.offer(call_id, PHONE, OTHER, phone_sdp())
    except MediaError as error:
        return error.status
    return None


async def test_a_daemon_without_ports_left_refuses_with_503() -> None:
    """And takes calls again when others have ended."""
    async with running() as (engine, _):
        outcomes = [await _offered(engine, f"call{number}") for number in range(120)]
        assert outcomes[0] is None
        assert outcomes[-1] == 503
        for number in range(120):
            await engine.delete(f"call{number}")
        assert await engine.offer("call", PHONE, OTHER, phone_sdp())
