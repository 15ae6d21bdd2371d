"""Text for a browser that goes away and comes back: what it did not acknowledge is shown to it again, once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import MagicMock

import pytest
from aiortc.rtcsctptransport import SackChunk

from gateway.media.embedded.data.sctp import Channel, ChannelKind, SctpAssociation
from gateway.media.embedded.data.t140 import MISSING
from gateway.media.embedded.data.text_channel import MOST_AT_ONCE, TextChannels
from gateway.media.embedded.engine import EmbeddedEngine
from gateway.media.engine import Kind, Party
from tests.media.data_support import Talker, opened
from tests.media.engine_support import config, running, until
from tests.media.sctp_support import paired
from tests.media.text_call_support import BROWSER, OTHER, PHONE, called, figures, typed
from tests.media.text_support import TextPhone
from tests.rows import by_row

T140 = ChannelKind(label="text", protocol="t140")
SECOND = Party("second", Kind.WEBRTC)


def falls_deaf(browser: Talker) -> None:
    """Its SCTP is gone, and nobody says so."""

    async def nothing(data: bytes) -> None: ...

    browser.peer.sctp._handle_data = nothing  # type: ignore[union-attr,method-assign]


async def returns(
    engine: EmbeddedEngine, party: Party, other: Party, *, opens: bool = True, read: str | None = None
) -> Talker:
    """The browser's next page, over a connection of its own; `read`: what it says that the page before has read."""
    again = Talker()
    if opens:
        again.open("typing", protocol="t140")
    else:
        again.open("other")
    offer = await again.offer()
    if read is not None:
        offer = offer.replace("a=sctp-port", f"a=t140-read:{read}\r\na=sctp-port")
    await engine.offer("call", party, other, offer)
    await again.take_answer(await engine.accept("call", party))
    return again


def under_way(engine: EmbeddedEngine, tag: str) -> int:
    """Octets of messages that the party's browser has not acknowledged."""
    association: Any = engine._sessions["call"].party(tag).data._association  # type: ignore[union-attr]
    return sum(map(len, association._sctp.unacknowledged().values()))


@asynccontextmanager
async def left() -> AsyncIterator[tuple[EmbeddedEngine, Talker, TextPhone]]:
    """A page that has read "read" and falls deaf: " lost" is under way to it, " away" typed once that was noticed."""
    async with called() as (engine, browser, phone):
        await opened(browser.channels[0])
        phone.type("read")
        await until(lambda: typed(browser) == "read" and not under_way(engine, "browser"))
        falls_deaf(browser)
        phone.type(" lost")
        await until(lambda: under_way(engine, "browser") == 5)
        await engine.isolate("call", "browser")
        phone.type(" away")
        heard = engine._sessions["call"].party("phone").text
        assert heard is not None
        await until(lambda: heard.statistics.received == 14)
        yield engine, browser, phone


@pytest.mark.parametrize("opens", [True, False])
async def test_a_page_that_comes_back_reads_what_was_typed_meanwhile(opens: bool) -> None:
    """Once: what went into the association that answered no more, and what was typed while the page was away."""
    async with left() as (engine, browser, phone):
        again = await returns(engine, BROWSER, PHONE, opens=opens)
        try:
            await engine.join("call", "browser", "phone")
            await until(lambda: typed(again) == " lost away")
            phone.type(" back")
            await until(lambda: typed(again) == " lost away back")
            assert typed(browser) == "read"
            said = await figures(engine, "browser")
            assert said is not None
            assert (said.sent, said.dropped) == (19, 0)
            next(each for each in again.channels if each.protocol == "t140").send("hello")
            await until(lambda: phone.read == "hello")
        finally:
            await again.close()


@by_row(
    ("read", "shown"),
    [
        ("2", "ad lost away"),
        ("4", " lost away"),
        ("6", "ost away"),
        ("0", "read lost away"),
        ("-1", " lost away"),
        ("1e3", " lost away"),
        (10 * "9" * 10, " lost away"),
    ],
)
async def test_a_page_says_how_much_it_has_read(read: str, shown: str) -> None:
    """SCTP acknowledges what a page on its way out never sees, and a page sees what SCTP had no time to acknowledge.

    What is no number says nothing.
    """
    async with left() as (engine, _, _):
        again = await returns(engine, BROWSER, PHONE, read=read)
        try:
            await engine.join("call", "browser", "phone")
            await until(lambda: typed(again) == shown)
            said = await figures(engine, "browser")
            assert said is not None
            assert said.sent == 14
        finally:
            await again.close()


