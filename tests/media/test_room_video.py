"""Pictures in a conference, decoded by each member: everybody sees who speaks, and that one who spoke before."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from unittest.mock import MagicMock

import pytest

from gateway.media.embedded.describe import SERVICE_DESCRIPTION
from gateway.media.embedded.engine import EmbeddedEngine
from gateway.media.embedded.plane.feedback import bit_rate_limit, read_bit_rate_limit
from gateway.media.embedded.plane.rtcp import Feedback, ReceiverReport, parse_compound
from gateway.media.embedded.settings import VideoConfig
from gateway.media.embedded.sources import pictures
from gateway.media.embedded.sources.conference import Seat as Place
from gateway.media.embedded.video import VideoStream
from gateway.media.engine import Conference, KeyFrameWanted, Kind, Party, Seat
from tests.media.engine_support import config, running, until
from tests.media.video_support import VideoBrowser, VideoPhone, sending
from tests.rows import by_row

PROGRAM = Party("program", Kind.SERVICE, service="program", video=("h264", "vp8"))
DARK, GREY, LIGHT = 40, 120, 200


class Member:
    """A browser or a phone with a picture of its own."""

    def __init__(self, engine: EmbeddedEngine, conference: Conference, peer: VideoBrowser | VideoPhone) -> None:
        self.engine, self.conference, self.peer = engine, conference, peer
        self.name = f"{id(self)}"
        self.party = Party("peer", Kind.WEBRTC)
        if isinstance(peer, VideoPhone):
            self.party = Party("peer", Kind.RTP, private_source="127.0.0.1")
        self.seat: Seat

    async def come(self) -> Member:
        peer = self.peer
        offer = await peer.offer() if isinstance(peer, VideoBrowser) else (await peer.open()).sdp()
        await self.engine.offer(self.name, self.party, PROGRAM, offer)
        answer = await self.engine.answer(self.name, PROGRAM, self.party, SERVICE_DESCRIPTION)
        self.seat = self.conference.seat(self.engine.audio(self.name, "program"), self.name)
        self.seat.muted = True
        if isinstance(peer, VideoBrowser):
            await peer.take_answer(answer)
        else:
            peer.take(answer)
            peer.show()
        return self

    def wanted(self, event: object) -> None:
        if event == KeyFrameWanted(self.name, "peer") and isinstance(self.peer, VideoPhone):
            self.peer.key_frame()


def picture_of(member: Member) -> VideoStream:
    """What is shown of it in the conference."""
    assert isinstance(member.seat, Place)
    assert isinstance(member.seat.picture, VideoStream)
    return member.seat.picture


@contextlib.asynccontextmanager
async def meeting(*peers: VideoBrowser | VideoPhone) -> AsyncIterator[tuple[EmbeddedEngine, list[Member]]]:
    """They are in one conference, all muted."""
    async with running(config()) as (engine, _):
        conference = engine.conference()
        members = [Member(engine, conference, peer) for peer in peers]
        for member in members:
            engine.subscribe(member.wanted)
            await member.come()
        try:
            yield engine, members
        finally:
            for peer in peers:
                await peer.close()


async def test_everybody_sees_who_speaks_and_that_one_who_spoke_before() -> None:
    """H.264 between two browsers and a phone; the speaker changes, and its call ends: nothing stays frozen."""
    one, two, phone = VideoBrowser(DARK, ("h264",)), VideoBrowser(GREY, ("h264",)), VideoPhone(LIGHT)
    async with meeting(one, two, phone) as (engine, (first, second, third)):
        first.seat.muted = False
        await until(lambda: two.sees(DARK) and phone.sees(DARK))
        assert second.seat.sees == third.seat.sees == first.name
        await until(lambda: one.sees(GREY))
        first.seat.muted, second.seat.muted = True, False
        phone.packets.clear()
        await until(lambda: phone.sees(GREY))
        assert (first.seat.sees, second.seat.sees, third.seat.sees) == (second.name, first.name, second.name)
        await engine.delete(first.name)
        await until(lambda: two.sees(LIGHT))
        first.seat.leave()
        assert [each.seat.sees for each in (second, third)] == [third.name, second.name]
        third.seat.leave()
        assert [(each.seat.sees, each.seat.shows) for each in (second, third)] == [(None, True), (None, False)]


@pytest.mark.parametrize("goes", [False, True], ids=["stays", "goes"])
async def test_who_was_seen_is_seen_until_the_key_frame_of_who_speaks_now(
    goes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which takes its time; where the one who was seen goes meanwhile nobody is, until it comes."""
    monkeypatch.setattr(pictures, "_PATIENCE", 1_000)
    one, phone, other = VideoBrowser(DARK, ("h264",)), VideoPhone(GREY), VideoBrowser(LIGHT, ("h264",))
    async with meeting(one, phone, other) as (engine, (first, second, third)):
        first.seat.muted = False
        await until(lambda: phone.sees(DARK))
        give, asked = picture_of(third).ask_key_frame, list[int]()
        monkeypatch.setattr(picture_of(third), "ask_key_frame", lambda: asked.append(1))
        first.seat.muted, third.seat.muted = True, False
        await until(lambda: second.seat.sees == third.name)
        watching, seen = picture_of(second), picture_of(first)
        if goes:
            await engine.delete(first.name)
            assert watching.visible is None
            count = len(seen.watchers)
        else:
            count, known = len(seen.watchers), len(phone.packets)
            await until(lambda: len(phone.packets) > known + 20)
            assert phone.sees(DARK)
            assert watching.visible is seen
        waits = watching.waits
        assert waits
        assert watching.heard is picture_of(third)
        await until(lambda: asked)
        give()
        await until(lambda: phone.sees(LIGHT))
        await until(lambda: not watching.waits and watching.visible is picture_of(third))
        assert watching not in seen.watchers
        assert len(seen.watchers) <= count


