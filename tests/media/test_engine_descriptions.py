"""What the embedded engine answers to descriptions that are unusual and usable."""

from __future__ import annotations

import pytest

from gateway.media.engine import Kind, Party
from sdp import SessionDescription
from tests.media.engine_support import config, running

BROWSER, PHONE, SECURE = Party("browser", Kind.WEBRTC), Party("phone", Kind.RTP), Party("secure", Kind.SDES)
HEAD = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
WEBRTC = (
    "a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=rtcp-mux\r\na=setup:{setup}\r\n"
    "a=fingerprint:sha-256 " + ":".join(["AB"] * 32) + "\r\n"
)
OPUS = "m=audio 9 UDP/TLS/RTP/SAVPF 111 101\r\na=rtpmap:111 opus/48000/2\r\na=rtpmap:101 telephone-event/8000\r\n"
KEY = "inline:" + "A" * 40


def browser(setup: str = "actpass") -> str:
    return HEAD + OPUS + WEBRTC.format(setup=setup)


def phone(*lines: str) -> str:
    return HEAD + "".join(f"{line}\r\n" for line in lines)


def read(text: str) -> SessionDescription:
    return SessionDescription.parse(text)


async def test_opus_alone_and_pcmu_alone_meet() -> None:
    """codecs.webrtc and codecs.rtp say what a side may be told, not what is decoded."""
    settings = config(webrtc_codecs=("opus",), rtp_codecs=("pcmu",))
    async with running(settings) as (engine, _):
        offer = await engine.offer("call", BROWSER, PHONE, browser())
        assert read(offer).media[0].formats[0] == "0"
        answer = read(await engine.answer("call", PHONE, BROWSER, phone("m=audio 5000 RTP/AVP 0")))
        assert answer.media[0].formats == ("111", "101")


async def test_the_dtls_role_of_a_passive_browser_stays() -> None:
    """It answered our offer as passive, so we are active; its re-offer as actpass changes nobody's role."""
    async with running() as (engine, _):
        await engine.offer("call", PHONE, BROWSER, phone("m=audio 5000 RTP/AVP 0"))
        pcmu = HEAD + "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n" + WEBRTC
        await engine.answer("call", BROWSER, PHONE, pcmu.format(setup="passive"))
        await engine.offer("call", BROWSER, PHONE, pcmu.format(setup="actpass"))
        again = read(await engine.answer("call", PHONE, BROWSER, phone("m=audio 5000 RTP/AVP 0")))
        assert again.media[0].value("setup") == "active"


async def test_an_early_answer_takes_one_audio_section() -> None:
    """The second has no far end."""
    async with running() as (engine, _):
        two = browser() + OPUS + WEBRTC.format(setup="actpass")
        grouped = two.replace("t=0 0\r\n", "t=0 0\r\na=group:BUNDLE 0 1\r\n")
        first, second, third = grouped.split("m=audio")
        await engine.offer("call", BROWSER, PHONE, f"{first}m=audio{second}a=mid:0\r\nm=audio{third}a=mid:1\r\n")
        answer = read(await engine.accept("call", BROWSER))
        assert [bool(section.port) for section in answer.media] == [True, False]


async def test_the_second_audio_line_of_a_phone_serves() -> None:
    """Where nothing can be done with the first."""
    async with running() as (engine, _):
        two = phone("m=audio 5000 RTP/AVP 97", "a=rtpmap:97 iLBC/8000", "m=audio 5002 RTP/AVP 0")
        await engine.offer("call", PHONE, BROWSER, two)
        answer = read(await engine.accept("call", PHONE))
        assert [bool(section.port) for section in answer.media] == [False, True]


@pytest.mark.parametrize("first", ["|2^20|1:4", "|1:4"])
async def test_a_key_without_identifier_is_chosen(first: str) -> None:
    """The phone's first key has a master key identifier, its second none; its suites are in lower case."""
    async with running() as (engine, _):
        offer = phone(
            "m=audio 5000 RTP/SAVP 0",
            f"a=crypto:1 aes_cm_128_hmac_sha1_80 {KEY}{first}",
            f"a=crypto:2 aes_cm_128_hmac_sha1_80 {KEY}",
        )
        await engine.offer("call", SECURE, PHONE, offer)
        answer = read(await engine.answer("call", PHONE, SECURE, phone("m=audio 6000 RTP/AVP 0")))
        assert [crypto.tag for crypto in answer.media[0].cryptos] == [2]


async def test_a_key_that_nobody_asked_for_ends_no_call() -> None:
    """Baresip's answer over plain RTP has one."""
    async with running() as (engine, _):
        await engine.offer("call", BROWSER, PHONE, browser())
        lines = ("m=audio 5000 RTP/AVP 0", f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 {KEY}")
        assert read(await engine.answer("call", PHONE, BROWSER, phone(*lines))).media[0].port


async def test_audio_that_is_bundled_with_refused_video_is_reached() -> None:
    """Its section is bundle-only and says neither ICE nor fingerprint: the video's hold for it."""
    video = "m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=rtpmap:96 VP8/90000\r\na=mid:v\r\n" + WEBRTC.format(setup="actpass")
    audio = OPUS.replace("m=audio 9", "m=audio 0") + "a=mid:a\r\na=bundle-only\r\n"
    async with running() as (engine, _):
        head = HEAD + "a=group:BUNDLE v a\r\n"
        await engine.offer("call", BROWSER, PHONE, head + video + audio)
        refusing = phone("m=video 0 RTP/AVP 96") + "m=audio 5000 RTP/AVP 0\r\n"
        answer = read(await engine.answer("call", PHONE, BROWSER, refusing))
        assert [bool(section.port) for section in answer.media] == [False, True]
        assert answer.media[1].has("ice-ufrag")
