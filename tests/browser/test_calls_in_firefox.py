"""Firefox with an engine: H.264 with a phone, where it has that, and an ICE restart in a call."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from gateway.media.engine import KeyFrameWanted, Kind, Party
from sdp import SessionDescription
from tests import peers
from tests.browser.firefox import Firefox
from tests.browser.noise import NOISE
from tests.media.engine_support import phone_sdp, running, until
from tests.media.video_support import VideoPhone
from tests.peers import firefox

pytestmark = [pytest.mark.wall, pytest.mark.asyncio(loop_scope="module")]

MAKE = (
    NOISE
    + """
  window.pc = new RTCPeerConnection();
  for (const track of media.getTracks()) pc.addTrack(track, media);
  pc.ontrack = ({track}) => {
    if (track.kind !== "video") return;
    window.video = document.createElement("video");
    video.muted = true;
    video.srcObject = new MediaStream([track]);
    video.play();
  };
"""
)
OFFER = "await pc.setLocalDescription(await pc.createOffer(%s)); return pc.localDescription.sdp;"
TAKE = "await pc.setRemoteDescription({type: 'answer', sdp: %s}); return true;"
GREY = """
  if (!video?.videoWidth) return null;
  const canvas = new OffscreenCanvas(16, 16), drawing = canvas.getContext("2d");
  drawing.drawImage(video, 0, 0, 16, 16);
  return drawing.getImageData(8, 4, 1, 1).data[0];
"""
FIGURES = """
  const stats = [...(await pc.getStats()).values()];
  return {
    heard: stats.find(each => each.type === "inbound-rtp" && each.kind === "audio")?.packetsReceived ?? 0,
    state: pc.connectionState,
  };
"""
BROWSER, PHONE = Party("browser", Kind.WEBRTC), Party("phone", Kind.RTP, private_source="127.0.0.1")
ECHO = Party("echo", Kind.SERVICE, service="echo")


class Page:
    """A page with a connection."""

    def __init__(self, browser: Firefox) -> None:
        self._browser = browser

    async def __call__(self, script: str, value: object = None) -> Any:
        """What a script returns, filled with a value."""
        filled = script % json.dumps(value) if "%s" in script else script
        return await self._browser.run(f"return (async () => {{ {filled} }})();")

    async def until(self, script: str, holds: Callable[[Any], bool]) -> Any:
        """Wait until what it returns is such."""
        found = None
        try:
            async with asyncio.timeout(60):
                while not holds(found := await self(script)):  # noqa: ASYNC110  # only asking tells
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise AssertionError(f"{script} stayed {found}") from None
        return found


@pytest_asyncio.fixture(loop_scope="module")
async def page() -> AsyncIterator[Page]:
    """An empty one, in a Firefox of its own."""
    peers.network()
    async with Firefox(firefox()) as browser:
        yield Page(browser)


@pytest.mark.parametrize("codec", ["H264", "VP8"])
async def test_firefox_and_a_phone_see_each_other(page: Page, codec: str) -> None:
    """Each decodes the other's pictures, the phone's in the grey that it sent; a Firefox without H.264 is named."""
    await page(MAKE)
    known = await page("return RTCRtpReceiver.getCapabilities('video').codecs.map(each => each.mimeType)")
    if f"video/{codec}" not in known:
        version = (await page("return navigator.userAgent")).rpartition("/")[2]
        peers.unavailable(f"{codec} of Firefox {version}", f"its OpenH264 plugin brings it, beside {', '.join(known)}")
    async with running() as (engine, _):
        phone = await VideoPhone(200, codec=codec).open()
        engine.subscribe(lambda event: phone.key_frame() if isinstance(event, KeyFrameWanted) else None)
        try:
            phone.take(await engine.offer("call", BROWSER, PHONE, await page(OFFER, {})))
            answer = await engine.answer("call", PHONE, BROWSER, phone.sdp())
            phone.show()
            await page(TAKE, answer)
            await page.until(GREY, lambda grey: grey is not None and abs(grey - 214) < 16)
            await until(lambda: len(phone.seen()) >= 10)
        finally:
            await phone.close()


def name_of(sdp: str) -> str:
    """The username fragment of its ICE."""
    return str(SessionDescription.parse(sdp).media[0].value("ice-ufrag"))


async def test_firefox_restarts_ice_in_a_call(page: Page) -> None:
    """New names on both sides, over the same DTLS association: the echo goes on, and the state stays connected."""
    await page(MAKE)
    async with running() as (engine, _):

        async def agreed(options: dict[str, bool]) -> tuple[str, str]:
            offer = await page(OFFER, options)
            await engine.offer("call", BROWSER, ECHO, offer)
            answer = await engine.answer("call", ECHO, BROWSER, phone_sdp())
            await page(TAKE, answer)
            return name_of(offer), name_of(answer)

        before = await agreed({})
        await page.until(FIGURES, lambda found: found["heard"] > 50)
        leg = engine._session("call").party(BROWSER.tag).webrtc
        assert leg is not None
        associations = leg.associations
        after = await agreed({"iceRestart": True})
        assert not set(before) & set(after)
        heard = (await page(FIGURES))["heard"]
        found = await page.until(FIGURES, lambda found: found["heard"] > heard + 100)
        assert found["state"] == "connected"
        assert leg.associations == associations