async def test_what_is_kept_for_a_page_that_has_read_less_is_bounded() -> None:
    """Of more than that nothing is shown again, since what is missing before it would not be seen."""
    async with called(max_waiting=64) as (engine, browser, phone):
        await opened(browser.channels[0])
        for all_of_them in (60, 65):
            phone._send((all_of_them - len(typed(browser))) * b"x")
            await until(lambda many=all_of_them: typed(browser) == many * "x" and not under_way(engine, "browser"))
        for read, types, shown in (("0", "a", "a"), ("0", "b", "ab")):
            again = await returns(engine, BROWSER, PHONE, read=read)
            try:
                phone.type(types)
                await until(lambda again=again, shown=shown: typed(again).endswith(shown[-1]))
                assert typed(again) == shown
                await until(lambda: not under_way(engine, "browser"))
            finally:
                await again.close()


async def test_what_was_read_before_a_restart_is_counted_on() -> None:
    """The gateway that goes on with the call has sent nothing yet; and a page that does not count begins anew."""
    async with running(config()) as (engine, _):
        browser, phone = Talker(), await TextPhone().open()
        pages = [browser]
        try:
            browser.open("typing", protocol="t140")
            offer = (await browser.offer()).replace("a=sctp-port", "a=t140-read:50\r\na=sctp-port")
            phone.take(await engine.offer("call", BROWSER, PHONE, offer))
            await browser.take_answer(await engine.answer("call", PHONE, BROWSER, phone.sdp()))
            phone.type("abcd")
            await until(lambda: typed(browser) == "abcd" and not under_way(engine, "browser"))
            for read, types, shown in (("52", "e", "cde"), (None, "f", "f"), ("0", "g", "fg")):
                pages.append(await returns(engine, BROWSER, PHONE, read=read))
                phone.type(types)
                await until(lambda shown=shown: typed(pages[-1]) == shown and not under_way(engine, "browser"))
        finally:
            for page in pages:
                await page.close()
            await phone.close()


async def test_a_connection_that_is_made_anew_in_a_call_loses_nothing() -> None:
    """Nobody was away: the offer of the next one comes while the one before answers no more."""
    async with called() as (engine, browser, phone):
        await opened(browser.channels[0])
        falls_deaf(browser)
        phone.type("hello")
        await until(lambda: under_way(engine, "browser") == 5)
        again = await returns(engine, BROWSER, PHONE)
        try:
            await until(lambda: typed(again) == "hello")
        finally:
            await again.close()


async def test_who_takes_over_reads_nothing_of_it() -> None:
    """Neither what the one before did not read nor what was typed while that one was away; redundancy tells of it."""
    async with called() as (engine, browser, phone):
        await opened(browser.channels[0])
        falls_deaf(browser)
        phone.type("lost")
        await until(lambda: under_way(engine, "browser") == 4)
        await engine.isolate("call", "browser")
        phone._send(b"away")
        heard = engine._sessions["call"].party("phone").text
        assert heard is not None
        await until(lambda: heard.statistics.received == 8)
        other = await TextPhone(t140=100, red=101).open()
        try:
            other.take(await engine.create_offer("call", OTHER, PHONE))
            await engine.answer("call", OTHER, None, other.sdp())
            await engine.join("call", "phone", "other")
            phone.type("to other")
            await until(lambda: other.read.endswith("other"))
            assert other.read == "to other"
            again = await returns(engine, BROWSER, OTHER)
            try:
                await engine.join("call", "browser", "other")
                other.type("from other")
                await until(lambda: typed(again).endswith("other"))
                assert typed(again) == "from other"
            finally:
                await again.close()
        finally:
            await other.close()


