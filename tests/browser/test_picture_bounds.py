"""How large a picture a real Chromium sends: no larger with `picture-bounds.js` than the other side takes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from gateway.media.engine import KeyFrameWanted, Kind, Party
from tests.browser.bare import blank_page, chromium
from tests.browser.greys import ANSWER, OFFER, TAKE
from tests.media.engine_support import running, until
from tests.media.video_support import RATE, VideoPhone

pytestmark = [pytest.mark.wall, pytest.mark.asyncio(loop_scope="module")]

MODULE = Path(__file__).parents[2] / "gateway" / "web" / "static" / "picture-bounds.js"
PAGE, PHONE = Party("page", Kind.WEBRTC), Party("phone", Kind.RTP, private_source="127.0.0.1")
LARGE = OFFER.replace("320", "1280").replace("240", "720")
"""As the page makes it, with pictures of 1280x720, which Chromium sends smaller at first."""

REPLACED = """async () => {
  const sender = pc.getSenders().find(({ track }) => track.kind === 'video');
  const canvas = Object.assign(document.createElement('canvas'), { width: 720, height: 1280 });
  const [track] = canvas.captureStream().getTracks();
  await replaceTrack(sender, track);
  return sender.getParameters().encodings[0].scaleResolutionDownTo;
}"""
"""Another picture, which stands upright, in the place of what is sent; the box that it is sent in."""
TOLD = """async () => {
  const [pc, other] = [new RTCPeerConnection(), new RTCPeerConnection()];
  const canvas = (size) => Object.assign(document.createElement('canvas'), size);
  const picture = (width, height) => canvas({ width, height }).captureStream().getTracks()[0];
  const sender = pc.addTrack(picture(1280, 720));
  boundPictures(pc);
  await pc.setLocalDescription();
  await other.setRemoteDescription(pc.localDescription);
  await other.setLocalDescription();
  const { sdp } = other.localDescription;
  const [, vp8] = /a=rtpmap:([0-9]+) VP8/.exec(sdp);
  const told = () => pc.setRemoteDescription({ type: 'answer', sdp: `${sdp}a=fmtp:${vp8} max-fs=396;max-fr=10\r\n` });
  const box = () => {
    const { maxWidth, maxHeight } = sender.getParameters().encodings[0].scaleResolutionDownTo ?? {};
    return [maxWidth, maxHeight];
  };
  Object.assign(window, { pc, picture, sender, told, box });
}"""
"""A connection that is about to be told how large a picture the other side takes."""
SPEED = "pc.getSenders().find(({ track }) => track.kind === 'video').getParameters().encodings[0].maxFramerate"


async def bounded_page(context: Any) -> Any:
    """One with the module."""
    page = await blank_page(context)
    exported = "Object.assign(window, { bounds, fitting, boundPictures, replaceTrack });"
    await page.add_script_tag(type="module", content=f"{MODULE.read_text()}\n{exported}")
    return page


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bare() -> AsyncIterator[Any]:
    """A page that has the module and no connection."""
    async with chromium() as browser, await browser.new_context() as context:
        yield await bounded_page(context)


class SmallPhone(VideoPhone):
    """A phone that says how large the pictures are that it takes."""

    fmtp = ""

    def sdp(self, direction: str = "sendrecv", *, video: bool = True) -> str:
        lines = [line for line in super().sdp(direction, video=video).splitlines() if "fmtp" not in line]
        lines += [f"a=fmtp:{self.payload_type} {self.fmtp}"] if self.fmtp else []
        return "".join(f"{line}\r\n" for line in lines)

    def blocks(self, since: int = 0) -> list[int]:
        """Macroblocks of each picture that came, after so many."""
        return [-(-each.width // 16) * -(-each.height // 16) for each in self.pictures()][since:]


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("codec", "small", "large"),
    [
        ("VP8", "max-fs=396;max-fr=10", ""),
        ("H264", "packetization-mode=1;profile-level-id=42e00c;level-asymmetry-allowed=1", None),
    ],
)
async def test_chromium_sends_no_larger_pictures_than_the_other_side_takes_now(
    codec: str, small: str, large: str | None
) -> None:
    """From the first one on, at no more a second, and larger ones once more are taken (RFC 7741 6.1, RFC 6184 8.1)."""
    async with AsyncExitStack() as stack:
        engine, _ = await stack.enter_async_context(running())
        browser = await stack.enter_async_context(chromium())
        page = await bounded_page(await stack.enter_async_context(await browser.new_context()))
        phone = SmallPhone(200, codec=codec)
        phone.fmtp = small
        await phone.open()
        stack.push_async_callback(phone.close)
        engine.subscribe(lambda event: phone.key_frame() if isinstance(event, KeyFrameWanted) else None)
        phone.take(await engine.offer("call", PAGE, PHONE, await page.evaluate(LARGE, 120)))
        answer = await engine.answer("call", PHONE, PAGE, phone.sdp())
        phone.show()
        await page.evaluate("boundPictures(pc)")
        await page.evaluate(TAKE, answer)
        # Without a bound it sends 480x270 here at once, and 960x540 or more after some seconds.
        await until(lambda: len(phone.blocks()) > 8 * RATE)
        assert max(phone.blocks()) <= 396
        assert max(phone.blocks()) > 300
        assert await page.evaluate(SPEED) == (10 if codec == "VP8" else 16)
        if large is None:
            assert await page.evaluate(REPLACED) == {"maxWidth": 224, "maxHeight": 416}
            return
        phone.fmtp, known = large, len(phone.blocks())
        offer = await engine.offer("call", PHONE, PAGE, phone.sdp())
        await engine.answer("call", PAGE, PHONE, await page.evaluate(ANSWER, offer))
        await until(lambda: max(phone.blocks(known), default=0) > 396)


async def test_of_several_pictures_at_once_the_last_is_made_to_fit(bare: Any) -> None:
    """Who shares a window and takes another one in the same turn; Chromium refuses now and then what crosses."""
    await bare.evaluate(TOLD)
    script = """async () => {
      const set = sender.setParameters.bind(sender);
      let isSetting = false;
      sender.setParameters = async (parameters) => {
        if (isSetting) throw new DOMException('stale', 'InvalidStateError');
        isSetting = true;
        await set(parameters).finally(() => { isSetting = false; });
      };
      await told();
      await Promise.all([[640, 480], [400, 1280], [720, 1280]].map((size) => replaceTrack(sender, picture(...size))));
      return box();
    }"""
    assert await bare.evaluate(script) == [224, 416]


async def test_a_picture_whose_size_is_refused_at_first_is_made_to_fit_all_the_same(bare: Any) -> None:
    """The page itself had set something meanwhile, which makes what was read before it stale."""
    await bare.evaluate(TOLD)
    script = """async () => {
      const set = sender.setParameters.bind(sender);
      sender.setParameters = async (parameters) => {
        sender.setParameters = set;
        await set(sender.getParameters());
        await set(parameters);
      };
      await told();
      while (!box()[0]) await new Promise((done) => setTimeout(done, 10));
      return box();
    }"""
    assert await asyncio.wait_for(bare.evaluate(script), 20) == [416, 224]


async def test_a_size_that_is_refused_for_good_holds_up_no_other(bare: Any) -> None:
    """The picture is another one all the same, and the next one is made to fit."""
    await bare.evaluate(TOLD)
    script = """async () => {
      const set = sender.setParameters.bind(sender);
      await told();
      sender.setParameters = () => Promise.reject(new DOMException('refused', 'InvalidStateError'));
      await replaceTrack(sender, picture(640, 480));
      sender.setParameters = set;
      await replaceTrack(sender, picture(720, 1280));
      return box();
    }"""
    assert await bare.evaluate(script) == [224, 416]


@pytest.mark.parametrize(
    ("codec", "fmtp", "expected"),
    [
        ("video/VP8", "", [inf, inf, inf]),
        ("video/VP8", "max-fr=15;max-fs=396", [396, 15, inf]),
        ("video/VP9", "profile-id=0;max-fs=-3;max-fr=x", [inf, inf, inf]),
        ("video/VP9", "profile-id=0;max-fs=-3;max-fr=10", [inf, 10, inf]),
        ("video/H264", "packetization-mode=1;profile-level-id=42e01f", [3_600, inf, 108_000]),
        ("video/H264", "profile-level-id=42e00c;max-fs=1620;max-mbps=40500", [1_620, inf, 40_500]),
        ("video/H264", "profile-level-id=42f00b", [99, inf, 1_485]),
        ("video/H264", "profile-level-id=64000b", [396, inf, 3_000]),
        ("video/H264", "", [inf, inf, inf]),
        ("video/AV1", "", [4_160, inf, 124_807]),
        ("video/AV1", "level-idx=0", [576, inf, 17_280]),
        ("video/AV1", "level-idx=31", [inf, inf, inf]),
    ],
)
async def test_the_bounds_of_each_codec_are_read(bare: Any, codec: str, fmtp: str, expected: list[float]) -> None:
    """Macroblocks a picture, pictures a second, macroblocks a second; who says none has none."""
    found = await bare.evaluate("([codec, fmtp]) => bounds(codec, fmtp)", [codec, fmtp])
    assert [found["size"], found["rate"], found["speed"]] == expected


@pytest.mark.parametrize(
    ("size", "speed", "picture", "box", "rate"),
    [
        (396, inf, (1280, 720), (416, 224), None),
        (396, 6_000, (720, 1280), (224, 416), 16),
        (99, 1_485, (640, 480), (176, 128), 16),
        (3_600, 108_000, (1280, 720), (1280, 720), 30),
        (3_600, 108_000, (3840, 2160), (1280, 720), 30),
        (396, 6_000, (320, 240), (352, 272), 16),
        (396, inf, (4000, 16), (896, 16), None),
        (1, 1, (640, 480), (16, 16), 1),
        (396, 6_000, (0, 0), (416, 224), 16),
        (396, 6_000, (nan, -1), (416, 224), 16),
    ],
)
async def test_a_picture_is_made_to_fit_in_its_own_proportions(
    bare: Any, size: float, speed: float, picture: tuple[int, int], box: tuple[int, int], rate: int | None
) -> None:
    """Of whole macroblocks, no side longer than the square root of eight times as many (RFC 7741 section 6.1)."""
    width, height = picture
    script = "([size, speed, width, height]) => fitting({ size, speed, rate: Infinity }, { width, height })"
    found = await bare.evaluate(script, [size, speed, width, height])
    assert found["scaleResolutionDownTo"] == dict(zip(("maxWidth", "maxHeight"), box, strict=True))
    assert found.get("maxFramerate") == rate
    assert found["scaleResolutionDownBy"] >= 1
    assert not width / found["scaleResolutionDownBy"] > box[0] + 1e-6
