"""Contacts on two pages of the whole gateway: presence as it changes, messages as they come, nothing of strangers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, expect

from gateway.demo.phone import DeskPhone
from tests import peers
from tests.interop.gateway import Gateway, config_on_free_ports, gateway_with
from tests.web.browser import ALLOWED, chromium

pytestmark = [
    *(pytest.mark.wall, pytest.mark.asyncio(loop_scope="module")),
    pytest.mark.usefixtures("chromiums"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """As it comes."""
    folder: Path = tmp_path_factory.mktemp("contacts")
    async with gateway_with(config_on_free_ports(folder), folder / "gateway.log") as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def alice(gateway: Gateway) -> AsyncIterator[Page]:
    """Her page, in a browser without memories; its console stays free of errors."""
    peers.chromium()
    async with chromium(ALLOWED) as browser:
        context = await browser.new_context(viewport={"width": 360, "height": 740}, color_scheme="dark")
        page = await context.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        await page.goto(gateway.app.signed_in_url("alice"))
        await page.wait_for_selector("body[data-view=idle]")
        yield page
    assert errors == []


async def test_who_opens_a_page_is_seen_and_written_with(gateway: Gateway, alice: Page) -> None:
    """Bob comes, is available, writes, is answered, is on the phone, goes; what was written outlasts a reload."""
    context = await alice.context.browser.new_context() if alice.context.browser else alice.context
    bob = await context.new_page()
    await bob.goto(gateway.app.signed_in_url("bob"))
    at_alice = alice.locator("#contacts .line", has_text="bob")
    await expect(at_alice).to_have_attribute("data-presence", "available")
    await bob.click("#contacts .line:has-text('alice') [data-act=write]")
    await bob.fill("#conversation-text", "<b>Lunch?</b>")
    await alice.focus("#dial")
    await bob.keyboard.press("Enter")
    await expect(at_alice.locator("[data-act=write]")).to_have_text("Read")
    assert await alice.evaluate("document.activeElement.id") == "dial"
    await alice.click("#contacts .line:has-text('bob') [data-act=write]")
    await expect(alice.locator("#conversation-log .theirs p")).to_have_text("<b>Lunch?</b>")
    await alice.fill("#conversation-text", "Yes.")
    await alice.press("#conversation-text", "Enter")
    await expect(bob.locator("#conversation-log .theirs p")).to_have_text("Yes.")
    results = await Axe().run(alice)
    assert [f"{found['id']}: {found['nodes'][0]['html']}" for found in results.response["violations"]] == []
    assert await alice.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    await bob.click("[data-number='600']")
    await expect(at_alice).to_have_attribute("data-presence", "on-the-phone")
    await bob.click("#hangup")
    await bob.close()
    await expect(at_alice).to_have_attribute("data-presence", "offline", timeout=30_000)
    await alice.reload()
    await alice.click("#contacts .line:has-text('bob') [data-act=write]")
    await expect(alice.locator("#conversation-log li p")).to_have_text(["<b>Lunch?</b>", "Yes."])


async def test_a_contact_of_ones_own_is_kept_called_and_removed(gateway: Gateway, alice: Page) -> None:
    """A desk phone; with what was written, which it could not be given."""
    phone: DeskPhone = await gateway.phone("1001")
    phone.on_incoming(200)
    await alice.fill("#contact-name", "1001")
    await alice.press("#contact-name", "Enter")
    row = alice.locator("#contacts .line", has_text="1001")
    await expect(row).to_be_visible()
    await alice.reload()
    await row.locator("[data-act=call]").click()
    await phone.expect("state", state="answered")
    await alice.click("#hangup")
    await phone.expect("state", state="ended")
    await row.locator("[data-act=write]").click()
    await alice.click("#contact-remove")
    await expect(row).to_have_count(0)
    await alice.reload()
    await alice.wait_for_selector("body[data-view=idle]")
    await expect(row).to_have_count(0)


async def test_one_says_what_others_see_and_where_calls_go(gateway: Gateway, alice: Page) -> None:
    """Away and not to be disturbed, kept over a reload; a refused number is told and put back; no axe finding."""
    browser = alice.context.browser
    assert browser is not None
    bob = await (await browser.new_context()).new_page()
    await bob.goto(gateway.app.signed_in_url("bob"))
    at_bob = bob.locator("#contacts .line", has_text="alice")
    await expect(at_bob).to_have_attribute("data-presence", "available")
    await alice.select_option("#own-presence", "away")
    await expect(at_bob).to_have_attribute("data-presence", "away")
    await alice.reload()
    await expect(alice.locator("#own-presence")).to_have_value("away")
    await expect(at_bob).to_have_attribute("data-presence", "away")
    await alice.select_option("#own-presence", "")
    await expect(at_bob).to_have_attribute("data-presence", "available")
    await alice.check("#disturb")
    await expect(alice.locator("#status")).to_have_text("Nobody disturbs you now.")
    await bob.fill("#dial", "alice")
    await bob.press("#dial", "Enter")
    await expect(bob.locator("#status")).to_contain_text("Busy")
    await alice.uncheck("#disturb")
    await expect(alice.locator("#status")).to_have_text("Saved.")
    await alice.fill("#forward-always", "sip:far@elsewhere.example")
    await alice.press("#forward-always", "Enter")
    await expect(alice.locator("#status")).to_have_attribute("data-tone", "bad")
    await expect(alice.locator("#forward-always")).to_have_value("")
    await alice.fill("#forward-always", "1001")
    await alice.press("#forward-always", "Enter")
    await expect(alice.locator("#status")).to_have_text("Saved.")
    results = await Axe().run(alice)
    assert [found["id"] for found in results.response["violations"]] == []
    phone: DeskPhone = await gateway.phone("1001")
    phone.on_incoming(200)
    await bob.fill("#dial", "alice")
    await bob.press("#dial", "Enter")
    await expect(bob.locator("#status")).to_contain_text("Connected")
    await bob.click("#hangup")
    await alice.reload()
    await expect(alice.locator("#forward-always")).to_have_value("1001")
    await alice.fill("#forward-always", "")
    await alice.press("#forward-always", "Tab")
    await expect(alice.locator("#status")).to_have_text("Saved.")
