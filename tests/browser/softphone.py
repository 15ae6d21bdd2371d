"""What tests of the page do and look for, on the whole gateway with a desk phone at the other end."""

from __future__ import annotations

import asyncio

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page
from playwright.async_api import TimeoutError as PageTimeout

from gateway.demo.browser import SoftphoneBrowser
from gateway.demo.phone import DeskPhone, PhoneError
from tests.interop.gateway import BROWSER_HZ, NEAR, PHONE_HZ

RING_SECONDS = 4
"""How long the gateway of these tests lets phones ring."""
HEARD_WITHIN = 30
"""Seconds in which a phone hears what a call was changed to."""


SMALL = """() => {
  const { get } = Object.getOwnPropertyDescriptor(RTCPeerConnection.prototype, "localDescription");
  const sdp = (text) => text.replace(/(a=rtpmap:(\\d+) VP8.90000\\r\\n)/g, "$1a=fmtp:$2 max-fs=99;max-fr=10\\r\\n");
  Object.defineProperty(RTCPeerConnection.prototype, "localDescription", {
    get() { const said = get.call(this); return said && { type: said.type, sdp: sdp(said.sdp) }; },
  });
}"""
"""A browser that takes pictures of 99 macroblocks in VP8, as it says."""


async def says(page: Page, words: str) -> None:
    """Wait until the page's status line says `words`."""
    try:
        await page.locator("#status", has_text=words).wait_for(timeout=30_000)
    except PageTimeout:
        raise AssertionError(f"the page says {await page.inner_text('#status')!r}, not {words!r}") from None


async def phone_hears(phone: DeskPhone, hz: float = BROWSER_HZ) -> None:
    """Until it hears that tone: what was said before a change is in its playout buffer still, or on its way."""
    heard = 0.0
    try:
        async with asyncio.timeout(HEARD_WITHIN):
            while heard != pytest.approx(hz, abs=NEAR):
                await phone.listen()
                heard = float((await phone.expect("tone")).details["hz"])
    except TimeoutError:
        raise AssertionError(f"the phone hears {heard} Hz, not {hz}") from None


async def talk(page: SoftphoneBrowser, phone: DeskPhone) -> None:
    """A call from the page to the phone, up, with both tones found."""
    await page.dial("1001")
    await page.status("talking")
    await phone_hears(phone)
    await page.tone(PHONE_HZ)


async def silent(phone: DeskPhone) -> None:
    """Wait until the phone's hold was accepted: no fresh sound for a while, after sound there was."""
    async with asyncio.timeout(30):
        while True:
            await phone.listen()
            try:
                await phone.expect("sound", timeout=0.4)
            except PhoneError:
                return


_OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


async def accessible(page: Page) -> None:
    """Axe finds nothing (WCAG 2.1 AA), nothing scrolls sideways, and what is pressed is at least 40 pixels high."""
    found = (await Axe().run(page)).response["violations"]
    assert not found, [(one["id"], one["nodes"][0]["html"], one["nodes"][0]["failureSummary"]) for one in found]
    assert int(await page.evaluate(_OVERFLOW)) <= 0
    low = "all => all.filter((one) => one.offsetHeight && one.offsetHeight < 40).map((one) => one.id)"
    small = await page.eval_on_selector_all(".actions button, .side .line button", low)
    assert not small, small


MOVES = """async (selector) => {
  for (let look = 0; look < 200; look++) {
    const video = document.querySelector(selector);
    if (video && !video.hidden && video.checkVisibility() && video.videoWidth) {
      const before = video.getVideoPlaybackQuality().totalVideoFrames;
      await new Promise((done) => setTimeout(done, 300));
      if (video.getVideoPlaybackQuality().totalVideoFrames > before + 2) return true;
    }
    await new Promise((done) => setTimeout(done, 50));
  }
  return false;
}"""
"""Whether a picture is on the page and goes on."""


async def sees(*pages: Page, video: str = "#picture") -> None:
    """Wait until each page shows the other side's moving picture."""
    for page in pages:
        assert await page.evaluate(MOVES, video), await page.inner_text("#status")
