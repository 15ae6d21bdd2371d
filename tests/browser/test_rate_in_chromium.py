"""Chromium's own rate over links that narrow: its own, its viewer's, and what a phone asks for."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from gateway.media.embedded.engine import EmbeddedEngine
from gateway.media.embedded.settings import VideoConfig
from gateway.media.engine import Kind, Party
from sdp import SessionDescription
from sdp.extensions import TRANSPORT_CC, read_extensions
from tests.browser.bare import blank_page, chromium
from tests.browser.lossy_link import LossyLink, by
from tests.browser.noise import LimitingPhone
from tests.media.engine_support import PLANE, config, running, until
from tests.media.plane_scene import native
from tests.ports import free_port

pytestmark = [pytest.mark.wall, pytest.mark.serial, pytest.mark.nightly, pytest.mark.asyncio(loop_scope="module")]

MAKE = """async () => {
  const media = await navigator.mediaDevices.getUserMedia({audio: true, video: {width: 640, height: 480}});
  window.pc = new RTCPeerConnection();
  for (const track of media.getTracks()) pc.addTrack(track, media);
}"""
OFFER = "async () => { await pc.setLocalDescription(); return pc.localDescription.sdp; }"
ANSWER = """async (sdp) => {
  await pc.setRemoteDescription({type: 'offer', sdp});
  await pc.setLocalDescription();
  return pc.localDescription.sdp;
}"""
TAKE = "async (sdp) => { await pc.setRemoteDescription({type: 'answer', sdp}); }"
RATE = """async () => {
  const found = {target: 0, available: 0, bytes: 0, frames: 0};
  (await pc.getStats()).forEach(each => {
    if (each.type === 'outbound-rtp' && each.kind === 'video')
      Object.assign(found, {target: each.targetBitrate ?? 0, bytes: each.bytesSent, frames: each.framesEncoded});
    if (each.type === "candidate-pair") found.available = Math.max(found.available, each.availableOutgoingBitrate ?? 0);
  });
  return found;
}"""
SENDER, VIEWER = Party("sender", Kind.WEBRTC), Party("viewer", Kind.WEBRTC)
PHONE = Party("phone", Kind.RTP, private_source="127.0.0.1")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Any]:
    """One Chromium for all tests here, with a camera that shows a test picture of about 500 kbit/s."""
    async with chromium() as started:
        yield started


@pytest_asyncio.fixture(loop_scope="module")
async def pages(browser: Any) -> AsyncIterator[list[Any]]:
    """Two pages with a microphone and a camera each."""
    async with await browser.new_context() as context:
        made = [await blank_page(context) for _ in range(2)]
        for page in made:
            await page.evaluate(MAKE)
        yield made


async def call(
    engine: EmbeddedEngine, pages: list[Any], *, sender_by: int = 0, viewer_by: int = 0, estimates: bool = True
) -> str:
    """Have the first call the second, each by the link at that port where there is one; what it was answered.

    `estimates`: whether the second says what it can take (REMB).
    """
    sender, viewer = pages
    offer = await engine.offer("call", SENDER, VIEWER, await sender.evaluate(OFFER))
    offer = offer if estimates else re.sub(r"a=rtcp-fb:\d+ goog-remb\r\n", "", offer)
    told = by(engine, offer, viewer_by) if viewer_by else offer
    answer = await engine.answer("call", VIEWER, SENDER, await viewer.evaluate(ANSWER, told))
    await sender.evaluate(TAKE, by(engine, answer, sender_by) if sender_by else answer)
    return answer


async def until_rate(page: Any, holds: Callable[[dict[str, int]], bool]) -> dict[str, int]:
    """Wait until the page's rates are such."""
    found: dict[str, int] = {}
    for _ in range(600):
        found = await page.evaluate(RATE)
        if holds(found):
            return found
        await page.wait_for_timeout(100)
    pytest.fail(f"the rates stayed {found}")


def numbers_its_packets(sdp: str) -> bool:
    """Whether its sender is told when they came."""
    return all(TRANSPORT_CC in read_extensions(media) for media in SessionDescription.parse(sdp).media)


