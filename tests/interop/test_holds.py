"""A phone holds a browser's call, and the browser hears of it; pjsua2 is the phone."""

from __future__ import annotations

import asyncio

import pytest

from tests.interop.gateway import PHONE_HZ, Gateway, RpcBrowser, hear_each_other

pytestmark = [pytest.mark.wall, pytest.mark.asyncio(loop_scope="module")]


async def shown(browser: RpcBrowser, *wanted: bool) -> None:
    """Wait until the browser was told of these holds, in this order."""
    async with asyncio.timeout(30):
        while (told := [params["held"] for method, params in browser.told if method == "call_held"]) != list(wanted):
            assert len(told) < len(wanted), told
            await browser.news()


async def test_a_hold_of_a_phone_and_its_end_are_shown_to_the_browser(gateway: Gateway) -> None:
    """Once each, with the audio gone and back."""
    phone = await gateway.phone("1001", PHONE_HZ)
    browser = await gateway.browser("alice")
    phone.on_incoming(200)
    phone.codecs("PCMU")  # with several it re-INVITEs to lock one, which may cross the hold
    await browser.dial("1001")
    await hear_each_other(browser, phone)
    for expected in ((True,), (True, False), (True, False, True), (True, False, True, False)):
        if expected[-1]:
            phone.hold()
        else:
            phone.unhold()
        await shown(browser, *expected)
    await hear_each_other(browser, phone)
    await browser.hang_up()
    await gateway.idle()


async def test_a_phone_does_one_after_the_other_what_it_is_told_at_once(gateway: Gateway) -> None:
    """It holds and comes back three times; each re-INVITE waits for the end of the one before."""
    phone = await gateway.phone("1002", PHONE_HZ)
    browser = await gateway.browser("bob")
    phone.on_incoming(200)
    phone.codecs("PCMU")
    await browser.dial("1002")
    await hear_each_other(browser, phone)
    for _ in range(3):
        phone.hold()
        phone.unhold()
    await shown(browser, *([True, False] * 3))
    await hear_each_other(browser, phone)
    await browser.hang_up()
    await gateway.idle()