async def test_who_is_on_hold_is_shown_to_nobody_and_a_refresh_changes_nothing() -> None:
    """The phone's offers within its call: the same again, recvonly, inactive, without its picture, and back."""
    one, phone = VideoBrowser(DARK, ("h264",)), VideoPhone(LIGHT)
    async with meeting(one, phone) as (engine, (first, second)):
        await until(lambda: one.sees(LIGHT) and phone.sees(DARK))

        async def offered(direction: str = "sendrecv", *, video: bool = True) -> str:
            await engine.offer(second.name, second.party, PROGRAM, phone.sdp(direction, video=video))
            return await engine.answer(second.name, PROGRAM, second.party, SERVICE_DESCRIPTION)

        await offered()
        count = len(phone.packets)
        await until(lambda: len(phone.packets) > count + 20)
        assert (first.seat.sees, second.seat.sees) == (second.name, first.name)
        await offered("recvonly")
        assert (first.seat.sees, second.seat.sees) == (None, first.name)
        await offered("inactive")
        assert (first.seat.sees, second.seat.sees) == (None, None)
        await offered(video=False)
        assert not second.seat.shows
        phone.take(await offered())
        phone.packets.clear()
        one.seen.clear()
        await until(lambda: one.sees(LIGHT) and phone.sees(DARK))


async def test_who_puts_a_room_on_hold_is_not_seen_there() -> None:
    """`sendonly` of voice and picture after `sendrecv`: as it is not heard; it is seen once it is back."""
    one, phone = VideoPhone(DARK), VideoPhone(LIGHT)
    async with meeting(one, phone) as (engine, (first, second)):
        await until(lambda: one.sees(LIGHT) and phone.sees(DARK))
        for direction, seen in (("sendonly", None), ("sendonly", None), ("sendrecv", second.name)):
            offer = phone.sdp().replace("a=sendrecv", f"a={direction}")
            await engine.offer(second.name, second.party, PROGRAM, offer)
            phone.take(await engine.answer(second.name, PROGRAM, second.party, SERVICE_DESCRIPTION))
            assert first.seat.sees == seen
        one.packets.clear()
        phone.packets.clear()
        await until(lambda: one.sees(LIGHT) and phone.sees(DARK))


async def test_a_member_sees_those_alone_whose_codec_it_takes() -> None:
    """A browser with VP8 alone among one with both, which sends H.264: it is seen, and sees nobody but its like."""
    both, vp8, other = VideoBrowser(DARK, ("h264", "vp8")), VideoBrowser(GREY, ("vp8",)), VideoBrowser(LIGHT, ("vp8",))
    async with meeting(both, vp8) as (engine, (first, second)):
        await until(lambda: both.sees(GREY))
        await until(lambda: first.seat.shows)
        assert (first.seat.sees, second.seat.sees) == (second.name, None)
        third = Member(engine, first.conference, other)
        try:
            await third.come()
            await until(lambda: vp8.sees(LIGHT) and other.sees(GREY))
            assert (second.seat.sees, third.seat.sees) == (third.name, second.name)
        finally:
            await other.close()


async def test_a_caller_that_is_passed_on_from_a_room_keeps_its_picture() -> None:
    """Its place is given up after it talks to somebody else: what they see of each other stays."""
    one, other = VideoBrowser(DARK), VideoBrowser(LIGHT)
    async with meeting(one) as (engine, (first,)):
        try:
            offered = await engine.create_offer(first.name, Party("other", Kind.WEBRTC), first.party)
            await engine.answer(first.name, Party("other", Kind.WEBRTC), None, await other.answer(offered))
            await engine.join(first.name, "peer", "other")
            first.seat.leave()
            await until(lambda: one.sees(LIGHT) and other.sees(DARK))
            assert first.seat.sees is None
        finally:
            await other.close()