async def test_what_is_typed_while_nobody_reads_is_bounded() -> None:
    """One mark stands for what found no room."""
    async with called(max_waiting=64) as (engine, browser, phone):
        await opened(browser.channels[0])
        await engine.isolate("call", "browser")
        phone._send(70 * b"x")
        heard = engine._sessions["call"].party("phone").text
        assert heard is not None
        await until(lambda: heard.statistics.received == 70)
        assert heard.statistics.dropped == 6
        again = await returns(engine, BROWSER, PHONE)
        try:
            await engine.join("call", "browser", "phone")
            await until(lambda: typed(again) == 64 * "x" + MISSING)
        finally:
            await again.close()


@asynccontextmanager
async def two_browsers() -> AsyncIterator[tuple[EmbeddedEngine, Talker, Talker]]:
    """The first has opened a channel for text."""
    async with running(config()) as (engine, _):
        one, other = Talker(), Talker()
        try:
            one.open("text", protocol="t140")
            offer = await engine.offer("call", BROWSER, SECOND, await one.offer())
            await one.take_answer(await engine.answer("call", SECOND, BROWSER, await other.answer(offer)))
            await opened(one.channels[0])
            await until(lambda: bool(other.channels))
            yield engine, one, other
        finally:
            await one.close()
            await other.close()


async def test_between_two_pages_nothing_is_lost_either() -> None:
    """The one that stays has typed before anybody noticed that the other was gone."""
    async with two_browsers() as (engine, one, other):
        other.channels[0].send("read")
        await until(lambda: typed(one) == "read" and not under_way(engine, "browser"))
        falls_deaf(one)
        other.channels[0].send(" lost")
        await until(lambda: under_way(engine, "browser") == 5)
        await engine.isolate("call", "browser")
        again = await returns(engine, BROWSER, SECOND)
        try:
            await engine.join("call", "browser", "second")
            await until(lambda: typed(again) == " lost")
            await until(lambda: len(other.channels) == 2)
            other.channels[1].send(" back")
            await until(lambda: typed(again) == " lost back")
            assert typed(one) == "read"
        finally:
            await again.close()


# One association


async def test_what_was_acknowledged_is_not_given_back() -> None:
    """In the order of the stream: what came behind a gap was not told there, so it is given back with it."""
    async with paired(2) as (pair, _):
        pair.deaf = True
        one, other = pair.opened
        unread: dict[Channel, bytes] = {}
        for channel in pair.opened:
            channel.on_unread = lambda octets, channel=channel: unread.update({channel: octets})  # type: ignore[misc]
        for number in range(6):
            one.send(f"one{number} ")
            other.send(f"other{number} ")
        await until(lambda: len(pair.sctp._sent_queue) + len(pair.sctp._outbound_queue) == 12)
        sent = [*pair.sctp._sent_queue]
        # Of the first: 0 and 1, then 3 behind a gap. Of the other: all that was sent before its number 2.
        sack = SackChunk()
        sack.cumulative_tsn, sack.advertised_rwnd = sent[3].tsn, 65_536
        sack.gaps = [(3, 3)]
        pair.inject(sack)
        one.close()
        assert not unread
        pair.ours.close()
        assert unread == {one: b"one2 one3 one4 one5 ", other: b"other2 other3 other4 other5 "}
        assert [*unread] == [other, one]  # each is put before what waits, so that of the channel before comes first


async def test_what_found_no_room_is_given_back_in_its_order() -> None:
    """A browser that acknowledges nothing has its channel closed; all of the text waits for another."""
    async with paired(1, 65_536) as (pair, _):
        pair.deaf = True
        pair.opened[0].kind = T140
        text = TextChannels(lambda: None, 200_000)
        text.tell(MagicMock(), "phone")
        text.take(pair.opened, opens=False)
        written = "".join(f"{number:05d}" for number in range(20_000))
        for at in range(0, len(written), MOST_AT_ONCE):
            text.type(written[at : at + MOST_AT_ONCE])
        assert pair.opened[0].closed
        pair.ours.close()
        shown: list[str] = []
        text.take([MagicMock(closed=False, kind=T140, send=shown.append)], opens=False)
        assert "".join(shown) == written


async def test_what_waits_for_a_browser_without_a_channel_is_bounded() -> None:
    """However much a phone types to it."""
    text = TextChannels(lambda: None, 10)
    text.tell(MagicMock(), "phone")
    for _ in range(5):
        text.type("1234567")
    shown: list[str] = []
    text.take([MagicMock(closed=False, kind=T140, send=shown.append)], opens=False)
    assert shown == ["1234567123" + MISSING]


