"""Codecs that nothing here can turn into others: they pass from phone to phone, and are never agreed to otherwise."""

from __future__ import annotations

import pytest

from gateway.media.engine import Kind, MediaError, Party
from sdp import SessionDescription
from tests.media.engine_support import Phone, browser_sdp, config, parsed, phone_sdp, running, until

LEFT = Party("left", Kind.RTP, private_source="127.0.0.1")
RIGHT = Party("right", Kind.RTP, private_source="127.0.0.1")
BROWSER = Party("browser", Kind.WEBRTC)
G729 = "18 G729/8000"


def with_g729(sdp: str, *, alone: bool = False) -> str:
    """A phone that likes G.729 best, without annex B."""
    rest = "" if alone else "0 "
    sdp = sdp.replace("RTP/AVP 0", f"RTP/AVP 18 {rest}".rstrip())
    lines = f"a=rtpmap:{G729}\r\na=fmtp:18 annexb=no\r\n"
    return (sdp.replace("a=rtpmap:0 PCMU/8000\r\n", "") if alone else sdp) + lines


def formats(sdp: str) -> tuple[str, ...]:
    return SessionDescription.parse(sdp).media[0].formats


@pytest.mark.parametrize("alone", [True, False])
async def test_g729_passes_from_phone_to_phone_untouched(alone: bool) -> None:
    """Offered, answered and forwarded as it is, its fmtp too."""
    async with running() as (engine, _):
        caller, callee = await Phone(("pcmu",), ssrc=1).open(), await Phone(("pcmu",), ssrc=2).open()
        try:
            offer = await engine.offer("call", LEFT, RIGHT, with_g729(caller.sdp(), alone=alone))
            assert "18" in formats(offer)
            assert "annexb=no" in offer
            callee.take(offer)
            answer = await engine.answer("call", RIGHT, LEFT, with_g729(callee.sdp(), alone=True))
            assert formats(answer)[0] == "18"
            caller.take(answer)
            caller.send(b"ten octets", 18)
            await until(lambda: len(callee.packets) == 1)
            assert (parsed(callee)[0].payload_type, parsed(callee)[0].payload) == (18, b"ten octets")
        finally:
            await caller.close()
            await callee.close()


async def test_a_phone_that_speaks_g729_too_talks_with_a_browser_in_another_codec() -> None:
    """The browser never hears of G.729, and the phone is answered with what can be turned into Opus."""
    async with running() as (engine, _):
        offer = await engine.offer("call", LEFT, BROWSER, with_g729(phone_sdp(codecs=("pcmu",))))
        assert "G729" not in offer
        answer = await engine.answer("call", BROWSER, LEFT, browser_sdp(codecs=("opus",), setup="active"))
        assert formats(answer)[0] == "0"


async def test_what_cannot_be_turned_into_anything_the_other_side_knows_is_refused() -> None:
    """G.729 alone toward a browser, or toward a phone that answers with something else, is no call."""
    async with running() as (engine, _):
        with pytest.raises(MediaError) as raised:
            await engine.offer("one", LEFT, BROWSER, with_g729(phone_sdp(codecs=("pcmu",)), alone=True))
        assert raised.value.status == 488


async def test_a_trunk_whose_codecs_are_set_is_offered_no_other() -> None:
    """`codecs` of a trunk bind."""
    async with running() as (engine, _):
        right = Party("right", Kind.RTP, codecs=("pcmu",))
        assert "18" not in formats(await engine.offer("call", LEFT, right, with_g729(phone_sdp(codecs=("pcmu",)))))


async def test_no_codec_passes_that_is_not_named() -> None:
    """codecs.passed."""
    async with running(config(passed_codecs=())) as (engine, _):
        assert "18" not in formats(await engine.offer("call", LEFT, RIGHT, with_g729(phone_sdp(codecs=("pcmu",)))))
