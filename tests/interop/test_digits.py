"""Digits between phones and browsers that take them in different ways; pjsua2 is the phone."""

from __future__ import annotations

import asyncio

import pytest
import pytest_asyncio

from gateway.demo.phone import DeskPhone
from tests.interop.gateway import PHONE_HZ, Gateway, RpcBrowser, hear_each_other

pytestmark = [pytest.mark.wall, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def phone(gateway: Gateway) -> DeskPhone:
    """Desk phone 1001 takes digits as RFC 4733 says."""
    return await gateway.phone("1001", PHONE_HZ)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def info_phone(gateway: Gateway) -> DeskPhone:
    """Desk phone 1003, for which `dtmf: info` is set."""
    return await gateway.phone("1003", PHONE_HZ)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(gateway: Gateway) -> RpcBrowser:
    """Alice."""
    return await gateway.browser("alice")


async def hears(phone: DeskPhone, digits: str) -> None:
    for digit in digits:
        await phone.expect("digit", digit=digit)


async def shown(browser: RpcBrowser, digits: str) -> None:
    """Wait until the browser was told of these digits, of each once and in this order."""
    async with asyncio.timeout(30):
        while (told := [params["digit"] for method, params in browser.told if method == "dtmf"]) != list(digits):
            assert len(told) < len(digits), told
            await browser.news()


async def test_events_and_info_are_turned_into_each_other(
    gateway: Gateway, phone: DeskPhone, info_phone: DeskPhone
) -> None:
    """Pressed as RFC 4733 here, got by INFO there, and the other way round."""
    for each in (phone, info_phone):
        each.on_incoming(200)
    phone.dial(gateway.uri("1003"))
    await phone.expect("tone")
    await info_phone.expect("tone")
    phone.digits("15#")
    await hears(info_phone, "15#")
    info_phone.digits("82*", "info")
    await hears(phone, "82*")
    phone.hangup()
    await gateway.idle()


async def test_a_browser_is_told_of_digits_and_its_own_reach_a_phone_that_wants_info(
    gateway: Gateway, browser: RpcBrowser, info_phone: DeskPhone
) -> None:
    """The result of `dtmf` comes when the phone has answered the INFO."""
    info_phone.on_incoming(200)
    await browser.dial("1003")
    await hear_each_other(browser, info_phone)
    await browser.ask("dtmf", peer_id="1003", digit="7")
    await hears(info_phone, "7")
    info_phone.digits("4", "info")
    await shown(browser, "4")
    await browser.hang_up()
    await gateway.idle()


async def test_a_browser_is_told_of_the_digits_in_the_media(
    gateway: Gateway, browser: RpcBrowser, phone: DeskPhone
) -> None:
    """Each once, in order."""
    browser.told.clear()
    phone.on_incoming(200)
    await browser.dial("1001")
    await hear_each_other(browser, phone)
    phone.digits("90")
    await shown(browser, "90")
    await browser.hang_up()
    await gateway.idle()
