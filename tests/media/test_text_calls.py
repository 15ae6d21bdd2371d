"""Real-time text through the engine: a phone's T.140 (RFC 4103) and a browser's data channel (RFC 8865)."""

from __future__ import annotations

import json
import random
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from unittest.mock import MagicMock

import pytest

from gateway.media.embedded.data.sctp import ChannelKind
from gateway.media.embedded.data.t140 import MISSING
from gateway.media.embedded.data.text_channel import TextChannels
from gateway.media.embedded.describe import SERVICE_DESCRIPTION
from gateway.media.embedded.engine import EmbeddedEngine
from gateway.media.embedded.plane.packet import RtpPacket
from gateway.media.embedded.resuming import values_of
from gateway.media.embedded.settings import DataConfig, TextConfig
from gateway.media.engine import Kind, MediaError, Party, TextStatistics
from sdp import SessionDescription
from tests.media.data_support import Talker, opened
from tests.media.engine_support import config, phone_sdp, running, until
from tests.media.text_call_support import BROWSER, OTHER, PHONE, called, figures, typed
from tests.media.text_support import TextPhone
from tests.rows import by_row

ECHO = Party("echo", Kind.SERVICE, service="echo")
SECOND = Party("second", Kind.WEBRTC)
SENTENCE = "Grüße, 你好! \U0001f44b\r\n"


def sections(sdp: str) -> list[tuple[str, bool]]:
    """Kind of each section, and whether it is live."""
    return [(media.kind, media.port > 0) for media in SessionDescription.parse(sdp).media]


@asynccontextmanager
async def two_phones(one: TextPhone, other: TextPhone) -> AsyncIterator[tuple[EmbeddedEngine, str, str]]:
    """The second is called by the first; with the offer that it got, and the answer that the first got."""
    async with running() as (engine, _):
        await one.open()
        await other.open()
        try:
            offer = await engine.offer("call", PHONE, OTHER, one.sdp())
            other.take(offer)
            answer = await engine.answer("call", OTHER, PHONE, other.sdp())
            one.take(answer)
            yield engine, offer, answer
        finally:
            await one.close()
            await other.close()


async def test_a_browser_and_a_phone_type_to_each_other() -> None:
    """Any script, both ways; the engine's figures count characters."""
    async with called() as (engine, browser, phone):
        await until(lambda: browser.channels[0].readyState == "open")
        browser.channels[0].send("\ufeff" + SENTENCE)
        await until(lambda: phone.read == SENTENCE)
        assert phone.packets[0].marker == 1
        phone.type(SENTENCE)
        await until(lambda: typed(browser) == SENTENCE)
        assert [channel.label for channel in browser.channels] == ["typing"]
        assert await figures(engine, "phone") == TextStatistics(received=len(SENTENCE), sent=len(SENTENCE))
        assert await figures(engine, "browser") == TextStatistics(received=len(SENTENCE), sent=len(SENTENCE))
        await engine.delete("call")
        assert engine.ports_in_use == 0


async def test_a_browser_that_is_called_is_opened_a_channel() -> None:
    """In-band, with the protocol that says what it is; what was typed before waits for it."""
    async with running() as (engine, _):
        browser, phone = Talker(), await TextPhone().open()
        try:
            offer = await engine.offer("call", PHONE, BROWSER, phone.sdp())
            assert sections(offer) == [("audio", True), ("application", True)]
            answer = await engine.answer("call", BROWSER, PHONE, await browser.answer(offer))
            assert sections(answer) == [("audio", True), ("text", True)]
            phone.take(answer)
            await until(lambda: [channel.protocol for channel in browser.channels] == ["t140"])
            await opened(browser.channels[0])
            browser.channels[0].send("hi")
            await until(lambda: phone.read == "hi")
            phone.type("hello")
            await until(lambda: typed(browser) == "hello")
            assert len(browser.channels) == 1
        finally:
            await browser.close()
            await phone.close()