async def test_a_caller_that_talks_to_somebody_else_is_no_concern_of_the_room() -> None:
    """What changes in the room before its place is given up leaves alone whom it is joined to."""
    one, other = VideoBrowser(DARK), VideoBrowser(LIGHT)
    async with meeting(one) as (engine, (first,)):
        try:
            offered = await engine.create_offer(first.name, Party("other", Kind.WEBRTC), first.party)
            await engine.answer(first.name, Party("other", Kind.WEBRTC), None, await other.answer(offered))
            await engine.join(first.name, "peer", "other")
            picture = picture_of(first)
            seen = picture.heard
            assert seen is not None
            assert picture in seen.watchers
            picture.changed()
            assert picture.heard is seen
            assert picture in seen.watchers
        finally:
            await other.close()


async def test_an_offer_of_ours_to_a_member_speaks_of_pictures() -> None:
    """As an INVITE without one asks for within the call; the picture stays."""
    one, phone = VideoBrowser(DARK, ("h264",)), VideoPhone(LIGHT)
    async with meeting(one, phone) as (engine, (first, second)):
        await until(lambda: one.sees(LIGHT) and phone.sees(DARK))
        phone.take(await engine.create_offer(second.name, second.party, PROGRAM))
        await engine.answer(second.name, second.party, None, phone.sdp())
        count = len(phone.packets)
        one.seen.clear()
        await until(lambda: one.sees(LIGHT) and len(phone.packets) > count + 20 and phone.sees(DARK))
        assert (first.seat.sees, second.seat.sees) == (second.name, first.name)


async def test_a_member_that_begins_run_after_run_has_the_room_arranged_once() -> None:
    """A page can begin a run with every second packet; what a room of fifty costs then is everybody's."""
    one, phone = VideoBrowser(DARK, ("h264",)), VideoPhone(LIGHT)
    async with meeting(one, phone) as (_, (first, second)):
        await until(lambda: one.sees(LIGHT) and phone.sees(DARK))
        arranged: list[int] = []
        picture = picture_of(second)
        picture.changed = lambda: arranged.append(1)
        for generation in range(2, 1000):
            picture.run_began(generation % 2, generation, 0.0)
        assert not arranged
        assert first.seat.sees == second.name


