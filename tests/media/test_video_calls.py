"""Whole video calls over loopback, pictures decoded at each end: aiortc as the browser, a phone on plain RTP."""

from __future__ import annotations

import asyncio

import pytest
from aiortc import RTCRtpReceiver

from gateway.media.embedded.engine import EmbeddedEngine
from gateway.media.embedded.plane.protocol import Plane
from gateway.media.embedded.plane.values import Bound, FlowConfig
from gateway.media.embedded.resuming import party_values
from gateway.media.embedded.rtp.ports import PortPool
from gateway.media.embedded.settings import VideoConfig
from gateway.media.engine import KeyFrameWanted, Kind, MediaError, Party
from sdp import SessionDescription, read_codecs
from tests.media.engine_support import config, is_rtcp, phone_sdp, running, until
from tests.media.rtp_support import ManualClock
from tests.media.video_support import VideoBrowser, VideoPhone

BROWSER, OTHER = Party("browser", Kind.WEBRTC), Party("other", Kind.WEBRTC)
PHONE = Party("phone", Kind.RTP, private_source="127.0.0.1")
DARK, LIGHT = 60, 200


async def test_two_browsers_see_each_other() -> None:
    """VP8, passed as it is, beside the voices on one transport each."""
    async with running() as (engine, _):
        one, other = VideoBrowser(DARK), VideoBrowser(LIGHT)
        try:
            answer = await other.answer(await engine.offer("call", BROWSER, OTHER, await one.offer()))
            await one.take_answer(await engine.answer("call", OTHER, BROWSER, answer))
            await until(lambda: one.sees(LIGHT))
            await until(lambda: other.sees(DARK))
        finally:
            await one.close()
            await other.close()


async def test_a_browser_that_comes_back_is_answered_with_the_picture() -> None:
    """Its new connection is answered without the other side, by what that has agreed to; both are seen again."""
    async with running() as (engine, _):
        one, other, again = VideoBrowser(DARK), VideoBrowser(LIGHT), VideoBrowser(DARK)
        try:
            answer = await other.answer(await engine.offer("call", BROWSER, OTHER, await one.offer()))
            await one.take_answer(await engine.answer("call", OTHER, BROWSER, answer))
            await until(lambda: other.sees(DARK))
            await engine.isolate("call", "browser")
            await one.close()
            await engine.offer("call", BROWSER, OTHER, await again.offer())
            await again.take_answer(await engine.accept("call", BROWSER))
            await engine.join("call", "browser", "other")
            other.seen.clear()
            await until(lambda: again.sees(LIGHT))
            await until(lambda: other.sees(DARK))
        finally:
            await again.close()
            await other.close()


async def test_a_browser_and_a_phone_see_each_other() -> None:
    """H.264, bundled on one side and on ports of its own on the other.

    The phone's first pictures come before the browser can be reached, and no RTCP asks it for whole ones: its
    signalling has to.
    """
    async with running() as (engine, _):
        browser, phone = VideoBrowser(DARK, ("h264",)), await VideoPhone(LIGHT).open()
        engine.subscribe(lambda event: phone.key_frame() if event == KeyFrameWanted("call", "phone") else None)
        try:
            phone.take(await engine.offer("call", BROWSER, PHONE, await browser.offer()))
            answer = await engine.answer("call", PHONE, BROWSER, phone.sdp())
            phone.show()
            await browser.take_answer(answer)
            await until(lambda: browser.sees(LIGHT))
            await until(lambda: phone.sees(DARK))
        finally:
            await browser.close()
            await phone.close()
        await engine.delete("call")
        assert engine.ports_in_use == 0