async def test_a_browser_that_has_other_channels_is_opened_one_for_text_once_it_offers_again() -> None:
    """It opened what it wanted at first; a page that asks for text later only makes an offer (`CallText.ask`)."""
    async with running() as (engine, _):
        browser, second, phone = Talker(), Talker(), await TextPhone().open()
        try:
            channel = browser.open("chat")
            offer = await engine.offer("call", BROWSER, SECOND, await browser.offer())
            await browser.take_answer(await engine.answer("call", SECOND, BROWSER, await second.answer(offer)))
            await opened(channel)
            await engine.create_offer("call", PHONE, BROWSER)
            await engine.answer("call", PHONE, None, phone.sdp(text=False))
            await engine.join("call", BROWSER.tag, PHONE.tag)
            await browser.peer.setLocalDescription(await browser.peer.createOffer())
            phone.take(await engine.offer("call", BROWSER, PHONE, browser.peer.localDescription.sdp))
            await browser.take_answer(await engine.answer("call", PHONE, BROWSER, phone.sdp()))
            await until(lambda: [channel.protocol for channel in browser.channels] == ["", "t140"])
            (await opened(browser.channels[1])).send("hi")
            await until(lambda: phone.read == "hi")
        finally:
            await browser.close()
            await second.close()
            await phone.close()


@by_row("loses", ["two of three", "a fifth"])
async def test_nothing_is_missing_while_one_packet_of_three_arrives(loses: str) -> None:
    """Two of three are lost by rule, or a fifth at random (never three in a row), each way."""
    dice = random.Random(8865)
    lost: list[int] = []

    def fifth(number: int) -> bool:
        if dice.random() < 0.2 and not {number - 1, number - 2} <= set(lost):
            lost.append(number)
            return True
        return False

    async with called(loses=fifth if loses == "a fifth" else lambda number: number % 3 != 0) as (_, browser, phone):
        await until(lambda: browser.channels[0].readyState == "open")
        phone.type("the quick brown fox jumps over")
        await until(lambda: typed(browser) == "the quick brown fox jumps over")
        for word in ("the ", "lazy ", "dog"):
            came = phone._came
            browser.channels[0].send(word)
            await until(lambda came=came: phone._came > came)
        await until(lambda: phone.read == "the lazy dog")
        assert phone.lost > 4


RUNS = {2, 4, 5, 8, 9, 10}
"""Packets that are lost: one, two in a row, and three, of which the redundancy of two generations makes up for two."""


async def test_what_is_lost_for_good_is_marked() -> None:
    """Once, and nothing else is missing, each way: the first of three packets in a row, of which the last two come."""
    async with called(loses=RUNS.__contains__) as (engine, browser, phone):
        await until(lambda: browser.channels[0].readyState == "open")
        phone.type("abcdefghijklm")
        await until(lambda: typed(browser) == f"abcdefg{MISSING}ijklm")
        text = await figures(engine, "phone")
        assert text is not None
        assert text.missing == 1
        for character in "abcdefghijklm":
            came = phone._came
            browser.channels[0].send(character)
            await until(lambda came=came: phone._came > came)
        sent = phone.typed_here
        await until(lambda: phone.read.endswith("m"))
        assert "".join(sent) == "abcdefghijklm"
        assert phone.read == "".join([*sent[:7], MISSING, *sent[8:]])
        assert phone.lost == 2 * len(RUNS)


async def test_a_phone_without_text_has_a_whole_call() -> None:
    """It refuses, or leaves the section out; the ports come back and the browser's channel closes."""
    for refuse in (True, False):
        async with running() as (engine, _):
            browser, phone = Talker(), await TextPhone().open()
            try:
                browser.open("typing", protocol="t140")
                phone.take(await engine.offer("call", BROWSER, PHONE, await browser.offer()))
                early = await engine.accept("call", BROWSER)
                await browser.take_answer(early)
                await until(lambda browser=browser: browser.channels[0].readyState == "open")
                assert engine.ports_in_use == 2
                await engine.answer("call", PHONE, BROWSER, phone.sdp(text=refuse, refused=refuse))
                await until(lambda browser=browser: browser.closed == ["typing"])
                assert engine.ports_in_use == 1
                assert await figures(engine, "phone") is None
            finally:
                await browser.close()
                await phone.close()


async def test_a_phone_that_offers_text_to_one_without_is_refused_it() -> None:
    """By port 0, and the voice is answered."""
    async with running() as (engine, _):
        phone = await TextPhone().open()
        try:
            await engine.offer("call", PHONE, OTHER, phone.sdp())
            answer = await engine.answer("call", OTHER, PHONE, phone_sdp())
            assert sections(answer) == [("audio", True), ("text", False)]
            assert engine.ports_in_use == 2
        finally:
            await phone.close()


