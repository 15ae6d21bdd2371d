"""Chromium's own video codecs through the engine: H.264 to a phone and back, and between two pages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from gateway.media.embedded.describe import SERVICE_DESCRIPTION
from gateway.media.embedded.plane.bundled import BundledFlow
from gateway.media.embedded.plane.packet import octet_extension
from gateway.media.embedded.plane.routes import UNWRAP
from gateway.media.embedded.plane.srtp import SendContext
from gateway.media.engine import KeyFrameWanted, Kind, Party, Seat
from sdp import SessionDescription
from sdp.extensions import ORIENTATION, read_extensions
from tests import peers
from tests.browser.bare import blank_page, chromium
from tests.media.engine_support import PLANE, is_rtcp, running, until
from tests.media.plane_scene import native
from tests.media.video_support import VideoPhone

pytestmark = [pytest.mark.wall, pytest.mark.asyncio(loop_scope="module")]

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
PROGRAM = Party("program", Kind.SERVICE, service="program", video=("vp8",))


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
    for _ in range(300):
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
                peers.missing("H.264 in Chromium", "the Debian package chromium in place of this one")
            phone.take(await engine.offer("call", CHROMIUM, PHONE, offer))
            answer = await engine.answer("call", PHONE, CHROMIUM, phone.sdp())
            phone.show()
            await chromium.evaluate(TAKE, answer)
            await decodes(chromium, 10)
            assert abs(await chromium.evaluate(LUMA) - 200) < 12
            await until(lambda: len(phone.seen()) >= 10)
        finally:
            await phone.close()


@pytest.mark.parametrize("codec", ["VP8", "VP9", "AV1"])
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


TURN = """async () => {
  const data = new Uint8Array(320 * 240 * 3 / 2).fill(128);
  data.fill(235, 0, 320 * 120);
  const generator = new MediaStreamTrackGenerator({kind: 'video'}), writer = generator.writable.getWriter();
  window.turned = 90;
  let count = 0;
  setInterval(() => {
    data.fill(16 + count++ % 30, 320 * 120, 320 * 240);
    const form = {format: 'I420', codedWidth: 320, codedHeight: 240, timestamp: performance.now() * 1000};
    writer.write(new VideoFrame(data, {...form, rotation: turned}));
  }, 66);
  await pc.getSenders().find(each => each.track.kind === 'video').replaceTrack(generator);
}"""
WATCH = """() => {
  window.video = document.createElement('video');
  video.muted = true;
  video.srcObject = new MediaStream([remote]);
  video.play();
}"""
LIES = """() => {
  const canvas = document.createElement('canvas');
  const [width, height] = [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  if (!width) return null;
  const drawing = canvas.getContext('2d');
  drawing.drawImage(video, 0, 0);
  const light = (x, y) => drawing.getImageData(x * width, y * height, 1, 1).data[0] > 128;
  const sides = {top: light(.5, .1), right: light(.9, .5), bottom: light(.5, .9), left: light(.1, .5)};
  return [width > height, ...Object.keys(sides).filter(side => sides[side])].join(' ');
}"""
"""Whether what is seen is broad, and which of its sides are white in their middle."""
UPRIGHT, TURNED_LEFT, TURNED_RIGHT = "true top", "false left", "false right"


async def lies(made: Any, how: str) -> None:
    """Wait until the page shows the picture so."""
    found = None
    for _ in range(300):
        found = await made.evaluate(LIES)
        if found is not None and set(found.split()) >= {*how.split()}:
            break
        await made.wait_for_timeout(100)
    opposite = {"top": "bottom", "left": "right", "right": "left"}[how.split()[1]]
    assert found is not None
    assert set(found.split()) >= {*how.split()}, found
    assert opposite not in found.split()


async def test_a_picture_that_is_turned_lies_right_where_both_have_agreed_to_it(context: Any) -> None:
    """The page that sees it turns it, as its sender says, also when that changes in the call (3GPP TS 26.114)."""
    async with running() as (engine, _):
        one, other = await page(context, "VP8"), await page(context, "VP8")
        offer = await engine.offer("call", CHROMIUM, OTHER, await one.evaluate(OFFER))
        answer = await engine.answer("call", OTHER, CHROMIUM, await other.evaluate(ANSWER, offer))
        assert ORIENTATION in offer
        assert ORIENTATION in answer
        await one.evaluate(TAKE, answer)
        await one.evaluate(TURN)
        await decodes(other, 5)
        await other.evaluate(WATCH)
        await lies(other, TURNED_RIGHT)
        for turned, how in ((270, TURNED_LEFT), (0, UPRIGHT), (90, TURNED_RIGHT)):
            await one.evaluate("turned => { window.turned = turned; }", turned)
            await lies(other, how)


@pytest.fixture(params=["python", "native"])
def either_plane(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """The engines of the test have this plane."""
    PLANE.set((lambda: native(tmp_path)) if request.param == "native" else None)


@pytest.mark.usefixtures("either_plane")
async def test_a_picture_that_is_turned_lies_right_in_a_room(context: Any) -> None:
    """Each member has agreed to it with the room, and the page that sees the picture turns it."""
    async with running() as (engine, _):
        conference, pages, seats = engine.conference(), list[Any](), list[Seat]()
        for name in ("one", "two"):
            pages.append(await page(context, "VP8"))
            await engine.offer(name, CHROMIUM, PROGRAM, await pages[-1].evaluate(OFFER))
            answer = await engine.answer(name, PROGRAM, CHROMIUM, SERVICE_DESCRIPTION)
            assert ORIENTATION in answer
            await pages[-1].evaluate(TAKE, answer)
            seats.append(conference.seat(engine.audio(name, PROGRAM.tag), name))
        await pages[0].evaluate(TURN)
        await decodes(pages[1], 5)
        await pages[1].evaluate(WATCH)
        for turned, how in ((90, TURNED_RIGHT), (270, TURNED_LEFT)):
            await pages[0].evaluate("turned => { window.turned = turned; }", turned)
            await lies(pages[1], how)
        for seat in seats:
            seat.leave()


@pytest.mark.usefixtures("either_plane")
async def test_a_phone_that_is_called_is_told_how_a_picture_lies(context: Any) -> None:
    """Where it has taken that: in one octet of a header extension, a quarter of a turn is 1 (3GPP TS 26.114)."""
    async with running() as (engine, _):
        chromium = await page(context, "VP8")
        offer = await engine.offer("call", CHROMIUM, PHONE, await chromium.evaluate(OFFER))
        video = next(each for each in SessionDescription.parse(offer).media if each.kind == "video")
        identifier = read_extensions(video)[ORIENTATION]
        phone = await VideoPhone(200, codec="VP8", extra=[f"a=extmap:{identifier} {ORIENTATION}"]).open()
        try:
            answer = await engine.answer("call", PHONE, CHROMIUM, phone.sdp())
            assert ORIENTATION in answer
            await chromium.evaluate(TAKE, answer)
            await chromium.evaluate(TURN)
            for turned, octet in ((90, 1), (270, 3)):
                await chromium.evaluate("turned => { window.turned = turned; }", turned)
                phone.packets.clear()
                await until(lambda octet=octet: said_last(phone, identifier) == octet, 30)
        finally:
            await phone.close()


def said_last(phone: VideoPhone, identifier: int) -> int | None:
    """What the last packet that says it says of how the picture lies."""
    said = [octet_extension(packet, identifier) for packet in phone.packets if not is_rtcp(packet)]
    return next((each for each in reversed(said) if each is not None), None)