async def test_a_whole_picture_is_asked_for_when_the_transport_of_who_sees_it_is_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The phone has begun before; the browser, which could have asked by RTCP, does not."""

    async def say_nothing(receiver: RTCRtpReceiver, media_ssrc: int) -> None:
        pass

    monkeypatch.setattr(RTCRtpReceiver, "_send_rtcp_pli", say_nothing)
    async with running() as (engine, _):
        browser, phone = VideoBrowser(DARK, ("h264",)), await VideoPhone(LIGHT).open()
        wanted: list[str] = []
        engine.subscribe(lambda event: wanted.append(event.tag) if isinstance(event, KeyFrameWanted) else None)
        try:
            phone.take(await engine.offer("call", BROWSER, PHONE, await browser.offer()))
            answer = await engine.answer("call", PHONE, BROWSER, phone.sdp())
            phone.show()
            stream = engine._session("call").party(PHONE.tag).video
            assert stream is not None
            await until(lambda: stream.source is not None)
            await asyncio.sleep(0)  # events come in the loop's next round
            assert wanted == []
            await browser.take_answer(answer)
            await until(lambda: wanted[:1] == [PHONE.tag])
        finally:
            await browser.close()
            await phone.close()


async def test_a_phone_with_a_screen_calls_a_browser() -> None:
    """The offer comes from plain RTP."""
    async with running() as (engine, _):
        browser, phone = VideoBrowser(DARK, ("h264",)), await VideoPhone(LIGHT).open()
        try:
            answer = await browser.answer(await engine.offer("call", PHONE, BROWSER, phone.sdp()))
            phone.take(await engine.answer("call", BROWSER, PHONE, answer))
            phone.show()
            await until(lambda: browser.sees(LIGHT))
            await until(lambda: phone.sees(DARK))
        finally:
            await browser.close()
            await phone.close()


async def test_video_that_is_not_to_pass_is_offered_to_nobody() -> None:
    """`video.codecs` names what passes; with none of the offer's there is no section for the callee."""
    offer = phone_sdp() + "m=video 5004 RTP/AVP 97 98\r\na=rtpmap:97 H264/90000\r\na=rtpmap:98 VP8/90000\r\n"
    vp8, again = ("vp8",), ["VP8", "rtx"]  # what is lost is sent again by the gateway itself, where it keeps packets
    for codecs, kept, said in (((), 9, []), (("av1",), 9, []), (vp8, 0, ["VP8"]), (vp8, 9, again)):
        async with running(config(video=VideoConfig(codecs=codecs, kept_packets=kept))) as (engine, _):
            description = SessionDescription.parse(await engine.offer("call", PHONE, BROWSER, offer))
            video = [each for each in description.media if each.kind == "video"]
            assert [codec.name for each in video for codec in read_codecs(each)] == said


@pytest.mark.parametrize(("kept", "agreed"), [(256, True), (0, False)])
async def test_retransmissions_are_agreed_where_packets_are_kept(kept: int, agreed: bool) -> None:
    """`video.kept_packets` 0: neither rtx nor NACK is offered to a browser."""
    offer = phone_sdp() + "m=video 5004 RTP/AVPF 97 98\r\na=rtpmap:97 VP8/90000\r\na=rtpmap:98 rtx/90000\r\n"
    async with running(config(video=VideoConfig(kept_packets=kept))) as (engine, _):
        made = await engine.offer("call", PHONE, BROWSER, offer + "a=fmtp:98 apt=97\r\na=rtcp-fb:97 nack\r\n")
        [video] = [each for each in SessionDescription.parse(made).media if each.kind == "video"]
        codecs = read_codecs(video)
        assert ("rtx" in [codec.key[0] for codec in codecs], "nack" in codecs[0].feedback) == (agreed, agreed)
        assert video.has("ssrc-group") is agreed


async def test_a_phone_that_answers_the_voice_alone_has_refused_the_picture() -> None:
    """It leaves the picture's section out instead of refusing it by port 0 (RFC 3264 section 6), as old ones do."""
    async with running() as (engine, _):
        browser = VideoBrowser(DARK, ("h264",))
        try:
            offered = SessionDescription.parse(await engine.offer("call", BROWSER, PHONE, await browser.offer()))
            assert [each.kind for each in offered.media] == ["audio", "video"]
            answer = SessionDescription.parse(await engine.answer("call", PHONE, BROWSER, phone_sdp()))
            assert [(each.kind, bool(each.port)) for each in answer.media] == [("audio", True), ("video", False)]
        finally:
            await browser.close()


