"""Pages that each send a picture of one grey, and say which greys they see."""

from __future__ import annotations

from typing import Any

OFFER = """async (grey) => {
  const canvas = new OffscreenCanvas(320, 240);
  const drawing = canvas.getContext('2d');
  const generator = new MediaStreamTrackGenerator({kind: 'video'});
  const writer = generator.writable.getWriter();
  let count = 0;
  setInterval(() => {
    drawing.fillStyle = `rgb(${grey} ${grey} ${grey})`;
    drawing.fillRect(0, 0, 320, 240);
    drawing.fillStyle = 'black';
    drawing.fillRect(0, count++ % 240, 320, 1);
    writer.write(new VideoFrame(canvas, {timestamp: performance.now() * 1000}));
  }, 66);
  const sound = (await navigator.mediaDevices.getUserMedia({audio: true})).getAudioTracks()[0];
  window.pc = new RTCPeerConnection();
  window.seen = {};
  pc.ontrack = async ({track, transceiver: {mid}}) => {
    if (track.kind !== 'video') return;
    const reader = new MediaStreamTrackProcessor({track}).readable.getReader();
    for (;;) {
      const {value, done} = await reader.read();
      if (done) return;
      const data = new Uint8Array(value.allocationSize());
      await value.copyTo(data);
      const luma = data[value.codedWidth * (value.codedHeight >> 1) + 20];
      window.seen[mid] = [...(window.seen[mid] ?? []).slice(-4), luma];
      value.close();
    }
  };
  pc.addTrack(sound, new MediaStream([sound]));
  pc.addTrack(generator, new MediaStream([generator]));
  if (!RTCRtpReceiver.getCapabilities('video').codecs.some(each => each.mimeType === 'video/H264')) return null;
  await pc.setLocalDescription(await pc.createOffer());
  return pc.localDescription.sdp;
}"""
TAKE = "async (sdp) => { await pc.setRemoteDescription({type: 'answer', sdp}); }"
ANSWER = """async (sdp) => {
  await pc.setRemoteDescription({type: 'offer', sdp});
  await pc.setLocalDescription(await pc.createAnswer());
  return pc.localDescription.sdp;
}"""
SEES = """greys => greys.every(grey => Object.values(seen).some(
  last => last.length === 5 && last.every(each => Math.abs(each - grey) < 16)))"""


def luma(grey: int) -> int:
    """Of a grey in RGB (ITU-R BT.601, limited range)."""
    return 16 + grey * 219 // 255


async def sees(page: Any, *wanted: int) -> None:
    """Its last five frames of one picture each are of these lumas."""
    await page.wait_for_function(SEES, arg=wanted, timeout=30_000)