async def test_no_text_is_agreed_where_it_is_switched_off() -> None:
    """Neither offered nor answered."""
    async with running(config(text=TextConfig(enabled=False))) as (engine, _):
        browser, phone = Talker(), await TextPhone().open()
        try:
            browser.open("typing", protocol="t140")
            assert sections(await engine.offer("call", BROWSER, PHONE, await browser.offer())) == [("audio", True)]
            assert sections(await engine.offer("back", PHONE, BROWSER, phone.sdp())) == [("audio", True)]
        finally:
            await browser.close()
            await phone.close()


async def test_text_passes_between_two_phones_as_it_is() -> None:
    """Redundancy included, where both number the formats alike; it is counted all the same."""
    one, other = TextPhone(), TextPhone()
    async with two_phones(one, other) as (engine, offer, answer):
        assert sections(offer) == sections(answer) == [("audio", True), ("text", True)]
        one.type(SENTENCE)
        await until(lambda: other.read == SENTENCE)
        await until(lambda: len(other.packets) == len(SENTENCE) + 2)
        other.type("ok")
        await until(lambda: one.read == "ok")
        text = await figures(engine, "phone")
        assert text is not None
        assert (text.received, text.sent) == (len(SENTENCE), 0)


@by_row("kind", [Kind.SDES, Kind.BEST_EFFORT, Kind.DTLS])
async def test_text_is_protected_as_the_voice_is(kind: Kind) -> None:
    """On ports and with keys of its own."""
    async with running() as (engine, _):
        phone = await TextPhone().open()
        try:
            offer = SessionDescription.parse(await engine.offer("call", PHONE, Party("other", kind), phone.sdp()))
            voice, text = offer.media
            assert voice.protocol == text.protocol
            assert voice.port != text.port
            assert text.values("fingerprint" if kind is Kind.DTLS else "crypto")
            assert not set(text.values("crypto")) & set(voice.values("crypto"))
        finally:
            await phone.close()


async def test_text_is_made_anew_where_two_phones_number_it_otherwise() -> None:
    """One has no redundancy, and other payload types."""
    one, other = TextPhone(t140=105, red=None), TextPhone(t140=98, red=99)
    async with two_phones(other, one) as (_, _, answer):
        assert "red" not in answer
        other.red = None
        one.type("plain")
        await until(lambda: other.read == "plain")
        other.type("\u2028too")
        await until(lambda: one.read == "\u2028too")


async def test_text_is_added_and_removed_in_a_call() -> None:
    """By re-offers of the phone; the browser keeps its connection and is opened a channel."""
    async with running() as (engine, _):
        browser, phone = Talker(), await TextPhone().open()
        try:

            async def offered(*, text: bool, refused: bool = False) -> str:
                offer = await engine.offer("call", PHONE, BROWSER, phone.sdp(text=text, refused=refused))
                answer = browser.answer_again if browser.peer.getTransceivers() else browser.answer
                return await engine.answer("call", BROWSER, PHONE, await answer(offer))

            assert sections(await offered(text=False)) == [("audio", True)]
            phone.take(await offered(text=True))
            phone.type("now")
            await until(lambda: typed(browser) == "now")
            assert engine.ports_in_use == 2
            assert sections(await offered(text=True, refused=True)) == [("audio", True), ("text", False)]
            assert engine.ports_in_use == 1
            await until(lambda: browser.closed == ["text"])
            phone.take(await offered(text=True))
            phone.type(" again")
            await until(lambda: typed(browser) == "now again")
        finally:
            await browser.close()
            await phone.close()


async def test_text_waits_while_the_phone_holds() -> None:
    """What is typed meanwhile is read when it resumes."""
    async with called() as (engine, browser, phone):
        await until(lambda: browser.channels[0].readyState == "open")
        browser.channels[0].send("before")
        await until(lambda: phone.read == "before")

        async def again(direction: str) -> None:
            held = phone.sdp(direction=direction, lines=(f"a={direction}",))
            answer = await browser.answer_again(await engine.offer("call", PHONE, BROWSER, held))
            phone.take(await engine.answer("call", BROWSER, PHONE, answer))

        await again("sendonly")
        browser.channels[0].send(" and after")
        phone.type("on hold")
        await until(lambda: typed(browser) == "on hold")
        came = phone._came
        assert phone.read == "before"
        await again("sendrecv")
        await until(lambda: phone.read == "before and after")
        assert phone._came > came


