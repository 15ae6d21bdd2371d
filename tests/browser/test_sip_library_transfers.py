"""JsSIP and SIP.js, in Chromium and in Firefox, transfer a desk phone that is in a call with them."""

from __future__ import annotations

import pytest

from tests.browser.sip_pages import HZ, LIBRARIES, Stage, desk_phone, hears
from tests.browser.softphone import silent
from tests.interop.gateway import PHONE_HZ, TONE_HZ

pytestmark = [pytest.mark.wall, pytest.mark.asyncio(loop_scope="module")]
OTHER_HZ = 1046
"""What the page says that is asked before the phone is connected with it."""


@pytest.mark.parametrize("library", LIBRARIES)
async def test_a_browser_transfers_blind(stage: Stage, library: str) -> None:
    """REFER: the desk phone is connected with the tone, the browser is out of it."""
    gateway = stage.gateway
    async with desk_phone(gateway) as desk, stage.phone(library) as page:
        await page.do("call", "1001")
        await page.tone(PHONE_HZ)
        await hears(desk, HZ)
        assert await page.do("transfer", "601") == "accepted"
        await hears(desk, TONE_HZ)
        desk.hangup()


@pytest.mark.parametrize("library", LIBRARIES)
async def test_a_browser_transfers_attended(stage: Stage, library: str) -> None:
    """Hold one, ask another, connect them: these two hear each other, the browser is out of it."""
    gateway = stage.gateway
    async with (
        desk_phone(gateway) as desk,
        stage.phone(library) as page,
        stage.phone(library, "1003", OTHER_HZ) as other,
    ):
        await page.do("call", "1001")
        await page.tone(PHONE_HZ)
        await hears(desk, HZ)
        await page.do("hold")
        await silent(desk)
        await page.get("void (phone.held = phone.session)")
        await page.do("call", "1003")
        assert await other.until("incoming") == "1002"
        await other.do("answer")
        await page.tone(OTHER_HZ)
        await other.tone(HZ)
        assert await page.get("phone.connect(phone.held, phone.session)") == "accepted"
        await hears(desk, OTHER_HZ)
        await other.tone(PHONE_HZ)
        desk.hangup()
        await other.until("ended")
