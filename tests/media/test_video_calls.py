"""Whole video calls over loopback, pictures decoded at each end: aiortc as the browser, a phone on plain RTP."""

from __future__ import annotations

from gateway.media.embedded.settings import VideoConfig
from gateway.media.engine import KeyFrameWanted, Kind, Party
from sdp import SessionDescription, read_codecs
from tests.media.engine_support import config, phone_sdp, running, until
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
    for codecs, said in (((), []), (("av1",), []), (("vp8",), ["VP8"])):
        async with running(config(video=VideoConfig(codecs=codecs))) as (engine, _):
            description = SessionDescription.parse(await engine.offer("call", PHONE, BROWSER, offer))
            video = [each for each in description.media if each.kind == "video"]
            assert [codec.name for each in video for codec in read_codecs(each)] == said


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