async def test_what_another_page_sends_as_octets_is_counted_in_characters() -> None:
    """A page that has read the first of them is shown the rest again."""
    text, shown = TextChannels(lambda: None, 10), list[str]()
    channel, again = MagicMock(closed=False, kind=T140), MagicMock(closed=False, kind=T140, send=shown.append)
    text.carry(channel, "page")
    text.pass_on(channel, "ä你b".encode())
    text.has_read(1)
    text.carry(again, "page")
    assert shown == ["你b"]


async def test_word_that_its_connection_is_up_begins_no_other_association() -> None:
    """Said again of the same one, as after a check of ICE, it changes nothing."""
    async with called() as (engine, browser, _):
        await opened(browser.channels[0])
        data = engine._sessions["call"].party("browser").data
        assert data is not None
        before = data._association
        assert before is not None
        assert data._dtls is not None
        data.connected(data._dtls)
        assert data._association is before
        data.connected(data._dtls + 1)
        assert data._association is not before


async def test_what_waits_for_a_channel_to_open_is_given_back() -> None:
    """It was opened by us, and the browser went before it had answered."""
    unread: list[bytes] = []
    ours = SctpAssociation(
        lambda data: None,
        lambda channel: None,
        is_client=True,
        port=5000,
        max_channels=2,
        max_message=65_536,
        max_waiting=65_536,
    )
    ours.start(5000, 65_536)
    channel = ours.open(T140)
    assert channel is not None
    channel.on_unread = unread.append
    channel.send("hel")
    channel.send(b"lo")
    channel.close()
    assert unread == [b"hello"]
    ours.close()
    assert unread == [b"hello"]


async def test_a_data_channel_that_a_page_opens_again_after_a_reload_is_there_for_the_other_page() -> None:
    """The one of before closes there; what was under way by it is lost, as docs/rfc.md says."""
    async with two_browsers() as (engine, one, other):
        one.open("chat")
        await until(lambda: len(other.channels) == 2)
        one.channels[1].send("before")
        await until(lambda: ("chat", "before") in other.messages)
        falls_deaf(one)
        await engine.isolate("call", "browser")
        await until(lambda: sorted(other.closed) == ["chat", "text"])
        again = Talker()
        try:
            chat = again.open("chat")
            await engine.offer("call", BROWSER, SECOND, await again.offer())
            await again.take_answer(await engine.accept("call", BROWSER))
            await engine.join("call", "browser", "second")
            await opened(chat)
            chat.send("after")
            await until(lambda: ("chat", "after") in other.messages)
            next(each for each in other.channels if each.readyState == "open").send("yes")
            await until(lambda: again.messages == [("chat", "yes")])
        finally:
            await again.close()


async def test_who_are_joined_by_an_attended_transfer_type_to_each_other() -> None:
    """A page joins the other sides of its two calls, of which one numbers its formats otherwise, and is gone."""
    async with called() as (engine, browser, phone):
        second, other = Talker(), await TextPhone(t140=100, red=101).open()
        try:
            second.open("typing", protocol="t140")
            offer = await engine.offer("consultation", SECOND, OTHER, await second.offer())
            other.take(offer)
            await second.take_answer(await engine.answer("consultation", OTHER, SECOND, other.sdp()))
            await opened(browser.channels[0])
            await opened(second.channels[0])
            phone._send(b"to the page ")
            other._send(b"to it too ")
            await until(lambda: (typed(browser), typed(second)) == ("to the page ", "to it too "))
            await engine.adopt("consultation", "call", "phone")
            phone._send(b"to nobody ")
            heard = engine._sessions["consultation"].party("phone").text
            assert heard is not None
            await until(lambda: heard.statistics.received == 22)
            await engine.join("consultation", "phone", "other")
            await engine.release("consultation", "second")
            phone.type("hello")
            other.type("hi")
            await until(lambda: (other.read, phone.read) == ("hello", "hi"))
            assert (typed(browser), typed(second)) == ("to the page ", "to it too ")
        finally:
            await second.close()
            await other.close()
