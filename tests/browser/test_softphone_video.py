"""Video on the page: two users in Chromium on the whole gateway, and a phone that has no picture."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Page

from gateway.demo.browser import SoftphoneBrowser
from gateway.demo.phone import DeskPhone
from tests.browser.softphone import MOVES, SMALL, accessible, phone_hears, says, sees
from tests.interop.gateway import Gateway

pytestmark = [pytest.mark.wall, pytest.mark.asyncio(loop_scope="module")]


TALL = "size => document.querySelector('#picture').videoHeight === size"


async def gone(page: Page, name: str = "#picture") -> None:
    await page.locator(name).wait_for(state="hidden", timeout=30_000)


@pytest_asyncio.fixture(loop_scope="module")
async def bob(gateway: Gateway, page: SoftphoneBrowser) -> AsyncIterator[Page]:
    """Bob's page, in a profile of its own, on a phone in the dark; alice's may use the camera, too."""
    await page.page.context.grant_permissions(["microphone", "camera"])
    browser = page.page.context.browser
    assert browser is not None
    context = await browser.new_context(
        permissions=["microphone", "camera"], viewport={"width": 360, "height": 740}, color_scheme="dark"
    )
    other = await context.new_page()
    await other.goto(gateway.app.signed_in_url("bob"))
    await other.locator("body[data-view=idle]").wait_for()
    yield other
    await context.close()


async def video_call(alice: Page, bob: Page) -> None:
    """Alice calls with video, bob shows himself, too."""
    await alice.fill("#dial", "bob")
    await alice.click("#video")
    await bob.click("#accept-video")
    await sees(alice, bob)


@pytest.mark.core
async def test_two_users_see_each_other_and_turn_their_cameras_off_and_on(page: SoftphoneBrowser, bob: Page) -> None:
    """A camera that is off is no frozen picture at the other side; on hold nobody is seen."""
    alice = page.page
    await video_call(alice, bob)
    assert await alice.evaluate(MOVES, "#self")
    for one in (alice, bob):
        await accessible(one)
    await alice.click("#camera")
    await gone(bob)
    await gone(alice, "#self")
    await sees(alice)
    await alice.click("#camera")
    await sees(bob, alice)
    await alice.click("#hold")
    await says(alice, "On hold.")
    await says(bob, "The other side has put you on hold.")
    await gone(bob)
    await alice.click("#hold")
    await sees(alice, bob)
    await bob.click("#hangup")
    await says(alice, "The call ended.")
    await gone(alice, "#pictures")


async def test_a_reload_in_a_video_call_keeps_the_pictures(page: SoftphoneBrowser, bob: Page) -> None:
    """Both see each other again, the camera that was on is on."""
    await video_call(page.page, bob)
    await page.page.reload()
    await says(page.page, "Connected.")
    await sees(page.page, bob)
    await page.page.click("#hangup")
    await says(bob, "The call ended.")


async def test_cameras_come_on_in_a_call_that_began_without(page: SoftphoneBrowser, bob: Page) -> None:
    """First one shows itself, then the other."""
    alice = page.page
    await alice.fill("#dial", "bob")
    await alice.press("#dial", "Enter")
    await bob.wait_for_selector("body[data-view=incoming]")
    assert not await bob.is_visible("#accept-video")
    await accessible(bob)
    await bob.click("#accept")
    await says(alice, "Connected.")
    await alice.click("#camera")
    await sees(bob)
    assert not await alice.is_visible("#picture")
    await bob.click("#camera")
    await sees(alice, bob)
    await alice.click("#hangup")
    await says(bob, "The call ended.")


async def test_a_page_shows_smaller_pictures_to_who_takes_no_larger_ones(page: SoftphoneBrowser, bob: Page) -> None:
    """Its camera has 1280x720, of which it sends 199x112: as the other side is called, and as it calls."""
    alice = page.page
    await bob.add_init_script(f"({SMALL})()")
    await bob.reload()
    await bob.locator("body[data-view=idle]").wait_for()
    await video_call(alice, bob)
    await bob.wait_for_function(TALL, arg=112)
    await bob.click("#hangup")
    await says(alice, "The call ended.")
    await bob.fill("#dial", "alice")
    await bob.click("#video")
    await alice.click("#accept")
    await says(alice, "Connected.")
    await alice.click("#camera")
    await sees(bob, alice)
    await bob.wait_for_function(TALL, arg=112)
    await bob.click("#hangup")
    await says(alice, "The call ended.")


async def test_a_phone_without_a_picture_has_the_call_and_the_camera_goes_off(
    page: SoftphoneBrowser, phone: DeskPhone, bob: Page
) -> None:
    """Said in words; the sound is as in any call."""
    alice = page.page
    await alice.fill("#dial", "1001")
    await alice.click("#video")
    await says(alice, "The other side takes no video.")
    await phone_hears(phone)
    await gone(alice, "#self")
    await page.hang_up()
    await phone.expect("state", state="ended")


async def test_a_video_call_that_moves_to_another_device_keeps_its_pictures(
    page: SoftphoneBrowser, bob: Page, gateway: Gateway
) -> None:
    """The device that takes it shows its camera where the former did, and sees what that saw."""
    browser = page.page.context.browser
    assert browser is not None
    context = await browser.new_context(permissions=["microphone", "camera"])
    try:
        mobile = await context.new_page()
        await mobile.goto(gateway.app.signed_in_url("alice"))
        await mobile.locator("body[data-view=idle]").wait_for()
        await video_call(page.page, bob)
        await mobile.click("#devices [data-act=take]")
        await says(mobile, "Connected.")
        await says(page.page, "goes on on another device")
        await sees(mobile, bob)
        assert await mobile.evaluate(MOVES, "#self")
        await mobile.click("#hangup")
        await says(bob, "The call ended.")
    finally:
        await context.close()
