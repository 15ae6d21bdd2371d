"""Real H.264 between Chromium's page and baresip through a whole gateway with the native plane, decoded at each end."""

from __future__ import annotations

import asyncio
from pathlib import Path

import av
import pytest
from playwright.async_api import Page

from gateway.demo.browser import SoftphoneBrowser
from tests import peers
from tests.browser.greys import luma
from tests.interop.baresip import MODULES, Baresip, baresip
from tests.interop.gateway import BROWSER_HZ, PASSWORDS, config_on_free_ports, gateway_with
from tests.media.video_support import grey_of

pytestmark = [
    pytest.mark.wall,
]

CAMERA = """() => {
  const connect = window.RTCPeerConnection, gets = navigator.mediaDevices.getUserMedia;
  window.grey = 60;
  window.RTCPeerConnection = class extends connect {
    constructor(...given) {
      super(...given);
      window.pc = this;
    }
  };
  navigator.mediaDevices.getUserMedia = async function (wanted) {
    if (!wanted.video) return gets.call(this, wanted);
    const canvas = new OffscreenCanvas(320, 240), drawing = canvas.getContext("2d");
    const generator = new MediaStreamTrackGenerator({kind: "video"}), writer = generator.writable.getWriter();
    let count = 0;
    setInterval(() => {
      drawing.fillStyle = `rgb(${grey} ${grey} ${grey})`;
      drawing.fillRect(0, 0, 320, 240);
      drawing.fillStyle = "black";
      drawing.fillRect(0, count++ % 240, 320, 1);
      writer.write(new VideoFrame(canvas, {timestamp: performance.now() * 1000}));
    }, 66);
    const sound = wanted.audio ? (await gets.call(this, {audio: wanted.audio})).getTracks() : [];
    return new MediaStream([...sound, generator]);
  };
}"""
"""Before the page's own scripts: its camera shows `grey`, and its connection is kept in `pc`."""
SEEN = """() => {
  const video = document.querySelector("#picture"), canvas = new OffscreenCanvas(16, 16);
  if (!video.videoWidth) return null;
  const drawing = canvas.getContext("2d");
  drawing.drawImage(video, 0, 0, 16, 16);
  return drawing.getImageData(8, 4, 1, 1).data[0];
}"""
"""The grey that the page shows of the other side."""
CODECS = """async () => {
  const stats = [...(await pc.getStats()).values()], found = {};
  for (const each of stats)
    if (each.kind === "video" && ["inbound-rtp", "outbound-rtp"].includes(each.type))
      found[each.type] = stats.find(one => one.id === each.codecId)?.mimeType;
  return found;
}"""


async def shows(page: Page, grey: int) -> None:
    """Wait until what comes back from the phone is of that grey."""
    seen = None
    for _ in range(600):
        seen = await page.evaluate(SEEN)
        if seen is not None and abs(seen - grey) < 16:
            return
        await page.wait_for_timeout(100)
    pytest.fail(f"the page sees the grey {seen}, not {grey}")


async def phone_sees(phone: Baresip, folder: Path, wanted: int) -> None:
    """Wait until baresip's own view, which it saves as a picture, is of that luma."""
    file, seen = folder / "seen.png", 0
    async with asyncio.timeout(60):
        while not (file.exists() and abs((seen := decoded(file)) - wanted) < 16):
            await phone.ask("snapshot_recv", str(file))
            await asyncio.sleep(0.1)
    assert abs(seen - wanted) < 16


def decoded(file: Path) -> int:
    """The luma of a picture in a file; 0 while that is being written."""
    try:
        with av.open(str(file)) as opened:
            return grey_of(next(opened.decode(video=0)))
    except (av.error.FFmpegError, StopIteration):
        return 0


async def test_chromium_and_baresip_see_each_other_in_h264(tmp_path: Path) -> None:
    """Baresip's view is what the page shows; the page's is what baresip has decoded and encoded again. Then another."""
    if not (MODULES / "avcodec.so").exists():
        peers.missing("baresip's H.264", "baresip-ffmpeg")
    config = config_on_free_ports(tmp_path / "gateway", MEDIA__PLANE="native")
    async with (
        gateway_with(config, tmp_path / "gateway.log") as gateway,
        SoftphoneBrowser(peers.chromium(), BROWSER_HZ) as browser,
        baresip(
            tmp_path / "phone",
            "1001",
            PASSWORDS["1001"],
            gateway.sip,
            gateway.config.domain,
            codec="PCMU/8000/1",
            source="ausine,660",
            video="H264",
        ) as phone,
    ):
        await phone.expect("REGISTER_OK")
        page = browser.page
        await page.context.grant_permissions(["microphone", "camera"])
        await page.add_init_script(f"({CAMERA})()")
        await browser.open(gateway.app.signed_in_url("alice"))
        await page.fill("#dial", "1001")
        await page.click("#video")
        await browser.status("talking")
        for grey in (60, 200):
            await page.evaluate("grey => { window.grey = grey; }", grey)
            await shows(page, grey)
            await phone_sees(phone, tmp_path, luma(grey))
        assert await page.evaluate(CODECS) == {"inbound-rtp": "video/H264", "outbound-rtp": "video/H264"}
        await browser.tone(660)
        await browser.hang_up()
        await gateway.idle()
