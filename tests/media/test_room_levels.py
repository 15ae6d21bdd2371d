"""How large a picture a member of a room may send: as the slowest who sees one takes it (RFC 6184 section 8.2.2)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from gateway.media.embedded.describe import SERVICE_DESCRIPTION
from gateway.media.embedded.engine import EmbeddedEngine
from gateway.media.engine import Kind, MediaEvent, OfferWanted, Party, Seat
from sdp import SessionDescription
from sdp.extensions import ORIENTATION
from tests.media.engine_support import phone_sdp, running
from tests.media.rtp_support import ManualClock
from tests.sdp.corpus import OWN

BROWSER, PHONE = Party("peer", Kind.WEBRTC), Party("peer", Kind.RTP)
PROGRAM = Party("program", Kind.SERVICE, service="program", video=("h264", "vp8"))
CHROMIUM = (OWN / "chrome-audio-video-offer.sdp").read_bytes().decode().replace(ORIENTATION, "urn:other")
"""Of a real one, level 3.1; here it turns its own pictures, as the phones do."""


def phone(level: str | None, more: str = ";level-asymmetry-allowed=1", *, direction: str = "sendrecv") -> str:
    """A phone with a screen; None: it shows and sees nothing."""
    if level is None:
        return phone_sdp()
    fmtp = f"a=fmtp:98 packetization-mode=1;profile-level-id={level}{more}\r\n"
    return f"{phone_sdp()}m=video 5004 RTP/AVP 98\r\na=rtpmap:98 H264/90000\r\n{fmtp}a={direction}\r\n"


def levels(sdp: str) -> set[str]:
    """Of H.264 in packetization mode 1."""
    media = next(each for each in SessionDescription.parse(sdp).media if each.kind == "video")
    said = [each for each in media.values("fmtp") if "packetization-mode=1" in each]
    return {each.partition("profile-level-id=")[2].partition(";")[0][4:] for each in said}


def taking(offer: str) -> str:
    """What Chromium answers: each section of a picture that it is to see."""
    mids = [str(media.value("mid")) for media in SessionDescription.parse(offer).media]
    answer = CHROMIUM.replace("a=setup:actpass", "a=setup:active")
    answer = answer.replace("BUNDLE 0 1", f"BUNDLE {' '.join(mids)}")
    again = answer[answer.index("m=video") :].replace("a=sendrecv", "a=recvonly")
    return answer + "".join(again.replace("a=mid:1", f"a=mid:{mid}") for mid in mids[2:])


class Room:
    """A conference, whose members are in calls of their own."""

    def __init__(self, engine: EmbeddedEngine, events: list[MediaEvent], clock: ManualClock) -> None:
        self.engine, self.events, self.clock = engine, events, clock
        self.conference = engine.conference(8)
        self.seats: dict[str, Seat] = {}

    async def come(self, name: str, party: Party, offer: str) -> set[str]:
        """Somebody joins and shows a picture; the levels in the answer."""
        answer = await self.offers(name, party, offer)
        self.seats[name] = self.conference.seat(self.engine.audio(name, PROGRAM.tag), name)
        stream = self.engine._session(name).party(party.tag).video
        if stream is not None:
            stream.run_began(len(self.seats), 1, self.clock())
        return answer

    async def offers(self, name: str, party: Party, offer: str) -> set[str]:
        """A member offers; the levels in its answer."""
        await self.engine.offer(name, party, PROGRAM, offer)
        answer = await self.engine.answer(name, PROGRAM, party, SERVICE_DESCRIPTION)
        return levels(answer) if "m=video" in answer else set()

    async def reoffered(self, name: str, party: Party, answer: str | Callable[[str], str]) -> set[str]:
        """A member is offered what it is to have now; the levels in that."""
        offer = await self.engine.create_offer(name, party, PROGRAM)
        await self.engine.answer(name, party, None, answer if isinstance(answer, str) else answer(offer))
        return levels(offer)

    async def wanted(self) -> list[str]:
        """Members that are to be made an offer, since this was asked last."""
        await asyncio.sleep(0)  # events come in the loop's next round
        found = [each.call_id for each in self.events if isinstance(each, OfferWanted)]
        self.events.clear()
        return sorted(set(found))

    async def pass_seconds(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.advance(1.0)
            await self.engine.sweep()


@pytest_asyncio.fixture
async def room() -> AsyncIterator[Room]:
    clock = ManualClock()
    async with running(clock=clock) as (engine, events):
        made = Room(engine, events, clock)
        yield made
        for seat in made.seats.values():
            seat.leave()


async def test_all_are_told_the_level_of_the_slowest_who_comes_and_their_own_some_time_after_it_has_left(
    room: Room,
) -> None:
    """At once and no more once taken; up again after half a minute in which nobody slower came."""
    assert await room.come("chromium", BROWSER, CHROMIUM) == {"1f"}
    assert await room.come("phone", PHONE, phone("42e01f")) == {"1f"}
    assert await room.wanted() == []
    assert await room.come("slow", PHONE, phone("42e00c")) == {"0c"}
    assert await room.wanted() == ["chromium", "phone"]
    assert await room.reoffered("chromium", BROWSER, taking) == {"0c"}
    assert await room.reoffered("phone", PHONE, phone("42e01f")) == {"0c"}
    await room.pass_seconds(60)
    assert await room.wanted() == []
    room.seats.pop("slow").leave()
    await room.pass_seconds(28)
    assert "phone" not in await room.wanted()  # somebody else as slow may come
    await room.pass_seconds(10)
    assert await room.wanted() == ["chromium", "phone"]
    assert await room.reoffered("chromium", BROWSER, taking) == {"1f"}
    assert await room.reoffered("phone", PHONE, phone("42e01f")) == {"1f"}
    await room.pass_seconds(60)
    assert await room.wanted() == []


async def test_who_allows_no_two_levels_is_told_its_own_again_though_it_has_answered_with_less(room: Room) -> None:
    """Its answer repeats the level that it was offered; what it takes is what it offered itself."""
    for name in ("one", "two"):
        await room.come(name, PHONE, phone("42e01f", ""))
    await room.come("slow", PHONE, phone("42e00c", ""))
    for name in ("one", "two"):
        assert await room.reoffered(name, PHONE, phone("42e00c", "")) == {"0c"}
    room.seats.pop("slow").leave()
    await room.wanted()
    await room.pass_seconds(35)
    assert await room.wanted() == ["one", "two"]
    assert await room.reoffered("one", PHONE, phone("42e01f", "")) == {"1f"}


async def test_who_offers_anew_in_the_room_is_told_once_more_what_the_others_take(room: Room) -> None:
    """Its own offer was answered as it was made."""
    await room.come("one", PHONE, phone("42e01f"))
    await room.come("slow", PHONE, phone("42e00c"))
    for _ in range(5):
        assert await room.wanted() == ["one"]
        assert await room.reoffered("one", PHONE, phone("42e01f")) == {"0c"}
        await room.pass_seconds(30)
        assert await room.wanted() == []
        assert await room.offers("one", PHONE, phone("42e01f")) == {"1f"}
    await room.reoffered("one", PHONE, phone("42e01f"))
    await room.wanted()
    await room.offers("slow", PHONE, phone("42e00a"))
    await room.pass_seconds(6)
    assert await room.wanted() == ["one"]
    room.seats.pop("one").leave()  # before it has taken the offer
    await room.wanted()
    await room.pass_seconds(60)
    assert await room.wanted() == []


async def test_who_sees_nobody_and_who_has_said_nothing_makes_no_picture_smaller(room: Room) -> None:
    """A slow phone that shows its picture and sees none, one of sound alone, and one that names no level."""
    await room.come("one", PHONE, phone("42e01f"))
    await room.come("two", PHONE, phone("42e01f"))
    await room.come("shows", PHONE, phone("42e00c", direction="sendonly"))
    await room.come("hears", PHONE, phone(None))
    bare = phone("", "").replace("profile-level-id=", "x=y")
    await room.come("bare", PHONE, bare)
    assert await room.wanted() == []
    await room.pass_seconds(60)
    assert await room.wanted() == []  # nor does who is slow hear that the others take more


def small(fmtp: str) -> str:
    """A phone with VP8."""
    said = f"a=fmtp:98 {fmtp}\r\n" if fmtp else ""
    return f"{phone_sdp()}m=video 5004 RTP/AVP 98\r\na=rtpmap:98 VP8/90000\r\n{said}a=sendrecv\r\n"


def bounds(sdp: str) -> str:
    """What is said of VP8."""
    media = next(each for each in SessionDescription.parse(sdp).media if each.kind == "video")
    number = next(each.split()[0] for each in media.values("rtpmap") if "VP8" in each)
    return next((each.partition(" ")[2] for each in media.values("fmtp") if each.startswith(f"{number} ")), "")


async def test_all_are_told_how_large_and_fast_vp8_the_slowest_takes_and_nothing_of_it_once_it_has_left(
    room: Room,
) -> None:
    """A browser that names no bound, a phone that names one, and a slower one that comes and goes (RFC 7741 6.1)."""
    await room.come("chromium", BROWSER, CHROMIUM)
    await room.come("phone", PHONE, small(""))
    assert await room.wanted() == []
    await room.come("slow", PHONE, small("max-fs=396;max-fr=15"))
    assert await room.wanted() == ["chromium", "phone"]
    offers: dict[str, str] = {}
    for after, expected in ((0, "max-fr=15;max-fs=396"), (33, "")):
        if after:
            room.seats.pop("slow").leave()
            await room.pass_seconds(after)
            assert await room.wanted() == ["chromium", "phone"]
        for name, party, answer in (("chromium", BROWSER, taking), ("phone", PHONE, small(""))):
            offers[name] = await room.engine.create_offer(name, party, PROGRAM)
            await room.engine.answer(name, party, None, answer if isinstance(answer, str) else answer(offers[name]))
            assert bounds(offers[name]) == expected
        await room.pass_seconds(60)
        assert await room.wanted() == []


async def test_of_vp8_alone_less_is_said_at_once_and_only_to_who_said_more(room: Room) -> None:
    """Who takes no more itself has been answered what it offered, and is left alone."""
    await room.come("one", PHONE, small("max-fs=396"))
    await room.come("two", PHONE, small("max-fs=3600"))
    assert await room.wanted() == ["two"]
    offer = await room.engine.create_offer("two", PHONE, PROGRAM)
    assert bounds(offer) == "max-fs=396"
    await room.engine.answer("two", PHONE, None, small("max-fs=3600"))
    await room.pass_seconds(60)
    assert await room.wanted() == []


async def test_who_repeats_in_its_answer_what_it_was_offered_does_not_take_less_for_that(room: Room) -> None:
    """Some phones copy an offer's parameters: what they said themselves before counts on."""
    for name in ("one", "two"):
        await room.come(name, PHONE, small("max-fs=3600"))
    await room.come("slow", PHONE, small("max-fs=396"))
    assert await room.wanted() == ["one", "two"]
    for name in ("one", "two"):
        await room.engine.create_offer(name, PHONE, PROGRAM)
        await room.engine.answer(name, PHONE, None, small("max-fs=396"))
    room.seats.pop("slow").leave()
    await room.pass_seconds(35)
    assert await room.wanted() == ["one", "two"]
    assert bounds(await room.engine.create_offer("one", PHONE, PROGRAM)) == "max-fs=3600"