async def test_after_a_restart_text_goes_on_with_the_next_offer() -> None:
    """Between two phones: the call goes on at once, its text, which is not written down, with a refresh."""
    one, other = TextPhone(), TextPhone(t140=100, red=101)
    async with two_phones(one, other) as (engine, _, _):
        one.type("before")
        await until(lambda: other.read == "before")
        left = engine._sessions.pop("call")
        values = json.loads(json.dumps(values_of({each.party.tag: each for each in left.parties})))
        for party in left.parties:
            party.close_text()  # as `end_left` does with what nobody has taken up
        await engine.resume("call", values)
        assert await figures(engine, "phone") is None
        other.take(await engine.offer("call", PHONE, OTHER, one.sdp()))
        one.take(await engine.answer("call", OTHER, PHONE, other.sdp()))
        one.type(" and after")
        other.type("yes")
        await until(lambda: (other.read, one.read) == ("before and after", "yes"))


async def test_who_floods_is_bounded_and_counted() -> None:
    """Malformed packets, a flood of them, and a browser that types without end."""
    async with called(max_packets_per_second=20, max_waiting=100, cps=1) as (engine, browser, phone):
        await until(lambda: browser.channels[0].readyState == "open")
        for number in range(200):
            phone.send_raw(RtpPacket(99, number, number, 0xABCD, b"\xe2\xff\xff\xff", False))
        browser.channels[0].send("x" * 1000)
        await until(lambda: len(phone.read) == 10)
        text = await figures(engine, "phone")
        assert text is not None
        assert 0 < text.malformed <= 60
        assert text.dropped == 900


async def test_a_channel_that_the_offer_names_is_taken_by_name() -> None:
    """Nothing is said of it in-band (RFC 8864), and later offers name it again."""
    async with running() as (engine, _):
        browser, phone = Talker(), await TextPhone().open()
        try:
            channel = browser.open("typing", protocol="t140", negotiated=True, id=4)
            named = 'a=dcmap:4 subprotocol="t140";label="typing"\r\n'
            phone.take(await engine.offer("call", BROWSER, PHONE, await browser.offer() + named))
            answer = await engine.answer("call", PHONE, BROWSER, phone.sdp())
            assert named in answer
            await browser.take_answer(answer)
            await until(lambda: channel.readyState == "open")
            channel.send("by name")
            await until(lambda: phone.read == "by name")
            phone.type("back")
            await until(lambda: typed(browser) == "back")
            assert browser.channels == [channel]
            assert named in await engine.create_offer("call", BROWSER, PHONE)
        finally:
            await browser.close()
            await phone.close()


async def test_named_channels_that_are_malformed_or_too_many_are_left_out() -> None:
    """The others are taken."""
    async with running(config(data=DataConfig(max_channels=2))) as (engine, _):
        browser = Talker()
        try:
            browser.open("chat")
            lines = ['a=dcmap:x "\r\n', "a=dcmap:70000\r\n", "a=dcmap:2\r\n", "a=dcmap:4\r\n"]
            await engine.offer("call", BROWSER, ECHO, await browser.offer() + "".join(lines[:3]))
            answer = await engine.answer("call", ECHO, BROWSER, phone_sdp())
            assert "dcmap" not in answer
            await engine.offer("next", BROWSER, ECHO, await browser.offer() + "".join(lines[1:]))
            assert "a=dcmap:2\r\n" in await engine.answer("next", ECHO, BROWSER, phone_sdp())
            await engine.offer("far", BROWSER, ECHO, await browser.offer() + "a=dcmap:1024\r\na=dcmap:1023\r\n")
            answer = await engine.answer("far", ECHO, BROWSER, phone_sdp())
            assert re.findall("a=dcmap:([0-9]+)", answer) == ["1023"]
        finally:
            await browser.close()


async def test_text_goes_on_with_who_takes_over() -> None:
    """A transfer: the browser's channel ends with whom it was for, and another is opened; alone it has none."""
    async with called() as (engine, browser, phone):
        await until(lambda: browser.channels[0].readyState == "open")
        other = await TextPhone().open()
        try:
            other.take(await engine.create_offer("call", OTHER, BROWSER))
            await engine.answer("call", OTHER, None, other.sdp())
            await engine.join("call", "browser", "other")
            await until(lambda: [each.label for each in browser.channels] == ["typing", "text"])
            await until(lambda: browser.closed == ["typing"])
            other.type("hello browser")
            await until(lambda: typed(browser) == "hello browser")
            browser.channels[1].send("you")
            await until(lambda: other.read == "you")
            assert phone.read == ""
            await engine.isolate("call", "browser")
            await until(lambda: all(channel.readyState == "closed" for channel in browser.channels))
        finally:
            await other.close()


