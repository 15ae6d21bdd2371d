"""What is lost on the way to a Chromium comes again by rtx (RFC 4588) of the gateway's own: its phone knows none."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from gateway.media.engine import KeyFrameWanted, Kind, Party
from tests import peers
from tests.browser.bare import blank_page, chromium
from tests.browser.lossy_link import LossyLink, by
from tests.media.engine_support import PLANE, running
from tests.media.plane_scene import native
from tests.media.video_support import VideoPhone
from tests.ports import free_port

pytestmark = [pytest.mark.wall, pytest.mark.nightly, pytest.mark.asyncio(loop_scope="module")]

MAKE = """async () => {
  const media = await navigator.mediaDevices.getUserMedia({audio: true, video: {width: 320, height: 240}});
  window.pc = new RTCPeerConnection();
  for (const track of media.getTracks()) pc.addTrack(track, media);
  return RTCRtpReceiver.getCapabilities("video").codecs.some(({mimeType}) => mimeType === "video/H264");
}"""
OFFER = "async () => { await pc.setLocalDescription(); return pc.localDescription.sdp; }"
ANSWER = """async (sdp) => {
  await pc.setRemoteDescription({type: "offer", sdp});
  await pc.setLocalDescription();
  return pc.localDescription.sdp;
}"""
TAKE = "async (sdp) => { await pc.setRemoteDescription({type: 'answer', sdp}); }"
SEES = """async () => {
  const seen = [...(await pc.getStats()).values()].find(({type, kind}) => type === "inbound-rtp" && kind === "video");
  return [seen?.framesDecoded ?? 0, seen?.retransmittedPacketsReceived ?? 0];
}"""
CHROMIUM, PHONE = Party("chromium", Kind.WEBRTC), Party("phone", Kind.RTP, private_source="127.0.0.1")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Any]:
    """One Chromium for all tests here."""
    async with chromium() as started:
        yield started


@pytest_asyncio.fixture(loop_scope="module")
async def page(browser: Any) -> AsyncIterator[Any]:
    """A page with a microphone and a camera, which takes H.264."""
    async with await browser.new_context() as context:
        made = await blank_page(context)
        if not await made.evaluate(MAKE):
            peers.missing("H.264 in Chromium", "the Debian package chromium in place of this one")
        yield made


async def until_more(page: Any, frames: int, again: int) -> None:
    """Wait until the page has decoded so many pictures, and got so many packets again."""
    found = [0, 0]
    for _ in range(300):
        found = await page.evaluate(SEES)
        if found[0] >= frames and found[1] >= again:
            return
        await page.wait_for_timeout(100)
    pytest.fail(f"{found[0]} pictures decoded, {found[1]} packets came again")


@pytest.mark.parametrize("plane", ["python", "native"])
@pytest.mark.parametrize("calls", ["the phone", "the browser"])
async def test_what_is_lost_on_the_way_to_a_browser_comes_again(
    page: Any, tmp_path: Path, plane: str, calls: str
) -> None:
    """By rtx that the gateway has offered, or answered, in its own name."""
    PLANE.set((lambda: native(tmp_path)) if plane == "native" else None)
    async with running() as (engine, _):
        phone, port = await VideoPhone(200).open(), free_port()
        engine.subscribe(lambda event: phone.key_frame() if isinstance(event, KeyFrameWanted) else None)
        try:
            async with LossyLink(port, ("127.0.0.1", engine.port.addresses[0][1])) as link:
                if calls == "the phone":
                    offer = by(engine, await engine.offer("call", PHONE, CHROMIUM, phone.sdp()), port)
                    phone.take(await engine.answer("call", CHROMIUM, PHONE, await page.evaluate(ANSWER, offer)))
                else:
                    phone.take(await engine.offer("call", CHROMIUM, PHONE, await page.evaluate(OFFER)))
                    answer = await engine.answer("call", PHONE, CHROMIUM, phone.sdp())
                    await page.evaluate(TAKE, by(engine, answer, port))
                phone.show()
                await until_more(page, 5, 0)
                link.share = 0.2
                await until_more(page, 40, 4)
        finally:
            await phone.close()
