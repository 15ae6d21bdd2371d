"""What a peer's own descriptions say."""

from __future__ import annotations

import asyncio

from gateway.remotemedia import WebRtcTransportConfig
from gateway.remotemedia.peer import Callbacks, Peer
from sdp import SessionDescription


async def test_a_description_says_what_pictures_may_take() -> None:
    """The bit rate of the configuration stands in the video section, and in no other."""
    peer = Peer("far", WebRtcTransportConfig.high_quality(), Callbacks())
    try:
        peer.prepare()
        peer.add_video_track()
        offer = await peer.offer()
    finally:
        await peer.close()
    bounds = {section.split(" ")[0]: "b=AS:4000\r\n" in section for section in offer.split("m=")[1:]}
    assert bounds == {"audio": False, "video": True, "application": False}
    SessionDescription.parse(offer)


async def test_a_close_that_was_cancelled_ends_at_the_next() -> None:
    """Whoever closes again waits for the first close, and not for ever."""
    peer = Peer("far", WebRtcTransportConfig.high_quality(), Callbacks())
    peer.prepare()
    await peer.offer()
    begun = asyncio.Event()
    peer.connection.on("signalingstatechange", lambda: begun.set())
    closing = asyncio.create_task(peer.close())
    await begun.wait()
    closing.cancel()
    await asyncio.gather(closing, return_exceptions=True)
    async with asyncio.timeout(5):
        await peer.close()
    assert peer.closed.is_set()
