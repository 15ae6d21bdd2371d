"""The room page: two people see, hear and leave each other; what each sends is in their own hands."""

from __future__ import annotations

import asyncio

import pytest
from playwright.async_api import Page

from tests.browser.softphone import SMALL
from tests.web.browser import Stage, stage

pytestmark = [pytest.mark.wall, pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("chromiums")]


_WIDTH = "document.querySelector('#peers video').videoWidth"


async def _join(it: Stage, page: Page, name: str, *, camera: bool = True) -> None:
    await page.goto(it.url + "webrtc/client")
    await page.fill("#room", "meeting")
    await page.fill("#peer", name)
    if camera:
        await page.check("#camera")
    await page.click("#enter")
    await page.wait_for_selector("#leave:visible")


async def _seen(page: Page, condition: str) -> None:
    async with asyncio.timeout(30):
        while not await page.evaluate(condition):  # noqa: ASYNC110  # only asking tells
            await asyncio.sleep(0.05)


async def test_two_people_meet_with_self_view_mute_and_camera_off() -> None:
    """Connected both ways; a muted voice and a camera that is off are said by their buttons."""
    async with stage() as it:
        other = await it.page.context.new_page()
        await _join(it, it.page, "ann")
        await _join(it, other, "ben")
        for page in (it.page, other):
            await page.locator("#peers span", has_text="connected").wait_for(timeout=30_000)
        assert await it.page.evaluate("document.getElementById('self').srcObject.getVideoTracks().length") == 1
        await it.page.click("#mute")
        assert await it.page.get_attribute("#mute", "aria-pressed") == "true"
        assert await it.page.inner_text("#mute") == "Unmute"
        await it.page.click("#camera-off")
        assert await it.page.inner_text("#camera-off") == "Camera on"
        await other.click("#leave")
        await it.page.locator("#status", has_text="ben has left.").wait_for()
        assert await it.page.locator("#peers li").count() == 0


async def test_a_peer_that_takes_small_pictures_is_sent_no_larger_ones() -> None:
    """Of who was there before, and of who comes; one without a bound sees the whole camera."""
    async with stage() as it:
        small = await it.page.context.new_page()
        await small.add_init_script(f"({SMALL})()")
        await _join(it, it.page, "ann")
        await _join(it, small, "ben")
        for page in (it.page, small):
            await page.locator("#peers span", has_text="connected").wait_for(timeout=30_000)
        await _seen(small, f"0 < {_WIDTH} && {_WIDTH} <= 199")
        await _seen(it.page, f"{_WIDTH} > 199")


async def test_leave_can_be_read_while_the_mouse_is_on_it() -> None:
    """White on red, not white on white."""
    async with stage() as it:
        await _join(it, it.page, "ann", camera=False)
        await it.page.hover("#leave")
        colours = await it.page.evaluate(
            """(() => {
              const style = getComputedStyle(document.getElementById("leave"));
              return [style.color, style.backgroundColor];
            })()"""
        )
        assert colours[0] != colours[1]
        assert colours[1] not in ("rgb(255, 255, 255)", "rgb(227, 235, 231)")
        assert not await it.page.is_visible("#camera-off")


async def test_the_screen_takes_the_cameras_place_for_the_others_and_gives_it_back() -> None:
    """Seen by its size at the other end; who leaves while sharing shares no more."""
    async with stage() as it:
        other = await it.page.context.new_page()
        await _join(it, it.page, "ann")
        await _join(it, other, "ben")
        for page in (it.page, other):
            await page.locator("#peers span", has_text="connected").wait_for(timeout=30_000)
        await _seen(other, f"{_WIDTH} > 0")
        camera = await other.evaluate(_WIDTH)
        await it.page.click("#screen")
        await it.page.locator("#screen[aria-pressed=true]").wait_for()
        await _seen(other, f"{_WIDTH} !== {camera}")
        await it.page.click("#screen")
        await it.page.locator("#screen[aria-pressed=false]").wait_for()
        await _seen(other, f"{_WIDTH} === {camera}")
        await it.page.click("#screen")
        await it.page.locator("#screen[aria-pressed=true]").wait_for()
        await it.page.click("#leave")
        await it.page.locator("#status", has_text="You have left").wait_for()
        assert not await it.page.is_visible("#screen")
