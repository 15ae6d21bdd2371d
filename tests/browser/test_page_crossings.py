"""The page in Chromium and a phone hold and come back in one moment; pjsua2 is the phone, and repeats nothing."""

from __future__ import annotations

import pytest

from gateway.demo.browser import SoftphoneBrowser
from gateway.demo.phone import DeskPhone
from tests.browser.softphone import phone_hears, says
from tests.interop.gateway import PHONE_HZ, Gateway
from tests.media.engine_support import until

pytestmark = [
    pytest.mark.wall,
    pytest.mark.timeout(300),
    pytest.mark.asyncio(loop_scope="module"),
]

CROSSINGS = [10, pytest.param(100, marks=pytest.mark.nightly)]
"""Of each kind."""
KINDS = [(True, True), (False, False), (True, False), (False, True), (True, False), (False, False)]
"""Wishes of the page and of the phone, one pair after the other: in four of six steps both change."""


@pytest.mark.parametrize("crossings", CROSSINGS)
async def test_a_page_and_a_phone_hold_at_once_and_no_wish_is_lost(
    gateway: Gateway, page: SoftphoneBrowser, phone: DeskPhone, crossings: int
) -> None:
    """Each comes to what it wanted, and in the end they hear each other."""
    phone.codecs("PCMU")  # with several it re-INVITEs to lock one
    await page.page.fill("#dial", "1001")
    await page.page.click("#call")
    await says(page.page, "Connected.")
    await phone_hears(phone)
    [call] = gateway.app.calls
    bridge = call.bridge
    assert bridge is not None
    tags = [leg.party.tag for leg in bridge.legs]
    for wishes in KINDS * crossings:
        if wishes[1] is not (tags[1] in bridge.holding):
            (phone.hold if wishes[1] else phone.unhold)()
        if wishes[0] is not (tags[0] in bridge.holding):
            await page.page.evaluate("() => document.getElementById('hold').click()")
        wanted = {tag for tag, wish in zip(tags, wishes, strict=True) if wish}
        await until(lambda wanted=wanted: bridge.exchange is None and bridge.holding == wanted)
        shown = str(wishes[0]).lower()
        await page.page.locator(f"#hold[aria-pressed={shown}]").wait_for()
    await phone_hears(phone)
    await page.tone(PHONE_HZ)
    await page.hang_up()
    await phone.expect("state", state="ended")