async def test_what_is_typed_to_nobody_waits_for_who_read_it_last() -> None:
    """It is read once, though the redundancy of what is typed next tells of it too."""
    async with called() as (engine, browser, phone):
        phone._send(b"a")
        await until(lambda: typed(browser) == "a")
        await engine.isolate("call", "browser")
        phone._send(b"x")
        heard = engine._sessions["call"].party("phone").text
        assert heard is not None
        await until(lambda: heard.statistics.received == 2)
        await engine.join("call", "browser", "phone")
        phone._send(b"b")
        await until(lambda: typed(browser).endswith("b"))
        assert typed(browser) == "axb"


async def test_what_waits_for_a_lost_packet_is_not_typed_again_to_who_reads_the_packets_themselves() -> None:
    """The copy of them that is counted here waits on, while the phone that reads is away for a while."""
    one, other = TextPhone(loses={2, 3, 4}.__contains__), TextPhone()
    async with two_phones(one, other) as (engine, _, _):
        for character in b"abcde":
            one._send(bytes([character]))
        heard = engine._sessions["call"].party("phone").text
        assert heard is not None
        await until(lambda: heard._receiver.is_waiting)
        await engine.isolate("call", "phone")
        await until(lambda: not heard._receiver.is_waiting)
        await engine.join("call", "phone", "other")
        for character in b"fgh":
            one._send(bytes([character]))
        await until(lambda: other.read.endswith("h"))
        assert other.read == "a\ufffdcdefgh"


async def test_what_waits_for_a_lost_packet_is_not_told_to_who_is_joined_next() -> None:
    """It was typed for the one before, and comes too late for that one."""
    async with called(loses={2, 3, 4}.__contains__) as (engine, browser, phone):
        other = await TextPhone(t140=100, red=101).open()
        try:
            other.take(await engine.create_offer("call", OTHER, PHONE))
            await engine.answer("call", OTHER, None, other.sdp())
            phone._send(b"a")
            await until(lambda: typed(browser) == "a")
            heard = engine._sessions["call"].party("phone").text
            assert heard is not None
            for typed_now in (b"b", b"c", b"d", b"e"):
                phone._send(typed_now)
            await until(lambda: heard._receiver.is_waiting)
            await engine.join("call", "phone", "other")
            phone._send(b"z")
            await until(lambda: other.read.endswith("z"))
            assert other.read == "z"
        finally:
            await other.close()


def test_what_waits_for_a_browser_is_not_shown_to_it_as_the_words_of_who_takes_over() -> None:
    """One phone types while the browser has no channel, and passes it on."""
    shown: list[str] = []
    text = TextChannels(lambda: None, 100)
    for listener, typed_now in ((MagicMock(), "from me"), (MagicMock(), "hello")):
        text.tell(listener, listener)
        text.type(typed_now)
    text.take([MagicMock(closed=False, kind=ChannelKind(protocol="t140"), send=shown.append)], opens=False)
    assert shown == ["hello"]


async def test_much_text_at_once_is_short_messages() -> None:
    """As the browser takes them; a longer one would end the channel, and all the text with it."""
    async with running() as (engine, _):
        browser, phone = Talker(), await TextPhone().open()
        try:
            browser.open("typing", protocol="t140")
            offer = re.sub(r"max-message-size:\d+", "max-message-size:1000", await browser.offer())
            phone.take(await engine.offer("call", BROWSER, PHONE, offer))
            await browser.take_answer(await engine.answer("call", PHONE, BROWSER, phone.sdp()))
            phone._send("ä".encode() * 600)
            await until(lambda: typed(browser) == "ä" * 600)
            assert browser.closed == []
        finally:
            await browser.close()
            await phone.close()


PROGRAM = Party("program", Kind.SERVICE, service="program", text=True)


@asynccontextmanager
async def at_a_program(program: Party, peer: Talker | TextPhone) -> AsyncIterator[tuple[EmbeddedEngine, str]]:
    """A browser or a phone calls a service; with the answer."""
    async with running() as (engine, _):
        party, offer = BROWSER, ""
        try:
            if isinstance(peer, Talker):
                peer.open("typing", protocol="t140")
                offer = await peer.offer()
            else:
                party, offer = PHONE, (await peer.open()).sdp()
            await engine.offer("call", party, program, offer)
            answer = await engine.answer("call", program, party, SERVICE_DESCRIPTION)
            if isinstance(peer, Talker):
                await peer.take_answer(answer)
            elif ("text", True) in sections(answer):
                peer.take(answer)
            yield engine, answer
        finally:
            await peer.close()