@pytest.mark.parametrize("fmtp", ["max-fs=1;max-fr=1", "max-fs=98;max-fr=4"])
async def test_nobody_takes_the_picture_from_all_others_by_what_it_says_of_vp8(room: Room, fmtp: str) -> None:
    """What H.264's lowest level has of blocks is the least that all are told, and five pictures a second."""
    await room.come("chromium", BROWSER, CHROMIUM)
    await room.come("phone", PHONE, small(""))
    await room.come("hostile", PHONE, small(fmtp))
    assert bounds(await room.engine.create_offer("chromium", BROWSER, PROGRAM)) == "max-fr=5;max-fs=99"


async def test_who_says_less_again_and_again_has_nobody_offered_more_than_once_in_five_seconds(room: Room) -> None:
    """What it takes at last is what all are told."""
    await room.come("one", PHONE, small(""))
    await room.come("falling", PHONE, small("max-fs=3600"))
    times = 0
    for count in range(40):
        times += len(await room.wanted())
        await room.offers("falling", PHONE, small(f"max-fs={3_599 - count}"))
        if count % 2:
            await room.pass_seconds(1)
    assert 4 <= times <= 5
    await room.pass_seconds(5)
    assert await room.wanted() == ["one"]
    assert bounds(await room.engine.create_offer("one", PHONE, PROGRAM)) == "max-fs=3560"