async def test_the_rate_falls_with_the_link_and_rises_with_it_again(pages: list[Any], tmp_path: Path) -> None:
    """By what it is told of when its packets came, and by nothing else: they come late, and none is lost.

    A Chromium that is told nothing, or nothing of use, does not stay near what the link bears: it sends less and less.
    """
    PLANE.set(lambda: native(tmp_path))
    async with running() as (engine, _):
        port = free_port()
        async with LossyLink(port, ("127.0.0.1", engine.port.addresses[0][1])) as link:
            assert numbers_its_packets(await call(engine, pages, sender_by=port, estimates=False))
            await until_rate(pages[0], lambda rate: rate["available"] > 900_000)
            link.from_browsers.bits, link.from_browsers.queue = 300_000, 5.0
            await until_rate(pages[0], lambda rate: 0 < rate["available"] < 330_000 and rate["target"] < 300_000)
            for _ in range(50):
                assert (await pages[0].evaluate(RATE))["available"] > 140_000
                await pages[0].wait_for_timeout(200)
            link.from_browsers.bits = None
            await until_rate(pages[0], lambda rate: rate["available"] > 500_000)


async def test_the_rate_falls_with_the_link_of_who_sees_it_and_rises_when_nothing_speaks_for_that_any_more(
    pages: list[Any], tmp_path: Path
) -> None:
    """By what the viewer estimates (REMB), of packets that come late and are not lost: its sender's own way is wide.

    How soon a browser's estimate rises again is its own, and a busy machine's: `test_video_rules` has what follows it.
    """
    PLANE.set(lambda: native(tmp_path))
    async with running() as (engine, _):
        port = free_port()
        async with LossyLink(port, ("127.0.0.1", engine.port.addresses[0][1])) as link:
            assert numbers_its_packets(await call(engine, pages, viewer_by=port))
            await until_rate(pages[0], lambda rate: rate["available"] > 900_000)
            link.to_browsers.bits, link.to_browsers.queue = 300_000, 5.0
            narrow = await until_rate(
                pages[0], lambda rate: 0 < rate["available"] < 350_000 and rate["target"] < 350_000
            )
            viewer = engine._session("call").party(VIEWER.tag).video
            assert viewer is not None
            assert viewer.most < 350_000
            assert viewer._rate.bits > viewer.most  # by its estimate, not by losses
            link.to_browsers.bits, link.share = None, 1.0  # it is told, and says, nothing any more
            await until(lambda: viewer.most > 500_000, 60)
            await until_rate(pages[0], lambda rate: rate["available"] > narrow["available"])


async def test_what_a_phone_asks_for_is_a_limit_as_long_as_it_asks(pages: list[Any], tmp_path: Path) -> None:
    """TMMBR becomes REMB: what comes at the phone falls below it, and rises when it asks for more."""
    PLANE.set(lambda: native(tmp_path))
    async with running() as (engine, _), LimitingPhone() as phone:
        answer = await pages[0].evaluate(ANSWER, await engine.offer("call", PHONE, SENDER, phone.sdp()))
        assert numbers_its_packets(answer)
        phone.take(await engine.answer("call", SENDER, PHONE, answer))
        await phone.gets(lambda bits: bits > 250_000)
        phone.limit(120_000)
        await phone.gets(lambda bits: 0 < bits < 150_000)
        phone.limit(2_000_000)
        await phone.gets(lambda bits: bits > 250_000)


async def test_what_is_configured_is_a_limit_all_the_same(pages: list[Any], tmp_path: Path) -> None:
    """`video.max_bitrate`: REMB caps what the browser finds by itself."""
    PLANE.set(lambda: native(tmp_path))
    async with running(config(video=VideoConfig(max_bitrate=400_000))) as (engine, _):
        await call(engine, pages)
        await until_rate(pages[0], lambda rate: 350_000 < rate["available"] <= 400_000)
        for _ in range(20):
            rate = await pages[0].evaluate(RATE)
            assert rate["target"] <= 400_000, rate
            await pages[0].wait_for_timeout(100)