async def test_a_program_reads_a_browser_and_types_to_it() -> None:
    """As its caller types; nothing is heard any more once it does not listen."""
    browser, heard = Talker(), list[str]()
    async with at_a_program(PROGRAM, browser) as (engine, _):
        port = engine.audio("call", "program")
        stop = port.on_text(heard.append)
        port.type("welcome")
        await until(lambda: typed(browser) == "welcome")
        browser.channels[0].send(SENTENCE)
        await until(lambda: "".join(heard) == SENTENCE)
        stop()
        stop()
        browser.channels[0].send("x")
        port.on_text(heard.append)
        browser.channels[0].send("y")
        await until(lambda: "".join(heard).endswith("y"))


async def test_a_program_reads_a_phone_and_types_to_it() -> None:
    """RFC 4103, accepted because the program takes text; the phone's own figures count."""
    phone, heard = TextPhone(), list[str]()
    async with at_a_program(PROGRAM, phone) as (engine, answer):
        assert sections(answer) == [("audio", True), ("text", True)]
        port = engine.audio("call", "program")
        port.on_text(heard.append)
        phone.type(SENTENCE)
        await until(lambda: "".join(heard) == SENTENCE)
        port.type("hello")
        await until(lambda: phone.read == "hello")
        assert await figures(engine, "phone") == TextStatistics(received=len(SENTENCE), sent=5)


async def test_an_echo_gives_a_phone_its_text_back() -> None:
    """600; each character once."""
    phone = TextPhone()
    async with at_a_program(ECHO, phone) as (_, answer):
        assert sections(answer) == [("audio", True), ("text", True)]
        phone.type(SENTENCE)
        await until(lambda: phone.read == SENTENCE)


async def test_a_program_without_text_refuses_it() -> None:
    """A phone's section is refused, a browser's channel closed, as by a tone."""
    phone, browser = TextPhone(), Talker()
    silent = Party("program", Kind.SERVICE, service="program")
    async with at_a_program(silent, phone) as (_, answer):
        assert sections(answer) == [("audio", True), ("text", False)]
    async with at_a_program(silent, browser):
        await until(lambda: browser.channels[0].readyState == "closed")


async def test_who_is_in_a_conference_reads_what_the_others_type() -> None:
    """A browser and a phone, each with its name; who has left reads and writes nothing more."""
    browser, phone = Talker(), TextPhone()
    async with running() as (engine, _):
        try:
            conference, seats = engine.conference(), []
            browser.open("typing", protocol="t140")
            parties: list[tuple[str, Party, Talker | TextPhone]] = [("Ann", BROWSER, browser), ("Bob", PHONE, phone)]
            for name, party, peer in parties:
                offer = await peer.offer() if isinstance(peer, Talker) else (await peer.open()).sdp()
                await engine.offer(name, party, PROGRAM, offer)
                answer = await engine.answer(name, PROGRAM, party, SERVICE_DESCRIPTION)
                if isinstance(peer, Talker):
                    await peer.take_answer(answer)
                else:
                    peer.take(answer)
                seats.append(conference.seat(engine.audio(name, "program"), name, label=f"{name} Lee"))
            await until(lambda: browser.channels[0].readyState == "open")
            browser.channels[0].send("hi\r\n")
            await until(lambda: phone.read == "[Ann Lee] hi\u2028")
            phone.type("yes")
            await until(lambda: typed(browser) == "[Bob Lee] yes")
            seats[0].leave()
            browser.channels[0].send("gone")
            phone.type("!")
            await until(lambda: seats[1].audio.text.reader is not None)
            assert phone.read == "[Ann Lee] hi\u2028"
            assert typed(browser) == "[Bob Lee] yes"
        finally:
            await browser.close()
            await phone.close()


