"""Video calls that are passed on, between pages of three users in Chromium: who is left sees who has come."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Page

from gateway.demo.browser import SoftphoneBrowser
from tests import peers
from tests.browser.softphone import MOVES, says, sees
from tests.interop.gateway import BROWSER_HZ, Gateway, config_on_free_ports, gateway_with

pytestmark = [pytest.mark.wall, pytest.mark.nightly, pytest.mark.asyncio(loop_scope="module")]

USERS = ("alice", "bob", "carol")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """Three users with pages."""
    folder: Path = tmp_path_factory.mktemp("softphone")
    users = [{"id": name, "display_name": name.title(), "web": True, "may_call": ["*"]} for name in USERS]
    passwords = {f"USERS__{name}__PASSWORD": f"{name}s-own-Secret-0815" for name in USERS}
    config = config_on_free_ports(folder, USERS=json.dumps(users), **passwords)
    async with gateway_with(config, folder / "gateway.log") as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def pages(gateway: Gateway) -> AsyncIterator[list[Page]]:
    """Of each user, in a profile of its own with a camera; their consoles stay free of errors."""
    async with AsyncExitStack() as stack:
        browser = await stack.enter_async_context(SoftphoneBrowser(peers.chromium(), BROWSER_HZ))
        await browser.open(gateway.app.signed_in_url(USERS[0]))
        made = browser.page.context.browser
        assert made is not None
        found, errors = list[Page](), list[str]()
        for name in USERS:
            context = await made.new_context(permissions=["microphone", "camera"])
            stack.push_async_callback(context.close)
            page = await context.new_page()
            page.on("pageerror", lambda error: errors.append(str(error)))
            await page.goto(gateway.app.signed_in_url(name))
            await page.locator("body[data-view=idle]").wait_for()
            found.append(page)
        await browser.page.close()
        yield found
        assert not errors
    await gateway.idle()


async def passed_on(alice: Page) -> None:
    """Alice has passed the call on, and sees nobody."""
    await says(alice, "The call was transferred.")
    await alice.locator("#pictures").wait_for(state="hidden")


@pytest_asyncio.fixture(loop_scope="module")
async def seen(pages: list[Page]) -> list[Page]:
    """Alice and bob see each other, and alice is about to pass the call on to carol."""
    alice, bob, _ = pages
    await alice.fill("#dial", "bob")
    await alice.click("#video")
    await bob.click("#accept-video")
    await sees(alice, bob)
    await alice.click("#transfer")
    await alice.fill("#target", "carol")
    return pages


async def talks_on(alice: Page, bob: Page, carol: Page) -> None:
    """Alice has left the call to the two others: each of them is seen, and either ends it."""
    await passed_on(alice)
    await sees(bob, carol)
    for page in (bob, carol):
        assert await page.evaluate(MOVES, "#self")
    await bob.click("#hangup")
    await says(carol, "The call ended.")


async def test_who_is_passed_on_at_once_and_who_takes_the_call_see_each_other(seen: list[Page]) -> None:
    """Each shows its camera still, and the page that passed the call on shows nobody."""
    alice, bob, carol = seen
    await alice.press("#target", "Enter")
    await carol.click("#accept-video")
    await talks_on(alice, bob, carol)


async def test_who_is_passed_on_after_a_word_and_who_takes_the_call_see_each_other(seen: list[Page]) -> None:
    """The word is one of pictures, too; meanwhile who waits sees nobody."""
    alice, bob, carol = seen
    await alice.click("#consult")
    await carol.click("#accept-video")
    await sees(alice, carol)
    await bob.locator("#picture").wait_for(state="hidden")
    await alice.click("#lines [data-act=connect]")
    await talks_on(alice, bob, carol)


async def test_who_takes_a_call_after_a_word_of_sound_alone_is_seen_once_its_camera_is_on(seen: list[Page]) -> None:
    """Who is passed on has its own on all the time."""
    alice, bob, carol = seen
    await alice.click("#consult")
    await carol.click("#accept")
    await says(carol, "Connected.")
    await alice.click("#lines [data-act=connect]")
    await passed_on(alice)
    await carol.click("#camera")
    await sees(bob, carol)
    await bob.click("#hangup")
    await says(carol, "The call ended.")