async def test_video_that_one_side_refuses_leaves_the_call() -> None:
    """The phone has no screen: the browser is told so, and the ports of the picture are free again."""
    async with running() as (engine, _):
        browser, phone = VideoBrowser(DARK, ("h264",)), await VideoPhone(LIGHT).open()
        try:
            await engine.offer("call", BROWSER, PHONE, await browser.offer())
            assert engine.ports_in_use == 2
            answer = SessionDescription.parse(await engine.answer("call", PHONE, BROWSER, phone.sdp(video=False)))
            assert [(each.kind, bool(each.port)) for each in answer.media] == [("audio", True), ("video", False)]
            assert engine.ports_in_use == 1
        finally:
            await browser.close()
            await phone.close()


@pytest.mark.parametrize(("interval", "asked"), [(0.18, 3), (5.0, 1)])
async def test_a_key_frame_is_asked_for_as_often_as_configured(
    interval: float, asked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`video.key_frame_interval`, however many packets say that one is missing."""
    clock = ManualClock()
    engine = EmbeddedEngine(config(video=VideoConfig(key_frame_interval=interval)), clock=clock)
    await engine.start()
    try:
        callee = Party("callee", Kind.RTP)
        picture = "m=video 5004 RTP/AVP 97\r\na=rtpmap:97 H264/90000\r\na=fmtp:97 packetization-mode=1\r\n"
        await engine.offer("call", PHONE, callee, phone_sdp() + picture)
        await engine.answer("call", callee, PHONE, phone_sdp(port=41002) + picture)
        stream = engine._session("call").party(PHONE.tag).video
        assert stream is not None
        told: list[None] = []
        monkeypatch.setattr(stream._sender, "_ask_by_signalling", lambda: told.append(None))
        stream.run_began(7, 1, clock())
        for _ in range(10):
            clock.advance(0.05)
            stream.ask_key_frame()
        assert len(told) == asked
        for _ in range(3):
            clock.advance(interval)
            engine._session("call").sweep(clock())
        assert len(told) == asked + 1, "a wish within the interval is kept, once"
    finally:
        await engine.close()


@pytest.mark.parametrize("limit", [100, 900])
async def test_as_many_packets_of_video_are_taken_as_configured(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """`video.max_packets_per_second`: of a phone's ports for it, and beside the voice's of a browser."""
    opened: list[int] = []
    settings = config(video=VideoConfig(max_packets_per_second=limit))
    async with running(settings) as (engine, _):
        plane = engine._running().plane
        open_flow, configure = plane.open_flow, plane.configure_flow

        def opens(flow: int, port: int, how: FlowConfig) -> None:
            opened.append(how.max_packets_per_second)
            open_flow(flow, port, how)

        def configures(flow: int, how: FlowConfig) -> None:
            opened.append(how.max_packets_per_second)
            configure(flow, how)

        monkeypatch.setattr(plane, "open_flow", opens)
        monkeypatch.setattr(plane, "configure_flow", configures)
        offer = phone_sdp() + "m=video 5004 RTP/AVP 97\r\na=rtpmap:97 H264/90000\r\na=sendrecv\r\n"
        await engine.offer("call", PHONE, BROWSER, offer)
        assert {limit, settings.webrtc.max_packets_per_second + limit} <= {*opened}


async def test_who_comes_by_a_transfer_is_offered_the_picture_that_was_seen() -> None:
    """And sees it, and is seen, from a whole picture on; the one who left is seen by nobody."""
    third = Party("third", Kind.RTP, private_source="127.0.0.1")
    async with running() as (engine, _):
        phones = {
            tag: await VideoPhone(luma).open() for tag, luma in (("browser", DARK), ("phone", 128), ("third", LIGHT))
        }
        one, other, new = phones.values()
        engine.subscribe(lambda event: phones[event.tag].key_frame() if isinstance(event, KeyFrameWanted) else None)
        first = Party("browser", Kind.RTP, private_source="127.0.0.1")
        try:
            other.take(await engine.offer("call", first, PHONE, one.sdp()))
            one.take(await engine.answer("call", PHONE, first, other.sdp()))
            one.show()
            other.show()
            await until(lambda: other.sees(DARK) and one.sees(128))
            new.take(await engine.create_offer("call", third, first))
            await engine.answer("call", third, None, new.sdp())
            new.show()
            await engine.join("call", "browser", "third")
            await until(lambda: new.sees(DARK) and one.sees(LIGHT))
            await engine.release("call", "phone")
            again = SessionDescription.parse(await engine.create_offer("call", first))
            assert [(each.kind, bool(each.port)) for each in again.media] == [("audio", True), ("video", True)]
        finally:
            for phone in phones.values():
                await phone.close()


async def test_a_picture_on_hold_stops_and_goes_on_from_a_whole_one() -> None:
    """A re-offer that sends only: the other side's picture stops, and returns after the next."""
    async with running() as (engine, _):
        one, other = await VideoPhone(DARK).open(), await VideoPhone(LIGHT).open()
        first = Party("browser", Kind.RTP, private_source="127.0.0.1")
        wanted: list[str] = []
        engine.subscribe(lambda event: wanted.append(event.tag) if isinstance(event, KeyFrameWanted) else None)
        try:
            for direction, answered in (("sendrecv", "sendrecv"), ("sendonly", "recvonly"), ("sendrecv", "sendrecv")):
                seen = len(one.packets)
                other.take(await engine.offer("call", first, PHONE, one.sdp(direction)))
                one.take(await engine.answer("call", PHONE, first, other.sdp(answered)))
                if direction == "sendonly":
                    known = len(other.packets)
                    held = len(one.packets)
                    await until(lambda known=known: len(other.packets) >= known + 5)
                    assert len(one.packets) <= held + 1
                    wanted.clear()
                    continue
                if not seen:
                    one.show()
                    other.show()
                await until(lambda seen=seen: len(one.packets) >= seen + 5)
            assert "phone" in wanted
        finally:
            await one.close()
            await other.close()


@pytest.mark.parametrize("pairs", [2, 3])
async def test_without_ports_for_the_picture_the_voice_goes_on(pairs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if it were refused; the ports of one side alone are free again."""
    opened = PortPool.open

    async def open_few(pool: PortPool, plane: Plane, port: int, dscp: int) -> tuple[Bound, Bound]:
        if pool.in_use >= pairs:
            raise MediaError("no RTP ports are left", 503)
        return await opened(pool, plane, port, dscp)

    monkeypatch.setattr(PortPool, "open", open_few)
    async with running() as (engine, _):
        one, other = await VideoPhone(DARK).open(), await VideoPhone(LIGHT).open()
        first = Party("browser", Kind.RTP, private_source="127.0.0.1")
        try:
            offer = SessionDescription.parse(await engine.offer("call", first, PHONE, one.sdp()))
            assert [each.kind for each in offer.media if each.port] == ["audio"]
            answer = SessionDescription.parse(await engine.answer("call", PHONE, first, phone_sdp()))
            assert [each.kind for each in answer.media if each.port] == ["audio"]
            assert engine.ports_in_use == 2
        finally:
            await one.close()
            await other.close()


async def test_a_picture_that_is_offered_and_not_agreed_keeps_no_call_from_being_resumed() -> None:
    """A re-INVITE with video that the other side refuses; one that fails at once leaves no port."""
    async with running() as (engine, _):
        one, other = await VideoPhone(DARK).open(), await VideoPhone(LIGHT).open()
        first = Party("browser", Kind.RTP, private_source="127.0.0.1")
        try:
            await engine.offer("call", first, PHONE, phone_sdp())
            await engine.answer("call", PHONE, first, phone_sdp())
            parties = engine._session("call").parties
            assert all(party_values(party) for party in parties)
            unheard_of = one.sdp().replace("PCMU", "UNKNOWN").replace("RTP/AVP 0", "RTP/AVP 99").replace(":0 ", ":99 ")
            with pytest.raises(MediaError):
                await engine.offer("call", first, PHONE, unheard_of)
            assert engine.ports_in_use == 2
            await engine.offer("call", first, PHONE, one.sdp())
            assert all(party_values(party) for party in parties)
        finally:
            await one.close()
            await other.close()


async def test_a_picture_that_was_offered_in_a_call_and_never_agreed_gives_its_ports_back() -> None:
    """The re-INVITE was refused, of which no engine is told; what is agreed stays, and so does a first offer."""
    clock = ManualClock()
    async with running(clock=clock) as (engine, _):
        one = await VideoPhone(DARK).open()
        first = Party("browser", Kind.RTP, private_source="127.0.0.1")
        try:
            await engine.offer("call", first, PHONE, one.sdp())
            clock.now += engine.config.unanswered_kept + 1
            await engine.sweep()
            assert engine.ports_in_use == 4
            await engine.answer("call", PHONE, first, phone_sdp())
            assert engine.ports_in_use == 2
            await engine.offer("call", first, PHONE, one.sdp())
            clock.now += engine.config.unanswered_kept - 1
            await engine.sweep()
            assert engine.ports_in_use == 4
            clock.now += 2
            await engine.sweep()
            assert engine.ports_in_use == 2
        finally:
            await one.close()


async def test_a_picture_of_another_source_is_taken_at_once_after_another_description() -> None:
    """The phone shows another camera from its re-INVITE on: not one packet of it counts as a stranger's."""
    other = Party("other", Kind.RTP, private_source="127.0.0.1")
    async with running() as (engine, _):
        phone, seeing = await VideoPhone(LIGHT).open(), await VideoPhone(DARK).open()
        try:
            for ssrc in (0x77, 0x78):
                seeing.take(await engine.offer("call", PHONE, other, phone.sdp()))
                phone.take(await engine.answer("call", other, PHONE, seeing.sdp()))
                for number in range(3):
                    phone.show_once(number, ssrc)
                await until(lambda: len([each for each in seeing.packets if not is_rtcp(each)]) == 3)
                seeing.packets.clear()
        finally:
            await phone.close()
            await seeing.close()


async def test_video_that_goes_and_comes_back_shows_under_its_source() -> None:
    """A transport bears a bounded number of sources in its life, so forty times off and on take none but the first."""
    async with running() as (engine, _):
        browser = VideoBrowser(DARK)
        try:
            await engine.offer("call", BROWSER, PHONE, await browser.offer())
            party = engine._session("call").party("browser")
            seen = set()
            for _ in range(40):
                assert party.video is not None
                seen.add((party.video.flow, party.video.identity.ssrc, party.video.repair_ssrc))
                party.close_video()
                assert await party.open_video()
            assert len(seen) == 1
        finally:
            await browser.close()


async def test_video_that_was_refused_may_be_offered_again() -> None:
    """Under another source, on ports of its own; and refused once more, it leaves nothing."""
    async with running() as (engine, _):
        one, other = await VideoPhone(DARK).open(), await VideoPhone(LIGHT).open()
        first = Party("browser", Kind.RTP, private_source="127.0.0.1")
        try:
            for accepted in (False, True, False):
                other.take(await engine.offer("call", first, PHONE, one.sdp()))
                answer = SessionDescription.parse(await engine.answer("call", PHONE, first, other.sdp(video=accepted)))
                assert [bool(each.port) for each in answer.media] == [True, accepted]
                assert engine.ports_in_use == (4 if accepted else 2)
                if accepted:
                    one.take(str(answer))
                    one.show()
                    await until(lambda: other.sees(DARK))
        finally:
            await one.close()
            await other.close()
