"""Several calls on the page with two desk phones on the whole gateway: who hears whom, found by frequency."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from gateway.demo.browser import SoftphoneBrowser
from gateway.demo.phone import DeskPhone
from tests.browser.softphone import phone_hears, says, silent, talk
from tests.interop.gateway import PHONE_HZ, TONE_HZ, Gateway
from tests.web.browser import ALLOWED, NO_DEVICE, chromium

pytestmark = [pytest.mark.wall, pytest.mark.asyncio(loop_scope="module")]

SECOND_HZ = 1046


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def registered(gateway: Gateway) -> DeskPhone:
    """Desk phone 1002, with a tone of its own."""
    return await gateway.phone("1002", SECOND_HZ)


@pytest_asyncio.fixture(loop_scope="module")
async def second(registered: DeskPhone, page: SoftphoneBrowser) -> AsyncIterator[DeskPhone]:
    """It answers, and is in no call afterwards."""
    registered.on_incoming(200)
    await registered.listen()
    yield registered
    registered.hangup()


async def test_a_second_call_is_taken_and_the_calls_are_swapped(
    page: SoftphoneBrowser, phone: DeskPhone, second: DeskPhone, gateway: Gateway
) -> None:
    """One is talked in at a time, the other is held; ending one leaves the other to go on with."""
    await talk(page, phone)
    second.dial(gateway.uri("alice"))
    await page.page.click("#lines [data-act=accept]")
    await second.expect("state", state="answered")
    await phone_hears(second)
    await page.tone(SECOND_HZ)
    await silent(phone)
    await page.page.click("#lines [data-act=swap]")
    await phone_hears(phone)
    await page.tone(PHONE_HZ)
    await silent(second)
    await page.hang_up()
    await phone.expect("state", state="ended")
    await says(page.page, "On hold.")
    await page.page.click("#hold")
    await page.tone(SECOND_HZ)
    await page.hang_up()
    await second.expect("state", state="ended")


async def test_a_call_is_given_away_after_a_word_with_who_gets_it(
    page: SoftphoneBrowser, phone: DeskPhone, second: DeskPhone
) -> None:
    """Ask first, then connect them: the phones hear each other, the page is out of it and says so."""
    await talk(page, phone)
    await page.page.click("#transfer")
    await page.page.fill("#target", "1002")
    await page.page.click("#consult")
    await page.tone(SECOND_HZ)
    await page.page.click("#lines [data-act=connect]")
    await says(page.page, "The call was transferred.")
    await page.status("ready")
    await phone_hears(phone, SECOND_HZ)
    await phone_hears(second, PHONE_HZ)
    phone.hangup()
    await second.expect("state", state="ended")


async def test_of_three_calls_those_are_connected_that_are_in_front_and_in_the_row(
    page: SoftphoneBrowser, phone: DeskPhone, second: DeskPhone, gateway: Gateway
) -> None:
    """Another call came to the front, and the row looks as it did."""
    await talk(page, phone)
    second.dial(gateway.uri("alice"))
    await page.page.click("#lines [data-act=accept]")
    await page.tone(SECOND_HZ)
    await page.page.click("#transfer")
    await page.page.fill("#target", "601")
    await page.page.click("#consult")
    await page.tone(TONE_HZ)
    await page.page.click("#lines [data-key]:nth-child(1) [data-act=swap]")
    await page.tone(PHONE_HZ)
    await page.page.click("#lines [data-key]:nth-child(1) [data-act=connect]")
    await phone_hears(phone, SECOND_HZ)
    await phone_hears(second, PHONE_HZ)
    await says(page.page, "On hold.")
    await page.hang_up()
    phone.hangup()
    await second.expect("state", state="ended")


async def test_a_call_is_given_away_at_once(page: SoftphoneBrowser, phone: DeskPhone, second: DeskPhone) -> None:
    """To a number."""
    await talk(page, phone)
    await page.page.click("#transfer")
    await page.page.fill("#target", "1002")
    await page.page.press("#target", "Enter")
    await says(page.page, "The call was transferred.")
    await phone_hears(phone, SECOND_HZ)
    phone.hangup()
    await second.expect("state", state="ended")


async def test_a_call_moves_to_another_page_of_the_same_user(
    page: SoftphoneBrowser, phone: DeskPhone, gateway: Gateway
) -> None:
    """By one click there; here it is said where it went."""
    await talk(page, phone)
    other = await page.page.context.new_page()
    await other.goto(gateway.app.signed_in_url("alice") + "&raw=1")
    await other.click("#devices [data-act=take]")
    await says(other, "Connected.")
    await says(page.page, "The call goes on on another device.")
    await phone_hears(phone)
    await other.click("#hangup")
    await phone.expect("state", state="ended")
    await other.close()


async def test_a_device_without_a_microphone_leaves_a_call_that_it_cannot_take_where_it_is(
    page: SoftphoneBrowser, phone: DeskPhone, gateway: Gateway
) -> None:
    """It is said there why, the call is offered there as before, and goes on."""
    await talk(page, phone)
    async with chromium(ALLOWED, NO_DEVICE) as browser:
        other = await browser.new_page()
        await other.goto(gateway.app.signed_in_url("alice"))
        await other.click("#devices [data-act=take]")
        await says(other, "No microphone was found")
        await other.wait_for_selector("#devices [data-act=take]")
        await phone_hears(phone)
        await says(page.page, "Connected.")
        await page.hang_up()
        await phone.expect("state", state="ended")


async def test_two_calls_outlive_a_reload_one_held_and_one_talked_in(
    page: SoftphoneBrowser, phone: DeskPhone, second: DeskPhone, gateway: Gateway
) -> None:
    """What was held is held again."""
    await talk(page, phone)
    second.dial(gateway.uri("alice"))
    await page.page.click("#lines [data-act=accept]")
    await phone_hears(second)
    await page.page.reload()
    await says(page.page, "Connected.")
    await phone_hears(second)
    await silent(phone)
    await page.page.click("#lines [data-act=swap]")
    await phone_hears(phone)
    await page.page.click("#hangup")
    await phone.expect("state", state="ended")
    await page.page.click("#hangup")
    await second.expect("state", state="ended")