async def test_nobody_takes_the_picture_from_the_others_by_what_it_says_it_can_take(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The least of those who see it counts, and never less than 200,000 bits a second; what is malformed is nothing."""
    sending(monkeypatch, 600_000)
    said = ("a=rtcp-fb:* goog-remb", "a=rtcp-fb:* nack pli")
    one, other = [VideoPhone(luma, profile="RTP/AVPF", extra=said) for luma in (DARK, LIGHT)]
    async with meeting(one, other) as (_, (first, _)):

        def told(bits: int) -> bool:
            heard = [each for data in one.rtcp for each in parse_compound(data) if isinstance(each, Feedback)]
            limits = [limit for each in heard if (limit := read_bit_rate_limit(each)) is not None]
            return any(limit == pytest.approx(bits, rel=0.01) for limit in limits)

        await until(lambda: told(2_500_000) and picture_of(first).rate)
        other.send_rtcp(bytes(ReceiverReport(0x77)) + bytes(bit_rate_limit(0x77, 600_000, (1,))))
        for asked, granted in ((500_000, 500_000), (1_000, 200_000), (900_000, 900_000)):
            other.send_rtcp(bytes(ReceiverReport(0x77)) + bytes(bit_rate_limit(0x77, asked, (1,))))
            other.send_rtcp(bytes(ReceiverReport(0x77)) + bytes(bit_rate_limit(0x77, asked, (1,)))[:-6])
            await until(lambda granted=granted: told(granted))


async def test_floods_of_what_one_can_take_cost_a_room_a_bounded_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirty limits in each packet, and run after run: who is seen is told ten times a second for each."""
    said = ("a=rtcp-fb:* goog-remb", "a=rtcp-fb:* nack pli")
    one, other = [VideoPhone(luma, profile="RTP/AVPF", extra=said) for luma in (DARK, LIGHT)]
    async with meeting(one, other) as (_, (first, second)):
        await until(lambda: picture_of(second).heard is picture_of(first))
        told: list[VideoStream] = []
        monkeypatch.setattr(VideoStream, "limit_rate", lambda stream: told.append(stream))
        later = asyncio.get_running_loop().time() + 1000.0
        seen, looks = picture_of(first), picture_of(second)
        seen.rate = 400_000.0
        fallen = [bits for number in range(15) for bits in (400_000, 300_000 + number)]
        limits = b"".join([bytes(bit_rate_limit(0x77, bits, (1,))) for bits in fallen])
        for number in range(500):
            looks.take_rtcp(bytes(ReceiverReport(0x77)) + limits, later + number / 1000)
            seen.run_began(number % 2 + 1, number + 2, later + number / 1000)
        assert len([each for each in told if each is seen]) <= 20
        told.clear()
        looks.take_rtcp(bytes(ReceiverReport(0x77)) + limits, later + 1.0)
        assert told == [seen]
        assert looks.most < 400_000


def test_a_page_that_is_reloaded_again_and_again_is_offered_its_pictures_each_time() -> None:
    """Who takes none is asked three times; who took them, and has them no more, anew."""
    resources, offers = MagicMock(**{"config.video": VideoConfig()}), MagicMock()
    picture = VideoStream(resources, MagicMock(), "cname", MagicMock(), MagicMock(), offers)
    picture.agreement = MagicMock()
    picture.views = [MagicMock(agreement=None)]

    def looked(seconds: int) -> int:
        before = offers.call_count
        for _ in range(seconds):
            resources.clock.return_value += 1.0
            picture.want(2)
        return int(offers.call_count) - before

    resources.clock.return_value = 0.0
    assert looked(100) == 3
    for _ in range(5):
        picture.views[0].agreement = MagicMock()
        assert looked(10) == 0
        picture.views[0].agreement = None
        assert looked(1) == 1
    assert looked(100) == 2


def test_what_a_page_can_take_is_divided_among_all_that_it_sees() -> None:
    """Its REMB is of all pictures together: each sender may send its share, and all of it who is seen alone."""
    resources, fed = MagicMock(**{"config.video": VideoConfig()}), MagicMock(rate=400_000.0)
    resources.clock.return_value = 0.0
    parts = resources, MagicMock(ssrc=1), "cname", MagicMock(), MagicMock(), MagicMock()
    main = VideoStream(*parts)
    main.views = [VideoStream(*parts, main) for _ in range(3)]
    main.heard, main.views[0].heard, main.views[1].heard = fed, fed, fed
    main.take_rtcp(bytes(ReceiverReport(0x77)) + bytes(bit_rate_limit(0x77, 600_000, (1,))), 0.0)
    assert [each.most for each in (main, *main.views[:2])] == [200_000] * 3
    main.views[1].heard = None
    assert [main.most, main.views[0].most] == [300_000] * 2
    main.heard = None
    assert main.views[0].most == 600_000


@by_row("is_said", [False, True])
def test_in_a_section_that_is_refused_nobody_is_shown_any_more(is_said: bool) -> None:
    """Said with port 0, or left out; who was seen there is seen in none."""
    resources = MagicMock(**{"config.video": VideoConfig()})
    parts = resources, MagicMock(ssrc=1), "cname", MagicMock(), MagicMock(), MagicMock()
    main, shown = VideoStream(*parts), MagicMock(flow=7)
    view = VideoStream(*parts, main)
    main.views, view.agreement = [view], MagicMock()
    own, refused = MagicMock(kind="video"), MagicMock(kind="video", accepted=False)
    view.is_shown(shown)
    main.agree_all(own, MagicMock(media=(own, refused) if is_said else (own,)), "answerer", None)
    left: list[object] = [view.agreement, view.heard, shown.watchers]
    assert left == [None, None, []]
    assert main.agreement is own


async def test_who_says_less_than_it_is_sent_is_overrun_once_it_says_no_more() -> None:
    """By REMB of all that it sees: less than the two pictures have, more of it, and with losses."""
    one, phone, other = VideoPhone(DARK), VideoPhone(GREY), VideoPhone(LIGHT)
    async with meeting(one, phone, other) as (_, (first, second, third)):
        await until(lambda: one.sees(GREY) or one.sees(LIGHT))
        await until(lambda: phone.sees(DARK) or phone.sees(LIGHT))
        seeing, view = picture_of(first), picture_of(second)

        def said(bits: int) -> bool:
            seeing.take_rtcp(bytes(ReceiverReport(0x77)) + bytes(bit_rate_limit(0x77, bits, (1,))), 0.0)
            for seen in (picture_of(each) for each in (first, second, third)):
                seen.rate = 200_000.0
            return seeing.overrun

        assert not said(250_000)  # of one picture
        seeing.views.append(view)
        try:
            assert said(240_000)
            assert not said(250_000)
            view.reporter.fraction_lost = 0.2
            assert seeing.overrun
            assert not said(500_000)
        finally:
            seeing.views.remove(view)
