"""Chromium's own video codecs through the engine: H.264 to a phone and back, VP8 and VP9 between two pages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from gateway.media.embedded.plane.bundled import BundledFlow
from gateway.media.embedded.plane.routes import UNWRAP
from gateway.media.embedded.plane.srtp import SendContext
from gateway.media.engine import KeyFrameWanted, Kind, Party
from sdp import SessionDescription
from tests.browser.bare import blank_page, chromium
from tests.media.engine_support import running, until
from tests.media.video_support import VideoPhone

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

MAKE = """async (codec) => {
  const media = await navigator.mediaDevices.getUserMedia({audio: true, video: {width: 320, height: 240}});
  window.pc = new RTCPeerConnection();
  for (const track of media.getTracks()) pc.addTrack(track, media);
  pc.ontrack = ({track}) => { if (track.kind === 'video') window.remote = track; };
  window.prefer = () => {
    const wanted = RTCRtpReceiver.getCapabilities('video').codecs
      .filter(each => each.mimeType === `video/${codec}` || each.mimeType === 'video/rtx');
    for (const each of pc.getTransceivers())
      if (each.receiver.track.kind === 'video') each.setCodecPreferences(wanted);
    return wanted.length;
  };
}"""
OFFER = """async () => {
  if (prefer() < 2) return null;
  await pc.setLocalDescription(await pc.createOffer());
  return pc.localDescription.sdp;
}"""
ANSWER = """async (sdp) => {
  await pc.setRemoteDescription({type: 'offer', sdp});
  prefer();
  await pc.setLocalDescription(await pc.createAnswer());
  return pc.localDescription.sdp;
}"""
TAKE = "async (sdp) => { await pc.setRemoteDescription({type: 'answer', sdp}); }"
LUMA = """async () => {
  const reader = new MediaStreamTrackProcessor({track: remote}).readable.getReader();
  const {value} = await reader.read();
  reader.cancel();
  const data = new Uint8Array(value.allocationSize());
  await value.copyTo(data);
  const luma = [...data.subarray(0, value.codedWidth * value.codedHeight)].sort((a, b) => a - b);
  value.close();
  return luma[luma.length >> 1];
}"""
STATS = """async () => {
  const found = {};
  (await pc.getStats()).forEach(each => {
    if (each.type === 'inbound-rtp' && each.kind === 'video')
      Object.assign(found, {decoded: each.framesDecoded, again: each.retransmittedPacketsReceived ?? 0});
    if (each.type === 'outbound-rtp' && each.kind === 'video')
      Object.assign(found, {repeated: each.retransmittedPacketsSent, pli: each.pliCount});
  });
  return found;
}"""
CHROMIUM, OTHER = Party("chromium", Kind.WEBRTC), Party("other", Kind.WEBRTC)
PHONE = Party("phone", Kind.RTP, private_source="127.0.0.1")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Any]:
    """One Chromium for all tests here, with a camera that shows a test picture."""
    async with chromium() as started:
        yield started


@pytest_asyncio.fixture(loop_scope="module")
async def context(browser: Any) -> AsyncIterator[Any]:
    """What a test opens its pages in."""
    async with await browser.new_context() as made:
        yield made


async def page(context: Any, codec: str) -> Any:
    """A page with a connection that speaks this codec alone."""
    made = await blank_page(context)
    await made.evaluate(MAKE, codec)
    return made


async def decodes(made: Any, frames: int) -> None:
    """Wait until the page has decoded so many pictures."""
    found: dict[str, int] = {}
    for _ in range(100):
        found = await made.evaluate(STATS)
        if found.get("decoded", 0) >= frames:
            return
        await made.wait_for_timeout(100)
    pytest.fail(f"decoded too few pictures: {found}")


async def test_chromium_and_a_phone_see_each_other_in_h264(context: Any) -> None:
    """Each decodes the other's pictures; the phone's come out in the grey that it sent."""
    async with running() as (engine, _):
        phone = await VideoPhone(200).open()
        engine.subscribe(lambda event: phone.key_frame() if isinstance(event, KeyFrameWanted) else None)
        try:
            chromium = await page(context, "H264")
            offer = await chromium.evaluate(OFFER)
            if offer is None:
                pytest.skip("this Chromium was built without H.264")
            phone.take(await engine.offer("call", CHROMIUM, PHONE, offer))
            answer = await engine.answer("call", PHONE, CHROMIUM, phone.sdp())
            phone.show()
            await chromium.evaluate(TAKE, answer)
            await decodes(chromium, 10)
            assert abs(await chromium.evaluate(LUMA) - 200) < 12
            await until(lambda: len(phone.seen()) >= 10)
        finally:
            await phone.close()


@pytest.mark.parametrize("codec", ["VP8", "VP9"])
async def test_two_pages_see_each_other(context: Any, codec: str) -> None:
    """What Chromium encodes Chromium decodes on the other side, with retransmissions agreed on both."""
    async with running() as (engine, _):
        one, other = await page(context, codec), await page(context, codec)
        offer = await engine.offer("call", CHROMIUM, OTHER, await one.evaluate(OFFER))
        answer = await engine.answer("call", OTHER, CHROMIUM, await other.evaluate(ANSWER, offer))
        for text in (offer, answer):
            video = next(each for each in SessionDescription.parse(text).media if each.kind == "video")
            assert any("rtx/90000" in each for each in video.values("rtpmap"))
            assert any(each.startswith("FID ") for each in video.values("ssrc-group"))
        await one.evaluate(TAKE, answer)
        await decodes(one, 10)
        await decodes(other, 10)


def losing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every thirtieth large packet is lost on its way here, and one in thirty on its way from here."""
    take, seal, counts = BundledFlow.take, SendContext.seal, [0, 0]

    def lossy_take(flow: BundledFlow, second: int, *packet: Any) -> None:
        counts[0] += 1
        if counts[0] % 30 or flow._table.action[second & 0x7F] == UNWRAP:
            take(flow, second, *packet)

    def lossy_seal(context: SendContext, offset: int, size: int) -> int:
        counts[1] += size > 500
        return 0 if size > 500 and counts[1] % 30 == 0 else seal(context, offset, size)

    monkeypatch.setattr(BundledFlow, "take", lossy_take)
    monkeypatch.setattr(SendContext, "seal", lossy_seal)


async def test_pictures_are_whole_although_packets_are_lost(context: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What never came is asked for at its sender and unwrapped; what did is sent again from here (RFC 4588)."""
    losing(monkeypatch)
    async with running() as (engine, _):
        one, other = await page(context, "VP8"), await page(context, "VP8")
        offer = await engine.offer("call", CHROMIUM, OTHER, await one.evaluate(OFFER))
        await one.evaluate(TAKE, await engine.answer("call", OTHER, CHROMIUM, await other.evaluate(ANSWER, offer)))
        await decodes(other, 30)
        for made, name in ((one, "repeated"), (other, "again")):
            for _ in range(100):
                found = await made.evaluate(STATS)
                if found.get(name):
                    break
                await made.wait_for_timeout(100)
            assert found.get(name), f"{name}: {found}"