async def test_the_section_of_text_that_is_live_is_the_one_that_is_joined() -> None:
    """A phone whose first is refused for ever, as after an earlier call on it, types in its second."""
    async with running() as (engine, _):
        browser, phone = Talker(), await TextPhone().open()
        try:
            dead = "m=text 0 RTP/AVP 98\r\na=inactive\r\n"
            offer = await engine.offer("call", PHONE, BROWSER, phone.sdp().replace("m=text", dead + "m=text"))
            answer = await engine.answer("call", BROWSER, PHONE, await browser.answer(offer))
            assert sections(answer) == [("audio", True), ("text", False), ("text", True)]
            phone.take(re.sub("m=text 0.*?(?=m=)", "", answer, flags=re.DOTALL))
            phone.type("hello")
            await until(lambda: typed(browser) == "hello")
        finally:
            await browser.close()
            await phone.close()


KEY = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + 40 * "A" + "\r\n"


@by_row("caller", [True, False])
@by_row("kind", ["text", "video"])
async def test_a_key_that_cannot_be_used_refuses_its_section_and_not_the_call(kind: str, caller: bool) -> None:
    """The voice has its own; of who calls and of who is called."""
    codec = "98 t140/1000" if kind == "text" else "98 VP8/90000"
    voice = phone_sdp().replace("RTP/AVP", "RTP/SAVP") + KEY
    said = voice + f"m={kind} 5004 RTP/SAVP 98\r\na=rtpmap:{codec}\r\n" + KEY.replace(40 * "A", "AAAA")
    good = said.replace("inline:AAAA\r", f"inline:{40 * 'A'}\r")
    one, other = Party("one", Kind.SDES), Party("other", Kind.SDES)
    async with running(config(srtp_suites=("AES_CM_128_HMAC_SHA1_80",))) as (engine, _):
        await engine.offer("call", one, other, said if caller else good)
        answer = await engine.answer("call", other, one, good if caller else said)
        assert sections(answer)[0] == ("audio", True)
        if caller:
            assert sections(answer)[1] == (kind, False)
        await engine.query("call")


async def test_what_somebody_has_typed_is_not_taken_for_the_words_of_who_comes_next() -> None:
    """A phone that held was typed to, and is passed on: U+FFFD stands for what it did not read."""
    async with called() as (engine, browser, phone):
        other, second = Talker(), Party("second", Kind.WEBRTC)
        try:
            await until(lambda: browser.channels[0].readyState == "open")

            async def again(party: Party, peer: Talker, *lines: str) -> None:
                offer = await engine.offer("call", PHONE, party, phone.sdp(lines=lines))
                phone.take(await engine.answer("call", party, PHONE, await peer.answer_again(offer)))

            await again(BROWSER, browser, "a=sendonly")
            browser.channels[0].send("for you alone")
            phone.type("on hold")
            await until(lambda: typed(browser) == "on hold")
            other.open("typing", protocol="t140")
            offered = await engine.create_offer("call", second, PHONE)
            await engine.answer("call", second, None, await other.answer(offered))
            await engine.join("call", "phone", "second")
            await again(second, other)
            await until(lambda: phone.read == MISSING)
            await until(lambda: any(channel.readyState == "open" for channel in other.channels))
            next(each for each in other.channels if each.readyState == "open").send("hi")
            await until(lambda: phone.read == MISSING + "hi")
        finally:
            await other.close()


async def test_after_a_restart_a_browser_has_text_again_over_a_connection_that_is_made_anew() -> None:
    """SCTP has died with the process: the call's media is made anew, and both sides are offered their text."""
    async with called() as (engine, browser, phone):
        await until(lambda: browser.channels[0].readyState == "open")
        again = Talker()
        try:
            left = engine._sessions.pop("call")
            values = json.loads(json.dumps(values_of({each.party.tag: each for each in left.parties})))
            with pytest.raises(MediaError, match="is not gone on with"):
                await engine.resume("call", values)
            left.close()
            await engine.restore("call", values)
            offer = await engine.create_offer("call", BROWSER, PHONE)
            assert [kind for kind, live in sections(offer) if live] == ["audio", "application"]
            again.open("typing", protocol="t140")
            await engine.answer("call", BROWSER, None, await again.answer(offer))
            phone.take(await engine.create_offer("call", PHONE, BROWSER))
            await engine.answer("call", PHONE, None, phone.sdp())
            await engine.join("call", "browser", "phone")
            await until(lambda: any(each.readyState == "open" for each in again.channels))
            next(each for each in again.channels if each.readyState == "open").send("hello")
            await until(lambda: phone.read == "hello")
            phone.type("hi")
            await until(lambda: typed(again) == "hi")
        finally:
            await again.close()
