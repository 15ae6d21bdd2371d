"""ICE-lite ends that send nothing: consent keeps their calls (RFC 7675)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.media.embedded.webrtc.config import WebRtcConfig
from gateway.media.engine import Kind, MediaFailed, Party
from tests.media.engine_support import Phone, config, running, until
from tests.media.lite_phone import LitePhone

PLAIN = Party("plain", Kind.RTP, private_source="127.0.0.1")
LITE = Party("lite", Kind.WEBRTC, private_source="127.0.0.1")


@pytest.mark.parametrize("answers", [True, False])
async def test_a_silent_lite_end_lives_as_long_as_it_answers_checks(answers: bool) -> None:
    """A call on hold sends nothing else; one that answers no check any more has ended (RFC 7675)."""
    lite, plain = LitePhone(), Phone()
    webrtc = WebRtcConfig(listen=("127.0.0.1",), liveness_timeout=8.0)
    async with running(replace(config(), webrtc=webrtc, media_timeout=600.0)) as (engine, events):
        await lite.open()
        await plain.open()
        try:
            offer = await engine.offer("call", PLAIN, LITE, plain.sdp())
            lite.begin(offer)
            plain.take(await engine.answer("call", LITE, PLAIN, lite.sdp()))
            await until(lambda: lite.sessions)
            lite.is_mute = not answers
            count = len(lite.checks)

            def failed() -> bool:
                return any(isinstance(event, MediaFailed) for event in events)

            await until(lambda: failed() or len(lite.checks) > count + 6, 90)
            assert failed() is not answers
        finally:
            await lite.close()
            await plain.close()
