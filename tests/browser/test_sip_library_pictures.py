"""Pages with JsSIP and SIP.js that show each other pictures, over hold and re-offers."""

from __future__ import annotations

import asyncio

import pytest

from tests.browser.sip_pages import HZ, SipPage, Stage

pytestmark = [pytest.mark.wall, pytest.mark.asyncio(loop_scope="module")]

DARK, LIGHT = 60, 200


async def sees(page: SipPage, grey: int) -> None:
    """Wait until a picture that comes is of this grey."""
    found = None
    try:
        async with asyncio.timeout(30):
            while found is None or abs(found - grey) > 16:
                found = await page.get("phone.sound.grey()")
    except TimeoutError:
        raise TimeoutError(f"no picture of {grey}, but {found}") from None


async def decodes(page: SipPage) -> None:
    """Wait until ten more pictures are decoded: a Chromium does not show those of a track that a hold has muted."""
    before = count = (await page.do("received", "video")).get("framesDecoded", 0)
    try:
        async with asyncio.timeout(30):
            while count < before + 10:
                count = (await page.do("received", "video")).get("framesDecoded", 0)
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise TimeoutError(f"no more pictures: {await page.do('received', 'video')}") from None


async def test_pictures_go_on_after_hold_and_other_offers_of_each_library(stage: Stage) -> None:
    """JsSIP calls SIP.js: held and taken back by either, and ICE restarted by either; the sound goes with it."""
    async with stage.phone("jssip") as one, stage.phone("sipjs", "1001", HZ + 200) as other:
        for page, grey in ((one, DARK), (other, LIGHT)):
            await page.run(f"phone.sound.show({grey})")
        await one.do("call", "1001")
        await other.until("incoming")
        await other.do("answer")
        await one.until("confirmed")
        await asyncio.gather(sees(one, LIGHT), sees(other, DARK))
        for page in (one, other):
            await page.do("hold")
            await page.do("resume")
            await page.do("restart")
            await asyncio.gather(decodes(one), decodes(other), one.sound(), other.sound())
        await one.do("hangup")
        await other.until("ended")
